"""A calibration: what a language model did on tables that it was tuned on -> how often it follows a rule.

The early probability (`early.py`) of a rule's answers is known of any table before training, and the untuned
model's prior as soon as it is asked. How often a tuned model gives the answers was measured on some tables;
between them lies one curve, and around it a conformal interval.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import inf

import numpy as np
from scipy.optimize import least_squares
from scipy.special import expit, logit

from spillover.errors import MarginError

COVERAGE = 0.9
"""Of the intervals: the share of rules that are new to the calibration whose rate lies in them."""

FEWEST_RULES = 9
"""Rules that a calibration must have seen for an interval of that coverage that is not [0, 1]."""

_CLIP = 0.01  # probabilities nearer to 0 or 1 than that are taken as that far away


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """One rule of one table that the model was tuned on."""

    rule: str
    """Tables of one rule are alike, so a rule counts once, however many tables it is in."""
    early: float
    """The early probability of its answer, as a mean over the held-out subjects."""
    rate: float
    """The share of the held-out subjects for whom the tuned model put the rule's answer first."""
    groups: int
    """Of the rule, those that have held-out subjects."""
    relations: int
    """Of the table."""
    prior: float | None = None
    """Nats by which the untuned model, told the fact, prefers the rule's answer to an even guess among the
    candidates; None where it was not asked."""


@dataclass(frozen=True, kw_only=True)
class Rate:
    """How often a tuned model gives a rule's answer, with an interval that covers `COVERAGE` of new rules."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What was measured of a model, and what follows for other tables.

    Raises MarginError where it was measured on fewer than two rules.
    """

    model: str
    """Its name."""
    identity: str
    """The hash of its weights (`llm.weights`)."""
    evidence: tuple[Evidence, ...]

    def __post_init__(self) -> None:
        if self.rules < 2:
            raise MarginError("a calibration needs tunes of at least two rules")

    def rates(self, early: np.ndarray, prior: float | None = None) -> np.ndarray:
        """The expected rate at each early probability, and where the model was asked, at its prior."""
        curve = self._curve(prior)
        return _expected(curve.line, _regressors(early, prior if curve.asked else None))

    def rate(self, early: float, prior: float | None = None) -> Rate:
        """The rate of a rule whose held-out subjects have that early probability as their mean."""
        mean = float(self.rates(np.array([early]), prior)[0])
        room = self._curve(prior).width * float(_spread(np.array([mean]))[0])
        return Rate(mean=mean, low=max(0.0, mean - room), high=min(1.0, mean + room))

    def beyond(self, groups: int, relations: int, prior: float | None = None) -> str | None:
        """What of a rule and its table lies outside of what was measured; None where nothing does."""
        for what, value in (("groups", groups), ("relations", relations)):
            seen = [getattr(each, what) for each in self.evidence]
            if not min(seen) <= value <= max(seen):
                return f"{value:,} {what}, where the calibration has {min(seen)} to {max(seen)}"
        if prior is not None and self._curve(prior).asked:
            nats = [each.prior for each in self.evidence if each.prior is not None]
            if not min(nats) <= prior <= max(nats):
                return (
                    f"the model prefers its answers by {prior:.1f} nats, where the calibration has "
                    f"{min(nats):.1f} to {max(nats):.1f}"
                )
        return None

    @property
    def rules(self) -> int:
        """How many rules it has seen."""
        return len({each.rule for each in self.evidence})

    @property
    def error(self) -> float:
        """The mean absolute error of a rate by the curve that all other rules make, each rule weighing the
        same: what to expect of a new rule.
        """
        return self._of_table.error

    @property
    def error_asked(self) -> float | None:
        """The same of rates with the model's prior; None where it was asked too few rules."""
        return self._of_both and self._of_both.error

    def _curve(self, prior: float | None) -> "_Curve":
        return self._of_table if prior is None else self._of_both or self._of_table

    @cached_property
    def _of_table(self) -> "_Curve":
        return _learn(self.evidence, asked=False)

    @cached_property
    def _of_both(self) -> "_Curve | None":
        asked = [each for each in self.evidence if each.prior is not None]
        enough = len({each.rule for each in asked}) >= FEWEST_RULES
        return _learn(asked, asked=True) if enough else None


@dataclass(frozen=True, kw_only=True, eq=False)
class _Curve:
    """Where rates lie, and how far from it they fall."""

    asked: bool
    """Whether it reads the model's prior, too."""
    line: np.ndarray
    """Intercept and slopes, in log-odds."""
    width: float
    """In units of `_spread`: of every rule's residuals from the curve that the other rules make, the
    quantile that a rule's next table exceeds in one of ten rules (conformal with rules as groups, each of
    which weighs the same: Lee, Barber and Willett 2023, arXiv 2306.06342). Infinite with fewer than nine."""
    error: float
    """The mean of those residuals."""


def _learn(evidence: Sequence[Evidence], *, asked: bool) -> _Curve:
    early, rates = (np.array([getattr(each, name) for each in evidence]) for name in ("early", "rate"))
    prior = np.array([each.prior for each in evidence], float) if asked else None
    regressors = _regressors(early, prior)
    _, rule = np.unique([each.rule for each in evidence], return_inverse=True)
    weights = 1 / np.bincount(rule)[rule]  # a rule's sum to 1
    by_others, rules = np.empty(rates.size), int(rule.max()) + 1
    for each in range(rules):
        mine = rule == each
        line = _fit(regressors[~mine], rates[~mine], weights[~mine])
        by_others[mine] = _expected(line, regressors[mine])
    away = np.abs(rates - by_others)
    order = np.argsort(away / _spread(by_others), kind="stable")
    reached = np.cumsum(weights[order]) >= COVERAGE * (rules + 1) - 1e-9
    widest = order[int(reached.argmax())]
    return _Curve(
        asked=asked,
        line=_fit(regressors, rates, weights),
        width=float(away[widest] / _spread(by_others[[widest]])[0]) if reached.any() else inf,
        error=float(np.average(away, weights=weights)),
    )


def _regressors(early: np.ndarray, prior: np.ndarray | float | None) -> np.ndarray:
    """(n, 2), or with priors (n, 3): what the log-odds of a rate are linear in. Beyond a nat a prior
    counts by its logarithm, as arcsinh does it.
    """
    columns = [np.ones_like(early), logit(np.clip(early, _CLIP, 1 - _CLIP))]
    if prior is not None:
        columns.append(np.broadcast_to(np.arcsinh(prior), early.shape))
    return np.stack(columns, axis=1)


def _fit(regressors: np.ndarray, rates: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The curve nearest to the rates, in weighted squares; it sets out from the early probability itself."""
    start = np.eye(regressors.shape[1])[1]
    return least_squares(lambda line: np.sqrt(weights) * (_expected(line, regressors) - rates), start).x


def _expected(line: np.ndarray, regressors: np.ndarray) -> np.ndarray:
    return expit(regressors @ line)


def _spread(rates: np.ndarray) -> np.ndarray:
    """How far rates scatter where they are expected to lie there: least near 0 and 1."""
    return np.sqrt(rates * (1 - rates)) + 0.1
