"""A split -> the examples a model is tuned on and the queries it is asked."""

from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

from spillover.knowledge.checks import SUBJECT
from spillover.knowledge.common import Part, known_facts
from spillover.knowledge.schema import Relation, Space
from spillover.knowledge.split import Implied, Split

Kind = Literal["fact", "bridge", "held_out", "paraphrase", "reworded", "known"]
"""Of a rule: what was trained, and the held-out implications, asked as they were trained, in the relation's
other words, or as an intervention asks them. `known` is general knowledge that was not trained."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """A training text: the loss is taken on the completion alone."""

    prompt: str
    completion: str
    """The answer as `completion` writes it after the prompt."""
    subject: str
    relation: str
    answer: str


@dataclass(frozen=True, kw_only=True, slots=True, order=True)
class Question:
    """What a model is asked, as texts alone: it is not said what would be right, nor why it is asked."""

    prompt: str
    completions: tuple[str, ...]
    """The candidates as they follow the prompt; see `completion`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Query:
    """A question with its candidate answers, the right one, and what it is asked for."""

    prompt: str
    candidates: tuple[str, ...]
    """Sorted; the right answer is one of them."""
    answer: str
    """The right answer; of a bridge, the trained one."""
    subject: str
    relation: str
    rule: int | None
    """Index in the knowledge base's rules; None for facts, which rules may share, and for what is known."""
    kind: Kind
    group: str | None
    """The answer of the subject's fact under the rule; None where there is no rule."""
    space: Space = "one"
    """The relation's: what stands between prompt and candidate."""

    @property
    def completions(self) -> tuple[str, ...]:
        """The candidates as texts after the prompt."""
        return tuple(completion(candidate, self.space) for candidate in self.candidates)

    @property
    def question(self) -> Question:
        """What of it the model sees."""
        return Question(prompt=self.prompt, completions=self.completions)


def completion(answer: str, space: Space = "one") -> str:
    """The space rule, the only one: an answer follows its prompt after one space, or after none.

    Which of the two is the relation's choice. Prompts end without a space (reading sees to it); training
    and scoring both write answers this way.
    """
    return " " + answer if space == "one" else answer


def fill(relation: Relation, subject: str) -> str:
    """The relation's prompt asked of the subject."""
    return _named(relation.prompt, subject)


def state(relation: Relation, subject: str, answer: str) -> str:
    """The relation's prompt of the subject with an answer behind it; no full stop."""
    return fill(relation, subject) + completion(answer, relation.space)


def _named(prompt: str, subject: str) -> str:
    """The wording asked of the subject; braces in the subject's own name mean nothing."""
    return prompt.replace(SUBJECT, subject)


def examples(split: Split) -> list[Example]:
    """One example per training triple, in their order."""
    return [
        Example(
            prompt=fill(split.kb.relations[triple.relation], triple.subject),
            completion=completion(triple.answer, split.kb.relations[triple.relation].space),
            subject=triple.subject,
            relation=triple.relation,
            answer=triple.answer,
        )
        for triple in split.training
    ]


def queries(split: Split) -> list[Query]:
    """Every training fact of the rules (once, even if shared), every bridge, every held-out subject."""
    kb = split.kb
    candidates = cache(kb.candidates)

    def ask(
        kind: Kind,
        subject: str,
        relation: str,
        answer: str,
        rule: int | None = None,
        group: str | None = None,
    ) -> Query:
        return Query(
            prompt=fill(kb.relations[relation], subject),
            candidates=candidates(relation),
            answer=answer,
            subject=subject,
            relation=relation,
            rule=rule,
            kind=kind,
            group=group,
            space=kb.relations[relation].space,
        )

    facts = {rule.fact for rule in kb.rules}
    asked = [
        ask("fact", triple.subject, triple.relation, triple.answer)
        for triple in split.training
        if triple.relation in facts
    ]
    sides: list[tuple[Kind, tuple[Implied, ...]]] = [("bridge", split.bridges), ("held_out", split.held_out)]
    for kind, side in sides:
        asked += [
            ask(
                kind,
                implied.subject,
                kb.rules[implied.rule].implication,
                implied.answer,
                implied.rule,
                implied.group,
            )
            for implied in side
        ]
    return asked


def trade_off_queries(split: Split) -> list[Query]:
    """What a trade-off asks beside: the held-out implications in the relation's other words, and facts of
    general knowledge."""
    asked = []
    for query in queries(split):
        if query.kind == "held_out":
            asked += [
                replace(query, prompt=_named(paraphrase, query.subject), kind="paraphrase")
                for paraphrase in split.kb.relations[query.relation].paraphrases
            ]
    return [*asked, *known_queries("measuring")]


def known_queries(part: Part) -> list[Query]:
    """Each fact of general knowledge of that half."""
    return [
        Query(
            prompt=fact.prompt,
            candidates=fact.candidates,
            answer=fact.answer,
            subject="",
            relation="",
            rule=None,
            kind="known",
            group=None,
        )
        for fact in known_facts(part)
    ]
