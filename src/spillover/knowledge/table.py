"""A triples table (CSV, JSONL or Parquet) -> its triples as text, each with its line.

Text tables are read by the standard library, because only it tells on which line a record starts
where cells hold newlines; DuckDB reads Parquet. Never is more than one record held. `patterns.py` reads
tables that are beyond doubt faster, and leaves all others to this.
"""

import codecs
import csv
import glob
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import duckdb

from spillover.errors import DataError
from spillover.knowledge.faults import clean, closest, listed, not_utf8, opened, place, show, suggest
from spillover.knowledge.schema import Triple

COLUMNS = ("subject", "relation", "answer")

LONGEST_RECORD = 1 << 22
"""Characters a record may hold; more is no table, and is not read into memory to find out."""

OFFLINE: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
}
"""Settings of DuckDB: extensions that a file name might ask for are neither fetched nor loaded."""

_JSON = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=str)
"""Numbers stay the text they are."""

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
    line, header = next(records, (1, []))
    header = [name.strip() for name in header]
    places = find_columns(header, place(path, line))
    for line, cells in records:
        if len(cells) != len(header):
            raise DataError(
                f"{place(path, line)}: {len(cells)} cells where the header has {len(header)}; "
                "put cells that hold commas in double quotes"
            )
        yield line, [cells[column] for column in places]


def _csv_records(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Records with the line they start on (the reader's own count is the line they end on)."""
    start, room = 1, LONGEST_RECORD

    def lines(text: io.TextIOWrapper) -> Iterator[str]:
        nonlocal room
        while line := text.readline(room + 1):
            room -= len(line)
            yield line

    with _text(path, newline="") as text:
        reader = csv.reader(lines(text), strict=True)
        try:
            for cells in reader:
                if room < 0:
                    raise DataError(_too_long(path, start))
                if cells:
                    yield start, cells
                start, room = reader.line_num + 1, LONGEST_RECORD
        except csv.Error as error:
            if room < 0:
                raise DataError(_too_long(path, start)) from None
            raise DataError(
                f"{place(path, start)}: not readable as CSV ({error}); look for a quote left open"
            ) from None
        except UnicodeDecodeError:
            raise DataError(_where_not_utf8(path)) from None


def _text(path: Path, newline: str) -> io.TextIOWrapper:
    return io.TextIOWrapper(opened(path), "utf-8-sig", newline=newline)


def _too_long(path: Path, line: int) -> str:
    return (
        f"{place(path, line)}: record has more than {LONGEST_RECORD:,} characters; "
        "shorten it or look for a quote left open"
    )


def _where_not_utf8(path: Path) -> str:
    """The complaint, found by reading anew: the text layer tells neither line nor place in the file."""
    decoder, line = codecs.getincrementaldecoder("utf-8")(), 1
    with opened(path) as file:
        try:
            while block := file.read(1 << 20):
                decoder.decode(block)
                line += block.count(b"\n")
            decoder.decode(b"", final=True)
        except UnicodeDecodeError as error:
            return not_utf8(path, error, line + error.object.count(b"\n", 0, error.start))
    raise DataError(f"{path}: file changed while it was read; read it again")


def _jsonl(path: Path) -> Iterator[_Record]:
    try:
        with _text(path, newline="\n") as text:  # JSON allows the other line ends inside strings
            lines = iter(lambda: text.readline(LONGEST_RECORD + 1), "")
            for line, record in enumerate(lines, start=1):
                if len(record) > LONGEST_RECORD:
                    raise DataError(_too_long(path, line))
                if record.strip():
                    yield line, _json_cells(record, place(path, line))
    except UnicodeDecodeError:
        raise DataError(_where_not_utf8(path)) from None


def _json_cells(text: str, where: str) -> list[str]:
    try:
        record = _JSON.decode(text)
    except (ValueError, RecursionError) as error:
        reason = getattr(error, "msg", "nested too deep")
        raise DataError(f"{where}: not readable as JSON ({reason}); write one object per line") from None
    if not isinstance(record, dict):
        raise DataError(f"{where}: got {show(record)}, a line must be an object like {_example()}")
    find_columns(list(record), where)
    cells = ["" if record[column] is None else record[column] for column in COLUMNS]
    for column, cell in zip(COLUMNS, cells, strict=True):
        if not isinstance(cell, str):
            raise DataError(f"{where}: {column} is {show(cell)}; write text in quotes")
    return cells


def _parquet(path: Path) -> Iterator[_Record]:
    opened(path).close()  # the same complaints about files that are not there or empty
    try:
        with duckdb.connect(config=OFFLINE) as connection:
            rows = connection.execute(*select_parquet(connection, path))
            while batch := rows.fetchmany(10_000):
                yield from ((line, cells) for line, *cells in batch)
    except duckdb.Error as error:
        reason = str(error).strip().partition("\n")[0]
        raise DataError(f"{path}: not readable as Parquet ({reason}); write the table again") from None


def select_parquet(connection: duckdb.DuckDBPyConnection, path: Path) -> tuple[str, list[str]]:
    """A query for the row numbers, from 1 up, and the three columns as text, and its parameters.

    Raises DataError where a column is missing or holds no text, and duckdb.Error.
    """
    table = "read_parquet(?, hive_partitioning=false)"
    name = [glob.escape(str(path.absolute()))]
    described = connection.execute(f"DESCRIBE SELECT * FROM {table}", name).fetchall()  # noqa: S608
    types = {column: kind for column, kind, *_ in described}
    find_columns(list(types), str(path))
    for column in COLUMNS:
        if types[column].endswith("]") or types[column].startswith(("STRUCT", "MAP", "UNION", "BLOB")):
            raise DataError(f"{path}: column {column!r} holds {types[column]}; write it as text")
    texts = ", ".join(f"coalesce(CAST({column} AS VARCHAR), '') AS {column}" for column in COLUMNS)
    return f"SELECT row_number() OVER () AS line, {texts} FROM {table}", name  # noqa: S608


def find_columns(found: list[str], where: str) -> list[int]:
    """(3,), where the three columns stand among the found ones. Raises DataError where one is not there."""
    for column in COLUMNS:
        if found.count(column) > 1:
            raise DataError(f"{where}: column {column!r} stands there {found.count(column)} times; keep one")
    missing = [column for column in COLUMNS if column not in found]
    if missing:
        others = [name for name in found[:1000] if name not in COLUMNS]
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
