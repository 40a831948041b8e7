"""The logits' state held whole, which allows relaxation, a start and leaps.

Shapes: n examples and A alternatives of the reduced problem; w has the reduction's own shape.
"""

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float

from spillover.margin.anderson import MEMORY, Anderson
from spillover.margin.logits import Margins, largest_share
from spillover.margin.problem import MarginProblem
from spillover.margin.project import LogitProjection
from spillover.margin.reduction import Reduction

_REMEMBERED = 20_000_000  # unknowns and logits up to which the past is kept to leap from
_HELD = 200_000_000  # numbers that it may take: 1.6 GB


def remembered(size: int) -> int:
    """How many past steps are kept to leap from, with so many unknowns and logits; each takes both twice."""
    return min(MEMORY, _HELD // (2 * size)) if size <= _REMEMBERED else 0


class WholeLogits:
    """`Logits` whose b is an array (n, A)."""

    relaxation = 1.8

    def __init__(self, problem: MarginProblem, reduced: Reduction) -> None:
        self._reduced = reduced
        self._margins = Margins(problem, reduced)
        self._project = LogitProjection(reduced.labels, reduced.copies_na)
        self._label = np.arange(reduced.labels.size), reduced.labels
        self.weights_na = reduced.weights_n1 * reduced.copies_na
        self.b = np.zeros(reduced.logit_shape)
        self._u = self._z = self._logits = self.b
        steps = remembered(self.b.size + int(np.prod(reduced.shape)))
        self._anderson = Anderson(self._scale(), steps) if steps else None
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
        rows = slice(0, len(self.b))
        self._u = self._project(self.b, rows, self._margins.cap_n1(rho, rows))
        self._z = self.b - self._u
        reflected = self._z - self._u
        reflected *= self.weights_na
        return self._reduced.adjoint(reflected)

    def follow(self, w: Float[np.ndarray, "*w"]) -> None:
        """Move the state on, w being the point on the graph."""
        self._logits = self._reduced.logits(w)
        step = self._logits - self._z
        step *= self.relaxation
        self.b += step

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
        share = largest_share(rho * self._margins.cost(self._logits, logits, slice(0, len(self.b))), price)
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
        return self._margins.smallest(self._logits, slice(0, len(self.b)))

    def missed(self) -> tuple[float, float]:
        """What a soft margin pays for the last point on the graph, and for z."""
        rows = slice(0, len(self.b))
        return self._margins.missed(self._logits, rows), self._margins.missed(self._z, rows)

    def _state(self, a: Float[np.ndarray, "*w"]) -> Float[np.ndarray, " state"]:
        return np.concatenate([a.ravel(), self.b.ravel()])

    def _scale(self) -> Float[np.ndarray, " state"]:
        """By which a coordinate of the state counts: the root of its metric, without ρ."""
        metric = np.broadcast_to(self.weights_na, self.b.shape)
        return np.sqrt(np.concatenate([np.ones(np.prod(self._reduced.shape)), metric.ravel()]))
