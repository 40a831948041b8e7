"""What every complaint about a file shares: the place, the value shown short, the suggestion."""

import difflib
import reprlib
from collections.abc import Iterable
from pathlib import Path

from spillover.errors import DataError

LONGEST_CELL = 10_000
"""Characters a cell may hold; more is a broken file (an open quote, a wrong column), not an answer."""

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 80


def place(path: Path, line: int | None = None) -> str:
    """`people.csv:14`; Parquet has no lines, so `people.parquet (row 14)`."""
    if line is None:
        return str(path)
    return f"{path} (row {line})" if path.suffix.lower() == ".parquet" else f"{path}:{line}"


def show(value: object) -> str:
    """A value from a file, quoted, on one line, cut where it is long or deep."""
    return _SHORT.repr(value)


def listed(names: Iterable[str]) -> str:
    """Names joined by commas, the first ten of them."""
    names = list(names)
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def closest(name: str, allowed: Iterable[str]) -> str | None:
    """The allowed name that comes close to `name`, whatever its case; None where none does."""
    folded = {known.casefold(): known for known in allowed}
    close = difflib.get_close_matches(name.strip().casefold(), folded, n=1)
    return folded[close[0]] if close else None


def suggest(name: str, allowed: Iterable[str]) -> str:
    """`; did you mean 'speaks'?` where an allowed name comes close, else nothing."""
    close = closest(name, allowed)
    return f"; did you mean {show(close)}?" if close else ""


def read_bytes(path: Path) -> bytes:
    """The file's bytes. Raises DataError where it cannot be read or is empty."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        near = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
        raise DataError(f"{path}: file not found{suggest(path.name, near) or '; check the path'}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path}: cannot be read ({reason}); give a readable file") from None
    if not data.strip():
        raise DataError(f"{path}: file is empty; it must hold triples or name a table of them")
    return data


def read_text(path: Path) -> str:
    """The file's text, which must be UTF-8 (a byte order mark is dropped)."""
    data = read_bytes(path)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{place(path, line)}: byte 0x{data[error.start]:02x} is not UTF-8; save the file as UTF-8"
        ) from None


def clean(cell: str, what: str, where: str) -> str:
    """The cell without the whitespace around it; DataError where it is empty, too long or not text."""
    cell = cell.strip()
    if not cell:
        raise DataError(f"{where}: {what} is empty; fill it in or remove the entry")
    if len(cell) > LONGEST_CELL:
        raise DataError(
            f"{where}: {what} has {len(cell):,} characters, allowed are {LONGEST_CELL:,}; shorten it "
            "or look for a quote left open"
        )
    if "\0" in cell:
        raise DataError(f"{where}: {what} {show(cell)} holds a NUL byte; remove it")
    try:
        cell.encode()
    except UnicodeEncodeError:
        raise DataError(f"{where}: {what} {show(cell)} holds half a surrogate pair; remove it") from None
    return cell
