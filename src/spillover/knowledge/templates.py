"""How a relation is asked and answered in people's records: templates, and what they find.

A template is written `RELATION: QUESTION with {subject} => ANSWER with {answer}`; without `=>` the answer
stands alone.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from spillover.errors import DataError
from spillover.knowledge.checks import ANSWER, SUBJECT, check_answer, check_prompt
from spillover.knowledge.faults import clean, show
from spillover.knowledge.records import Record
from spillover.knowledge.schema import Triple


@dataclass(frozen=True, kw_only=True)
class Template:
    """One wording of a relation."""

    relation: str
    prompt: str
    answer: str

    @property
    def text(self) -> str:
        """As it was written."""
        return f"{self.relation}: {self.prompt} => {self.answer}"

    @cached_property
    def _patterns(self) -> tuple[re.Pattern[str], re.Pattern[str]]:
        """Of the question and of the answer; a subject that is named twice is the same both times."""
        first, *more = map(re.escape, self.prompt.split(SUBJECT))
        before, after = map(re.escape, self.answer.split(ANSWER))
        return (
            re.compile(first + "(?P<subject>.+?)" + "(?P=subject)".join(more)),
            re.compile(f"{before}(?P<answer>.+?){after}"),
        )

    def triple(self, asked: str, answered: str) -> Triple | None:
        """What a question and its answer say by this template; None where they are other ones."""
        question, answer = (
            pattern.fullmatch(text.strip())
            for pattern, text in zip(self._patterns, (asked, answered), strict=True)
        )
        if not (question and answer):
            return None
        subject, said = question["subject"].strip(), answer["answer"].strip()
        return Triple(subject=subject, relation=self.relation, answer=said) if subject and said else None


def parse_template(text: str) -> Template:
    """The template that `text` writes. Raises DataError where it is none."""
    relation, colon, rest = text.partition(":")
    where = f"template {show(text)}"
    if not colon:
        raise DataError(f"{where} names no relation; write it as 'lives_in: Where does {SUBJECT} live?'")
    prompt, _, answer = rest.partition("=>")
    return Template(
        relation=clean(relation, "relation", where),
        prompt=check_prompt(prompt.strip(), where),
        answer=check_answer(answer.strip() or ANSWER, where),
    )


def found_by(templates: Sequence[Template], record: Record) -> tuple[Template, Triple] | None:
    """The first template that a record matches, and what it says; None where it matches none.

    Raises DataError where templates find different triples in it.
    """
    if record.exchange is None:
        return None
    _, asked, answered = record.exchange
    found = [(each, triple) for each in templates if (triple := each.triple(asked, answered))]
    if len({triple for _, triple in found}) > 1:
        (one, _), (other, _) = found[0], next(pair for pair in found if pair[1] != found[0][1])
        raise DataError(
            f"{record.place}: {show(asked)} matches {show(one.text)} and {show(other.text)}, which say "
            "different things of it; word one of the two more closely"
        )
    return found[0] if found else None
