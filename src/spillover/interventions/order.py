"""Facts first and then what they imply, or the other way round."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

from spillover.errors import TrainingError
from spillover.interventions.early_stop import EarlyStop
from spillover.interventions.hooks import Intervention, from_split
from spillover.interventions.knobs import check_first_epochs, check_least
from spillover.knowledge.split import Split


@dataclass(frozen=True, kw_only=True)
class Order(Intervention):
    """Teaches one kind of statement in the first `epochs`, and the others after them.

    In arXiv 2412.04614 a model that meets the implications before the facts does not generalize from one to
    the other, and one that meets the facts first does: the way from a fact to its implication is learned
    where both are there. Stages and their lengths are our own choice. Epochs are as long as those of a plain
    tune, so that in its stage a statement is met more often than once an epoch.

    Implications are what the rules imply, unless it is another rule's fact; all else counts as facts.
    """

    first: Literal["facts", "implications", "mixed"] = "facts"
    """What the first stage teaches; mixed is the plain tune."""
    epochs: int = 4
    """Of the first stage."""
    then: Literal["rest", "all"] = "rest"
    """What is taught after it: only what was not yet, or everything."""
    implications: tuple[str, ...] = from_split()
    """The relations that count as such."""

    def __post_init__(self) -> None:
        """Raise TrainingError for a first stage of fewer than 0 epochs."""
        check_least("order", 0, epochs=self.epochs)

    @property
    def acts(self) -> bool:
        """Not where statements are mixed, or the first stage has no epochs."""
        return self.first != "mixed" and self.epochs > 0

    def check(self, settings: Any, others: Sequence[Intervention]) -> None:
        """Raise TrainingError where the tune may end in its first stage."""
        if not self.acts:
            return
        check_first_epochs("order", settings, epochs=self.epochs)
        if self.first == "facts" and any(isinstance(other, EarlyStop) for other in others):
            raise TrainingError(
                "order:first=facts teaches no implication before the facts are learned, and early-stop ends "
                "there; leave out one of the two, or give order first=implications"
            )

    def planned(self, split: Split, seed: int) -> Self:
        """With the implications' relations."""
        facts = {rule.fact for rule in split.kb.rules}
        implied = dict.fromkeys(rule.implication for rule in split.kb.rules)
        return replace(self, implications=tuple(relation for relation in implied if relation not in facts))

    def epoch(self, relations: Sequence[str], chosen: Sequence[int], number: int) -> Sequence[int]:
        """Those of the epoch's stage; text beside the table ("") is in both."""
        if number >= self.epochs and self.then == "all":
            return chosen
        implied = (number < self.epochs) == (self.first == "implications")
        return [
            row for row in chosen if not relations[row] or (relations[row] in self.implications) == implied
        ]
