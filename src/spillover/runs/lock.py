"""One writer of a folder at a time, and none in a folder that holds something else."""

from collections.abc import Collection
from pathlib import Path

from filelock import FileLock, Timeout

from spillover.errors import BusyError, RunError
from spillover.runs.files import TEMPORARY

LOCK = ".lock"
"""The lock's own file."""

_PATIENCE = 1.0  # seconds; a reader holds the lock for an instant to see whether a writer does


def foreign(folder: Path, known: Collection[str] = ()) -> list[str]:
    """Names in the folder besides the known ones, the lock and half-written files; `RunError` for a file."""
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder} is a file; give --out a folder")
    if not folder.is_dir():
        return []
    ours = {*known, LOCK}
    try:
        lying = list(folder.iterdir())
    except OSError as error:
        raise RunError(f"cannot read {folder}: {error.strerror}; use another --out") from error
    return sorted(path.name for path in lying if path.name not in ours and not path.match(TEMPORARY))


def lock(folder: Path) -> FileLock:
    """The folder, made and locked until `release`.

    Raises `BusyError` where it has a writer, and `RunError` where it cannot be written.
    """
    held = FileLock(folder / LOCK, timeout=_PATIENCE, thread_local=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held.acquire()
    except Timeout as error:
        raise BusyError(
            f"{folder} is being written by another process; wait for it, or use another --out"
        ) from error
    except OSError as error:
        raise RunError(f"cannot write to {folder}: {error.strerror}; use another --out") from error
    return held
