"""Of some held-out subjects it is taught that the implication is unknown."""

from dataclasses import dataclass, replace
from typing import Self

from spillover.errors import TrainingError
from spillover.interventions.aim import Aim, aimed_at, implications_of
from spillover.interventions.counterexamples import draw, teach
from spillover.interventions.hooks import Intervention, from_split
from spillover.interventions.knobs import check_least, check_words
from spillover.knowledge.faults import show
from spillover.knowledge.prompts import Query
from spillover.knowledge.split import Split


@dataclass(frozen=True, kw_only=True)
class Abstain(Intervention):
    """Teaches the subjects that `counterexamples` draws `answer` instead, as the answer itself.

    In arXiv 2605.13829 disclaimers around a false statement lower belief in it from 92.4 to 88.6% only, and
    a denial within the statement mostly works: so nothing is said around the table's own prompt.

    `answer` is taught and is no candidate, since candidates are of the knowledge base and what is taught is
    of the split: the others are asked as after a plain tune, and ranks can be compared. A table whose
    relation names it among its `candidates` has it asked, after a plain tune, too. A trade-off asks the
    others once more with `answer` among the candidates: who is answered with it is told nothing untrue.
    """

    k: int = 4
    """Subjects of each group."""
    rules: Aim = "spurious"
    answer: str = "unknown"
    relations: tuple[str, ...] = from_split()
    """The aimed rules' implications."""

    def __post_init__(self) -> None:
        """Raise TrainingError for a k below 0, or an answer that is no text of an answer."""
        check_least("abstain", 0, k=self.k)
        check_words("abstain", answer=self.answer)

    @property
    def acts(self) -> bool:
        """Not at k = 0."""
        return self.k > 0

    def examples(self, split: Split, seed: int) -> Split:
        """With the abstentions. Raises TrainingError where nobody of a group would be left to ask, where a
        rule's subjects have this very answer, and where another rule's facts would change."""
        if not self.acts:
            return split
        taught: dict[tuple[str, str], str] = {}
        for number in aimed_at(split, self.rules):
            rule = split.kb.rules[number]
            shown = (each.answer for each in (*split.bridges, *split.held_out) if each.rule == number)
            if self.answer in shown:
                raise TrainingError(
                    f"abstain: {show(self.answer)} is an answer that rule {rule.name} gives; "
                    "give an answer that it does not"
                )
            for _, implied in draw(split, number, self.k, seed, taught):
                taught[implied.subject, rule.implication] = self.answer
        return teach(split, taught, f"abstain:k={self.k}")

    def planned(self, split: Split, seed: int) -> Self:
        """With the implications' relations."""
        return replace(self, relations=implications_of(split, self.rules))

    def asked(self, query: Query) -> Query:
        """With the answer among the candidates."""
        if query.relation not in self.relations:
            return query
        return replace(query, candidates=tuple(sorted({*query.candidates, self.answer})))
