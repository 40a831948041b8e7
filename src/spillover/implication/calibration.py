"""A calibration: what a language model did on tables that it was tuned on -> how often it follows a rule.

The early probability (`early.py`) of a rule's answers is known of any table before training. How often a
tuned model gives them was measured on some tables; between the two lies one curve, and around it a conformal
interval.
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

    def rates(self, early: np.ndarray) -> np.ndarray:
        """The expected rate at each early probability."""
        return _curve(self._line, early)

    def rate(self, early: float) -> Rate:
        """The rate of a rule whose held-out subjects have that early probability as their mean."""
        mean = float(self.rates(np.array([early]))[0])
        room = self._width * float(_spread(np.array([mean]))[0])
        return Rate(mean=mean, low=max(0.0, mean - room), high=min(1.0, mean + room))

    def beyond(self, groups: int, relations: int) -> str | None:
        """What of a rule and its table lies outside of what was measured; None where nothing does."""
        for what, value in (("groups", groups), ("relations", relations)):
            seen = [getattr(each, what) for each in self.evidence]
            if not min(seen) <= value <= max(seen):
                return f"{value:,} {what}, where the calibration has {min(seen)} to {max(seen)}"
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
        away = [abs(each.rate - expected) for each, expected, _ in self._by_others]
        return float(np.average(away, weights=[weight for *_, weight in self._by_others]))

    @cached_property
    def _line(self) -> np.ndarray:
        return _fit(self.evidence)

    @cached_property
    def _width(self) -> float:
        """In units of `_spread`: of every rule's residuals from the curve that the other rules make, the
        quantile that a rule's next table exceeds in one of ten rules (conformal with rules as groups, each of
        which weighs the same: Lee, Barber and Willett 2023, arXiv 2306.06342). Infinite with fewer than nine.
        """
        found = sorted(
            (abs(each.rate - expected) / float(_spread(np.array([expected]))[0]), weight)
            for each, expected, weight in self._by_others
        )
        reached = np.cumsum([weight for _, weight in found]) >= COVERAGE * (self.rules + 1) - 1e-9
        return found[int(reached.argmax())][0] if reached.any() else inf

    @cached_property
    def _by_others(self) -> list[tuple[Evidence, float, float]]:
        """Each with its rate by the curve of all other rules, and its weight; a rule's weights sum to 1."""
        found = []
        for rule in sorted({each.rule for each in self.evidence}):
            mine = [each for each in self.evidence if each.rule == rule]
            line = _fit([each for each in self.evidence if each.rule != rule])
            expected = _curve(line, np.array([each.early for each in mine])).tolist()
            found += [(each, one, 1 / len(mine)) for each, one in zip(mine, expected, strict=True)]
        return found


def _fit(evidence: Sequence[Evidence]) -> np.ndarray:
    """Intercept and slope, in log-odds, of the curve nearest to the evidence; each rule weighs the same."""
    names = [each.rule for each in evidence]
    weights = np.array([1 / names.count(name) for name in names]) ** 0.5
    early, rates = (np.array([getattr(each, name) for each in evidence]) for name in ("early", "rate"))
    return least_squares(lambda line: weights * (_curve(line, early) - rates), [0.0, 1.0]).x


def _curve(line: np.ndarray, early: np.ndarray) -> np.ndarray:
    return expit(line[0] + line[1] * logit(np.clip(early, _CLIP, 1 - _CLIP)))


def _spread(rates: np.ndarray) -> np.ndarray:
    """How far rates scatter where they are expected to lie there: least near 0 and 1."""
    return np.sqrt(rates * (1 - rates)) + 0.1
