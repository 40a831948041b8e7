"""What the readers of all kinds of tables share: the three columns, records, and whom to tell."""

from collections.abc import Callable, Sequence

from spillover.errors import DataError
from spillover.knowledge.alike import fold
from spillover.knowledge.faults import closest, listed, show

COLUMNS = ("subject", "relation", "answer")

LONGEST_RECORD = 1 << 22
"""Characters a record may hold; more is no table, and is not read into memory to find out."""

Say = Callable[[str], None]
"""Takes one line for the user: how a table was read that is not as it should be, and yet beyond doubt."""

Record = tuple[int, Sequence[str]]
"""A line (of Parquet, JSON and Excel: a row) and its subject, relation and answer as they stand there."""


def find_columns(found: Sequence[str], where: str, say: Say) -> list[int]:
    """(3,), where the three columns stand among the found ones; `say` is told of those spelled otherwise.

    A name that differs in case or white space alone is meant where the exact one is not there. Raises
    DataError where a column is not there, or may be two.
    """
    places: list[int] = []
    for column in COLUMNS:
        alike = [number for number, name in enumerate(found) if name == column]
        alike = alike or [number for number, name in enumerate(found[:1000]) if fold(name) == column]
        if len({found[number] for number in alike}) > 1:
            names = listed(show(found[number]) for number in alike)
            raise DataError(f"{where}: column {column!r} may be any of {names}; keep one")
        if len(alike) > 1:
            raise DataError(f"{where}: column {column!r} stands there {len(alike)} times; keep one")
        places += alike
    if len(places) < len(COLUMNS):
        raise DataError(_missing(found, where))
    misspelled = [
        found[number] for number, column in zip(places, COLUMNS, strict=True) if found[number] != column
    ]
    if misspelled:
        say(
            f"{where}: {listed(map(show, misspelled))} {'is' if len(misspelled) == 1 else 'are'} read as the "
            f"{'column' if len(misspelled) == 1 else 'columns'} {listed(fold(name) for name in misspelled)}"
        )
    return places


def _missing(found: Sequence[str], where: str) -> str:
    missing = [column for column in COLUMNS if column not in map(fold, found[:1000])]
    others = [name for name in found[:1000] if fold(name) not in COLUMNS]
    meant = next(((column, near) for column in missing if (near := closest(column, others))), None)
    hint = "; did you mean {!r} by {!r}?".format(*meant) if meant else f"; a table needs {', '.join(COLUMNS)}"
    return f"{where}: missing column {', '.join(map(repr, missing))}, got {listed(map(show, found))}{hint}"


def too_long(where: str) -> DataError:
    """The complaint about a record that does not end."""
    return DataError(
        f"{where}: record has more than {LONGEST_RECORD:,} characters; "
        "shorten it or look for a quote left open"
    )
