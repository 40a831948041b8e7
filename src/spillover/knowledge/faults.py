"""What every complaint about a file shares: the place, the value shown short, the suggestion."""

import codecs
import difflib
import io
import reprlib
import stat
from collections.abc import Iterable
from pathlib import Path

from spillover.errors import DataError

LONGEST_CELL = 10_000
"""Characters a cell may hold; more is a broken file (an open quote, a wrong column), not an answer."""

_WITH_ROWS = (".json", ".parquet", ".xlsx")


class _Short(reprlib.Repr):
    def repr_int(self, x: int, level: int) -> str:
        """Of a number that Python writes out in hexadecimal alone (more than 4,300 digits), that."""
        try:
            return super().repr_int(x, level)
        except ValueError:
            return f"{hex(x)[:40]}..."


_SHORT = _Short()
_SHORT.maxstring = _SHORT.maxother = 80


def place(path: Path, line: int | None = None) -> str:
    """`people.csv:14`; what has rows and no lines of its own is named so: `people.parquet (row 14)`."""
    if line is None:
        return str(path)
    return f"{path} (row {line})" if path.suffix.lower() in _WITH_ROWS else f"{path}:{line}"


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


def unknown_relation(name: str, known: Iterable[str], where: str, owner: object) -> str:
    """The complaint about a relation of a triple that the sheet or knowledge base does not name."""
    known = list(known)
    return (
        f"{where}: relation {show(name)} is not in {owner}, which has {listed(known)}{suggest(name, known)}"
    )


def not_allowed(word: object, what: str, allowed: Iterable[str], where: str) -> str:
    """The complaint about a word that is none of a few."""
    allowed = list(allowed)
    return f"{where}: {what} is {show(word)}, allowed are {listed(allowed)}{suggest(str(word), allowed)}"


def duplicate(subject: str, relation: str, where: str, first: str) -> str:
    """The complaint about a triple that stands there twice, first at `first`."""
    return f"{where}: ({show(subject)}, {show(relation)}) stands already in {first}; remove the duplicate"


def contradiction(subject: str, relation: str, answers: tuple[str, str], where: str, first: str) -> str:
    """That a subject has two answers to one relation: the first of `answers` at `first`, the other here."""
    return (
        f"{where}: ({show(subject)}, {show(relation)}) is {show(answers[1])} here but {show(answers[0])} in "
        f"{first}"
    )


def opened(path: Path, needs: str = "hold triples or name a table of them") -> io.BufferedReader:
    """The file, open for its bytes. Raises DataError where it cannot be read or holds only white space, which
    says what it `needs` to do.
    """
    try:
        kind = path.stat().st_mode
        if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):  # a pipe would keep its reader waiting
            raise DataError(f"{path}: cannot be read (not a plain file); give a readable file")
        file = path.open("rb")
        blocks = iter(lambda: file.read(1 << 20), b"")
        blank = all(not block.removeprefix(codecs.BOM_UTF8).strip() for block in blocks)
        file.seek(0)
    except FileNotFoundError:
        near = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
        raise DataError(f"{path}: file not found{suggest(path.name, near) or '; check the path'}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path}: cannot be read ({reason}); give a readable file") from None
    if blank:
        file.close()
        raise DataError(f"{path}: file is empty; it must {needs}")
    return file


def read_text(path: Path) -> str:
    """The file's text, which must be UTF-8 (a byte order mark is dropped). Raises DataError as `opened`."""
    with opened(path) as file:
        data = file.read()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(not_utf8(path, error, data.count(b"\n", 0, error.start) + 1)) from None


def not_utf8(path: Path, error: UnicodeDecodeError, line: int) -> str:
    """The complaint about a byte that is no text."""
    byte = error.object[error.start]
    return f"{place(path, line)}: byte 0x{byte:02x} is not UTF-8; save the file as UTF-8"


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
    return whole(cell, what, where)


def whole(text: str, what: str, where: str) -> str:
    """The text as it is; DataError where no file can hold it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise DataError(f"{where}: {what} {show(text)} holds half a surrogate pair; remove it") from None
    return text
