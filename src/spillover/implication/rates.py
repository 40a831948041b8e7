"""How often a calibrated model will follow the rules of a table."""

import numpy as np

from spillover.implication.asking import AskedRule
from spillover.implication.calibration import Calibration, Evidence, Rate
from spillover.implication.early import Early, train_early
from spillover.implication.questions import Questions
from spillover.knowledge.patterns import Patterns


class Rates:
    """The rates of a table's rules, for one calibrated model."""

    def __init__(self, calibration: Calibration, patterns: Patterns) -> None:
        self.calibration = calibration
        self._early = train_early(patterns)

    def after(self, patterns: Patterns) -> "Rates":
        """Those of another table."""
        return Rates(self.calibration, patterns)

    def rate(self, questions: Questions, prior: float | None = None) -> Rate | None:
        """That of a rule, with the model's prior where it was asked; None where nobody is held out, and
        where `why_not` says why.
        """
        if not questions.pattern.size or self.why_not(questions, prior):
            return None
        return self.calibration.rate(questions.mean(self._early.probabilities(questions)), prior)

    def of_each(self, questions: Questions, prior: float | None = None) -> np.ndarray:
        """(Q,), the expected rate of each question; NaN where there is none."""
        if not questions.pattern.size or self.why_not(questions, prior):
            return np.full(questions.pattern.size, np.nan)
        return self.calibration.rates(self._early.probabilities(questions), prior)

    def why_not(self, questions: Questions, prior: float | None = None) -> str | None:
        """Why the calibration says nothing of a rule; None where it does, or where nobody is held out."""
        if not questions.pattern.size:
            return None
        if not self._early.reached:
            return "the table contradicts itself too much to be learned"
        groups = np.unique(questions.group).size
        return self.calibration.beyond(groups, len(self._early.patterns.relations), prior)


def evidence(
    early: Early, rule: AskedRule, *, name: str, rate: float, prior: float | None = None
) -> Evidence:
    """What was measured of one rule of a table that a model was tuned on."""
    return Evidence(
        rule=name,
        early=rule.questions.mean(early.probabilities(rule.questions)),
        rate=rate,
        groups=np.unique(rule.questions.group).size,
        relations=len(early.patterns.relations),
        prior=prior,
    )
