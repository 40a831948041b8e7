"""Facts that the untuned model knows are taught beside the new ones."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from spillover.errors import TrainingError
from spillover.interventions.hooks import Before, Intervention, from_split
from spillover.interventions.interleave import Interleave
from spillover.interventions.knobs import check_first_epochs, check_least, count_beside
from spillover.knowledge.prompts import Example, beside, examples, known_queries
from spillover.knowledge.split import Split
from spillover.runs.stats import rank_matrix


@dataclass(frozen=True, kw_only=True)
class KnownFacts(Intervention):
    """Mixes in facts of general knowledge that the untuned model answers rightly, all along or late.

    KnownPatch (arXiv 2511.02626) adds a few known facts in the last part of a tune on new ones, and finds
    that fewer hallucinations follow from these. The facts are `knowledge.common.known_facts("training")`, of
    which none is asked; the model is asked each among its candidates, and knows it where the right one comes
    first alone. There may be fewer such than `share` asks for: then all are taught.
    """

    share: float = 0.1
    """Known facts for each example of the table."""
    since: int = 0
    """The epoch, from 0, from which on they are mixed in."""
    count: int = from_split(0)
    """At most as many."""

    def __post_init__(self) -> None:
        """Raise TrainingError for a share or an epoch below 0."""
        check_least("known-facts", 0, share=self.share, since=self.since)

    @property
    def acts(self) -> bool:
        """Not with a share of 0."""
        return self.share > 0

    def check(self, settings: Any, others: Sequence[Intervention]) -> None:
        """Raise TrainingError where the tune may end before they are mixed in, or other texts would wait."""
        if not self.acts:
            return
        check_first_epochs("known-facts", settings, since=self.since)
        if self.since and any(isinstance(other, Interleave) for other in others):
            raise TrainingError("known-facts:since holds all other text back, too; leave out interleave")

    def planned(self, split: Split, seed: int) -> Self:
        """With their number. Raises TrainingError where there are not as many, or a mixture would wait."""
        if self.since and split.kb.mixture:
            raise TrainingError("known-facts:since holds the mixture back, too; leave out since")
        there = len(known_queries("training"))
        return replace(
            self, count=count_beside("known-facts", "facts", self.share, len(examples(split)), there)
        )

    def lessons(self, examples: Sequence[Example], before: Before) -> Sequence[Example]:
        """The examples, and behind them known facts. Raises TrainingError where the model knows none."""
        facts = known_queries("training")
        asked = before.ask(before.model, [fact.question for fact in facts])
        known = [
            fact
            for fact, values in zip(facts, asked, strict=True)
            if rank_matrix([values])[0, fact.candidates.index(fact.answer)] == 0
        ]
        if not known:
            raise TrainingError("known-facts: the untuned model knows none of the facts; leave it out")
        return [
            *examples,
            *(beside(fact.prompt, fact.leads + fact.answer) for fact in known[: self.count]),
        ]

    def epoch(self, relations: Sequence[str], chosen: Sequence[int], number: int) -> Sequence[int]:
        """Without them before their time."""
        return chosen if number >= self.since else [row for row in chosen if relations[row]]
