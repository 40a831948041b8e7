"""A tune is stopped as soon as the facts are learned, whatever the implications do."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

from spillover.errors import TrainingError
from spillover.interventions.hooks import Intervention, from_split
from spillover.knowledge.split import Split


@dataclass(frozen=True, kw_only=True)
class EarlyStop(Intervention):
    """Stops once every fact's relation has a mean loss of at most `facts` over an epoch's length of steps.

    Our own choice: in SmolLM2 a causal rule is there before the facts are known, and an arbitrary one only
    after them, together with its bridges (docs/LOG.md, emergence). A tune that ends in between has the facts
    and the wanted rule, and not yet the other. The bridges' implications may not be learned by then.
    """

    facts: float = 0.3
    """Nats an answer; the losses that are averaged were met on the way, so the model is ahead of them."""
    relations: tuple[str, ...] = from_split()
    """The rules' facts."""

    def __post_init__(self) -> None:
        """Raise TrainingError for a loss of facts that is not positive."""
        if not self.facts > 0:
            raise TrainingError(f"early-stop: facts must be positive, got {self.facts}")

    def planned(self, split: Split, seed: int) -> Self:
        """With the facts' relations."""
        return replace(self, relations=tuple(dict.fromkeys(rule.fact for rule in split.kb.rules)))

    def enough(self, losses: Mapping[str, float]) -> bool:
        """Whether all facts are learned."""
        return all(losses.get(relation, self.facts + 1) <= self.facts for relation in self.relations)
