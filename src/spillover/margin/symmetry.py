"""Exact reduction 2: interchangeable components of the table become one component and its multiplicity.

Take the hubs (the relations) away, and a table falls into components: columns and answers that hang
together. Components that are alike can be permuted without changing the problem, so by convexity some
optimum is invariant. Between two classes of n and n' components an invariant W has blocks γ J, within a
class α I + β (J − I), at a hub a constant h. In the symmetric group's own coordinates that is

- one trivial block T with entries γ √(n n'), α + (n − 1) β and h √n, and
- for each class a block M with entries α − β, which occurs n − 1 times,

so ‖W‖_* = ‖T‖_* + Σ (n − 1) ‖M‖_*: of a table of 60 equal groups, a 2 × 2 and a 2 × 4 matrix remain.

Shapes: n examples, d columns, A answers of the collapsed problem; e example kinds, a answer kinds (each
twice: in the example's own component, in others), p unknowns.
"""

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components

from spillover.margin.collapse import Collapsed
from spillover.margin.hashing import group_sums, mix
from spillover.margin.normal import hub_columns
from spillover.margin.norms import norm_value, shrink, spectral_norm
from spillover.margin.problem import Norm

_ROUNDS = 6  # of color refinement; alike components that it cannot tell apart inside are left as they are
_UNKNOWNS = 400  # of the reduced problem, at most; beyond it the plain iteration is the faster one


@dataclass(frozen=True, kw_only=True)
class _Classes:
    """Which component and kind every column and answer has. A class's components hold the same kinds."""

    sizes: np.ndarray
    """(C,), components of each class."""
    column_kind: np.ndarray
    """(d,), a row of T's columns."""
    column_member: np.ndarray
    """(d,), which component of its class; 0 for a hub."""
    column_class: np.ndarray
    """(column kinds,), −1 for a hub."""
    answer_kind: np.ndarray
    """(A,)."""
    answer_member: np.ndarray
    """(A,)."""
    answer_class: np.ndarray
    """(answer kinds,)."""


class Symmetric:
    """The collapsed problem on its invariant matrices; the unknown is T and the √(n − 1) M's, one vector
    (p,).
    """

    def __init__(self, inner: Collapsed, classes: _Classes, kind_of_n: np.ndarray, first: np.ndarray) -> None:
        self._inner = inner
        self._classes = classes
        self._kind_of_n = kind_of_n
        self.norm: Norm = inner.norm
        self.labels = classes.answer_kind[inner.labels[first]]
        self.copies_n = np.bincount(kind_of_n, weights=inner.copies_n)
        self.rows = inner.rows
        self.weights_n1 = np.bincount(kind_of_n, weights=inner.weights_n1[:, 0])[:, None]
        self._blocks = _blocks(classes)
        self.shape = (sum(block.size for block in self._blocks),)
        self._map, self.copies_na = _logit_map(inner, classes, self._blocks, first)
        self._transposed = self._map.T.tocsr()

    def logits(self, w_p: np.ndarray) -> np.ndarray:
        """(e, 2a): logits of the answer kinds in the example's own component, then elsewhere."""
        return (self._map @ w_p).reshape(self.copies_na.shape)

    def adjoint(self, z_ea: np.ndarray) -> np.ndarray:
        """(p,)."""
        return self._transposed @ z_ea.ravel()

    def normal_solver(self, weights: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        """How to solve (I + Lᵀ diag(weights) L) w = right side, L the map to the logits."""
        weighted = sp.diags_array(np.broadcast_to(weights, self.copies_na.shape).ravel()) @ self._map
        gram = np.eye(self.shape[0]) + (self._transposed @ weighted).toarray()
        inverse = np.linalg.inv(gram)
        return lambda right: inverse @ right

    def prox(self, w_p: np.ndarray, step: float, pool: Executor) -> np.ndarray:
        """The proximal step of `step` times the norm, block by block."""
        if self.norm == "frobenius":
            return w_p / (1 + step)
        return np.concatenate([shrink(block.of(w_p), step * block.weight).ravel() for block in self._blocks])

    def value(self, w_p: np.ndarray) -> float:
        """‖W‖_* or ½‖W‖_F²."""
        if self.norm == "frobenius":
            return norm_value(w_p, self.norm)
        return sum(
            block.weight * norm_value(block.of(w_p), self.norm) for block in self._blocks if block.size
        )

    def dual_norm(self, g_p: np.ndarray) -> float:
        """‖G‖_op or ‖G‖_F."""
        if self.norm == "frobenius":
            return float(np.linalg.norm(g_p))
        return max(spectral_norm(block.of(g_p)) / block.weight for block in self._blocks if block.size)

    def restore(self, w_p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The distinct columns of W (d, A), and which of them each of the D columns is."""
        c = self._classes
        trivial = self._blocks[0].of(w_p)
        sizes = np.append(c.sizes, 1)  # the last for the hubs, whose class is −1
        scale = np.sqrt(np.outer(sizes[c.column_class], sizes[c.answer_class]))
        elsewhere, own = trivial / scale, trivial / scale
        for block in self._blocks[1:]:
            standard = block.of(w_p) / block.weight
            n = block.weight**2 + 1
            elsewhere[np.ix_(block.columns, block.answers)] -= standard / n
            own[np.ix_(block.columns, block.answers)] += standard * (n - 1) / n
        kinds = np.ix_(c.column_kind, c.answer_kind)
        alike = c.column_class[c.column_kind][:, None] == c.answer_class[c.answer_kind][None, :]
        is_own = alike & (c.column_member[:, None] == c.answer_member[None, :])
        return self._inner.restore(np.where(is_own, own[kinds], elsewhere[kinds]))

    def restore_dual(self, lambda_ea: sp.csr_array) -> tuple[sp.csr_array, np.ndarray]:
        """The distinct rows of the multipliers (n, A), and which each of the N examples has: its share of
        the sum.
        """
        c, inner = self._classes, self._inner
        share = lambda_ea.toarray() / self.copies_n[:, None]
        kinds = len(c.answer_class)
        label = inner.labels
        is_own = c.answer_class[c.answer_kind][None, :] == c.answer_class[c.answer_kind[label]][:, None]
        is_own &= c.answer_member[None, :] == c.answer_member[label][:, None]
        column = c.answer_kind[None, :] + np.where(is_own, 0, kinds)
        return inner.restore_dual(
            sp.csr_array(share[self._kind_of_n[:, None], column] * inner.copies_n[:, None])
        )


@dataclass(frozen=True, kw_only=True)
class _Block:
    """A matrix inside the vector of unknowns."""

    start: int
    columns: np.ndarray
    """Column kinds of its rows (W is held transposed)."""
    answers: np.ndarray
    """Answer kinds of its columns."""
    weight: float
    """√multiplicity: the unknown is weight · M, and the norm counts M weight² times."""

    @property
    def size(self) -> int:
        return self.columns.size * self.answers.size

    def of(self, w_p: np.ndarray) -> np.ndarray:
        return w_p[self.start : self.start + self.size].reshape(self.columns.size, self.answers.size)


def interchangeable(inner: Collapsed) -> "Symmetric | None":
    """The problem on its invariant matrices, or None where the table has no such symmetry worth using."""
    found = _find_classes(inner) if inner.features.nnz else None
    if found is None:
        return None
    kinds = found.column_class.size * found.answer_class.size
    if found.sizes.max(initial=1) < 2 or kinds > _UNKNOWNS:
        return None
    examples = _example_kinds(inner, found)
    return None if examples is None else Symmetric(inner, found, *examples)


def _find_classes(inner: Collapsed) -> _Classes | None:
    """Components without the hubs, and their classes by color refinement: a proposal, verified later."""
    x, labels = inner.features, inner.labels
    examples, columns = x.shape
    answers = inner.shape[1]
    hub = hub_columns(x)
    rows = np.repeat(np.arange(examples), np.diff(x.indptr))
    private = ~hub[x.indices]
    ends = x.indices[private], labels[rows[private]]
    nodes = columns + answers
    graph = sp.coo_array((np.ones(ends[0].size), (ends[0], columns + ends[1])), shape=(nodes, nodes))
    _, component = connected_components(graph, directed=False)
    values = x.data.view(np.uint64)
    at_hubs = mix(mix(x.indices[~private].astype(np.uint64)) + values[~private])
    around = group_sums(at_hubs, rows[~private], examples) + mix(inner.copies_n.view(np.uint64))
    edge = mix(around[rows[private]] + values[private])
    bare = np.setdiff1d(np.arange(examples), rows[private])  # examples without a private column
    color = np.repeat(np.array([0, 1], dtype=np.uint64), [columns, answers])
    for _ in range(_ROUNDS):
        to_columns = mix(edge + color[columns + ends[1]])
        to_answers = mix(mix(edge) + color[ends[0]])
        fresh = group_sums(np.r_[to_columns, to_answers], np.r_[ends[0], columns + ends[1]], color.size)
        fresh += group_sums(mix(around[bare]), columns + labels[bare], color.size)
        color = mix(mix(color) + fresh)
    return _classes(hub, component, color, columns)


def _classes(hub: np.ndarray, component: np.ndarray, color: np.ndarray, columns: int) -> _Classes | None:
    node = np.flatnonzero(np.r_[~hub, np.ones(color.size - columns, dtype=bool)])
    order = node[np.lexsort((color[node], component[node]))]
    _, start = np.unique(component[order], return_index=True)
    parts = np.split(order, start[1:])
    members: dict[tuple[int, ...], list[np.ndarray]] = {}
    for part in parts:
        key = tuple(color[part].tolist())
        if len(set(key)) < len(key):
            key = (*key, int(part[0]))  # cannot be told apart inside: a class of its own
        members.setdefault(key, []).append(part)
    sizes = np.array([len(group) for group in members.values()])
    kinds = [[], []]
    kind = np.zeros(color.size, dtype=np.intp)
    member = np.zeros(color.size, dtype=np.intp)
    for number, group in enumerate(members.values()):
        for place, first_node in enumerate(group[0]):
            side = int(first_node >= columns)
            same = np.array([part[place] for part in group])
            if ((same >= columns) != side).any():
                return None
            kind[same], member[same] = len(kinds[side]), np.arange(len(group))
            kinds[side].append(number)
    hubs = np.flatnonzero(hub)
    kind[hubs] = len(kinds[0]) + np.arange(hubs.size)
    return _Classes(
        sizes=sizes,
        column_kind=kind[:columns],
        column_member=member[:columns],
        column_class=np.array(kinds[0] + [-1] * hubs.size, dtype=np.intp),
        answer_kind=kind[columns:],
        answer_member=member[columns:],
        answer_class=np.array(kinds[1], dtype=np.intp),
    )


def _example_kinds(inner: Collapsed, c: _Classes) -> tuple[np.ndarray, np.ndarray] | None:
    """The kind of every example and each kind's first; None where the classes are not a true symmetry.

    True means: for every kind of example, each component of its class has exactly one, with the same
    features at the same kinds, the same label kind and the same copies.
    """
    x = inner.features
    rows = np.repeat(np.arange(x.shape[0]), np.diff(x.indptr))
    of_label = c.answer_member[inner.labels]
    is_hub = c.column_class[c.column_kind[x.indices]] < 0
    if (~is_hub & (c.column_member[x.indices] != of_label[rows])).any():
        return None
    shape = (x.shape[0], c.column_class.size)
    kinds = sp.csr_array((x.data, (rows, c.column_kind[x.indices])), shape=shape)
    kinds.sort_indices()
    label_kind = c.answer_kind[inner.labels]
    table: dict[tuple, list[int]] = {}
    for i in range(x.shape[0]):
        part = slice(kinds.indptr[i], kinds.indptr[i + 1])
        key = (label_kind[i], inner.copies_n[i], *kinds.indices[part], *kinds.data[part])
        table.setdefault(key, []).append(i)
    kind_of = np.empty(x.shape[0], dtype=np.intp)
    for number, (key, group) in enumerate(table.items()):
        n = c.sizes[c.answer_class[key[0]]]
        if len(group) != n or len(set(of_label[group])) != n:
            return None
        kind_of[group] = number
    return kind_of, np.array([group[0] for group in table.values()])


def _blocks(c: _Classes) -> list[_Block]:
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
    inner: Collapsed, c: _Classes, blocks: list[_Block], first: np.ndarray
) -> tuple[sp.csr_array, np.ndarray]:
    """The map from the unknowns to the logits (e · 2a, p), and how many alternatives each logit stands for
    (e, 2a).
    """
    kinds = c.answer_class.size
    sizes = np.append(c.sizes, 1)
    entries: list[tuple[int, int, float]] = []
    copies = np.zeros((first.size, 2 * kinds))
    standard = {}
    for block in blocks[1:]:
        for i, column in enumerate(block.columns):
            for j, answer in enumerate(block.answers):
                standard[column, answer] = block.start + i * block.answers.size + j, block.weight
    x = inner.features
    for e, example in enumerate(first):
        part = slice(x.indptr[example], x.indptr[example + 1])
        own_class = c.answer_class[c.answer_kind[inner.labels[example]]]
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
