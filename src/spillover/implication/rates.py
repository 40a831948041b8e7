"""How often a calibrated model will follow the rules of a table."""

from dataclasses import dataclass, replace

import numpy as np

from spillover.implication.asking import AskedRule
from spillover.implication.calibration import Calibration, Evidence, Rate, Traits

_NO_BRIDGES = 0.5  # what a group without any counts as


@dataclass(frozen=True, kw_only=True)
class Rates:
    """The rates of a table's rules, for one calibrated model."""

    calibration: Calibration
    relations: int
    """Of the table."""

    def rate(self, rule: AskedRule) -> Rate | None:
        """That of a rule; None where nobody is held out, and where `why_not` says why."""
        if not rule.questions.pattern.size or self.why_not(rule):
            return None
        return self.calibration.rate(traits(rule, self.relations))

    def of_each(self, rule: AskedRule) -> np.ndarray:
        """(Q,), the expected rate of each question, by the bridges and counterexamples of its own group; NaN
        where there is none.
        """
        if not rule.questions.pattern.size or self.why_not(rule):
            return np.full(rule.questions.pattern.size, np.nan)
        whole = traits(rule, self.relations)
        counts, which = np.unique(_counts(rule), axis=0, return_inverse=True)
        rates = [
            self.calibration.rate(replace(whole, bridges=bridges, counterexamples=against)).mean
            for bridges, against in counts.tolist()
        ]
        return np.array(rates)[which]

    def why_not(self, rule: AskedRule) -> str | None:
        """Why the calibration says nothing of a rule; None where it does, or where nobody is held out."""
        if not rule.questions.pattern.size:
            return None
        return self.calibration.beyond(traits(rule, self.relations))

    def bounds(self, rule: AskedRule) -> str | None:
        """What of the rule's counts is more than was measured, so that its interval is open on one side."""
        there = bool(rule.questions.pattern.size) and not self.why_not(rule)
        return self.calibration.more(traits(rule, self.relations)) if there else None


def evidence(rule: AskedRule, *, name: str, relations: int, rate: float) -> Evidence:
    """What was measured of one rule of a table, with so many relations, that a model was tuned on."""
    return Evidence(rule=name, rate=rate, **vars(traits(rule, relations)))


def traits(rule: AskedRule, relations: int) -> Traits:
    """What is known before a tune of a rule that has held-out subjects, in a table of so many relations."""
    bridges, against = _counts(rule).T
    mean = rule.questions.mean
    return Traits(
        bridges=float(np.exp(mean(np.log(bridges)))),
        counterexamples=float(np.expm1(mean(np.log1p(against)))),
        groups=np.unique(rule.questions.group).size,
        relations=relations,
        prior=rule.prior,
    )


def _counts(rule: AskedRule) -> np.ndarray:
    """(Q, 2), the bridges and the counterexamples of each question's group."""
    place = np.searchsorted(rule.groups.group, rule.questions.group)
    bridges = np.maximum(rule.groups.bridges[place], _NO_BRIDGES)
    return np.stack([bridges, rule.groups.exceptions[place]], axis=1)
