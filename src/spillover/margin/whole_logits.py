"""The logits' state held whole, which allows relaxation, a start and leaps.

Shapes: n examples and A alternatives of the reduced problem; w has the reduction's own shape.
"""

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import reduce
from itertools import repeat
from operator import add

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float

from spillover.margin.anderson import MEMORY, Anderson
from spillover.margin.logits import Margins, largest_share
from spillover.margin.problem import MarginProblem
from spillover.margin.project import LogitProjection
from spillover.margin.reduction import Reduction
from spillover.margin.threads import LARGE, in_halves

_REMEMBERED = 20_000_000  # unknowns and logits up to which the past is kept to leap from
_HELD = 200_000_000  # numbers that it may take: 1.6 GB


def remembered(size: int) -> int:
    """How many past steps are kept to leap from, with so many unknowns and logits; each takes both twice."""
    return min(MEMORY, _HELD // (2 * size)) if size <= _REMEMBERED else 0


@dataclass(frozen=True)
class _Part:
    """Some rows of the logits: the map to them, and what they add to its adjoint."""

    rows: slice
    logits: Callable[[np.ndarray], np.ndarray]
    adjoint: Callable[[np.ndarray], np.ndarray]


def _part(reduced: Reduction, rows: slice) -> _Part:
    if reduced.features is None or rows.stop - rows.start == reduced.labels.size:
        return _Part(rows, reduced.logits, reduced.adjoint)
    features = reduced.features[rows]
    return _Part(rows, features.__matmul__, features.T.tocsr().__matmul__)


class WholeLogits:
    """`Logits` whose b is an array (n, A). Many rows are done in halves by the threads of `pool`."""

    relaxation = 1.8

    def __init__(self, problem: MarginProblem, reduced: Reduction, pool: Executor | None = None) -> None:
        self._reduced = reduced
        self._margins = Margins(problem, reduced)
        self._project = LogitProjection(reduced.labels, reduced.copies_na)
        self._label = np.arange(reduced.labels.size), reduced.labels
        self.weights_na = reduced.weights_n1 * reduced.copies_na
        self.b = np.zeros(reduced.logit_shape)
        self._u, self._z = np.zeros(reduced.logit_shape), np.zeros(reduced.logit_shape)
        shared = reduced.features is not None and self.b.size > LARGE
        rows, self._each = in_halves(len(self.b), pool if shared else None)
        self._parts = [_part(reduced, each) for each in rows]
        self._logits = [np.zeros_like(self.b[part.rows]) for part in self._parts]
        steps = remembered(self.b.size + int(np.prod(reduced.shape)))
        self._anderson = Anderson(self._scale(), steps, pool) if steps else None
        self._before = np.empty(0)

    def begin(
        self, w: Float[np.ndarray, "*w"], multipliers: Float[sp.csr_array, "n A"], rho: float
    ) -> Float[np.ndarray, "*w"]:
        """Set out from W and its multipliers; the a to set out from."""
        u = multipliers.toarray() / (rho * self.weights_na)
        u[self._label] = -u.sum(axis=1)
        self.b = self._reduced.logits(w) + u
        return w - self._reduced.adjoint(self.weights_na * u)

    def project(self, rho: float) -> Float[np.ndarray, "*w"]:
        """Project the state; the adjoint of the weighted 2 z − b, for the step onto the graph."""
        return reduce(add, self._each(self._project_part, self._parts, self._logits, repeat(rho)))

    def follow(self, w: Float[np.ndarray, "*w"]) -> None:
        """Move the state on, w being the point on the graph."""
        self._logits = list(self._each(self._follow_part, self._parts, self._logits, repeat(w)))

    def remember(self, a: Float[np.ndarray, "*w"]) -> None:
        """Keep where the coming rounds set out, if a leap is made after them."""
        if self._anderson is not None:
            self._before = self._state(a)

    def leap(self, a: Float[np.ndarray, "*w"]) -> Float[np.ndarray, "*w"]:
        """Leap ahead of the rounds since `remember`; the a to go on from, the same where no leap is made."""
        if self._anderson is None:
            return a
        after = self._anderson.leap(self._before, self._state(a))
        self.b = after[a.size :].reshape(self.b.shape)
        return after[: a.size].reshape(a.shape)

    def rescale(self, factor: float) -> None:
        """Let the same multipliers stand in a metric `factor` times as large; no leap is made from before."""
        self.b += (1 / factor - 1) * self._u
        if self._anderson is not None:
            self._anderson.clear()

    def sink(self, part: Float[np.ndarray, "*w"], price: float, rho: float) -> float:
        """Take `part` off the last point on the graph until taking more costs `price`; how much, 0 to 1."""
        logits = self._reduced.logits(part)

        def cost(piece: _Part, own: Float[np.ndarray, "rows A"]) -> Float[np.ndarray, " shares"]:
            return self._margins.cost(own, logits[piece.rows], piece.rows)

        share = largest_share(rho * reduce(add, self._each(cost, self._parts, self._logits)), price)
        self.b -= share * logits
        return share

    def multipliers(self, rho: float) -> Float[sp.csr_array, "n A"]:
        """λ of the last projection, summed over the copies of each example."""
        multipliers = rho * self._reduced.weights_n1 * self._u
        multipliers[self._label] = 0.0
        return sp.csr_array(multipliers)

    def pull(self, rho: float) -> tuple[float, Float[np.ndarray, "*w"]]:
        """Σ λ over all constraints, and Σ λ A up to its sign."""
        weighted = rho * self.weights_na * self._u
        return -float(weighted[self._label].sum()), self._reduced.adjoint(weighted)

    def smallest_margin(self) -> float:
        """Of the last point on the graph."""
        rows = [part.rows for part in self._parts]
        return min(self._each(self._margins.smallest, self._logits, rows))

    def missed(self) -> tuple[float, float]:
        """What a soft margin pays for the last point on the graph, and for z."""
        rows = [part.rows for part in self._parts]
        of_z = (self._z[each] for each in rows)
        return sum(map(self._margins.missed, self._logits, rows)), sum(map(self._margins.missed, of_z, rows))

    def _project_part(
        self, part: _Part, room: Float[np.ndarray, "rows A"], rho: float
    ) -> Float[np.ndarray, "*w"]:
        """What the part adds to the adjoint; `room` is written over."""
        b, u, z = (array[part.rows] for array in (self.b, self._u, self._z))
        self._project(b, part.rows, self._margins.cap_n1(rho, part.rows), out=u)
        np.subtract(b, u, out=z)
        reflected = np.subtract(z, u, out=room)
        reflected *= self.weights_na[part.rows]
        return part.adjoint(reflected)

    def _follow_part(
        self, part: _Part, room: Float[np.ndarray, "rows A"], w: Float[np.ndarray, "*w"]
    ) -> Float[np.ndarray, "rows A"]:
        """The part's logits; `room` is written over."""
        logits = part.logits(w)
        step = np.subtract(logits, self._z[part.rows], out=room)
        step *= self.relaxation
        self.b[part.rows] += step
        return logits

    def _state(self, a: Float[np.ndarray, "*w"]) -> Float[np.ndarray, " state"]:
        return np.concatenate([a.ravel(), self.b.ravel()])

    def _scale(self) -> Float[np.ndarray, " state"]:
        """By which a coordinate of the state counts: the root of its metric, without ρ."""
        metric = np.broadcast_to(self.weights_na, self.b.shape)
        return np.sqrt(np.concatenate([np.ones(np.prod(self._reduced.shape)), metric.ravel()]))
