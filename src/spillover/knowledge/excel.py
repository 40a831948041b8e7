"""Excel sheets (.xlsx), read row by row by openpyxl, which parses XML by defusedxml: entities are refused."""

import warnings
import zipfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from spillover.errors import DataError
from spillover.knowledge.columns import COLUMNS, Record, Say, find_columns
from spillover.knowledge.faults import listed, opened, place, show

_LARGEST = 200_000_000  # bytes of XML that a book may unpack to; a million triples are about that
_ROWS = 1_048_576  # of a sheet in Excel; a book that claims more would be filled up with empty rows
_PLAIN = ("General", "@", "0")  # formats in which Excel shows a number as it is
_BATCH = 1000


def read_book(path: Path, say: Say) -> Iterator[Record]:
    """The rows of the one sheet that has the three columns, with their numbers in Excel."""
    import openpyxl  # slow, and of no use to other tables

    with opened(path) as file:
        try:
            unpacked = sum(member.file_size for member in zipfile.ZipFile(file).infolist())
            if unpacked > _LARGEST:
                raise DataError(
                    f"{path}: unpacks to {unpacked:,} bytes, allowed are {_LARGEST:,}; "
                    "save the sheet as CSV UTF-8"
                )
            with warnings.catch_warnings(action="ignore"):
                book = openpyxl.load_workbook(file, read_only=True, data_only=True, keep_links=False)
            yield from _rows(path, book, say)
        except DataError:
            raise
        except Exception as error:  # a broken book ends in almost any exception
            cause = error.__cause__ or error
            reason = " ".join(str(cause).split()) or type(cause).__name__
            raise DataError(
                f"{path}: not readable as an Excel sheet ({reason}); save the sheet as CSV UTF-8"
            ) from None


def _rows(path: Path, book: Any, say: Say) -> Iterator[Record]:
    sheet = _the_sheet(path, book, say)
    rows = _filled(sheet)
    line, header = next(rows)
    places = find_columns(_names(header), place(path, line), say)
    for line, row in rows:
        cells = [row[column] if column < len(row) else None for column in places]
        yield line, [_text(cell, column, path, line) for cell, column in zip(cells, COLUMNS, strict=True)]


def _the_sheet(path: Path, book: Any, say: Say) -> Any:
    sheets = book.worksheets
    fitting, fault = [], DataError(f"{path}: has no sheet with cells; a table needs {', '.join(COLUMNS)}")
    for sheet in sheets:
        sheet.reset_dimensions()  # claimed ones may be wrong, and rows would be filled up to them
        line, header = next(_filled(sheet), (0, ()))
        try:
            if header:
                find_columns(_names(header), place(path, line), lambda _: None)
                fitting.append(sheet)
        except DataError as error:
            fault = error
    if not fitting:
        raise fault
    if len(fitting) > 1:
        raise DataError(
            f"{path}: the sheets {listed(show(sheet.title) for sheet in fitting)} all have the columns "
            f"{', '.join(COLUMNS)}; leave one of them, or save one as CSV UTF-8"
        )
    if len(sheets) > 1:
        say(f"{path}: sheet {show(fitting[0].title)} is read, the only one of {len(sheets)} with the columns")
    return fitting[0]


def _filled(sheet: Any) -> Iterator[tuple[int, Any]]:
    """The rows with anything in them, and their numbers."""
    rows = enumerate(sheet.iter_rows(), start=1)
    while True:
        with warnings.catch_warnings(action="ignore"):  # not around a yield: there the caller's would be lost
            batch = list(islice(rows, _BATCH))
        if not batch:
            return
        for line, row in batch:
            if line > _ROWS:
                raise ValueError(f"more than {_ROWS:,} rows")
            if any(cell.value is not None for cell in row):
                yield line, row


def _names(header: Any) -> list[str]:
    return ["" if cell.value is None else str(cell.value).strip() for cell in header]


def _text(cell: Any, column: str, path: Path, line: int) -> str:
    """What the cell shows. Raises DataError for dates, truth values, errors and formatted numbers, since that
    depends on Excel's language or the cell's format.
    """
    if cell is None or cell.value is None:
        return ""
    value = cell.value
    if isinstance(value, str) and cell.data_type != "e":
        return value
    if cell.data_type == "n" and cell.number_format in _PLAIN:
        return f"{value:.15g}" if isinstance(value, float) else str(value)
    raise DataError(
        f"{place(path, line)}: {column} is {show(str(value))}, which is no text in Excel; "
        "format the column as text and write it again"
    )
