"""Tables of facts: whole ones, which must be read as they were written, and damaged ones."""

import csv
import io
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st

from benchmarks.fuzz_signs import BYTES, TEXT, mutated
from spillover.errors import SpilloverError
from spillover.knowledge.columns import COLUMNS
from spillover.knowledge.load import load
from spillover.knowledge.patterns import group_table
from tests.knowledge.tables import outcome, reference, spelled

Row = tuple[str, str, str]
"""(subject, relation, answer)"""


@dataclass(frozen=True, kw_only=True)
class _Table:
    rows: list[Row]
    suffix: str
    encoding: str
    end: str
    quoting: Literal[0, 1]
    order: list[int]


_CELLS = TEXT.map(lambda text: text.encode(errors="ignore").decode().replace("\0", "").strip()).filter(
    lambda text: 0 < len(text) <= 10_000
)

_RELATIONS = st.sampled_from(["lives_in", "codes_in", "sp,eaks", 'said "so"', "é\u202e", "ist;"])

_ROWS = st.lists(
    st.tuples(_CELLS, _RELATIONS, _CELLS), min_size=1, max_size=8, unique_by=lambda row: (row[0], row[1])
)

WHOLE = st.builds(
    lambda **parts: _Table(**parts),
    rows=_ROWS,
    suffix=st.sampled_from([".csv", ".tsv", ".jsonl", ".json", ".parquet"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    end=st.sampled_from(["\n", "\r\n"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    order=st.permutations(range(3)),
)


def _bytes_of(table: _Table) -> bytes:
    columns = [COLUMNS[place] for place in table.order]
    rows = [[row[place] for place in table.order] for row in table.rows]
    if table.suffix == ".parquet":
        sink = io.BytesIO()
        pq.write_table(pa.table(dict(zip(columns, map(list, zip(*rows, strict=True)), strict=True))), sink)
        return sink.getvalue()
    text = io.StringIO(newline="")
    if table.suffix in (".csv", ".tsv"):
        sign = "," if table.suffix == ".csv" else "\t"
        # the csv module leaves a lone \\r without quotes
        quoting = csv.QUOTE_ALL if any("\r" in cell for row in rows for cell in row) else table.quoting
        csv.writer(text, delimiter=sign, lineterminator=table.end, quoting=quoting).writerows(
            [columns, *rows]
        )
    else:
        records = [
            json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=len(row[0]) % 2 == 0)
            for row in rows
        ]
        text.write("[" + ",".join(records) + "]" if table.suffix == ".json" else table.end.join(records))
    return text.getvalue().encode(table.encoding)


def read_whole(folder: Path, table: _Table) -> str:
    """Both readers must find its rows, and refuse none."""
    file = folder / f"table{table.suffix}"
    file.write_bytes(_bytes_of(table))
    try:
        kb = load(file)
    except SpilloverError as error:
        return f"refused: {error}"
    if [(t.subject, t.relation, t.answer) for t in kb.triples] != table.rows:
        return "the triples are others"
    return "" if _rows_of(file) == sorted(table.rows) else "the patterns are others"


def _rows_of(file: Path) -> list[Row]:
    patterns = group_table(file)
    said: dict[int, list[tuple[str, str]]] = {}
    for pattern, relation, answer in zip(patterns.pattern, patterns.relation, patterns.answer, strict=True):
        said.setdefault(int(pattern), []).append((patterns.relations[relation], patterns.answers[answer]))
    return sorted(
        (row["subject"], *pair) for row in patterns.members.to_pylist() for pair in said[row["pattern"]]
    )


_GOOD_ROWS: list[Row] = [
    ("Ann", "lives_in", "Peru"),
    ("Bo", "lives_in", "Chad"),
    ("Bo", "codes_in", 'C, "so"'),
    ("É", "lives_in", "Peru"),
]

DAMAGED = st.sampled_from([".csv", ".tsv", ".jsonl", ".json", ".parquet", ".xlsx"]).flatmap(
    lambda suffix: st.tuples(st.just(suffix), mutated(good_table(suffix), BYTES))
)


@cache  # Excel's files hold the time
def good_table(suffix: str) -> bytes:
    """A small table that is whole, as a file of that kind."""
    if suffix == ".xlsx":
        from openpyxl import Workbook

        book, sink = Workbook(), io.BytesIO()
        for row in (COLUMNS, *_GOOD_ROWS):
            book.worksheets[0].append(row)
        book.save(sink)
        return sink.getvalue()
    return _bytes_of(
        _Table(rows=_GOOD_ROWS, suffix=suffix, encoding="utf-8", end="\n", quoting=0, order=[0, 1, 2])
    )


def read_damaged(folder: Path, table: tuple[str, bytes]) -> str:
    """Both readers must say the same of it."""
    file = folder / f"damaged{table[0]}"
    file.write_bytes(table[1])
    fast, careful = outcome(lambda path: spelled(group_table(path)), file), outcome(reference, file)
    if fast != careful:
        return f"the readers differ: {fast!r:.200} and {careful!r:.200}"
    load(file)
    return ""
