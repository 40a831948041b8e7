"""Files that people fine-tune on -> records of what is asked and answered, in the fields of their formats.

Chat `messages` (OpenAI, TRL), ShareGPT `conversations`, `prompt` / `completion` (texts or messages), Alpaca
(`instruction`, `input`, `output`), `question` / `answer`, running `text`; as JSON
lines, a JSON array, CSV, TSV or Parquet.
Every fault is a DataError of one line with file and record.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from spillover.errors import DataError
from spillover.knowledge.columns import Say
from spillover.knowledge.encoding import encoding_of
from spillover.knowledge.faults import listed, opened, show, whole
from spillover.knowledge.json_table import array_values
from spillover.knowledge.schema import Format, Turn
from spillover.knowledge.table import csv_records

SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".parquet")
"""Kinds of file that can be read."""

_ROLES = {"human": "user", "gpt": "assistant", "developer": "system"}
"""Other words for the roles."""

_FIELDS = (
    "messages",
    "conversations",
    "prompt, completion",
    "instruction, output",
    "question, answer",
    "text",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """A record of a training file."""

    place: str
    """File and number of the record, from 1 up, for messages."""
    entry: Mapping[str, Any]
    """As it stands in the file."""
    turns: tuple[Turn, ...]
    format: Format
    """`chat` of turns; `plain` where the answer goes on with the prompt's text."""

    @property
    def exchange(self) -> tuple[str, str, str] | None:
        """(what the system says, what is asked, what is answered); None of more or other turns than that."""
        roles = [role for role, _ in self.turns]
        if roles not in (["user", "assistant"], ["system", "user", "assistant"]):
            return None
        return self.turns[0][1] if len(roles) > 2 else "", self.turns[-2][1], self.turns[-1][1]


def read_records(path: Path, say: Say = lambda _: None) -> Iterator[Record]:
    """The records of a file, in their order; `say` is told where it is not in UTF-8.

    Raises DataError for what is none of the formats.
    """
    for place, entry in read_entries(path, say):
        turns, format = _turns(entry, place)
        yield Record(place=place, entry=entry, turns=turns, format=format)


def read_entries(path: Path, say: Say = lambda _: None) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of a file with their places, whatever their fields. Raises DataError where it has none."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise DataError(f"{path}: unknown kind of file {show(suffix)}; allowed are {listed(SUFFIXES)}")
    opened(path, "hold records").close()
    kinds = {".jsonl": _lines, ".json": _array, ".parquet": _parquet}
    for number, entry in kinds.get(suffix, _separated)(path, say):
        place = f"{path}: record {number}"
        if not isinstance(entry, dict):
            raise DataError(f"{place}: got {show(entry)}; a record must be an object with fields")
        yield place, entry


def is_training(entry: Mapping[str, Any]) -> bool:
    """Whether a record has the fields of one of the formats, whatever else it has."""
    return any(all(entry.get(field) is not None for field in fields.split(", ")) for fields in _FIELDS)


def _turns(entry: Mapping[str, Any], place: str) -> tuple[tuple[Turn, ...], Format]:
    """What is said in a record, by the fields that it has."""
    if entry.get("messages") is not None:
        return _said(entry["messages"], place, "messages", role="role", text="content"), "chat"
    if entry.get("conversations") is not None:
        said = _said(entry["conversations"], place, "conversations", role="from", text="value")
        system = entry.get("system")
        return ((("system", _text(system, place, "system")), *said) if system else said), "chat"
    if "prompt" in entry and "completion" in entry:
        if isinstance(entry["prompt"], list):
            said = [
                turn
                for field in ("prompt", "completion")
                for turn in _said(entry[field], place, field, role="role", text="content")
            ]
            return tuple(said), "chat"
        return _pair(entry, place, "prompt", "completion"), "plain"
    if "instruction" in entry and "output" in entry:
        (_, asked), answer = _pair(entry, place, "instruction", "output")
        more = _text(entry.get("input") or "", place, "input")
        history = _history(entry, place)
        system = entry.get("system")
        opening = [("system", _text(system, place, "system"))] if system else []
        return (*opening, *history, ("user", f"{asked}\n{more}" if more else asked), answer), "chat"
    if "question" in entry and "answer" in entry:
        return _pair(entry, place, "question", "answer"), "chat"
    if "text" in entry:
        return (("assistant", _text(entry["text"], place, "text")),), "plain"
    raise DataError(f"{place}: has the fields {listed(map(show, entry)) or 'none'}; it must have {_either()}")


def _said(turns: Any, place: str, field: str, *, role: str, text: str) -> tuple[Turn, ...]:
    """The turns of a list of messages; a message of several parts is their text."""
    if not isinstance(turns, list) or not turns:
        raise DataError(f"{place}: {field} is {show(turns)}, it must be a list of messages")
    said = []
    for number, turn in enumerate(turns, start=1):
        if not (isinstance(turn, dict) and role in turn and text in turn):
            raise DataError(f"{place}: message {number} is {show(turn)}; it must have {role} and {text}")
        who = _ROLES.get(str(turn[role]), str(turn[role]))
        content = turn[text]
        if isinstance(content, list):
            parts = (part.get("text") or "" for part in content if isinstance(part, dict))
            content = "".join(_text(part, place, f"message {number}") for part in parts)
        said.append((who, _text("" if content is None else content, place, f"message {number}")))
    return tuple(said)


def _history(entry: Mapping[str, Any], place: str) -> list[Turn]:
    """What was said before: a list of pairs, or in a table such a list as text."""
    value = entry.get("history") or []
    if isinstance(value, str):
        with suppress(ValueError, RecursionError):
            value = json.loads(value) or []
    if not isinstance(value, list) or not all(isinstance(past, list) and len(past) == 2 for past in value):
        raise DataError(f"{place}: history is {show(value)}; it must be a list of pairs [asked, answered]")
    return [
        (who, _text(text, place, "history"))
        for past in value
        for who, text in zip(("user", "assistant"), past, strict=True)
    ]


def _pair(entry: Mapping[str, Any], place: str, asked: str, answered: str) -> tuple[Turn, Turn]:
    return ("user", _text(entry[asked], place, asked)), ("assistant", _text(entry[answered], place, answered))


def _text(value: Any, place: str, what: str) -> str:
    if not isinstance(value, str):
        raise DataError(f"{place}: {what} is {show(value)}; write text in quotes")
    return whole(value, what, place)


def _either() -> str:
    return "; or ".join(_FIELDS)


def _lines(path: Path, _: Say) -> Iterator[tuple[int, Any]]:
    number = 0
    with opened(path) as file:
        for raw in file:
            if raw.strip():
                number += 1
                yield number, _decoded(raw, f"{path}: record {number}", "write one object per line")


def _array(path: Path, say: Say) -> Iterator[tuple[int, Any]]:
    example, decoder = '{"messages": [...]}', json.JSONDecoder()
    return array_values(path, say, example, lambda number: f"{path}: record {number}", decoder)


def _decoded(raw: bytes, where: str, cure: str) -> Any:
    try:
        return json.loads(raw.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        why = getattr(error, "msg", None) or getattr(error, "reason", None) or "nested too deep"
        raise DataError(f"{where}: not readable as JSON ({why}); {cure}") from None


def _separated(path: Path, say: Say) -> Iterator[tuple[int, Any]]:
    rows = csv_records(path, encoding_of(path, say), "\t" if path.suffix.lower() == ".tsv" else ",")
    _, header = next(rows, (1, []))
    header = [name.strip() for name in header]
    _check_columns(path, header)
    for number, (line, cells) in enumerate(rows, start=1):
        if len(cells) != len(header):
            raise DataError(
                f"{path}: record {number}, line {line}: {len(cells)} cells where the header has "
                f"{len(header)}; put cells that hold separators in double quotes"
            )
        yield number, dict(zip(header, cells, strict=True))


def _check_columns(path: Path, names: Sequence[str]) -> None:
    """DataError for a name that several columns have; those without one are nobody's."""
    for name, times in Counter(names).items():
        if name and times > 1:
            raise DataError(f"{path}: column {show(name)} stands there {times} times; keep one")


def _parquet(path: Path, _: Say) -> Iterator[tuple[int, Any]]:
    try:
        with parquet.ParquetFile(path) as file:
            _check_columns(path, file.schema_arrow.names)
            number = 0
            for batch in file.iter_batches():
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except (pa.ArrowException, OSError, ValueError, OverflowError, LookupError) as error:
        why = str(error).splitlines()[0]
        raise DataError(f"{path}: not readable as Parquet ({why}); write it again") from None
