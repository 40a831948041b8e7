"""Texts that look alike and are different: folded to be found, never to be changed.

To a model and to every count here "Paris" and "paris" are two answers. A table that has both mostly means
one; so it is read as it stands, and a notice names the two and where they are.
"""

import unicodedata
from collections.abc import Callable, Collection, Iterator, Mapping
from math import inf

import numpy as np
import pyarrow as pa

from spillover.knowledge.faults import show

_SHOWN = 5  # pairs that a notice names
_PIECE = 100_000  # texts held at once


def fold(text: str) -> str:
    """The text without what the eye may miss: letter case, Unicode forms, kinds of white space, signs without
    width, such as zero-width spaces and direction marks, and full stops at its end.
    """
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
        text = unicodedata.normalize("NFKC", text.casefold())
        text = "".join(sign for sign in text if unicodedata.category(sign) != "Cf")
    return " ".join(text.casefold().split()).rstrip(". ")


def alike_notices(
    columns: Mapping[str, pa.Array],
    lines: Callable[[str, Collection[str]], Mapping[str, int]],
    where: Callable[[int], str],
    sheet: Mapping[str, str] | None = None,
) -> tuple[str, ...]:
    """A notice for each column of the table in which texts look alike.

    `columns` has the distinct texts, sorted. `lines` gives the first lines of some texts of a column, and
    `where` the place of a line. `sheet` has answers that the table may lack, and their places.
    """
    notices = []
    for column, texts in columns.items():
        if column == "answer" and sheet:
            texts = pa.array(sorted({*texts.to_pylist(), *sheet}), pa.string())
        pairs, number = _pairs(texts)
        if pairs:
            first = lines(column, {text for pair in pairs for text in pair})
            places = dict(sheet or {}) | {text: where(line) for text, line in first.items()}
            ordered = [sorted(pair, key=lambda text: first.get(text, inf)) for pair in pairs]
            notices.append(_notice(column, ordered, number, places))
    return tuple(notices)


def _pairs(texts: pa.Array) -> tuple[list[tuple[str, str]], int]:
    """Pairs of the distinct texts that fold to the same, the first few of them, and the number of all: each
    text makes a pair with the first that it looks like. Of the folded texts only a hash is held.
    """
    hashes = np.fromiter((hash(fold(text)) for text in _pieces(texts)), np.int64, len(texts))
    order = np.argsort(hashes, kind="stable")
    again = hashes[order[1:]] == hashes[order[:-1]]
    starts = np.maximum.accumulate(np.where(np.append(True, ~again), np.arange(order.size), 0))
    later = np.flatnonzero(again) + 1
    found = np.column_stack([order[starts[later]], order[later]])
    shown = found[np.lexsort(found.T[::-1])][:_SHOWN].tolist()
    pairs = [(texts[first].as_py(), texts[second].as_py()) for first, second in shown]
    return [(text, twin) for text, twin in pairs if fold(text) == fold(twin)], len(found)


def _pieces(texts: pa.Array) -> Iterator[str]:
    for start in range(0, len(texts), _PIECE):
        yield from texts.slice(start, _PIECE).to_pylist()


def _notice(column: str, pairs: list[list[str]], number: int, places: Mapping[str, str]) -> str:
    shown = []
    for text, twin in pairs:
        spell = ascii if _same_to_the_eye(text, twin) else show
        shown.append(f"{spell(text)} ({places[text]}) and {spell(twin)} ({places[twin]})")
    more = f" and {number - len(shown):,} more" if number > len(shown) else ""
    return (
        f"{column}s that look alike are different text: {', '.join(shown)}{more}; "
        "where they mean the same, give them one spelling"
    )


def _same_to_the_eye(text: str, twin: str) -> bool:
    return unicodedata.normalize("NFC", show(text)) == unicodedata.normalize("NFC", show(twin))
