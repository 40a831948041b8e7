"""JSON tables: an object on each line, or one array of objects."""

import io
import json
from collections.abc import Callable, Iterator
from functools import partial
from json.decoder import WHITESPACE  # pyright: ignore[reportAttributeAccessIssue]
from pathlib import Path
from typing import Any

from spillover.errors import DataError
from spillover.knowledge.columns import COLUMNS, LONGEST_RECORD, Record, Say, find_columns, too_long
from spillover.knowledge.encoding import open_text
from spillover.knowledge.faults import place, show

_JSON = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=str)
"""Numbers stay the text they are."""

_PIECE = 1 << 16  # characters read at once

_EXAMPLE = json.dumps(dict.fromkeys(COLUMNS, "..."))


def read_lines(path: Path, say: Say) -> Iterator[Record]:
    """The objects of a JSONL file with their lines."""
    cells = _Cells(say)
    # JSON allows the other line ends inside strings
    with open_text(path, say, newline="\n") as text:
        lines = iter(lambda: text.readline(LONGEST_RECORD + 1), "")
        for line, record in enumerate(lines, start=1):
            if len(record) > LONGEST_RECORD:
                raise too_long(place(path, line))
            if record.strip():
                where = place(path, line)
                try:
                    found = _JSON.decode(record)
                except (ValueError, RecursionError) as error:
                    raise DataError(_unreadable(where, error, "write one object per line")) from None
                yield line, cells.of(found, where, "a line")


def read_array(path: Path, say: Say) -> Iterator[Record]:
    """The objects of an array, counted from 1 up."""
    cells = _Cells(say)
    for row, found in array_values(path, say, _EXAMPLE, partial(place, path), _JSON):
        yield row, cells.of(found, place(path, row), "an entry")


def array_values(
    path: Path, say: Say, example: str, where: Callable[[int], str], decoder: json.JSONDecoder
) -> Iterator[tuple[int, Any]]:
    """The values of an array, counted from 1 up, of which never more than one is held.

    Complaints show an `example` of a value, and say by `where` which one is wrong. Raises DataError for what
    is no array.
    """
    row = 0
    with open_text(path, say) as text:
        rest = _Rest(text, decoder)
        if not rest.skip("["):
            raise DataError(
                f"{path}: not a JSON array; write [{example}, ...], "
                "or give a file with one object per line the suffix .jsonl"
            )
        while not rest.skip("]"):
            row += 1
            if row > 1 and not rest.skip(","):
                raise DataError(
                    f"{where(row)}: not readable as JSON (no comma before it); put one between objects"
                )
            yield row, rest.value(where(row))
        if rest.peek():
            raise DataError(f"{path}: not readable as JSON (text behind the array); remove it")


class _Cells:
    """Objects to cells; the columns are looked for once for each set of keys."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._names: dict[tuple[str, ...], list[str]] = {}

    def of(self, record: Any, where: str, what: str) -> list[str]:
        """The object's cells. Raises DataError where it is none, lacks one, or one is not a text."""
        if not isinstance(record, dict):
            raise DataError(f"{where}: got {show(record)}, {what} must be an object like {_EXAMPLE}")
        keys = tuple(record)
        if (names := self._names.get(keys)) is None:
            names = [keys[number] for number in find_columns(keys, where, self._say_once)]
            if len(self._names) < 1000:
                self._names[keys] = names
        cells = ["" if record[name] is None else record[name] for name in names]
        for column, cell in zip(COLUMNS, cells, strict=True):
            if not isinstance(cell, str):
                raise DataError(f"{where}: {column} is {show(cell)}; write text in quotes")
        return cells

    def _say_once(self, line: str) -> None:
        self._say(line)
        self._say = lambda _: None  # the first object speaks for all


class _Rest:
    """What is left of a text, of which never more is held than a record and a piece."""

    def __init__(self, text: io.TextIOWrapper, decoder: json.JSONDecoder) -> None:
        self._text, self._held, self._at, self._decoder = text, "", 0, decoder

    def peek(self) -> str:
        """The next sign that is no white space, empty at the end."""
        while True:
            self._at = WHITESPACE.match(self._held, self._at).end()
            if self._at < len(self._held) or not self._more(_PIECE):
                return self._held[self._at : self._at + 1]

    def skip(self, sign: str) -> bool:
        """Whether the next sign was this one, which is now behind."""
        there = self.peek() == sign
        self._at += there
        return there

    def value(self, where: str) -> Any:
        """The next value. Raises DataError where there is none."""
        self.peek()
        while True:
            try:
                found, self._at = self._decoder.raw_decode(self._held, self._at)
            except RecursionError as error:
                raise DataError(_unreadable(where, error, "write plain objects")) from None
            except ValueError as error:  # it may be that its end is not held yet
                left = len(self._held) - self._at
                if left > LONGEST_RECORD:
                    raise too_long(where) from None
                if not self._more(max(left, _PIECE)):
                    raise DataError(_unreadable(where, error, "mend the syntax")) from None
            else:
                return found

    def _more(self, signs: int) -> bool:
        more = self._text.read(signs)
        self._held, self._at = self._held[self._at :] + more, 0
        return bool(more)


def _unreadable(where: str, error: Exception, cure: str) -> str:
    return f"{where}: not readable as JSON ({getattr(error, 'msg', 'nested too deep')}); {cure}"
