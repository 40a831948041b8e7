"""The encoding of a text table: UTF-8, or another one where it is beyond doubt.

UTF-16 is known by the mark at its start. A text that is not UTF-8 is read as Windows-1252 only if western,
central European, Turkish and Baltic Windows agree on each of its bytes, and each stands alone beside an
ASCII letter, as umlauts do; in the code pages of other scripts whole words are made of such bytes.
"""

import codecs
import io
import re
from collections.abc import Callable
from pathlib import Path

from spillover.errors import DataError
from spillover.knowledge.faults import not_utf8, opened, place, show

_CODE_PAGES = ("cp1250", "cp1252", "cp1254", "cp1257")
_AGREED = "".join(
    sign
    for sign in map(chr, range(0xC0, 0x100))
    if sign.isalpha() and all(sign.encode("latin-1").decode(page) == sign for page in _CODE_PAGES)
)  # ÄÉÓÖÜßäéóöü
_DOUBTFUL = re.compile(
    rb"[\x80-\xff]{2}|[^\0-\x7f%b]|(?<![A-Za-z])[\x80-\xff](?![A-Za-z])" % _AGREED.encode("latin-1")
)
_LONGEST_LINE = 1 << 22  # bytes


def encoding_of(path: Path, say: Callable[[str], None]) -> str:
    """The name of the encoding, which `say` is told of if it is not UTF-8.

    Reads the whole file, so that no later read ends in a byte that is no text. Raises DataError as `opened`,
    and where the encoding is in doubt.
    """
    with opened(path) as file:
        start = file.peek(2)[:2]
        if start in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            name = "utf-16"
        elif len(start) == 2 and start.count(0) == 1:
            raise DataError(
                f"{path}: looks like UTF-16 without the mark at its start; save the file as UTF-8"
            )
        else:
            name = "utf-8"
        decoder, line = codecs.getincrementaldecoder(name)(), 1
        try:
            while block := file.read(1 << 20):
                decoder.decode(block)
                line += block.count(b"\n")
            decoder.decode(b"", final=True)
        except UnicodeDecodeError as error:
            if name == "utf-16":
                raise DataError(
                    f"{path}: not readable as UTF-16 ({error.reason}); save the file as UTF-8"
                ) from None
            found = _windows(path)
            if found is None:
                raise DataError(
                    not_utf8(path, error, line + error.object.count(b"\n", 0, error.start))
                ) from None
            number, text = found
            say(f"{place(path, number)}: {show(text)} is not UTF-8; the file is read as Windows-1252")
            return "cp1252"
    if name == "utf-16":
        say(f"{path}: read as UTF-16")
        return name
    return "utf-8-sig"


def open_text(path: Path, say: Callable[[str], None], newline: str | None = None) -> io.TextIOWrapper:
    """The file, open for its text. Raises DataError as `encoding_of`."""
    encoding = encoding_of(path, say)
    return io.TextIOWrapper(opened(path), encoding, newline=newline)


def _windows(path: Path) -> tuple[int, str] | None:
    """The first line of Windows-1252 that is not ASCII, if the file is that beyond doubt."""
    first: tuple[int, str] | None = None
    with opened(path) as file:
        for number, line in enumerate(iter(lambda: file.readline(_LONGEST_LINE), b""), start=1):
            if len(line) == _LONGEST_LINE or _DOUBTFUL.search(line):
                return None
            if first is None and not line.isascii():
                first = number, line.decode("cp1252").strip()
    return first
