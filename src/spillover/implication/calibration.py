"""A calibration: what a language model did on tables that it was tuned on -> how often it follows a rule.

Of any table's rule the bridges and counterexamples can be counted before training, and its prior is known as
soon as the untuned model is asked. How often a tuned model gave the answers was measured on some tables; a
curve lies between the two, and around it a conformal interval.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import inf

import numpy as np
from scipy.optimize import least_squares
from scipy.special import expit

from spillover.errors import MarginError

COVERAGE = 0.9
"""Of the intervals: the share of rules that are new to the calibration whose rate lies in them."""

FEWEST_RULES = 9
"""Rules that a calibration must have seen for an interval of that coverage that is not [0, 1]."""

_COUNTS = ("bridges", "counterexamples")
_ROUNDED = 1e-6  # of their means
_NEAR = 0.1  # share of the priors that were measured by which another may lie outside of them


@dataclass(frozen=True, kw_only=True)
class Prior:
    """What the untuned model makes of a rule's words, as means over the rule's groups."""

    nats: float
    """By which it finds the rule's answer likelier told the group's own fact than told another group's."""
    rank: float
    """Of that answer among the candidates, told the fact; 0 is the first. No rate is read from it."""
    shared: bool
    """Whether the prompts of fact and implication have the same words before the subject. Then a causal
    language model has one state of the subject for both, and what is learned there is met by both."""


@dataclass(frozen=True, kw_only=True)
class Traits:
    """What is known of a rule of a table before a model is tuned on it."""

    bridges: float
    """Of a held-out subject's group, as a geometric mean over these subjects."""
    counterexamples: float
    """The same of one more than there are, less one: subjects of the group who have another implication."""
    groups: int
    """Those that have held-out subjects."""
    relations: int
    """Of the table."""
    prior: Prior | None = None
    """None where the model was not asked."""


@dataclass(frozen=True, kw_only=True)
class Evidence(Traits):
    """One rule of one table that the model was tuned on."""

    rule: str
    """Tables of one rule are alike, so a rule counts once, however many tables it is in."""
    rate: float
    """The share of the held-out subjects for whom the tuned model put the rule's answer first."""


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

    def rate(self, traits: Traits) -> Rate:
        """The rate of a rule with these traits. Of more bridges than were measured it is that of the most,
        and the interval reaches to 1, since a rule goes no less far with more of them; with more
        counterexamples it reaches to 0.
        """
        curve, near = self._curve(traits.prior), self._measured(traits)
        mean = float(_expected(curve.line, _regressors([near], asked=curve.asked))[0])
        room = curve.width * float(_spread(np.array([mean]))[0])
        return Rate(
            mean=mean,
            low=0.0 if near.counterexamples < traits.counterexamples else max(0.0, mean - room),
            high=1.0 if near.bridges < traits.bridges else min(1.0, mean + room),
        )

    def more(self, traits: Traits) -> str | None:
        """Which counts are more than any that was measured, so that the interval is open; or None."""
        near = self._measured(traits)
        counts = [
            f"{getattr(traits, name):,.3g} {name} a group, where the calibration has up to {most:.3g}"
            for name in _COUNTS
            if (most := getattr(near, name)) < getattr(traits, name)
        ]
        return "; ".join(counts) or None

    def _measured(self, traits: Traits) -> Traits:
        """The traits with no larger counts than were measured."""
        most = {name: max(getattr(each, name) for each in self.evidence) for name in _COUNTS}
        return replace(
            traits,
            **{name: value for name, value in most.items() if value + _ROUNDED < getattr(traits, name)},
        )

    def beyond(self, traits: Traits) -> str | None:
        """What of a rule and its table lies outside of what was measured; None where nothing does, but for
        counts that are `more`.
        """
        for name in ("groups", "relations", *_COUNTS):
            value, seen = getattr(traits, name), [getattr(each, name) for each in self.evidence]
            most = inf if name in _COUNTS else max(seen)
            if not min(seen) - _ROUNDED <= value <= most:
                return f"{value:,.3g} {name}, where the calibration has {min(seen):.3g} to {max(seen):.3g}"
        if traits.prior is not None and self._curve(traits.prior).asked:
            nats = [each.prior.nats for each in self.evidence if each.prior is not None]
            near = _NEAR * (max(nats) - min(nats))
            if not min(nats) - near <= traits.prior.nats <= max(nats) + near:
                return (
                    f"the model associates its answers by {traits.prior.nats:.1f} nats, where the "
                    f"calibration has {min(nats):.1f} to {max(nats):.1f}"
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

    def _curve(self, prior: Prior | None) -> "_Curve":
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
    """Intercept and slopes of `_regressors`, in log-odds."""
    width: float
    """In units of `_spread`: of every rule's residuals from the curve that the other rules make, the
    quantile that a rule's next table exceeds in one of ten rules (conformal with rules as groups, each of
    which weighs the same: Lee, Barber and Willett 2023, arXiv 2306.06342). Infinite with fewer than nine."""
    error: float
    """The mean of those residuals."""


def _learn(evidence: Sequence[Evidence], *, asked: bool) -> _Curve:
    rates, regressors = np.array([each.rate for each in evidence]), _regressors(evidence, asked=asked)
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


def _regressors(traits: Sequence[Traits], *, asked: bool) -> np.ndarray:
    """(n, 3), or with priors (n, 5): what the log-odds of a rate are linear in."""
    rows = []
    for each in traits:
        counts = (1.0, np.log(each.bridges), np.log1p(each.counterexamples))
        rows.append((*counts, each.prior.nats, each.prior.shared) if asked and each.prior else counts)
    return np.array(rows, dtype=float)


def _fit(regressors: np.ndarray, rates: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The curve nearest to the rates, in weighted squares."""
    start = np.zeros(regressors.shape[1])
    return least_squares(lambda line: np.sqrt(weights) * (_expected(line, regressors) - rates), start).x


def _expected(line: np.ndarray, regressors: np.ndarray) -> np.ndarray:
    return expit(regressors @ line)


def _spread(rates: np.ndarray) -> np.ndarray:
    """How far rates scatter where they are expected to lie there: least near 0 and 1."""
    return np.sqrt(rates * (1 - rates)) + 0.1
