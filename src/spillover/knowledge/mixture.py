"""What is trained beside the triples: read from files, put as examples, searched for what is held out."""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import get_args

from spillover.errors import DataError
from spillover.knowledge.alike import fold
from spillover.knowledge.faults import show
from spillover.knowledge.prompts import Example, Query, beside, running
from spillover.knowledge.records import Record, read_records
from spillover.knowledge.schema import KnowledgeBase, Passage, Role, Turn

_WORD = re.compile(r"[^\W\u0e00-\U0010ffff]+|\S")  # from Thai on there are scripts without spaces
_Words = tuple[str, ...]


def read_mixture(file: Path, say: Callable[[str], None]) -> Iterator[Passage]:
    """The records of a training file as passages; `say` is told what a reader must know of the file.

    Raises DataError for what is no record, or cannot be trained.
    """
    return map(passage, read_records(file, say))


def passage(record: Record) -> Passage:
    """The record as it is trained. Raises DataError where nothing of it can be learned."""
    roles = [role for role, _ in record.turns]
    for role in roles:
        if role not in get_args(Role):
            raise DataError(f"{record.place}: has a turn of {show(role)}, which is not trained; leave it out")
    if not any(role == "assistant" and text.strip() for role, text in record.turns):
        raise DataError(f"{record.place}: the assistant says nothing, so nothing is learned; leave it out")
    if record.format == "chat" and roles[roles[0] == "system"] == "assistant":
        raise DataError(
            f"{record.place}: begins with the assistant, which has nothing to answer; leave it out"
        )
    turns = record.turns if record.format == "chat" else _spaced(record.turns)
    if record.format == "plain" and not _lesson(turns).answer:
        raise DataError(f"{record.place}: nothing is left to learn behind its first word; leave it out")
    return Passage(turns=turns, format=record.format, place=record.place)


def _spaced(turns: Sequence[Turn]) -> tuple[Turn, ...]:
    """Plain text whose prompt ends without white space, which is learned, as tokenizers have it."""
    *read, (role, learned) = turns
    if not read:
        return tuple(turns)
    who, asked = read[-1]
    prompt = asked.rstrip()
    return (who, prompt), (role, asked[len(prompt) :] + learned)


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
    *read, (_, learned) = turns
    return beside(read[-1][1], learned) if read and read[-1][1] else running(learned)


def telling(mixture: Sequence[Passage], queries: Iterable[Query]) -> list[int]:
    """Which of the passages tell somebody held out an answer, by their place.

    They name the subject together with a candidate of what is asked, right or wrong, or ask the question
    itself. What `fold` takes away makes no difference. A passage may name the two in another sense and is
    among these all the same.
    """
    asked, questions = dict[_Words, set[_Words]](), set[_Words]()
    words = cache(_words)  # questions share their candidates
    for query in queries if mixture else ():
        if query.kind in ("held_out", "paraphrase"):
            asked.setdefault(words(query.subject), set()).update(map(words, query.candidates))
            questions.add(_words(query.words))
    found = []
    for place, passage in enumerate(mixture):
        said = _words(" ".join(text for _, text in passage.turns))
        named = (answers for subject in _among(said, asked) for answers in [asked[subject]])
        if any(_among(said, answers) for answers in named) or any(
            _words(text) in questions for _, text in passage.turns
        ):
            found.append(place)
    return found


def telling_notice(kb: KnowledgeBase, places: Sequence[int]) -> str:
    """What people must know of passages, at least one, that tell somebody held out an answer."""
    first = kb.mixture[places[0]]
    return (
        f"{len(places)} of the {len(kb.mixture)} passages of the mixture tell somebody held out an answer to "
        f"what is asked (the first: {first.place}: {show(first.turns[-1][1])})"
    )


def _words(text: str) -> _Words:
    return tuple(_WORD.findall(fold(text)))


def _among(said: _Words, names: Collection[_Words]) -> set[_Words]:
    """Those of the names that stand in what is said."""
    parts = (
        said[start : start + length]
        for length in {len(name) for name in names}
        for start in range(len(said) - length + 1)
    )
    return {part for part in parts if part in names}
