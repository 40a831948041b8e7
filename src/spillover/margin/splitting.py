"""The iteration: Douglas-Rachford splitting of the norm of W and the margins of its logits.

After Parikh and Boyd (2014), "Block splitting for distributed optimization". Each round shrinks the
singular values of W, projects the rows of logits, and steps onto the graph of (W, logits of W) by one
sparse system whose factor is kept. Relations tie any number of examples together, yet that step is exact,
so the rate does not depend on the table's degrees. Every few rounds Anderson acceleration leaps ahead, and
what of W no multiplier holds up sinks at once. When the gap is nearly closed, the points are repaired
(`repair.py`), which half of the rounds were spent on.
"""

from concurrent.futures import Executor
from math import prod

import numpy as np
from jaxtyping import Float

from spillover.margin.certificate import dual_value
from spillover.margin.logits import Logits
from spillover.margin.norms import unheld
from spillover.margin.problem import MarginProblem
from spillover.margin.reduction import Reduction
from spillover.margin.repair import Repair
from spillover.margin.solution import Solution
from spillover.margin.streamed_logits import StreamedLogits
from spillover.margin.threads import LARGE, in_halves
from spillover.margin.whole_logits import WholeLogits

_LOOK = 10  # rounds between two looks at the gap
_PRIMAL_FIRST = 2.0  # the ratio of lags that is aimed at, dual over primal
_BALANCE = np.log(2.0)  # how far the balance of the two sides moves at once, at most
_SPACING = 1.5  # ratio of the rounds between two moves
_REACH = 10.0  # how many times smaller the first repair is expected to make the gap
_HELD = 0.2  # the singular value of Σ λ A, 1 where W is at its optimum, below which it holds nothing up
_PRICE = 0.01  # of what the norm falls by, what margins may cost; ten times as much goes too far
_LIGHT = 1e-6  # of ‖W‖_F: what weighs less is left to the rounds
_TINY = 5_000  # unknowns and logits for which a leap costs next to nothing
_STREAM = 30_000_000  # logits beyond which they are not held whole: 240 MB


class Splitting:
    """The iteration, and the best points it has met.

    Its state is a, for W, and the logits' own; its metric is ρ on W and ρ times the weights on the logits.
    """

    def __init__(
        self, problem: MarginProblem, reduced: Reduction, pool: Executor, start: Solution | None = None
    ) -> None:
        self._problem, self._reduced, self._pool = problem, reduced, pool
        features, size = reduced.features, prod(reduced.logit_shape)
        if features is not None and size > _STREAM:
            self._logits: Logits = StreamedLogits(problem, reduced, features, pool)
        else:
            self._logits = WholeLogits(problem, reduced, pool)
        self._repair = None
        if features is not None and problem.hard and problem.norm == "nuclear":
            self._repair = Repair(features, reduced.labels)
        self._onto_graph = reduced.normal_solver(self._logits.weights_na)
        self._rho = 1.0 / np.sqrt(reduced.examples)
        self._a = self._v = self._w = np.zeros(reduced.shape)
        translated = None if start is None else reduced.translate(start)
        if translated is not None:
            self._a = self._logits.begin(*translated, self._rho)
        self._rounds = 2 if size + self._a.size <= _TINY else 5
        self._lags: list[tuple[float, float]] = []
        self._next_balance = 0
        self.iterations = 0
        self._gap, self._reach = np.inf, _REACH
        self.objective, self.lower_bound = np.inf, 0.0
        self.primal = self._w
        self.dual = self._logits.multipliers(self._rho)

    @property
    def relative_gap(self) -> float:
        """Between the best points so far; infinite before there is a feasible one."""
        return (self.objective - self.lower_bound) / self.objective if np.isfinite(self.objective) else np.inf

    def advance(self) -> None:
        """Some rounds with their leaps, and a look at the gap.

        Raises `np.linalg.LinAlgError` once W is not finite, for it will never be again.
        """
        if self._lags and self.iterations >= self._next_balance:
            self._rebalance()
        for _ in range(_LOOK // self._rounds):
            self._logits.remember(self._a)
            for _ in range(self._rounds):
                self._round()
            self._a = self._logits.leap(self._a)
        self.iterations += _LOOK
        self._sink(self._look())

    def repair(self, tol: float) -> None:
        """Mend the worst constraints of the last points where that may bring the gap to `tol`, and keep what
        is better than the best so far.
        """
        if self._repair is None or self.relative_gap <= tol or self._gap > self._reach * tol:
            return
        sides = (
            self._repair.raise_margins(self._w),
            self._repair.lower_norm(self._logits.multipliers(self._rho)),
        )
        _, each = in_halves(2, self._pool if self._w.size > LARGE else None)
        while True:  # a pass of each side, both at once in a large table
            raised, lowered = each(next, sides, (None, None))
            if raised is None and lowered is None:
                break
            if raised is not None:
                w, smallest = raised
                self._keep_primal(w, *self._scaled(w, smallest))
            if lowered is not None:
                multipliers, pull = lowered
                total, norm = float(multipliers.sum()), self._reduced.dual_norm(pull)
                bound, scale = dual_value(total, norm, self._problem)
                if bound > self.lower_bound:
                    self.lower_bound, self.dual = bound, multipliers * scale
            if self.relative_gap <= tol:
                return
        self._reach = self._gap / max(self.relative_gap, np.finfo(float).tiny)

    def _round(self) -> None:
        self._v = self._norm_step()
        right = self._logits.project(self._rho)
        right -= self._a  # in place: of a large table every new array costs as much as what is done with it
        right += self._v
        right += self._v
        self._w = self._onto_graph(right)
        self._logits.follow(self._w)
        step = self._w - self._v
        step *= self._logits.relaxation
        self._a += step

    def _norm_step(self) -> Float[np.ndarray, "*w"]:
        return self._reduced.prox(self._a, 1 / self._rho, self._pool)

    def _look(self) -> Float[np.ndarray, "*w"]:
        """Scale both points until they are feasible, keep the better ones, and note how far each lags.

        Σ λ A, up to its sign.
        """
        if not np.isfinite(self._w).all():
            raise np.linalg.LinAlgError("W is not finite")
        total, pull = self._logits.pull(self._rho)
        bound, scale = dual_value(total, self._reduced.dual_norm(pull), self._problem)
        if bound > self.lower_bound:
            self.lower_bound, self.dual = bound, self._logits.multipliers(self._rho) * scale
        missed_w, missed_z = self._logits.missed()
        value, scale = self._primal_value(missed_w)
        self._keep_primal(self._w, value, scale)
        self._gap = (value - bound) / value if np.isfinite(value) else np.inf
        estimate = min(max(self._reduced.value(self._v) + missed_z, self.lower_bound), self.objective)
        if np.isfinite(estimate) and np.isfinite(bound):
            self._lags.append((min(value, 1e3 * estimate) - estimate, estimate - bound))
        return pull

    def _sink(self, pull: Float[np.ndarray, "*w"]) -> None:
        """Take off W what no multiplier holds up, as far as margins allow.

        Where Σ λ A is 0, each round lowers the singular values of W by 1/ρ. What tells a large table's
        relations apart starts too large, and a hundred rounds did nothing else.
        """
        if self._reduced.features is None or self._problem.norm == "frobenius":
            return
        part = unheld(self._w, pull, _HELD)
        if np.linalg.norm(part) > _LIGHT * np.linalg.norm(self._w):
            price = _PRICE * self._reduced.value(part)
            self._a = self._a - self._logits.sink(part, price, self._rho) * part

    def _keep_primal(self, w: Float[np.ndarray, "*w"], value: float, scale: float) -> None:
        if value < self.objective or np.isinf(self.objective):
            self.objective, self.primal = value, scale * w

    def _primal_value(self, missed: float) -> tuple[float, float]:
        """The objective at W scaled until every margin is 1 (soft margin: at W), and that scale."""
        if not self._problem.hard:
            value, scale = self._reduced.value(self._w) + missed, 1.0
        else:
            value, scale = self._scaled(self._w, self._logits.smallest_margin())
        return (np.inf, 1.0) if np.isnan(value) else (value, scale)

    def _scaled(self, w: Float[np.ndarray, "*w"], smallest: float) -> tuple[float, float]:
        """The objective at w scaled until the smallest margin is 1, and that scale."""
        if smallest <= 0:
            return np.inf, 1.0
        return self._reduced.value(w) / smallest**self._problem.degree, 1 / smallest

    def _rebalance(self) -> None:
        """Raise ρ where the primal point lags, lower it where the dual does; the multipliers stay.

        Ever more seldom, for each change disturbs the rounds that follow.
        """
        primal, dual = np.mean(np.log(np.maximum(self._lags, 1e-300)), axis=0)
        factor = float(np.exp(np.clip(0.5 * (np.log(_PRIMAL_FIRST) + primal - dual), -_BALANCE, _BALANCE)))
        v = self._norm_step()
        self._logits.project(self._rho)
        self._a = v + (self._a - v) / factor
        self._logits.rescale(factor)
        self._rho *= factor
        self._lags.clear()
        self._next_balance = self.iterations * _SPACING + _LOOK
