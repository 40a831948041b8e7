"""A triples table (CSV, JSONL or Parquet) -> its triples as text, each with its line.

Text tables are read by the standard library, because only it tells on which line a record starts
where cells hold newlines; DuckDB reads Parquet.
"""

import csv
import glob
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import duckdb

from spillover.errors import DataError
from spillover.knowledge.faults import clean, closest, listed, place, read_bytes, read_text, show, suggest
from spillover.knowledge.schema import Triple

COLUMNS = ("subject", "relation", "answer")

_Record = tuple[int, Sequence[str]]
"""A line (of Parquet: a row) and its subject, relation and answer as they stand there."""


def read_table(path: Path) -> Iterator[tuple[int, Triple]]:
    """Every triple of the table with the line it starts on, cells stripped and checked.

    Only the cells are checked here; what they mean together is `read.py`'s to judge.
    """
    read = TABLES.get(path.suffix.lower())
    if read is None:
        raise DataError(
            f"{path}: unknown kind of table {show(path.suffix)}; allowed are {listed(TABLES)}"
            f"{suggest(path.suffix, TABLES)}"
        )
    empty = True
    for line, cells in read(path):
        empty = False
        where = place(path, line)
        subject, relation, answer = (
            clean(cell, column, where) for cell, column in zip(cells, COLUMNS, strict=True)
        )
        yield line, Triple(subject=subject, relation=relation, answer=answer)
    if empty:
        raise DataError(f"{path}: table has columns but no triples; add a row")


def _csv(path: Path) -> Iterator[_Record]:
    records = _csv_records(path)
    line, header = next(records)
    header = [name.strip() for name in header]
    places = _places(header, place(path, line))
    for line, cells in records:
        if len(cells) != len(header):
            raise DataError(
                f"{place(path, line)}: {len(cells)} cells where the header has {len(header)}; "
                "put cells that hold commas in double quotes"
            )
        yield line, [cells[column] for column in places]


def _csv_records(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Records with the line they start on (the reader's own count is the line they end on)."""
    reader = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
    start = 1
    try:
        for cells in reader:
            if cells:
                yield start, cells
            start = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"{place(path, start)}: not readable as CSV ({error}); look for a quote left open"
        ) from None


def _jsonl(path: Path) -> Iterator[_Record]:
    # str.splitlines would also cut at characters that JSON allows inside strings
    for line, text in enumerate(read_text(path).split("\n"), start=1):
        if not text.strip():
            continue
        where = place(path, line)
        try:
            record = json.loads(text, parse_int=str, parse_float=str, parse_constant=str)
        except (ValueError, RecursionError) as error:
            reason = getattr(error, "msg", "nested too deep")
            raise DataError(f"{where}: not readable as JSON ({reason}); write one object per line") from None
        if not isinstance(record, dict):
            raise DataError(f"{where}: got {show(record)}, a line must be an object like {_example()}")
        _places(list(record), where)
        cells = ["" if record[column] is None else record[column] for column in COLUMNS]
        for column, cell in zip(COLUMNS, cells, strict=True):
            if not isinstance(cell, str):
                raise DataError(f"{where}: {column} is {show(cell)}; write text in quotes")
        yield line, cells


def _parquet(path: Path) -> Iterator[_Record]:
    read_bytes(path)  # the same complaints about files that are not there or empty
    # offline and deterministic: extensions that a file name might ask for are neither fetched nor loaded
    options: dict[str, str | bool | int | float | list[str]] = {
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
    }
    table = "read_parquet(?, hive_partitioning=false)"
    name = [glob.escape(str(path.absolute()))]
    try:
        with duckdb.connect(config=options) as connection:
            described = connection.execute(f"DESCRIBE SELECT * FROM {table}", name).fetchall()  # noqa: S608
            types = {column: kind for column, kind, *_ in described}
            _places(list(types), str(path))
            for column in COLUMNS:
                if types[column].endswith("]") or types[column].startswith(
                    ("STRUCT", "MAP", "UNION", "BLOB")
                ):
                    raise DataError(f"{path}: column {column!r} holds {types[column]}; write it as text")
            texts = ", ".join(f"coalesce(CAST({column} AS VARCHAR), '')" for column in COLUMNS)
            rows = connection.execute(f"SELECT {texts} FROM {table}", name)  # noqa: S608
            read = 0
            while batch := rows.fetchmany(10_000):
                yield from enumerate(batch, start=read + 1)
                read += len(batch)
    except duckdb.Error as error:
        reason = str(error).strip().partition("\n")[0]
        raise DataError(f"{path}: not readable as Parquet ({reason}); write the table again") from None


def _places(found: list[str], where: str) -> list[int]:
    """Where the three columns stand among the found ones."""
    for column in COLUMNS:
        if found.count(column) > 1:
            raise DataError(f"{where}: column {column!r} stands there {found.count(column)} times; keep one")
    missing = [column for column in COLUMNS if column not in found]
    if missing:
        others = [name for name in found if name not in COLUMNS]
        meant = next(((column, near) for column in missing if (near := closest(column, others))), None)
        hint = (
            "; did you mean {!r} by {!r}?".format(*meant)
            if meant
            else f"; a table needs {', '.join(COLUMNS)}"
        )
        raise DataError(
            f"{where}: missing column {', '.join(map(repr, missing))}, got {listed(map(show, found))}{hint}"
        )
    return [found.index(column) for column in COLUMNS]


def _example() -> str:
    return json.dumps(dict.fromkeys(COLUMNS, "..."))


TABLES = {".csv": _csv, ".jsonl": _jsonl, ".parquet": _parquet}
"""Reader by file suffix."""
