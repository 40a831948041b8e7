"""Triples by the million -> one table of DuckDB, on disk where memory ends.

Only text whose lines are records beyond doubt is split by DuckDB; a table with anything else in it is read by
`table.py`, which also words every fault of a cell.
"""

import codecs
import csv
import json
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from spillover.errors import DataError
from spillover.knowledge.columns import COLUMNS, find_columns
from spillover.knowledge.faults import LONGEST_CELL, opened
from spillover.knowledge.schema import Triple
from spillover.knowledge.table import OFFLINE, select_parquet

_MEMORY = "1GB"  # DuckDB's share; beyond it, it writes to its temporary folder
_BLOCK = 1 << 22  # bytes of a text table handed to DuckDB at once
_LONGEST_LINE = 100_000  # bytes; below the csv module's limit of a cell
_WHITE = (
    "\t\n\v\f\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009"
)
_WHITE += "\u200a\u2028\u2029\u202f\u205f\u3000"  # what str.strip takes away


@contextmanager
def database() -> Iterator[duckdb.DuckDBPyConnection]:
    """DuckDB with an empty table `triples`, in memory and in a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="spillover-") as folder:
        settings = OFFLINE | {"memory_limit": _MEMORY, "temp_directory": folder}
        with duckdb.connect(config=settings) as connection:
            connection.execute("SET enable_progress_bar = false")
            columns = ", ".join(f"{column} VARCHAR" for column in COLUMNS)
            connection.execute(f"CREATE TEMP TABLE triples (line BIGINT, {columns})")
            yield connection


def fill(connection: duckdb.DuckDBPyConnection, numbered: Iterable[tuple[int, Triple]]) -> DataError | None:
    """Put triples into the table; the fault at which they ended, if they did not end well."""
    fault: DataError | None = None

    def rows() -> Iterator[tuple[int, str, str, str]]:
        nonlocal fault
        try:
            for line, triple in numbered:
                yield line, triple.subject, triple.relation, triple.answer
        except DataError as error:
            fault = error

    rest = rows()
    while chunk := list(islice(rest, 100_000)):
        batch = pa.table(dict(zip(("line", *COLUMNS), map(list, zip(*chunk, strict=True)), strict=True)))
        connection.register("batch", batch)
        connection.execute("INSERT INTO triples FROM batch")
        connection.unregister("batch")
    return fault


def fill_if_plain(connection: duckdb.DuckDBPyConnection, file: Path) -> bool:
    """Put a file's triples into the table, if it is beyond doubt how it is to be read and that no cell has a
    fault.
    """
    reader = {".csv": _fill_from_lines, ".jsonl": _fill_from_lines, ".parquet": _fill_from_parquet}.get(
        file.suffix.lower()
    )
    if reader is None:
        return False
    try:
        reader(connection, file)
    # whatever it is, the careful reader knows its name and line
    except (DataError, duckdb.Error, csv.Error, ValueError, RecursionError):
        return False  # the failed insertion has left nothing behind
    return bool(connection.execute("SELECT count(*) FROM triples").fetchall()[0][0])


def _doubt(notice: str) -> None:
    """What the user must be told of is the careful reader's to tell."""
    raise ValueError(notice)


def _fill_from_parquet(connection: duckdb.DuckDBPyConnection, file: Path) -> None:
    _insert(connection, *select_parquet(connection, file, _doubt))


def _insert(connection: duckdb.DuckDBPyConnection, query: str, parameters: Sequence[str] = ()) -> None:
    """What the query gives, stripped as by str.strip; duckdb.Error at a cell that may have a fault."""
    # trim is slow, so cells with plain ends pass by it
    stripped = ", ".join(
        f"CASE WHEN {cell} BETWEEN '!' AND '~' AND {cell}[-1] BETWEEN '!' AND '~' THEN {cell} "
        f"ELSE trim({cell}, '{_WHITE}') END AS {cell}"
        for cell in COLUMNS
    )
    sound = " AND ".join(
        f"strlen({cell}) BETWEEN 1 AND {LONGEST_CELL} AND NOT contains({cell}, chr(0))" for cell in COLUMNS
    )
    connection.execute(
        f"INSERT INTO triples SELECT CASE WHEN {sound} THEN line ELSE error('in doubt') END, "  # noqa: S608
        f"{', '.join(COLUMNS)} FROM (SELECT line, {stripped} FROM ({query}))",
        list(parameters),
    )


def _fill_from_lines(connection: duckdb.DuckDBPyConnection, file: Path) -> None:
    """Raises ValueError and others for what is in doubt; NULL cells stand for lines that are."""
    is_csv = file.suffix.lower() == ".csv"
    blocks = _blocks(file)
    block = next(blocks)
    start = len(block) - len(block.lstrip(b"\n"))
    end = block.index(b"\n", start) + 1
    query = (_csv_query if is_csv else _jsonl_query)(block[start:end].decode())
    number = start + 1 + is_csv

    def batches() -> Iterator[pa.RecordBatch]:
        nonlocal number
        part = block[end if is_csv else start :]
        while part is not None:
            lines = _lines(part, number, b"," if is_csv else b"\n")
            yield lines
            number += len(lines)
            part = next(blocks, None)

    schema = pa.schema([("line", pa.int64()), ("text", pa.string())])
    connection.register("lines", pa.RecordBatchReader.from_batches(schema, batches()))
    try:
        _insert(connection, query)
    finally:
        connection.unregister("lines")


def _blocks(path: Path) -> Iterator[bytes]:
    """The file in blocks of whole lines, ends of lines as \\n; ValueError where they are in doubt."""
    with opened(path) as file:
        file.seek(3 if file.peek(3).startswith(codecs.BOM_UTF8) else 0)
        rest = b""
        while block := file.read(_BLOCK):
            cut = block.rfind(b"\n") + 1
            if not cut:
                raise ValueError("a line is too long")
            yield _checked(rest + block[:cut])
            rest = block[cut:]
        if rest:
            yield _checked(rest + b"\n")


def _checked(block: bytes) -> bytes:
    if b"\r" in block:
        block = block.replace(b"\r\n", b"\n")
    if b"\r" in block:
        raise ValueError("the csv module ends lines here")
    block.decode()
    return block


def _lines(block: bytes, number: int, end: bytes) -> pa.RecordBatch:
    """The block's lines, the first of which has the number, each with `end` behind it."""
    offsets = np.flatnonzero(np.frombuffer(block, np.uint8) == ord("\n")) + 1
    offsets = np.concatenate([[0], offsets]).astype(np.int32)
    if np.diff(offsets).max(initial=0) > _LONGEST_LINE:
        raise ValueError("a line is too long")
    lines = len(offsets) - 1
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(block.replace(b"\n", end))]
    text = pa.Array.from_buffers(pa.string(), lines, buffers)
    return pa.record_batch({"line": pa.array(np.arange(number, number + lines)), "text": text})


def _csv_query(line: str) -> str:
    """A query of `lines`, each of which ends with a comma, for a table whose header is the line."""
    header = [name.strip() for name in next(csv.reader([line], strict=True))]
    places = find_columns(header, "", _doubt)
    cell = '"(?:[^"]|"")*"|[^",]*'
    pattern = "".join(f"({cell})," if column in COLUMNS else f"(?:{cell})," for column in header)
    names = [column for column in header if column in COLUMNS]
    cells = ", ".join(
        f"CASE WHEN quoted IS NULL THEN CASE WHEN len(plain) = {len(header) + 1} THEN plain[{number + 1}] "
        f"END WHEN starts_with(quoted.{name}, '\"') THEN replace(quoted.{name}[2:-2], '\"\"', '\"') "
        f"ELSE quoted.{name} END AS {name}"
        for name, number in zip(COLUMNS, places, strict=True)
    )
    # the expression matches a line as a whole or gives three empty cells, which are a fault
    return f"""
        SELECT line, {cells} FROM (
            SELECT line, string_split(text, ',') AS plain,
                CASE WHEN contains(text, '"') THEN regexp_extract(text, '^{pattern}$', {names}) END AS quoted
            FROM lines WHERE text <> ','
        )"""  # noqa: S608


def _jsonl_query(line: str) -> str:
    """A query of `lines` for a table whose first record is the line: three plain texts, in its order."""
    names = list(json.loads(line))
    if sorted(names) != sorted(COLUMNS):
        raise ValueError("there are other keys")
    gap = "[ \\t\\n]*"
    items = ",".join(f'{gap}"{name}"{gap}:{gap}"([^"\\\\\\x00-\\x1f]*)"{gap}' for name in names)
    cells = ", ".join(f"cells.{name} AS {name}" for name in COLUMNS)
    return f"""
        SELECT line, {cells} FROM (
            SELECT line, regexp_extract(text, '^{gap}\\{{{items}\\}}{gap}$', {names}) AS cells
            FROM lines WHERE text <> chr(10)
        )"""  # noqa: S608
