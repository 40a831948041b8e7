"""Standard output and error, whatever they are: closed, full, left by their reader, or not UTF-8.

Output that cannot be written is an error, for it holds the results; messages that nobody can get are dropped.
"""

import codecs
import io
import os
import re
import sys
from typing import TYPE_CHECKING, TextIO

from spillover.errors import OutputError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

UTF_8 = "utf-8"
"""What a stream has that names no encoding."""

_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u206f\ud800-\udfff]")
"""What commands a terminal, breaks or turns its lines, or is no character: C0, C1, marks of direction."""

_SPELLED = {
    "→": "->",
    "“": '"',
    "”": '"',
    "‘": "'",  # noqa: RUF001
    "’": "'",  # noqa: RUF001
    "–": "-",  # noqa: RUF001
    "—": "--",
    "−": "-",
    "─": "-",
    "━": "-",
    "╸": "-",
    "╺": "-",
    "…": "...",
    "‖": "||",
    "½": "1/2",
    "²": "^2",
    "×": "x",
    "≤": "<=",
    "≥": ">=",
    "\N{NO-BREAK SPACE}": " ",
}
"""How our own signs are written where an encoding has them not."""


class ReaderLeft(Exception):
    """Nobody reads our output any more, as after `| head -1`."""


def visible(text: str) -> str:
    """The text on one line, with whatever a terminal would obey spelled as in Python: `\\x1b`, `\\u202e`."""
    return _UNSAFE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def visible_json(text: str) -> str:
    """JSON of the same document, with the same characters (but line breaks) as JSON spells them."""
    return _UNSAFE.sub(lambda found: "\n" if found[0] == "\n" else f"\\u{ord(found[0]):04x}", text)


def spelled(text: str) -> str:
    """The text in what the encoding of stdout has: `->` for an arrow, `\\xe9` for what it lacks."""
    encoding = sys.stdout.encoding or UTF_8
    return text.encode(encoding, _ERRORS).decode(encoding)


def _spell(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    missing = error.object[error.start : error.end]
    return "".join(_SPELLED.get(sign, ascii(sign)[1:-1]) for sign in missing), error.end


_ERRORS = "spillover.spell"
codecs.register_error(_ERRORS, _spell)


def open_streams() -> None:
    """Make `sys.stdout` and `sys.stderr` what the module says, once for a process.

    A stream that is closed gets its number back from the null device, so that no file is opened in its
    place; output stays unwritable then. Writing to stdout raises OutputError or ReaderLeft, the first time.
    """
    for descriptor, mode in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(descriptor)
        except OSError:  # closed; as the lowest number that is free, it is given next
            os.set_inheritable(os.open(os.devnull, mode), True)
    if sys.stdout is sys.__stdout__:
        sys.stdout = _text(sys.stdout, 1, _Output)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _text(sys.stderr, 2, _Messages)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_ERRORS)


def _text(stream: TextIO | None, descriptor: int, kind: type["_Output | _Messages"]) -> TextIO:
    """The stream with each write through our hands; what is not a file's stays as it is."""
    if isinstance(stream, io.TextIOWrapper):
        raw, encoding = getattr(stream.buffer, "raw", stream.buffer), stream.encoding
    elif stream is None:
        raw, encoding = io.FileIO(descriptor, "w", closefd=False), UTF_8
    else:
        return stream
    line_buffering = kind is _Messages or raw.isatty()
    return io.TextIOWrapper(io.BufferedWriter(kind(raw)), encoding=encoding, line_buffering=line_buffering)


class _Stream(io.RawIOBase):
    """A raw stream that is written through to another."""

    def __init__(self, raw: io.RawIOBase) -> None:
        self._raw = raw
        self.name = getattr(raw, "name", None)

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._raw.fileno()

    def isatty(self) -> bool:
        return self._raw.isatty()


class _Output(_Stream):
    """Fails once; what is left in the buffers then goes nowhere."""

    _failed = False

    def write(self, data: "ReadableBuffer", /) -> int | None:
        if self._failed:
            return memoryview(data).nbytes
        try:
            return self._raw.write(data)
        except BrokenPipeError:
            self._failed = True
            raise ReaderLeft from None
        except OSError as error:
            self._failed = True
            reason = f"cannot print the results: {error.strerror}"
            raise OutputError(f"{reason}; send standard output where it can be written") from None


class _Messages(_Stream):
    """Never fails."""

    def write(self, data: "ReadableBuffer", /) -> int | None:
        try:
            return self._raw.write(data)
        except OSError:
            return memoryview(data).nbytes
