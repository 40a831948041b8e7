"""The margins' half of the iteration: its state, its projection, and what its multipliers are worth.

With ρ times the weights as metric, the state is b; the projection splits it into z, which keeps the margins,
and u = b − z, which is the multipliers up to the metric and zero wherever a margin does not bind.

Shapes: n examples and A alternatives of the reduced problem; w has the reduction's own shape.
"""

from typing import Protocol, runtime_checkable

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float

from spillover.margin.problem import MarginProblem
from spillover.margin.reduction import Reduction

SHARES = 2.0 ** np.arange(-6, 0.5, 0.5)
"""How much of a part may be taken off W at once, other than nothing."""


def largest_share(cost: Float[np.ndarray, " shares"], price: float) -> float:
    """The largest of `SHARES` whose cost is at most `price`, or 0."""
    return float(SHARES[cost <= price].max(initial=0.0))


@runtime_checkable
class Logits(Protocol):
    """The state on the side of the logits, however it is held, beside a, the state on the side of w."""

    @property
    def relaxation(self) -> float:
        """How many times its step the iteration goes, 1 to 2."""
        ...

    @property
    def weights_na(self) -> Float[np.ndarray, "n A"] | Float[np.ndarray, "n 1"]:
        """The metric; where it is 0, a logit stands for no alternative."""
        ...

    def begin(
        self, w: Float[np.ndarray, "*w"], multipliers: Float[sp.csr_array, "n A"], rho: float
    ) -> Float[np.ndarray, "*w"]:
        """Set out from W and its multipliers, where a start is of use; the a to set out from."""
        ...

    def project(self, rho: float) -> Float[np.ndarray, "*w"]:
        """Project the state; the adjoint of the weighted 2 z − b, for the step onto the graph."""
        ...

    def follow(self, w: Float[np.ndarray, "*w"]) -> None:
        """Move the state on, w being the point on the graph."""
        ...

    def remember(self, a: Float[np.ndarray, "*w"]) -> None:
        """Keep where the coming rounds set out, if a leap is made after them."""
        ...

    def leap(self, a: Float[np.ndarray, "*w"]) -> Float[np.ndarray, "*w"]:
        """Leap ahead of the rounds since `remember`; the a to go on from, the same where no leap is made."""
        ...

    def rescale(self, factor: float) -> None:
        """Let the same multipliers stand in a metric `factor` times as large; no leap is made from before."""
        ...

    def sink(self, part: Float[np.ndarray, "*w"], price: float, rho: float) -> float:
        """Take `part` off the last point on the graph until taking more costs `price`; how much, 0 to 1."""
        ...

    def multipliers(self, rho: float) -> Float[sp.csr_array, "n A"]:
        """λ of the last projection, summed over the copies of each example."""
        ...

    def pull(self, rho: float) -> tuple[float, Float[np.ndarray, "*w"]]:
        """Σ λ over all constraints, and Σ λ A up to its sign."""
        ...

    def smallest_margin(self) -> float:
        """Of the last point on the graph."""
        ...

    def missed(self) -> tuple[float, float]:
        """What a soft margin pays for the last point on the graph, and for z."""
        ...


class Margins:
    """The margins of some examples' logits, and what missing them costs; `rows` says which examples."""

    def __init__(self, problem: MarginProblem, reduced: Reduction) -> None:
        self.hard, self._penalty = problem.hard, problem.penalty
        self._labels, self._copies_n = reduced.labels, reduced.copies_n
        self._copies_na, self._weights_n1 = reduced.copies_na, reduced.weights_n1

    def cap_n1(self, rho: float, rows: slice) -> Float[np.ndarray, "rows 1"] | None:
        """The largest displacement that the penalty allows an example; None on a hard margin."""
        if self.hard:
            return None
        return self._penalty * self._copies_n[rows, None] / (rho * self._weights_n1[rows])

    def smallest(self, logits: Float[np.ndarray, "rows A"], rows: slice) -> float:
        """The smallest margin of an alternative; infinite where there is none."""
        return float(self._margins(logits, rows).min(initial=np.inf, where=self._copies(rows) > 0))

    def cost(
        self, logits: Float[np.ndarray, "rows A"], part: Float[np.ndarray, "rows A"], rows: slice
    ) -> Float[np.ndarray, " shares"]:
        """Of each of `SHARES` of `part` taken off the logits, what taking a little more costs, for ρ = 1.

        The projection lifts label and alternative by half of what a margin is short of 1, so that costs a
        quarter of the example's weight times its square.
        """
        short, loss = 1 - self._margins(logits, rows), self._margins(part, rows)
        loss[np.isinf(loss)] = 0.0  # at the labels, where `short` is −∞
        at = np.nonzero(short + loss > 0)
        short, loss = short[at], loss[at]
        weighted = 0.5 * self._weights_n1[rows][at[0], 0] * loss
        return np.array([weighted @ np.maximum(short + share * loss, 0.0) for share in SHARES])

    def missed(self, logits: Float[np.ndarray, "rows A"], rows: slice) -> float:
        """Penalty times Σ max(0, 1 − margin) over all constraints; 0 on a hard margin."""
        if self.hard:
            return 0.0
        short = np.maximum(1 - self._margins(logits, rows), 0)
        short *= self._copies(rows)
        return float(self._penalty * (self._copies_n[rows] @ short.sum(axis=1)))

    def _copies(self, rows: slice) -> Float[np.ndarray, "rows A"] | np.float64:
        return self._copies_na[rows] if isinstance(self._copies_na, np.ndarray) else self._copies_na

    def _margins(self, logits: Float[np.ndarray, "rows A"], rows: slice) -> Float[np.ndarray, "rows A"]:
        label = np.arange(len(logits)), self._labels[rows]
        margins = logits[label][:, None] - logits
        margins[label] = np.inf
        return margins
