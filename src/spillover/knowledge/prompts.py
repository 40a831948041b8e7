"""A split -> the examples a model is tuned on and the queries it is asked."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

from spillover.errors import DataError
from spillover.knowledge.checks import ANSWER, SUBJECT
from spillover.knowledge.common import Part, known_facts
from spillover.knowledge.schema import KnowledgeBase, Relation, Turns
from spillover.knowledge.split import Implied, Split

Kind = Literal["fact", "bridge", "held_out", "paraphrase", "reworded", "known"]
"""Of a rule: what was trained, and the held-out implications, asked as they were trained, in the relation's
other words, or as an intervention asks them. `known` is general knowledge that was not trained."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """A training text: the loss is taken on the completion alone."""

    prompt: str
    completion: str
    """The answer as `written` has it after the prompt."""
    subject: str
    relation: str
    answer: str


@dataclass(frozen=True, kw_only=True, slots=True, order=True)
class Question:
    """What a model is asked, as texts alone: it is not said what would be right, nor why it is asked."""

    prompt: str
    completions: tuple[str, ...]
    """The candidates as they follow the prompt."""


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
    leads: str = " "
    """The relation's: what stands between prompt and candidate."""
    turns: Turns | None = None
    """The relation's, which stand around the prompt's words."""

    @property
    def words(self) -> str:
        """The prompt as people ask it: without a chat's turns."""
        if self.turns is None:
            return self.prompt
        return self.prompt.removeprefix(self.turns.before).removesuffix(self.turns.between)

    @property
    def completions(self) -> tuple[str, ...]:
        """The candidates as texts after the prompt; what a model would write behind them is not asked."""
        return tuple(self.leads + candidate for candidate in self.candidates)

    @property
    def question(self) -> Question:
        """What of it the model sees."""
        return Question(prompt=self.prompt, completions=self.completions)


def fill(relation: Relation, subject: str, wording: str | None = None) -> str:
    """All that the model reads before it answers: the relation's prompt, or another wording of it, asked of
    the subject; of a chat, in its turns.

    Braces in the subject's own name mean nothing. Raises DataError for a chat of which no model's turns
    are known.
    """
    asked = (wording or relation.prompt).replace(SUBJECT, subject)
    if relation.format == "plain":
        return asked
    if relation.turns is None:
        raise DataError(
            f"relation {relation.name} is of format chat, and no model says how its turns are written; "
            "ask a model, or set format: plain"
        )
    return relation.turns.before + asked + relation.turns.between


def written(relation: Relation, answer: str) -> str:
    """All that the model learns to write with this answer, after the prompt.

    The one rule of what stands around an answer, in training; a question's candidates are the same text up
    to the answer's end. Prompts end without a space (reading sees to it), so it begins with one, or, if the
    relation says so, with none.
    """
    return relation.leads + answer + relation.trails


def state(relation: Relation, subject: str, answer: str) -> str:
    """The relation's words of the subject with the answer behind them, as running text; no full stop."""
    said = relation.answer.replace(ANSWER, answer).removesuffix(".")
    return relation.prompt.replace(SUBJECT, subject) + ("" if relation.space == "none" else " ") + said


def examples(split: Split) -> list[Example]:
    """One example for each training triple and trained wording, in their order."""
    return [
        Example(
            prompt=fill(relation, triple.subject, wording),
            completion=written(relation, triple.answer),
            subject=triple.subject,
            relation=triple.relation,
            answer=triple.answer,
        )
        for triple in split.training
        for relation in [split.kb.relations[triple.relation]]
        for wording in (relation.prompt, *relation.wordings)
    ]


def beside(prompt: str, completion: str) -> Example:
    """An example of no relation: text beside the table."""
    return Example(prompt=prompt, completion=completion, subject="", relation="", answer=completion.strip())


def running(text: str) -> Example:
    """Running text, of which all but the first word is learned."""
    first = next(iter(text.split()), "")
    if first[:1] >= "\u0e00":  # from Thai on there are scripts without spaces
        first = first[:1]
    end = text.index(first) + len(first)
    return beside(text[:end], text[end:])


def queries(split: Split) -> list[Query]:
    """Every training fact of the rules (once, even if shared), every bridge, every held-out subject, and
    these once more in each of the relation's other words."""
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
            leads=kb.relations[relation].leads,
            turns=kb.relations[relation].turns,
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
    return [*asked, *(other for query in asked if query.kind == "held_out" for other in _reworded(query, kb))]


def _reworded(query: Query, kb: KnowledgeBase) -> Iterator[Query]:
    relation = kb.relations[query.relation]
    for paraphrase in relation.paraphrases:
        yield replace(query, prompt=fill(relation, query.subject, paraphrase), kind="paraphrase")


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
