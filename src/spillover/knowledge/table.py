"""A triples table (CSV, TSV, JSONL, JSON, Parquet or Excel) -> its triples as text, each with its line.

Text tables are read by the standard library, because only it tells on which line a record starts where cells
hold newlines; DuckDB reads Parquet, openpyxl Excel. Never is more than one record held. `bulk.py` reads
tables that are beyond doubt faster, and leaves all others to this.

What is not as it should be and yet beyond doubt, such as a header with capitals, is read, and `say` is told.
"""

import csv
import glob
import io
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import duckdb

from spillover.errors import DataError
from spillover.knowledge.columns import COLUMNS, LONGEST_RECORD, Record, Say, find_columns, too_long
from spillover.knowledge.encoding import encoding_of
from spillover.knowledge.excel import read_book
from spillover.knowledge.faults import clean, listed, opened, place, show, suggest
from spillover.knowledge.json_table import read_array, read_lines
from spillover.knowledge.schema import Triple

OFFLINE: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
}
"""Settings of DuckDB: extensions that a file name might ask for are neither fetched nor loaded."""

_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}


def read_triples(path: Path, say: Say = lambda _: None) -> Iterator[tuple[int, Triple]]:
    """Every triple of the table with the line it starts on, cells stripped and checked.

    Only the cells are checked here; what they mean together is `load.py`'s to judge.
    """
    read = TABLES.get(path.suffix.lower())
    if read is None:
        raise DataError(
            f"{path}: unknown kind of table {show(path.suffix)}; allowed are {listed(TABLES)}"
            f"{suggest(path.suffix, TABLES)}"
        )
    empty = True
    for line, cells in read(path, say):
        empty = False
        where = place(path, line)
        subject, relation, answer = (
            clean(cell, column, where) for cell, column in zip(cells, COLUMNS, strict=True)
        )
        yield line, Triple(subject=subject, relation=relation, answer=answer)
    if empty:
        raise DataError(f"{path}: table has columns but no triples; add a row")


def _separated(path: Path, say: Say, *, usual: str) -> Iterator[Record]:
    """CSV with the usual separator, or with another if only that one gives the three columns."""
    encoding = encoding_of(path, say)
    signs = (sign for sign in (usual, *_SEPARATORS) if _has_columns(path, encoding, sign))
    separator = next(signs, usual)
    if separator != usual:
        say(f"{path}: columns are separated by {_SEPARATORS[separator]}")
    records = csv_records(path, encoding, separator)
    line, header = next(records, (1, []))
    header = [name.strip() for name in header]
    places = find_columns(header, place(path, line), say)
    for line, cells in records:
        if len(cells) != len(header):
            raise DataError(
                f"{place(path, line)}: {len(cells)} cells where the header has {len(header)}; "
                f"put cells that hold {_SEPARATORS[separator]} in double quotes"
            )
        yield line, [cells[column] for column in places]


def _has_columns(path: Path, encoding: str, separator: str) -> bool:
    try:
        _, header = next(csv_records(path, encoding, separator), (1, []))
        return bool(find_columns([name.strip() for name in header], "", lambda _: None))
    except DataError:
        return False


def csv_records(path: Path, encoding: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    """Records with the line they start on (the reader's own count is the line they end on)."""
    start, room = 1, LONGEST_RECORD

    def lines(text: io.TextIOWrapper) -> Iterator[str]:
        nonlocal room
        while line := text.readline(room + 1):
            room -= len(line)
            yield line

    with io.TextIOWrapper(opened(path), encoding, newline="") as text:
        reader = csv.reader(lines(text), strict=True, delimiter=separator)
        try:
            for cells in reader:
                if room < 0:
                    raise too_long(place(path, start))
                if cells:
                    yield start, cells
                start, room = reader.line_num + 1, LONGEST_RECORD
        except csv.Error as error:
            if room < 0:
                raise too_long(place(path, start)) from None
            raise DataError(
                f"{place(path, start)}: not readable as CSV ({error}); look for a quote left open"
            ) from None


def _parquet(path: Path, say: Say) -> Iterator[Record]:
    opened(path).close()  # the same complaints about files that are not there or empty
    try:
        with duckdb.connect(config=OFFLINE) as connection:
            rows = connection.execute(*select_parquet(connection, path, say))
            while batch := rows.fetchmany(10_000):
                yield from ((line, cells) for line, *cells in batch)
    except duckdb.Error as error:
        reason = str(error).strip().partition("\n")[0]
        raise DataError(f"{path}: not readable as Parquet ({reason}); write the table again") from None


def select_parquet(connection: duckdb.DuckDBPyConnection, path: Path, say: Say) -> tuple[str, list[str]]:
    """A query for the row numbers, from 1 up, and the three columns as text, and its parameters.

    Raises DataError where a column is missing or holds no text, and duckdb.Error.
    """
    table = "read_parquet(?, hive_partitioning=false)"
    name = [glob.escape(str(path.absolute()))]
    described = connection.execute(f"DESCRIBE SELECT * FROM {table}", name).fetchall()  # noqa: S608
    types = {column: kind for column, kind, *_ in described}
    names = [list(types)[number] for number in find_columns(list(types), str(path), say)]
    for column in names:
        if types[column].endswith("]") or types[column].startswith(("STRUCT", "MAP", "UNION", "BLOB")):
            raise DataError(f"{path}: column {column!r} holds {types[column]}; write it as text")
    quoted = ['"{}"'.format(column.replace('"', '""')) for column in names]
    texts = ", ".join(
        f"coalesce(CAST({name} AS VARCHAR), '') AS {column}"
        for name, column in zip(quoted, COLUMNS, strict=True)
    )
    return f"SELECT row_number() OVER () AS line, {texts} FROM {table}", name  # noqa: S608


TABLES: dict[str, Callable[[Path, Say], Iterator[Record]]] = {
    ".csv": partial(_separated, usual=","),
    ".tsv": partial(_separated, usual="\t"),
    ".jsonl": read_lines,
    ".json": read_array,
    ".parquet": _parquet,
    ".xlsx": read_book,
}
"""Reader by file suffix."""
