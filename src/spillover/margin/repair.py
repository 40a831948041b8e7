"""The iteration's points repaired: one constraint that is far off makes a whole bound pay.

Long before the gap is closed, ‖W‖_* and Σ λ are right to five digits. What is lost is lost by scaling: W by
its one smallest margin, λ by the one largest singular value of Σ λ A. The least change that mends the worst
of them, found by a few steps of LSQR and made a few times over, costs far less.

Shapes: n examples, d columns and A alternatives of a reduced problem whose logits are X w; w is (d, A).
"""

from collections.abc import Iterator

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Int
from scipy.sparse.linalg import lsqr

from spillover.margin.norms import shrink

_PASSES = 5
_STEPS = 20  # of LSQR in a pass
_DOWN_TO = 0.03  # of the largest shortfall: those beyond are mended, to as much
_PIECE = 1_000_000  # logits made at once: 8 MB


class Repair:
    """Of the points of one problem with a hard margin and the nuclear norm."""

    def __init__(self, features: Float[sp.csr_array, "n d"], labels: Int[np.ndarray, " n"]) -> None:
        self._features, self._labels = features, labels

    def raise_margins(self, w: Float[np.ndarray, "d A"]) -> Iterator[tuple[Float[np.ndarray, "d A"], float]]:
        """After each pass w and its smallest margin, which comes nearer to 1."""
        worst = self._largest(w)
        for _ in range(_PASSES):
            if worst <= 0:
                return
            goal = _DOWN_TO * worst
            example, answer, short = map(np.concatenate, zip(*self._beyond(w, goal), strict=True))
            constraints = self._constraints(example, answer, w.shape[1])
            w = w + lsqr(constraints, short - goal, iter_lim=_STEPS)[0].reshape(w.shape)
            worst = self._largest(w)
            yield w, 1 - worst

    def lower_norm(
        self, multipliers: Float[sp.csr_array, "n A"]
    ) -> Iterator[tuple[Float[sp.csr_array, "n A"], Float[np.ndarray, "d A"]]]:
        """After each pass λ and Σ λ A, whose largest singular value comes nearer to 1."""
        (example, answer), value = multipliers.tocoo().coords, multipliers.data
        pull = self._constraints(example, answer, multipliers.shape[1]).T.tocsr()
        g = (pull @ value).reshape(-1, multipliers.shape[1])
        for _ in range(_PASSES):
            beyond_one = shrink(g, 1.0)  # what of the singular values lies above 1
            value = np.maximum(value - lsqr(pull, beyond_one.ravel(), iter_lim=_STEPS)[0], 0.0)
            g = (pull @ value).reshape(g.shape)
            yield sp.csr_array((value, (example, answer)), shape=multipliers.shape), g

    def _largest(self, w: Float[np.ndarray, "d A"]) -> float:
        return max(float(short.max()) for _, short in self._shortfalls(w))

    def _beyond(self, w: Float[np.ndarray, "d A"], goal: float) -> Iterator[tuple[np.ndarray, ...]]:
        """Examples and answers whose margin is short by more than the goal, and by how much."""
        for start, short in self._shortfalls(w):
            example, answer = np.nonzero(short > goal)
            yield example + start, answer, short[example, answer]

    def _shortfalls(self, w: Float[np.ndarray, "d A"]) -> Iterator[tuple[int, Float[np.ndarray, "rows A"]]]:
        """Of some examples at a time, from the first on, by how much margins are short of 1; −∞ at labels."""
        for start in range(0, self._labels.size, step := max(1, _PIECE // w.shape[1])):
            part = slice(start, start + step)
            short, labels = self._features[part] @ w, self._labels[part]
            rows = np.arange(labels.size)
            short += 1 - short[rows, labels][:, None]
            short[rows, labels] = -np.inf
            yield start, short

    def _constraints(
        self, example: Int[np.ndarray, " rows"], answer: Int[np.ndarray, " rows"], answers: int
    ) -> Float[sp.csr_array, "rows dA"]:
        """Row by row the constraint matrix A = x (e_label − e_answer)ᵀ, written out."""
        x = self._features[example]
        of = np.repeat(np.arange(example.size), np.diff(x.indptr))
        at = x.indices.astype(np.int64) * answers
        columns = np.concatenate([at + self._labels[example][of], at + answer[of]])
        return sp.csr_array(
            (np.concatenate([x.data, -x.data]), (np.tile(of, 2), columns)),
            shape=(example.size, x.shape[1] * answers),
        )
