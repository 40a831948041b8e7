"""The iteration: Douglas-Rachford splitting of the norm of W and the margins of Z over the graph Z = X Wᵀ.

After Parikh and Boyd (2014), "Block splitting for distributed optimization". Each round shrinks the
singular values of W, projects the rows of logits, and solves one sparse system whose factor is kept.
Relations tie any number of examples together, yet the projection onto the graph is exact, so the rate does
not depend on the table's degrees. Every few rounds Anderson acceleration leaps ahead.

Shapes: n examples and A alternatives of the reduced problem; w has the reduction's own shape.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from spillover.margin.anderson import Anderson
from spillover.margin.certificate import dual_value
from spillover.margin.collapse import Collapsed
from spillover.margin.problem import MarginProblem
from spillover.margin.project import LogitProjection
from spillover.margin.symmetry import Symmetric

_RELAXATION = 1.8
_ROUNDS = 5  # of the splitting before each leap
_LEAPS = 2  # of the acceleration before each look at the gap
_PRIMAL_FIRST = 2.0  # the ratio of lags that is aimed at, dual over primal
_BALANCE = np.log(2.0)  # how far the balance of the two sides moves at once, at most
_SPACING = 1.5  # ratio of the rounds between two moves
_SMALL = 20_000  # logits below which a second thread is not worth its start
_LARGE = 1_000_000  # entries of W from which its step uses two threads


class _Points(NamedTuple):
    """What one round met; see `Splitting`."""

    v: np.ndarray
    """W after the norm's proximal step."""
    z: np.ndarray
    """(n, A), logits that keep the margins."""
    u: np.ndarray
    """(n, A), what the projection took off: the multipliers, up to the metric."""
    w: np.ndarray
    """W on the graph."""
    logits: np.ndarray
    """(n, A), those of w."""


class Splitting:
    """The iteration, and the best points it has met.

    Its state (a, b) lives in the space of (W, Z); its metric is ρ on W and ρ times the weights on the logits.
    """

    def __init__(
        self, problem: MarginProblem, reduced: Collapsed | Symmetric, pool: ThreadPoolExecutor
    ) -> None:
        self._problem, self._reduced, self._pool = problem, reduced, pool
        self._copies_na = reduced.copies_na
        self._weights_n1 = reduced.weights_n1
        self._weights_na = self._weights_n1 * self._copies_na
        self._onto_graph = reduced.normal_solver(self._weights_na)
        self._project = LogitProjection(reduced.labels, self._copies_na)
        self._label = np.arange(reduced.labels.size), reduced.labels
        self._rho = 1.0 / np.sqrt(reduced.rows)
        self._a = np.zeros(reduced.shape)
        self._b = reduced.logits(self._a)
        metric = np.ones_like(self._a), np.broadcast_to(self._weights_na, self._b.shape)
        self._anderson = Anderson(np.sqrt(self._flat(*metric)))
        self._lags: list[tuple[float, float]] = []
        self._next_balance = 0
        self.iterations = 0
        self.objective, self.lower_bound = np.inf, 0.0
        self.primal, self.dual = self._a, np.zeros_like(self._b)

    def advance(self) -> None:
        """Some rounds with their leaps, and a look at the gap."""
        for _ in range(_LEAPS - 1):
            self._rounds_and_leap()
        self._look(self._rounds_and_leap())
        self.iterations += _LEAPS * _ROUNDS
        if self._lags and self.iterations >= self._next_balance:
            self._rebalance()

    def _rounds_and_leap(self) -> _Points:
        before = self._flat(self._a, self._b) if self._anderson.remembers else None
        for _ in range(_ROUNDS - 1):
            self._round()
        points = self._round()
        if before is None:
            return points
        after = self._anderson.leap(before, self._flat(self._a, self._b))
        self._a = after[: self._a.size].reshape(self._a.shape)
        self._b = after[self._a.size :].reshape(self._b.shape)
        return points

    def _round(self) -> _Points:
        v, u = self._proximal_steps()
        z = self._b - u
        reflected = z - u
        reflected *= self._weights_na
        w = self._onto_graph(2 * v - self._a + self._reduced.adjoint(reflected))
        logits = self._reduced.logits(w)
        self._a = self._a + _RELAXATION * (w - v)
        step = np.subtract(logits, z, out=reflected)
        step *= _RELAXATION
        self._b += step
        return _Points(v=v, z=z, u=u, w=w, logits=logits)

    def _flat(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.concatenate([a.ravel(), b.ravel()])

    def _proximal_steps(self) -> tuple[np.ndarray, np.ndarray]:
        """The norm's at a, and what the margins' takes off b: side by side, unless each can use both threads."""
        if self._b.size < _SMALL:
            return self._norm_step(), self._project(self._b, self._cap_n1(), None)
        if self._a.size > _LARGE:
            return self._norm_step(), self._project(self._b, self._cap_n1(), self._pool)
        v = self._pool.submit(self._norm_step)
        u = self._project(self._b, self._cap_n1(), self._pool)
        return v.result(), u

    def _norm_step(self) -> np.ndarray:
        return self._reduced.prox(self._a, 1 / self._rho, self._pool)

    def _cap_n1(self) -> np.ndarray | None:
        """The largest displacement that the penalty allows an example."""
        if self._problem.hard:
            return None
        return self._problem.penalty * self._reduced.copies_n[:, None] / (self._rho * self._weights_n1)

    def _look(self, points: _Points) -> None:
        """Scale both points until they are feasible, keep the better ones, and note how far each lags."""
        multipliers = self._rho * self._weights_n1 * points.u
        multipliers[self._label] = 0.0
        pull = self._rho * self._reduced.adjoint(self._weights_na * points.u)
        total = float((multipliers * self._copies_na).sum())
        bound, scale = dual_value(total, self._reduced.dual_norm(pull), self._problem)
        if bound > self.lower_bound:
            self.lower_bound, self.dual = bound, scale * multipliers
        value, scale = self._primal_value(points.w, points.logits)
        if value < self.objective or np.isinf(self.objective):
            self.objective, self.primal = value, scale * points.w
        estimate = self._reduced.value(points.v) + self._missed(points.z)
        estimate = min(max(estimate, self.lower_bound), self.objective)
        if np.isfinite(estimate):
            self._lags.append((min(value, 1e3 * estimate) - estimate, estimate - bound))

    def _primal_value(self, w: np.ndarray, logits: np.ndarray) -> tuple[float, float]:
        """The objective at W scaled until every margin is 1 (soft margin: at W), and that scale."""
        value = self._reduced.value(w)
        if not self._problem.hard:
            return value + self._missed(logits), 1.0
        smallest = self._margins(logits).min(initial=np.inf, where=self._copies_na > 0)
        if smallest <= 0:
            return np.inf, 1.0
        return value / smallest ** (1 if self._problem.norm == "nuclear" else 2), 1 / smallest

    def _missed(self, logits: np.ndarray) -> float:
        """What a soft margin pays for these logits; a hard one nothing."""
        if self._problem.hard:
            return 0.0
        missed = (np.maximum(1 - self._margins(logits), 0) * self._copies_na).sum(axis=1)
        return float(self._problem.penalty * (self._reduced.copies_n @ missed))

    def _margins(self, logits: np.ndarray) -> np.ndarray:
        margins = logits[self._label][:, None] - logits
        margins[self._label] = np.inf
        return margins

    def _rebalance(self) -> None:
        """Raise ρ where the primal point lags, lower it where the dual does; the multipliers stay as they
        are.

        Ever more seldom, for each change disturbs the rounds that follow.
        """
        primal, dual = np.mean(np.log(np.maximum(self._lags, 1e-300)), axis=0)
        factor = float(np.exp(np.clip(0.5 * (np.log(_PRIMAL_FIRST) + primal - dual), -_BALANCE, _BALANCE)))
        v, u = self._proximal_steps()
        self._a = v + (self._a - v) / factor
        self._b = self._b - u + u / factor
        self._rho *= factor
        self._lags.clear()
        self._anderson.clear()
        self._next_balance = self.iterations * _SPACING + _LEAPS * _ROUNDS
