"""The margins' half of the iteration: its state, its projection, and what its multipliers are worth.

With ρ times the weights as metric, the state is b; the projection splits it into z, which keeps the margins,
and u = b − z, which is the multipliers up to the metric and zero wherever a margin does not bind.

Shapes: n examples and A alternatives of the reduced problem; w has the reduction's own shape.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import scipy.sparse as sp

from spillover.margin.collapse import Collapsed
from spillover.margin.problem import MarginProblem
from spillover.margin.project import LogitProjection
from spillover.margin.symmetry import Symmetric

_PIECE = 1_000_000  # logits of a piece of the stream: 8 MB


class Logits:
    """The state held whole."""

    relaxation = 1.8

    def __init__(self, problem: MarginProblem, reduced: Collapsed | Symmetric) -> None:
        self._reduced = reduced
        self._margins = _Margins(problem, reduced)
        self._project = LogitProjection(reduced.labels, reduced.copies_na)
        self._label = np.arange(reduced.labels.size), reduced.labels
        self.weights_na = reduced.weights_n1 * reduced.copies_na
        """The metric; where it is 0, a logit stands for no alternative."""
        self.b = reduced.logits(np.zeros(reduced.shape))
        self._u = self._z = self._logits = self.b

    def start(self, w: np.ndarray, multipliers: sp.csr_array, rho: float) -> np.ndarray:
        """Begin at W and its multipliers (n, A); the adjoint of the weighted u."""
        u = multipliers.toarray() / (rho * self.weights_na)
        u[self._label] = -u.sum(axis=1)
        self.b = self._reduced.logits(w) + u
        return self._reduced.adjoint(self.weights_na * u)

    def project(self, rho: float) -> np.ndarray:
        """Project the state; the adjoint of the weighted 2 z − b, for the step onto the graph."""
        rows = slice(0, len(self.b))
        self._u = self._project(self.b, rows, self._margins.cap_n1(rho, rows))
        self._z = self.b - self._u
        reflected = self._z - self._u
        reflected *= self.weights_na
        return self._reduced.adjoint(reflected)

    def follow(self, w: np.ndarray) -> None:
        """Move the state on, w being the point on the graph."""
        self._logits = self._reduced.logits(w)
        step = self._logits - self._z
        step *= self.relaxation
        self.b += step

    def rescale(self, factor: float) -> None:
        """Let the same multipliers stand in a metric that is `factor` times as large."""
        self.b += (1 / factor - 1) * self._u

    def multipliers(self, rho: float) -> sp.csr_array:
        """λ (n, A) of the last projection, summed over the copies of each example."""
        multipliers = rho * self._reduced.weights_n1 * self._u
        multipliers[self._label] = 0.0
        return sp.csr_array(multipliers)

    def pull(self, rho: float) -> tuple[float, np.ndarray]:
        """Σ λ over all constraints, and Σ λ A up to its sign."""
        weighted = rho * self.weights_na * self._u
        return -float(weighted[self._label].sum()), self._reduced.adjoint(weighted)

    def smallest_margin(self) -> float:
        """Of the last point on the graph."""
        return self._margins.smallest(self._logits, slice(0, len(self.b)))

    def missed(self) -> tuple[float, float]:
        """What a soft margin pays for the last point on the graph, and for z."""
        rows = slice(0, len(self.b))
        return self._margins.missed(self._logits, rows), self._margins.missed(self._z, rows)


class StreamedLogits:
    """The state as a point on the graph and sparse multipliers; logits are made and dropped piece by piece.

    That needs a step without relaxation: then b is the logits of the last w plus u.
    """

    relaxation = 1.0

    def __init__(self, problem: MarginProblem, reduced: Collapsed, pool: ThreadPoolExecutor) -> None:
        self._reduced, self._pool = reduced, pool
        self._margins = _Margins(problem, reduced)
        self._project = LogitProjection(reduced.labels, reduced.copies_na)
        self.weights_na = reduced.weights_n1
        examples, step = reduced.labels.size, max(1, _PIECE // reduced.shape[1])
        self._rows = [slice(start, min(start + step, examples)) for start in range(0, examples, step)]
        self._touched = [np.unique(reduced.features[rows].indices) for rows in self._rows]
        self._features = [
            reduced.features[rows][:, touched].tocsr()
            for rows, touched in zip(self._rows, self._touched, strict=True)
        ]
        self._u = [sp.csr_array((rows.stop - rows.start, reduced.shape[1])) for rows in self._rows]
        self._w = np.zeros(reduced.shape)
        self._missed_z = 0.0

    def project(self, rho: float) -> np.ndarray:
        """Project the state; the adjoint of the weighted 2 z − b, for the step onto the graph."""

        def half(pieces: range) -> tuple[np.ndarray, float]:
            total, missed = np.zeros(self._reduced.shape), 0.0
            for piece in pieces:
                rows = self._rows[piece]
                b = self._logits(piece) + self._u[piece].toarray()
                u = self._project(b, rows, self._margins.cap_n1(rho, rows))
                b -= u
                missed += self._margins.missed(b, rows)
                b -= u
                self._u[piece] = sp.csr_array(u)
                total[self._touched[piece]] += self._features[piece].T @ (self.weights_na[rows] * b)
            return total, missed

        halves = list(self._pool.map(half, (range(0, len(self._rows), 2), range(1, len(self._rows), 2))))
        self._missed_z = sum(missed for _, missed in halves)
        return halves[0][0] + halves[1][0]

    def follow(self, w: np.ndarray) -> None:
        """Move the state on, w being the point on the graph."""
        self._w = w

    def rescale(self, factor: float) -> None:
        """Let the same multipliers stand in a metric that is `factor` times as large."""
        for u in self._u:
            u.data /= factor

    def multipliers(self, rho: float) -> sp.csr_array:
        """λ (n, A) of the last projection, summed over the copies of each example."""
        multipliers = sp.csr_array(
            sp.diags_array(rho * self.weights_na[:, 0]) @ sp.vstack(self._u, format="csr")
        )
        np.maximum(multipliers.data, 0.0, out=multipliers.data)  # the labels' are the negative ones
        multipliers.eliminate_zeros()
        return multipliers

    def pull(self, rho: float) -> tuple[float, np.ndarray]:
        """Σ λ over all constraints, and Σ λ A up to its sign."""
        total, pull = 0.0, np.zeros(self._reduced.shape)
        for rows, touched, features, u in zip(
            self._rows, self._touched, self._features, self._u, strict=True
        ):
            weighted = sp.csr_array(sp.diags_array(rho * self.weights_na[rows, 0]) @ u)
            total += float(np.maximum(weighted.data, 0.0).sum())
            pull[touched] += (features.T @ weighted).toarray()
        return total, pull

    def smallest_margin(self) -> float:
        """Of the last point on the graph."""
        return min(self._margins.smallest(self._logits(i), rows) for i, rows in enumerate(self._rows))

    def missed(self) -> tuple[float, float]:
        """What a soft margin pays for the last point on the graph, and for z."""
        if self._margins.hard:
            return 0.0, 0.0
        paid = (self._margins.missed(self._logits(i), rows) for i, rows in enumerate(self._rows))
        return sum(paid), self._missed_z

    def _logits(self, piece: int) -> np.ndarray:
        return self._features[piece] @ self._w[self._touched[piece]]


class _Margins:
    """The margins of given logits, and what missing them costs."""

    def __init__(self, problem: MarginProblem, reduced: Collapsed | Symmetric) -> None:
        self.hard, self._penalty = problem.hard, problem.penalty
        self._labels, self._copies_n = reduced.labels, reduced.copies_n
        self._copies_na, self._weights_n1 = reduced.copies_na, reduced.weights_n1

    def cap_n1(self, rho: float, rows: slice) -> np.ndarray | None:
        """The largest displacement that the penalty allows an example; None on a hard margin."""
        if self.hard:
            return None
        return self._penalty * self._copies_n[rows, None] / (rho * self._weights_n1[rows])

    def smallest(self, logits: np.ndarray, rows: slice) -> float:
        return float(self._of(logits, rows).min(initial=np.inf, where=self._copies(rows) > 0))

    def missed(self, logits: np.ndarray, rows: slice) -> float:
        """Penalty times Σ max(0, 1 − margin) over all constraints; 0 on a hard margin."""
        if self.hard:
            return 0.0
        short = np.maximum(1 - self._of(logits, rows), 0)
        short *= self._copies(rows)
        return float(self._penalty * (self._copies_n[rows] @ short.sum(axis=1)))

    def _copies(self, rows: slice) -> np.ndarray | np.float64:
        return self._copies_na[rows] if isinstance(self._copies_na, np.ndarray) else self._copies_na

    def _of(self, logits: np.ndarray, rows: slice) -> np.ndarray:
        label = np.arange(len(logits)), self._labels[rows]
        margins = logits[label][:, None] - logits
        margins[label] = np.inf
        return margins
