"""A table of triples by its patterns: subjects with the same answers are one pattern and a number.

Shapes: P patterns, S statements (a pattern's answer to a relation), R relations, A answers; N triples,
M subjects.
"""

import tempfile
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from math import inf
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from spillover.errors import DataError
from spillover.knowledge.alike import alike_notices
from spillover.knowledge.bulk import database, fill, fill_if_plain
from spillover.knowledge.columns import COLUMNS
from spillover.knowledge.faults import contradiction, duplicate, place, unknown_relation
from spillover.knowledge.schema import Triple
from spillover.knowledge.table import read_triples

_SHOWN = 10  # contradictions named

_Named = tuple[Collection[str], Path | str]
"""The relations that a table may have, and the sheet that names them."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Patterns:
    """The triples of a table, each pattern once. The order of the table's rows plays no role.

    As read, all names and statements are sorted; a table that was changed since need not be.
    Statement i: the subjects of pattern `pattern[i]` have `answer[i]` as their `relation[i]`.
    Statements are sorted by pattern, relation and answer; patterns by their statements. A
    pattern with two statements of one relation contradicts itself.
    """

    relations: tuple[str, ...]
    """(R,) names, sorted."""
    answers: tuple[str, ...]
    """(A,) names, sorted; relations may share them."""
    subjects: np.ndarray
    """(P,), how many subjects have each pattern; at least one."""
    pattern: np.ndarray
    """(S,)"""
    relation: np.ndarray
    """(S,)"""
    answer: np.ndarray
    """(S,)"""
    members: pa.Table
    """Columns `subject` (text) and `pattern` (int32), a row for each subject, sorted by subject."""
    contradictions: tuple[str, ...] = ()
    """The first ten contradictions in the order of the table, a sentence with file and line for each."""
    contradicted: int = 0
    """Pairs of a subject and a relation that have more than one answer."""
    notices: tuple[str, ...] = ()
    """What the user must know of how the table was read, and texts that look alike, with file and line."""

    def answers_of(self, relation: str) -> tuple[str, ...]:
        """The answers that any subject has to the relation, sorted; none to a relation that is not there."""
        return self._answers_of.get(relation, ())

    @cached_property
    def _answers_of(self) -> Mapping[str, tuple[str, ...]]:
        """All relations' at once: a search for each would cost the square of their number."""
        found: dict[str, list[str]] = {}
        for code in np.unique(self.relation * len(self.answers) + self.answer).tolist():
            relation, answer = divmod(code, len(self.answers))
            found.setdefault(self.relations[relation], []).append(self.answers[answer])
        return {relation: tuple(answers) for relation, answers in found.items()}


def group_table(
    table: Path,
    relations: Collection[str] | None = None,
    sheet: Path | str = "what is known",
    answers: Mapping[str, str] | None = None,
) -> Patterns:
    """The patterns of a file of triples; all but `contradictions` and `notices` is the same in any order of
    its rows.

    Raises DataError, with file and line, for the first fault that reading it as a knowledge base would name,
    except that contradictions are none here. With `relations`, those that `sheet` names, any other is a
    fault. `answers` are those that the sheet names, with their places: they may look like the table's.
    """
    try:
        with database() as connection:
            end, notices = None, []
            if not fill_if_plain(connection, table):
                end = fill(connection, read_triples(table, notices.append))
            named = None if relations is None else (relations, sheet)

            def where(line: int) -> str:
                return place(table, line)

            patterns = _group(connection, where, named, end)
            columns = {
                "relation": pa.array(patterns.relations, pa.string()),
                "answer": pa.array(patterns.answers, pa.string()),
                "subject": patterns.members["subject"].combine_chunks(),
            }
            notices += alike_notices(columns, partial(_first_lines, connection), where, answers)
            return replace(patterns, notices=tuple(notices))
    except duckdb.Error as error:
        reason = str(error).strip().partition("\n")[0]
        raise DataError(
            f"{table}: cannot be grouped ({reason}); free memory, or disk space in {tempfile.gettempdir()}"
        ) from None


def group_triples(triples: Iterable[Triple]) -> Patterns:
    """The patterns of triples that were checked before. Raises DataError where one stands there twice."""
    with database() as connection:
        fill(connection, enumerate(triples, start=1))
        return _group(connection, lambda number: f"triple {number}")


def _group(
    connection: duckdb.DuckDBPyConnection,
    where: Callable[[int], str],
    named: _Named | None = None,
    end: DataError | None = None,
) -> Patterns:
    """The patterns of the database's triples; `end` is the fault at which reading them ended, if it did."""
    relations, answers = (_numbered(connection, column) for column in ("relation", "answer"))
    unknown = [name for name in relations if named and name not in named[0]]
    if unknown or end:
        raise _first_fault(connection, where, named, unknown, end)
    subjects, starts, codes = _sorted(connection, len(answers))
    if np.any(~starts[1:] & (codes[1:] == codes[:-1])):  # a triple stands there twice
        raise _first_fault(connection, where, named, unknown, end)
    offsets = np.flatnonzero(starts)
    lengths = np.diff(np.append(offsets, len(codes)))
    relation, answer = np.divmod(codes, max(1, len(answers)))
    twice = ~starts[1:] & (relation[1:] == relation[:-1])
    contradicted = int(np.count_nonzero(twice & ~np.append(False, twice[:-1])))

    _, first, pattern, counts = np.unique(
        _ranks(codes, lengths), return_index=True, return_inverse=True, return_counts=True
    )
    lengths = lengths[first]
    ends = np.cumsum(lengths)
    statements = np.arange(lengths.sum()) + np.repeat(offsets[first] - ends + lengths, lengths)
    return Patterns(
        relations=relations,
        answers=answers,
        subjects=counts,
        pattern=np.repeat(np.arange(len(first)), lengths),
        relation=relation[statements],
        answer=answer[statements],
        members=pa.table({"subject": subjects, "pattern": pattern.astype(np.int32)}),
        contradictions=_contradictions(connection, where) if contradicted else (),
        contradicted=contradicted,
    )


def _first_lines(
    connection: duckdb.DuckDBPyConnection, column: str, texts: Collection[str]
) -> dict[str, int]:
    query = f"SELECT {column}, min(line) FROM triples WHERE list_contains(?, {column}) GROUP BY {column}"  # noqa: S608
    return dict(connection.execute(query, [list(texts)]).fetchall())


def _numbered(connection: duckdb.DuckDBPyConnection, column: str) -> tuple[str, ...]:
    """The column's distinct names, sorted; a table named for them has their numbers, from 0 up."""
    connection.execute(f"""
        CREATE TEMP TABLE {column}s AS SELECT name, row_number() OVER (ORDER BY name) - 1 AS id
        FROM (SELECT DISTINCT {column} AS name FROM triples)""")  # noqa: S608
    rows = connection.execute(f"SELECT name FROM {column}s ORDER BY id").fetchall()  # noqa: S608
    return tuple(name for (name,) in rows)


def _sorted(
    connection: duckdb.DuckDBPyConnection, answers: int
) -> tuple[pa.ChunkedArray, np.ndarray, np.ndarray]:
    """The triples by subject, relation and answer: the (M,) subjects, and for each of the N triples whether
    it is its subject's first, and the code relation * answers + answer.
    """
    query = f"""
        SELECT subject, relations.id * {answers} + answers.id AS code
        FROM triples JOIN relations ON relation = relations.name JOIN answers ON answer = answers.name
        ORDER BY subject, code"""  # noqa: S608
    names, starts, codes, last = [], [np.empty(0, bool)], [np.empty(0, np.int64)], None
    for batch in connection.sql(query).to_arrow_reader(100_000):
        name = batch.column("subject")
        new = np.ones(len(name), bool)
        new[0] = name[0].as_py() != last
        new[1:] = pc.call_function("not_equal", [name[1:], name[:-1]])
        last = name[-1].as_py()
        names.append(name.filter(pa.array(new)))
        starts.append(new)
        codes.append(batch.column("code").to_numpy())
    subjects = pa.chunked_array(names, pa.string()).combine_chunks()
    return subjects, np.concatenate(starts), np.concatenate(codes)


def _ranks(codes: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """(M,), the ranks of the runs of codes in the order of lists; runs of `lengths` that are alike share one.

    Neighbours in a run become one code, by rank, until each run is one: the order of lists stays.
    """
    codes = _dense(codes)
    while lengths.max(initial=0) > 1:
        ends = np.repeat(np.cumsum(lengths), lengths)
        nth = np.arange(len(codes)) - ends + np.repeat(lengths, lengths)
        left = np.flatnonzero(nth % 2 == 0)
        right = np.append(codes[1:] + 1, 0)[left]
        right[left + 1 == ends[left]] = 0  # the end of a run comes before any code
        codes = _dense(codes[left] * (codes.max() + 2) + right)
        lengths = (lengths + 1) // 2
    return codes


def _dense(codes: np.ndarray) -> np.ndarray:
    """The codes' ranks among the distinct ones; by a table of all that could be, where that is no larger."""
    if (top := codes.max(initial=0)) > max(1 << 20, len(codes)):
        return np.unique(codes, return_inverse=True)[1]
    there = np.zeros(top + 1, bool)
    there[codes] = True
    return (np.cumsum(there) - 1)[codes]


def _first_fault(
    connection: duckdb.DuckDBPyConnection,
    where: Callable[[int], str],
    named: _Named | None,
    unknown: Sequence[str],
    end: DataError | None,
) -> DataError:
    """Of triples with a fault, that of the lowest line: an unknown relation, a duplicate, or their end."""
    faults: list[tuple[float, DataError]] = [(inf, end)] if end else []
    query = "SELECT line, relation FROM triples WHERE list_contains(?, relation) ORDER BY line LIMIT 1"
    if named and unknown:
        for line, name in connection.execute(query, [unknown]).fetchall():
            faults.append((line, DataError(unknown_relation(name, named[0], where(line), named[1]))))
    for subject, relation, (first, line), _ in _repeated(connection, COLUMNS, 1):
        faults.append((line, DataError(duplicate(subject, relation, where(line), where(first)))))
    return min(faults, key=lambda fault: fault[0])[1]


def _contradictions(connection: duckdb.DuckDBPyConnection, where: Callable[[int], str]) -> tuple[str, ...]:
    return tuple(
        contradiction(subject, relation, (before, answer), where(line), where(first))
        for subject, relation, (first, line), (before, answer) in _repeated(connection, COLUMNS[:2], _SHOWN)
    )


def _repeated(
    connection: duckdb.DuckDBPyConnection, columns: Sequence[str], limit: int
) -> list[tuple[str, str, list[int], list[str]]]:
    """Triples that are alike in the columns: subject, relation, and the first two lines and their answers; by
    the second line.
    """
    alike = ", ".join(columns)
    query = f"""
        WITH repeated AS (SELECT {alike} FROM triples GROUP BY {alike} HAVING count(*) > 1)
        SELECT subject, relation, min(line, 2) AS lines, arg_min(triples.answer, line, 2)
        FROM triples SEMI JOIN repeated USING ({alike})
        GROUP BY {", ".join(f"triples.{column}" for column in columns)} ORDER BY lines[2] LIMIT {limit}"""  # noqa: S608
    return connection.execute(query).fetchall()
