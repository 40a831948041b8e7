"""The problem on the matrices that are invariant under permutations of alike components.

Between two classes of n and n' components an invariant W has blocks γ J, within a class α I + β (J − I), at a
hub a constant h. In the symmetric group's own coordinates that is

- one trivial block T with entries γ √(n n'), α + (n − 1) β and h √n, and
- for each class a block M with entries α − β, which occurs n − 1 times,

so ‖W‖_* = ‖T‖_* + Σ (n − 1) ‖M‖_*: of a table of 60 equal groups, a 2 × 2 and a 2 × 4 matrix remain.

Shapes: n examples, d columns, A answers of the quotient; e example kinds, a answer kinds (each twice: in the
example's own component, in others), p unknowns.
"""

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Int

from spillover.margin.components import Components
from spillover.margin.norms import norm_value, shrink, spectral_norm
from spillover.margin.problem import Norm
from spillover.margin.quotient import Quotient
from spillover.margin.solution import Solution


class InvariantMatrices:
    """A `Reduction` to invariant matrices; the unknown is T and the √(n − 1) M's, one vector (p,).

    `kind_of_n` are the kinds of examples: of each kind, every component of a class has one.
    """

    features = None
    """A logit is not of a row of features alone: it depends on whose component its answer is in."""

    def __init__(self, quotient: Quotient, components: Components, kind_of_n: Int[np.ndarray, " n"]) -> None:
        self._quotient, self._components, self._kind_of_n = quotient, components, kind_of_n
        self.norm: Norm = quotient.norm
        self.examples = quotient.examples
        first = np.unique(kind_of_n, return_index=True)[1]
        self.labels = components.answer_kind[quotient.labels[first]]
        self.copies_n = np.bincount(kind_of_n, weights=quotient.copies_n)
        self.weights_n1 = np.bincount(kind_of_n, weights=quotient.weights_n1[:, 0])[:, None]
        self._blocks = _blocks(components)
        self.shape = (sum(block.size for block in self._blocks),)
        self._map, self.copies_na = _logit_map(quotient, components, self._blocks, first)
        self.logit_shape = self.copies_na.shape
        self._transposed = self._map.T.tocsr()

    def logits(self, w: Float[np.ndarray, " p"]) -> Float[np.ndarray, "e alternatives"]:
        """Logits of the answer kinds in the example's own component, then elsewhere."""
        return (self._map @ w).reshape(self.logit_shape)

    def adjoint(self, z: Float[np.ndarray, "e alternatives"]) -> Float[np.ndarray, " p"]:
        """The adjoint of `logits`."""
        return self._transposed @ z.ravel()

    def normal_solver(
        self, weights: Float[np.ndarray, "e alternatives"]
    ) -> Callable[[np.ndarray], np.ndarray]:
        """How to solve (I + Lᵀ diag(weights) L) w = right side, L the map to the logits."""
        weighted = sp.diags_array(weights.ravel()) @ self._map
        gram = np.eye(self.shape[0]) + (self._transposed @ weighted).toarray()
        inverse = np.linalg.inv(gram)
        return lambda right: inverse @ right

    def prox(self, w: Float[np.ndarray, " p"], step: float, pool: Executor) -> Float[np.ndarray, " p"]:
        """The proximal step of `step` times the norm, block by block."""
        if self.norm == "frobenius":
            return w / (1 + step)
        return np.concatenate(
            [shrink(block.matrix(w), step * block.weight).ravel() for block in self._blocks]
        )

    def value(self, w: Float[np.ndarray, " p"]) -> float:
        """‖W‖_* or ½‖W‖_F²."""
        if self.norm == "frobenius":
            return norm_value(w, self.norm)
        return sum(
            block.weight * norm_value(block.matrix(w), self.norm) for block in self._blocks if block.size
        )

    def dual_norm(self, g: Float[np.ndarray, " p"]) -> float:
        """‖G‖_op or ‖G‖_F."""
        if self.norm == "frobenius":
            return float(np.linalg.norm(g))
        return max(spectral_norm(block.matrix(g)) / block.weight for block in self._blocks if block.size)

    def translate(self, start: Solution) -> None:
        """None: a round costs next to nothing here."""

    def restore(self, w: Float[np.ndarray, " p"]) -> tuple[Float[np.ndarray, "d A"], Int[np.ndarray, " D"]]:
        """The distinct columns of W, and which of them each column is."""
        c = self._components
        trivial = self._blocks[0].matrix(w)
        sizes = np.append(c.sizes, 1)  # the last for the hubs, whose class is −1
        scale = np.sqrt(np.outer(sizes[c.column_class], sizes[c.answer_class]))
        elsewhere, own = trivial / scale, trivial / scale
        for block in self._blocks[1:]:
            standard = block.matrix(w) / block.weight
            n = block.weight**2 + 1
            elsewhere[np.ix_(block.columns, block.answers)] -= standard / n
            own[np.ix_(block.columns, block.answers)] += standard * (n - 1) / n
        kinds = np.ix_(c.column_kind, c.answer_kind)
        alike = c.column_class[c.column_kind][:, None] == c.answer_class[c.answer_kind][None, :]
        is_own = alike & (c.column_member[:, None] == c.answer_member[None, :])
        return self._quotient.restore(np.where(is_own, own[kinds], elsewhere[kinds]))

    def restore_dual(
        self, multipliers: Float[sp.csr_array, "e alternatives"]
    ) -> tuple[Float[sp.csr_array, "n A"], Int[np.ndarray, " N"]]:
        """The distinct rows of the multipliers, and which each example has: its share of the sum."""
        c, quotient = self._components, self._quotient
        share = multipliers.toarray() / self.copies_n[:, None]
        kinds = len(c.answer_class)
        label = quotient.labels
        is_own = c.answer_class[c.answer_kind][None, :] == c.answer_class[c.answer_kind[label]][:, None]
        is_own &= c.answer_member[None, :] == c.answer_member[label][:, None]
        column = c.answer_kind[None, :] + np.where(is_own, 0, kinds)
        return quotient.restore_dual(
            sp.csr_array(share[self._kind_of_n[:, None], column] * quotient.copies_n[:, None])
        )


@dataclass(frozen=True, kw_only=True)
class _Block:
    """A matrix inside the vector of unknowns."""

    start: int
    columns: Int[np.ndarray, " columns"]
    """Column kinds of its rows (W is held transposed)."""
    answers: Int[np.ndarray, " answers"]
    """Answer kinds of its columns."""
    weight: float
    """√multiplicity: the unknown is weight · M, and the norm counts M weight² times."""

    @property
    def size(self) -> int:
        return self.columns.size * self.answers.size

    def matrix(self, w: Float[np.ndarray, " p"]) -> Float[np.ndarray, "columns answers"]:
        return w[self.start : self.start + self.size].reshape(self.columns.size, self.answers.size)


def _blocks(c: Components) -> list[_Block]:
    """The trivial block, then each class's standard block."""
    blocks = [
        _Block(
            start=0,
            columns=np.arange(c.column_class.size),
            answers=np.arange(c.answer_class.size),
            weight=1.0,
        )
    ]
    for number, n in enumerate(c.sizes):
        columns, answers = np.flatnonzero(c.column_class == number), np.flatnonzero(c.answer_class == number)
        if n > 1 and columns.size and answers.size:
            start = blocks[-1].start + blocks[-1].size
            blocks.append(_Block(start=start, columns=columns, answers=answers, weight=float(np.sqrt(n - 1))))
    return blocks


def _logit_map(
    quotient: Quotient, c: Components, blocks: list[_Block], first: Int[np.ndarray, " e"]
) -> tuple[Float[sp.csr_array, "logits p"], Float[np.ndarray, "e alternatives"]]:
    """The map from the unknowns to the logits, row by row, and how many answers each logit stands for."""
    kinds = c.answer_class.size
    sizes = np.append(c.sizes, 1)
    entries: list[tuple[int, int, float]] = []
    copies = np.zeros((first.size, 2 * kinds))
    standard = {}
    for block in blocks[1:]:
        for i, column in enumerate(block.columns):
            for j, answer in enumerate(block.answers):
                standard[column, answer] = block.start + i * block.answers.size + j, block.weight
    x = quotient.features
    for e, example in enumerate(first):
        part = slice(x.indptr[example], x.indptr[example + 1])
        own_class = c.answer_class[c.answer_kind[quotient.labels[example]]]
        for answer in range(kinds):
            n = sizes[c.answer_class[answer]]
            same = c.answer_class[answer] == own_class
            copies[e, answer], copies[e, kinds + answer] = (1, n - 1) if same else (0, n)
            for column, value in zip(c.column_kind[x.indices[part]], x.data[part], strict=True):
                trivial = value / np.sqrt(n * sizes[c.column_class[column]])
                for place, share in ((answer, n - 1.0), (kinds + answer, -1.0)):
                    line = e * 2 * kinds + place
                    entries.append((line, column * kinds + answer, trivial))
                    if (column, answer) in standard:
                        at, weight = standard[column, answer]
                        entries.append((line, at, value * share / (n * weight)))
    lines, columns, values = (np.array(part) for part in zip(*entries, strict=True))
    shape = (first.size * 2 * kinds, blocks[-1].start + blocks[-1].size)
    return sp.csr_array((values, (lines, columns)), shape=shape), copies
