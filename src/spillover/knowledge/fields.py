"""The fields of a record that was read from JSON, a table or Parquet, each of the type that its format has.

Every fault is a DataError of one line that begins with the record's place.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from spillover.errors import DataError
from spillover.knowledge.faults import clean, listed, show

Entry = Mapping[str, Any]


def value_of(entry: Entry, name: str, place: str) -> Any:
    """What stands in the field, which must be there."""
    if entry.get(name) is None:
        raise DataError(f"{place}: there is no {name}, only {listed(map(show, entry)) or 'nothing'}; add it")
    return entry[name]


def text_of(entry: Entry, name: str, place: str) -> str:
    """A field's text, which must hold some; white space around it is left out."""
    value = value_of(entry, name, place)
    if not isinstance(value, str):
        raise DataError(f"{place}: {name} is {show(value)}; write text in quotes")
    return clean(value, name, place)


def texts_of(entry: Entry, name: str, place: str) -> tuple[str, ...]:
    """A field's texts: a list, or in a table a JSON list as text; none where the field is not there."""
    value = entry.get(name)
    if isinstance(value, str):
        with suppress(ValueError, RecursionError):
            value = json.loads(value)
    if not isinstance(value, list | None) or not all(isinstance(each, str) for each in value or ()):
        raise DataError(f"{place}: {name} is {show(value)}; it must be a list of texts")
    return tuple(clean(each, name, place) for each in value or () if each.strip())


def entry_of(entry: Entry, name: str, place: str) -> Entry:
    """A field's object."""
    value = value_of(entry, name, place)
    if not isinstance(value, dict):
        raise DataError(f"{place}: {name} is {show(value)}; it must be an object")
    return value


def entries_of(entry: Entry, name: str, place: str) -> list[Entry]:
    """A field's objects; none where the field is not there."""
    value = entry.get(name) or []
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise DataError(f"{place}: {name} is {show(value)}; it must be a list of objects")
    return value
