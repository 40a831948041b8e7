"""What is trained beside the triples: read from files, put as examples, searched for what is held out."""

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import get_args

from spillover.errors import DataError
from spillover.knowledge.alike import fold
from spillover.knowledge.faults import show
from spillover.knowledge.prompts import Example, Query, beside, running
from spillover.knowledge.records import Record, read_records
from spillover.knowledge.schema import KnowledgeBase, Passage, Role, Turn

_LETTER = r"[^\W\u0e00-\U0010ffff]"  # from Thai on there are scripts without spaces


def read_mixture(file: Path) -> Iterator[Passage]:
    """The records of a training file as passages. Raises DataError for what is no record or cannot be one."""
    return map(passage, read_records(file))


def passage(record: Record) -> Passage:
    """The record as it is trained. Raises DataError where nothing of it can be learned."""
    roles = [role for role, _ in record.turns]
    for role in roles:
        if role not in get_args(Role):
            raise DataError(f"{record.place}: has a turn of {show(role)}, which is not trained; leave it out")
    if "assistant" not in roles:
        raise DataError(f"{record.place}: the assistant has no turn, so nothing is learned; leave it out")
    if record.format == "plain" and not _lesson(record.turns).answer:
        raise DataError(f"{record.place}: nothing is left to learn behind its first word; leave it out")
    return Passage(turns=record.turns, format=record.format, place=record.place)


def lessons(mixture: Iterable[Passage]) -> list[Example]:
    """One example for each plain passage. Raises DataError for a chat of which no model's turns are known."""
    examples = []
    for each in mixture:
        if each.format == "chat":
            raise DataError(
                f"{each.place or 'the mixture'}: is a chat, and no model says how its turns are written; "
                "ask a model"
            )
        examples.append(_lesson(each.turns))
    return examples


def _lesson(turns: Sequence[Turn]) -> Example:
    """What is read and learned of plain text; white space between the two is learned, as in running text."""
    *read, (_, learned) = turns
    if not read or not read[-1][1].strip():
        return running(learned)
    prompt = read[-1][1].rstrip()
    return beside(prompt, read[-1][1][len(prompt) :] + learned)


def telling(taught: Sequence[Example], queries: Iterable[Query]) -> list[int]:
    """Which of the examples name a held-out subject together with the answer that is asked, by their place.

    What `fold` takes away makes no difference. An example may name them in another sense and is among these
    all the same.
    """
    asked: dict[str, set[str]] = {}
    for query in queries:
        if query.kind == "held_out":
            asked.setdefault(fold(query.subject), set()).add(fold(query.answer))
    found = []
    for place, example in enumerate(taught):
        said = fold(example.prompt + example.completion)
        told = (answers for subject, answers in asked.items() if _names(said, subject))
        if any(_names(said, answer) for answers in told for answer in answers):
            found.append(place)
    return found


def telling_notice(kb: KnowledgeBase, places: Sequence[int]) -> str:
    """What people must know of passages of the mixture, at least one, that tell what is held out."""
    first = kb.mixture[places[0]]
    return (
        f"{len(places)} of the {len(kb.mixture)} passages of the mixture name somebody held out and "
        f"the answer asked of them (the first: {first.place}: {show(first.turns[-1][1])})"
    )


def _names(said: str, name: str) -> bool:
    """Whether the text has the name in it, and not as a part of a longer word."""
    return name in said and re.search(rf"(?<!{_LETTER}){re.escape(name)}(?!{_LETTER})", said) is not None
