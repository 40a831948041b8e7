"""The null control: the bridges teach nothing of the rule."""

from dataclasses import dataclass

from spillover.interventions.hooks import Intervention
from spillover.knowledge.split import Split, shuffle_implications


@dataclass(frozen=True, kw_only=True)
class Shuffle(Intervention):
    """Deals the bridges' implications out at random, which unties them from the facts."""

    def examples(self, split: Split, seed: int) -> Split:
        """The split with the bridges' implications shuffled by the seed."""
        return shuffle_implications(split, seed)
