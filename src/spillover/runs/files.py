"""Files that are either whole or not there: atomic writes, readers with clear errors, strict JSON, hashes."""

import csv
import errno
import hashlib
import io
import json
import math
import os
import reprlib
import secrets
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from spillover.errors import RunError

if TYPE_CHECKING:
    import pyarrow as pa

TEMPORARY = ".spillover-*.tmp"
"""Glob of the half-written files that a killed writer leaves behind."""

DEEPEST, LARGEST = 50, 1e300
"""Levels of a JSON document that is read (ours have ten), and its numbers, so that none becomes infinite."""


@contextmanager
def writing(path: Path, elsewhere: str = "use another --out") -> Iterator[None]:
    """A block that writes to `path`: an OSError in it, as on a full disk, is a RunError of one line.

    It says what `elsewhere` would do.
    """
    try:
        yield
    except OSError as error:
        raise cannot_write(path, error, elsewhere) from error


def cannot_write(path: Path, error: Exception, elsewhere: str = "use another --out") -> RunError:
    """The complaint about a file or folder that cannot be written, and what else would do."""
    why = error.args[0][0][2] if isinstance(error, shutil.Error) else getattr(error, "strerror", None)
    return RunError(
        f"cannot write {path}: {why or _first_line(error)}; make room there, or {elsewhere}; "
        "what is finished is kept"
    )


def usable(path: str | Path) -> Path:
    """The path, of something that is there or not. Raises RunError for one that nothing can have or be asked
    of: too long, with a NUL, or out of reach.
    """
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise RunError(f"cannot use the path {reprlib.repr(str(path))}: {reason}; give another") from error
    return Path(path)


def unused(path: str | Path) -> Path:
    """The path of something that is not there yet. Raises RunError where it is: people write into these."""
    if usable(path).exists():
        raise RunError(f"{path} is there already; give another --out, or remove it")
    return Path(path)


@contextmanager
def atomic(path: Path) -> Iterator[IO[bytes]]:
    """A binary file that takes its place at `path` when the block ends, and leaves no trace if it fails.

    Only a plain file is replaced: a device, a pipe, a folder or a link at `path` is an OSError, as is a name
    that no file can have.
    """
    try:
        # a link, too, is in the way: what others put into a folder must not have us write elsewhere
        taken = not stat.S_ISREG(path.lstat().st_mode)
    except FileNotFoundError:
        taken = False
    except ValueError as error:
        raise OSError(errno.EINVAL, str(error), str(path)) from error  # NUL
    if taken:
        raise OSError(errno.EINVAL, "not a plain file", str(path))
    temporary = path.with_name(f".spillover-{secrets.token_hex(8)}.tmp")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)  # noqa: PTH105 - one name for the step the tests break
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut; only POSIX can open a folder for this."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def jsonable(value: Any) -> Any:
    """Turn `value` into plain JSON types; NaN and infinities become None.

    NumPy scalars and arrays, paths, enums and dataclasses are converted; another type is a TypeError.
    """
    return _converted(value, None)


def plain(value: Any) -> Any:
    """As `jsonable`, for Python: NaN stays NaN, and infinities become NaN."""
    return _converted(value, math.nan)


def nulls_as_nan(value: Any) -> Any:
    """Numbers read from JSON as they were before: each null becomes NaN, however deep it lies."""
    match value:
        case None:
            return math.nan
        case dict():
            return {key: nulls_as_nan(item) for key, item in value.items()}
        case list():
            return [nulls_as_nan(item) for item in value]
    return value


def _converted(value: Any, undefined: float | None) -> Any:
    match value:
        case Enum():
            return _converted(value.value, undefined)
        case None | bool() | str():
            return value
        case np.generic() | np.ndarray():
            return _converted(value.tolist(), undefined)
        case int():
            return int(value)
        case float():
            return float(value) if math.isfinite(value) else undefined
        case os.PathLike():
            return os.fspath(value)
        case Mapping():
            return {str(key): _converted(item, undefined) for key, item in value.items()}
        case list() | tuple():
            return [_converted(item, undefined) for item in value]
        case _ if is_dataclass(value) and not isinstance(value, type):
            return {field.name: _converted(getattr(value, field.name), undefined) for field in fields(value)}
    raise TypeError(f"cannot write a {type(value).__name__} as JSON: {value!r}")


def write_bytes(path: Path, content: bytes) -> None:
    """Write bytes atomically."""
    with atomic(path) as file:
        file.write(content)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write one indented JSON document atomically; see `jsonable`."""
    write_text(path, json.dumps(jsonable(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_jsonl(path: Path, rows: Iterable[Any]) -> None:
    """Write one JSON document a line atomically; see `jsonable`."""
    with atomic(path) as file:
        for row in rows:
            file.write(json.dumps(jsonable(row), ensure_ascii=False, allow_nan=False).encode() + b"\n")


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows, each with the names of the first, as CSV atomically; an empty cell where undefined."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow(
            {
                name: "" if isinstance(value, float) and math.isnan(value) else value
                for name, value in row.items()
            }
        )
    write_text(path, text.getvalue())


def write_parquet(path: Path, table: "pa.Table") -> None:
    """Write a Parquet table atomically."""
    from pyarrow import parquet

    with atomic(path) as file:
        parquet.write_table(table, file, write_page_checksum=True)


def read_json(path: Path) -> Any:
    """Read one JSON document; a missing or broken file is a RunError."""
    return _parse(_read(path), str(path))


def read_jsonl(path: Path) -> list[Any]:
    """Read one JSON document a line; a missing or broken file is a RunError that names the line."""
    lines = _read(path).split("\n")
    return [_parse(line, f"{path}:{number}") for number, line in enumerate(lines, 1) if line.strip()]


def read_parquet(path: Path) -> "pa.Table":
    """Read a Parquet table; a missing or broken file is a RunError."""
    import pyarrow as pa
    from pyarrow import parquet

    _refuse_missing(path)
    try:
        # read_table would make a column of a folder named lr=1e-4
        with parquet.ParquetFile(path, page_checksum_verification=True) as file:
            table = file.read()
            table.validate(full=True)
            return table
    except (OSError, pa.ArrowException) as error:
        raise RunError(f"cannot read {path} as Parquet: {_first_line(error)}") from error


def hash_json(value: Any) -> str:
    """SHA-256 (hex) of a value's canonical JSON: sorted keys, no spaces."""
    text = json.dumps(
        jsonable(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return hashlib.sha256(text.encode()).hexdigest()


def hash_file(path: str | Path) -> str:
    """SHA-256 (hex) of a file's bytes."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read(path: Path) -> str:
    _refuse_missing(path)
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"cannot read {path}: {_first_line(error)}") from error


def _refuse_missing(path: Path) -> None:
    """RunError for what is not there, and for what is no plain file: a pipe would keep its reader waiting."""
    try:
        kind = path.stat().st_mode
    except FileNotFoundError as error:
        raise RunError(f"{path} is not there") from error
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror}") from error
    if not stat.S_ISREG(kind):
        raise RunError(f"cannot read {path}: it is not a plain file")


def _parse(text: str, where: str) -> Any:
    """The document, if it is one that we could have written: of finite numbers, of text, and not too deep."""
    try:
        value = json.loads(text, parse_int=_integer, parse_float=_finite, parse_constant=_finite)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()  # half a surrogate pair is a ValueError
    except (ValueError, RecursionError) as error:
        raise RunError(f"{where} is not valid JSON: {_first_line(error)}") from error
    level = [value]
    for _ in range(DEEPEST):
        level = [item for part in level for item in _parts(part)]
        if not level:
            return value
    raise RunError(f"{where} is not valid JSON: it is nested more than {DEEPEST} levels deep")


def _parts(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def _finite(number: str) -> float:
    if not abs(value := float(number)) < LARGEST:
        raise ValueError(f"the number {number[:12]} is too large, or none")
    return value


def _integer(number: str) -> int:
    _finite(number)  # so it can be a float, too
    return int(number)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
