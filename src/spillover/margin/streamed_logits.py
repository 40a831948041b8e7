"""The logits' state streamed: a point on the graph and sparse multipliers, pieces of logits made and dropped.

Shapes: n examples and A alternatives of the reduced problem, d columns of its features; w is (d, A).
"""

from concurrent.futures import Executor

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float

from spillover.margin.logits import Margins, largest_share
from spillover.margin.problem import MarginProblem
from spillover.margin.project import LogitProjection
from spillover.margin.reduction import Reduction

_PIECE = 1_000_000  # logits of a piece of the stream: 8 MB


class StreamedLogits:
    """`Logits` whose b is never held: it is the logits of the last w plus u.

    That needs a step without relaxation, and leaves no state to start or leap from. `features` (n, d) are the
    reduction's own.
    """

    relaxation = 1.0

    def __init__(
        self,
        problem: MarginProblem,
        reduced: Reduction,
        features: Float[sp.csr_array, "n d"],
        pool: Executor,
    ) -> None:
        self._shape, self._pool = reduced.shape, pool
        self._margins = Margins(problem, reduced)
        self._project = LogitProjection(reduced.labels, reduced.copies_na)
        self.weights_na = reduced.weights_n1
        examples, alternatives = reduced.logit_shape
        step = max(1, _PIECE // alternatives)
        self._rows = [slice(start, min(start + step, examples)) for start in range(0, examples, step)]
        self._touched = [np.unique(features[rows].indices) for rows in self._rows]
        self._features = [
            features[rows][:, touched].tocsr()
            for rows, touched in zip(self._rows, self._touched, strict=True)
        ]
        self._u = [sp.csr_array((rows.stop - rows.start, alternatives)) for rows in self._rows]
        self._w = np.zeros(self._shape)
        self._missed_z = 0.0

    def begin(
        self, w: Float[np.ndarray, "d A"], multipliers: Float[sp.csr_array, "n A"], rho: float
    ) -> Float[np.ndarray, "d A"]:
        """Zeros: a start is left aside."""
        return np.zeros_like(w)

    def project(self, rho: float) -> Float[np.ndarray, "d A"]:
        """Project the state; the adjoint of the weighted 2 z − b, for the step onto the graph."""
        count = len(self._rows)
        even, odd = range(0, count, 2), range(1, count, 2)
        halves = list(self._pool.map(self._project_pieces, (even, odd), (rho, rho)))
        self._missed_z = sum(missed for _, missed in halves)
        return halves[0][0] + halves[1][0]

    def follow(self, w: Float[np.ndarray, "d A"]) -> None:
        """Move the state on, w being the point on the graph."""
        self._w = w

    def remember(self, a: Float[np.ndarray, "d A"]) -> None:
        """Nothing: no leap is made."""

    def leap(self, a: Float[np.ndarray, "d A"]) -> Float[np.ndarray, "d A"]:
        """`a` itself."""
        return a

    def rescale(self, factor: float) -> None:
        """Let the same multipliers stand in a metric that is `factor` times as large."""
        for u in self._u:
            u.data /= factor

    def sink(self, part: Float[np.ndarray, "d A"], price: float, rho: float) -> float:
        """Take `part` off the last point on the graph until taking more costs `price`; how much, 0 to 1."""
        cost = sum(
            self._margins.cost(self._logits(i, self._w), self._logits(i, part), rows)
            for i, rows in enumerate(self._rows)
        )
        share = largest_share(rho * np.asarray(cost), price)
        self._w = self._w - share * part
        return share

    def multipliers(self, rho: float) -> Float[sp.csr_array, "n A"]:
        """λ of the last projection, summed over the copies of each example."""
        multipliers = sp.csr_array(
            sp.diags_array(rho * self.weights_na[:, 0]) @ sp.vstack(self._u, format="csr")
        )
        np.maximum(multipliers.data, 0.0, out=multipliers.data)  # the labels' are the negative ones
        multipliers.eliminate_zeros()
        return multipliers

    def pull(self, rho: float) -> tuple[float, Float[np.ndarray, "d A"]]:
        """Σ λ over all constraints, and Σ λ A up to its sign."""
        total, pull = 0.0, np.zeros(self._shape)
        for rows, touched, features, u in zip(
            self._rows, self._touched, self._features, self._u, strict=True
        ):
            weighted = sp.csr_array(sp.diags_array(rho * self.weights_na[rows, 0]) @ u)
            total += float(np.maximum(weighted.data, 0.0).sum())
            pull[touched] += (features.T @ weighted).toarray()
        return total, pull

    def smallest_margin(self) -> float:
        """Of the last point on the graph."""
        return min(
            self._margins.smallest(self._logits(i, self._w), rows) for i, rows in enumerate(self._rows)
        )

    def missed(self) -> tuple[float, float]:
        """What a soft margin pays for the last point on the graph, and for z."""
        if self._margins.hard:
            return 0.0, 0.0
        paid = (self._margins.missed(self._logits(i, self._w), rows) for i, rows in enumerate(self._rows))
        return sum(paid), self._missed_z

    def _project_pieces(self, pieces: range, rho: float) -> tuple[Float[np.ndarray, "d A"], float]:
        """What some pieces add to the adjoint, and what a soft margin pays for their z."""
        total, missed = np.zeros(self._shape), 0.0
        for piece in pieces:
            rows = self._rows[piece]
            b = self._logits(piece, self._w) + self._u[piece].toarray()
            u = self._project(b, rows, self._margins.cap_n1(rho, rows))
            b -= u
            missed += self._margins.missed(b, rows)
            b -= u
            self._u[piece] = sparse(u)
            total[self._touched[piece]] += self._features[piece].T @ (self.weights_na[rows] * b)
        return total, missed

    def _logits(self, piece: int, w: Float[np.ndarray, "d A"]) -> Float[np.ndarray, "rows A"]:
        return self._features[piece] @ w[self._touched[piece]]


def sparse(u: Float[np.ndarray, "rows A"]) -> Float[sp.csr_array, "rows A"]:
    """As `csr_array` makes of it, in a fifth of its time, most of which another thread need not wait for."""
    rows, answers = u.shape
    at = np.flatnonzero(u)
    starts = np.searchsorted(at, np.arange(0, u.size + 1, answers))
    return sp.csr_array((u.ravel()[at], at % answers, starts), shape=(rows, answers))
