"""What is no data set's: neutral texts, other texts and facts of general knowledge, all written by us.

They touch none of the built-in data sets, so that what an intervention does elsewhere can be trained and
measured on them. `data/neutral.txt` and `data/other-text.txt` hold one text a line, `data/known-facts.tsv`
one fact: prompt, answer and four wrong answers, parted by tabs. Facts on odd lines are to be trained,
those on even lines to be asked; the two halves are of the same kinds, and no answer of one half is among the
candidates of the other.
"""

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal

Part = Literal["training", "measuring"]


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownFact:
    """A fact that a language model has a chance to know before it is tuned."""

    prompt: str
    """Sentence up to the answer, with no space at its end."""
    answer: str
    candidates: tuple[str, ...]
    """Sorted; the answer and four wrong ones."""


@cache
def neutral_texts() -> tuple[str, ...]:
    """40 texts of one or two sentences about the world and its things, to measure how far a tuned model went
    from the untuned one. They are never trained.
    """
    return _lines("neutral.txt")


@cache
def other_texts() -> tuple[str, ...]:
    """160 texts of the same length about things, people, places and work, for an intervention to train beside
    a table's facts. They are never measured on.
    """
    return _lines("other-text.txt")


@cache
def known_facts(part: Part) -> tuple[KnownFact, ...]:
    """60 facts of general knowledge: those that an intervention may train, or those that are only asked."""
    rows = [line.split("\t") for line in _lines("known-facts.tsv")]
    return tuple(
        KnownFact(prompt=prompt, answer=answer, candidates=tuple(sorted((answer, *wrong))))
        for prompt, answer, *wrong in rows[("training", "measuring").index(part) :: 2]
    )


def _lines(name: str) -> tuple[str, ...]:
    return tuple((files("spillover.knowledge") / "data" / name).read_text("utf-8").splitlines())
