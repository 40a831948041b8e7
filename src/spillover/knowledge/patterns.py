"""A table of triples by its patterns: subjects of whom the same is said are one pattern and a number.

Shapes: P patterns, S statements (what is said of the patterns), R relations, A answers; N triples,
M subjects.
"""

import tempfile
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from spillover.errors import DataError
from spillover.knowledge.alike import alike_notices
from spillover.knowledge.bulk import database, load, load_plain
from spillover.knowledge.columns import COLUMNS
from spillover.knowledge.faults import contradiction, duplicate, place, unknown_relation
from spillover.knowledge.schema import Triple
from spillover.knowledge.table import read_table

_SHOWN = 10  # contradictions named

_Known = tuple[Collection[str], Path | str]
"""The relations that a table may have, and the sheet that names them."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Patterns:
    """What a table says, without saying it twice. The order of its rows plays no role.

    As read, all names and statements are sorted; a table that was changed since need not be.
    Statement i says that the subjects of pattern `pattern[i]` have `answer[i]` as their `relation[i]`.
    Statements are sorted by pattern, relation and answer; patterns by what is said of them. A
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
        if relation not in self.relations:
            return ()
        its = self.answer[self.relation == self.relations.index(relation)]
        return tuple(self.answers[answer] for answer in np.unique(its))


def read_patterns(
    table: Path,
    relations: Collection[str] | None = None,
    sheet: Path | str = "what is known",
    answers: Mapping[str, str] | None = None,
) -> Patterns:
    """The patterns of a table of triples; all but `contradictions` and `notices` is the same in any order of
    its rows.

    Raises DataError, with file and line, for the first fault that `read_knowledge_base` would name, except
    that contradictions are none here. With `relations`, those that `sheet` names, any other is a fault.
    `answers` are those that the sheet names, with their places: they may look like the table's.
    """
    try:
        with database() as connection:
            fault, notices = None, []
            if not load_plain(connection, table):
                fault = load(connection, read_table(table, notices.append))
            known = None if relations is None else (relations, sheet)

            def where(line: int) -> str:
                return place(table, line)

            found = _grouped(connection, where, known, fault)
            columns = {
                "relation": pa.array(found.relations, pa.string()),
                "answer": pa.array(found.answers, pa.string()),
                "subject": found.members["subject"].combine_chunks(),
            }
            notices += alike_notices(columns, partial(_first_lines, connection), where, answers)
            return replace(found, notices=tuple(notices))
    except duckdb.Error as error:
        reason = str(error).strip().partition("\n")[0]
        raise DataError(
            f"{table}: cannot be grouped ({reason}); free memory, or disk space in {tempfile.gettempdir()}"
        ) from None


def patterns_of(triples: Iterable[Triple]) -> Patterns:
    """The patterns of triples that were checked before. Raises DataError where one stands there twice."""
    with database() as connection:
        load(connection, enumerate(triples, start=1))
        return _grouped(connection, lambda number: f"triple {number}")


def _grouped(
    connection: duckdb.DuckDBPyConnection,
    where: Callable[[int], str],
    known: _Known | None = None,
    fault: DataError | None = None,
) -> Patterns:
    """The patterns of what is `said`; `fault` comes after all that is said."""
    relations, answers = (_numbered(connection, column) for column in ("relation", "answer"))
    unknown = [name for name in relations if known and name not in known[0]]
    if fault or unknown:
        raise _first_fault(connection, where, known, unknown) or fault or AssertionError
    subjects, starts, codes = _sorted(connection, len(answers))
    offsets = np.flatnonzero(starts)
    lengths = np.diff(np.append(offsets, len(codes)))
    relation, answer = np.divmod(codes, max(1, len(answers)))
    if np.any(~starts[1:] & (codes[1:] == codes[:-1])):
        raise _first_fault(connection, where, known, unknown) or AssertionError
    twice = ~starts[1:] & (relation[1:] == relation[:-1])
    contradicted = int(np.count_nonzero(twice & ~np.append(False, twice[:-1])))

    _, first, pattern, counts = np.unique(
        _ranks(codes, lengths), return_index=True, return_inverse=True, return_counts=True
    )
    lengths = lengths[first]
    ends = np.cumsum(lengths)
    said = np.arange(lengths.sum()) + np.repeat(offsets[first] - ends + lengths, lengths)
    return Patterns(
        relations=relations,
        answers=answers,
        subjects=counts,
        pattern=np.repeat(np.arange(len(first)), lengths),
        relation=relation[said],
        answer=answer[said],
        members=pa.table({"subject": subjects, "pattern": pattern.astype(np.int32)}),
        contradictions=_contradictions(connection, where) if contradicted else (),
        contradicted=contradicted,
    )


def _first_lines(
    connection: duckdb.DuckDBPyConnection, column: str, texts: Collection[str]
) -> dict[str, int]:
    query = f"SELECT {column}, min(line) FROM said WHERE list_contains(?, {column}) GROUP BY {column}"  # noqa: S608
    return dict(connection.execute(query, [list(texts)]).fetchall())


def _numbered(connection: duckdb.DuckDBPyConnection, column: str) -> tuple[str, ...]:
    """The column's distinct names, sorted; a table named for them has their numbers, from 0 up."""
    connection.execute(f"""
        CREATE TEMP TABLE {column}s AS SELECT name, row_number() OVER (ORDER BY name) - 1 AS id
        FROM (SELECT DISTINCT {column} AS name FROM said)""")  # noqa: S608
    rows = connection.execute(f"SELECT name FROM {column}s ORDER BY id").fetchall()  # noqa: S608
    return tuple(name for (name,) in rows)


def _sorted(
    connection: duckdb.DuckDBPyConnection, answers: int
) -> tuple[pa.ChunkedArray, np.ndarray, np.ndarray]:
    """What is said by subject, relation and answer: the (M,) subjects, and for each of the N triples whether
    it is its subject's first, and the code relation * answers + answer.
    """
    query = f"""
        SELECT subject, relations.id * {answers} + answers.id AS code
        FROM said JOIN relations ON relation = relations.name JOIN answers ON answer = answers.name
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
    known: _Known | None,
    unknown: list[str],
) -> DataError | None:
    """The unknown relation or the duplicate of the lowest line, if there is one."""
    faults: list[tuple[int, str]] = []
    query = "SELECT line, relation FROM said WHERE list_contains(?, relation) ORDER BY line LIMIT 1"
    if known and unknown:
        for line, name in connection.execute(query, [unknown]).fetchall():
            faults.append((line, unknown_relation(name, known[0], where(line), known[1])))
    for subject, relation, (first, line), _ in _repeated(connection, COLUMNS, 1):
        faults.append((line, duplicate(subject, relation, where(line), where(first))))
    return DataError(min(faults)[1]) if faults else None


def _contradictions(connection: duckdb.DuckDBPyConnection, where: Callable[[int], str]) -> tuple[str, ...]:
    return tuple(
        contradiction(subject, relation, (before, answer), where(line), where(first))
        for subject, relation, (first, line), (before, answer) in _repeated(connection, COLUMNS[:2], _SHOWN)
    )


def _repeated(
    connection: duckdb.DuckDBPyConnection, columns: Sequence[str], limit: int
) -> list[tuple[str, str, list[int], list[str]]]:
    """What stands there more than once, alike in the columns: subject, relation, and the first two lines and
    their answers; by the second line.
    """
    alike = ", ".join(columns)
    query = f"""
        WITH repeated AS (SELECT {alike} FROM said GROUP BY {alike} HAVING count(*) > 1)
        SELECT subject, relation, min(line, 2) AS lines, arg_min(said.answer, line, 2)
        FROM said SEMI JOIN repeated USING ({alike})
        GROUP BY {", ".join(f"said.{column}" for column in columns)} ORDER BY lines[2] LIMIT {limit}"""  # noqa: S608
    return connection.execute(query).fetchall()
