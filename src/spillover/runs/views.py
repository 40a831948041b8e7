"""A run folder as a reader sees it, whichever version wrote it and whether or not it is finished.

A writer that died leaves "running" without a lock: readers call that "incomplete". Version 0.1 recorded a
reproduction in `result.json` alone, written last: that is read as the manifest of a complete run.
"""

import reprlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from filelock import FileLock, Timeout

from spillover.errors import RunError
from spillover.runs import environment, files
from spillover.runs.lock import LOCK
from spillover.runs.shapes import MANIFEST_SHAPE, SHAPES, fault

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT_VERSION = 1
"""Version of the run folder's layout; a folder of a newer one is refused."""

MANIFEST = "manifest.json"
"""The file that makes a folder a run."""

RESULTS_HASH = "results_hash"
"""The manifest's entry with the hash of its results, by which a number that has changed since is told."""

_MEND = "restore that file, or remove the folder and run again"

RESULT_0_1 = "result.json"
"""What version 0.1 wrote in place of a manifest, last of all, into the folder of a reproduction."""

Status = Literal["running", "incomplete", "failed", "complete", "broken"]
"""running: being written; incomplete: its writer died; failed: stopped with a reason; broken: unreadable."""


class Folder:
    """Named files of a run, read."""

    folder: Path

    def path(self, name: str) -> Path:
        """The path of a file or folder inside the run."""
        path = Path(name)
        if path.is_absolute() or ".." in path.parts or not path.parts:
            raise ValueError(f"a run's file must be named inside the run, got {name!r}")
        return self.folder / path

    def read_json(self, name: str) -> Any:
        """Read one JSON document."""
        return files.read_json(self.path(name))

    def read_jsonl(self, name: str) -> list[Any]:
        """Read one JSON document a line."""
        return files.read_jsonl(self.path(name))

    def read_parquet(self, name: str) -> "pa.Table":
        """Read a Parquet table."""
        return files.read_parquet(self.path(name))


@dataclass(frozen=True, kw_only=True)
class RunView(Folder):
    """A run folder as a reader sees it."""

    folder: Path
    """The folder."""
    manifest: dict[str, Any]
    """The manifest as it is on disk; empty where it cannot be read."""
    status: Status
    """The derived status."""
    reason: str | None = None
    """Why a run failed or is broken."""

    @property
    def results(self) -> dict[str, Any] | None:
        """The results of a complete run."""
        return self.manifest.get("results")


def read_run(folder: str | Path) -> RunView:
    """Read a run folder without disturbing its writer; a folder without a readable manifest is a RunError."""
    folder = files.usable(Path(folder) / MANIFEST).parent
    manifest = read_manifest(folder)
    status = manifest["status"]
    if status == "running" and (folder / LOCK).exists():
        try:
            with FileLock(folder / LOCK, timeout=0, thread_local=False):
                manifest = read_manifest(folder)  # again: its writer may have finished in between
                status = manifest["status"]
                status = "incomplete" if status == "running" else status
        except Timeout:
            status = "running"
        except OSError:  # a read-only copy: nobody writes there
            status = "incomplete"
    elif status == "running":
        status = "incomplete"
    return RunView(folder=folder, manifest=manifest, status=status, reason=manifest.get("reason"))


def list_runs(root: str | Path) -> list[RunView]:
    """The runs right below `root`, newest first, then those without a time (version 0.1's reproductions, and
    broken ones with why); no folder, no runs.
    """
    root = files.usable(root)
    try:
        folders = sorted(root.iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RunError(f"cannot list the runs in {root}: {error.strerror}; give a folder of runs") from error
    views = [_view(folder) for folder in folders if holds_run(folder)]
    return sorted(views, key=lambda view: str(view.manifest.get("started", "")), reverse=True)


def holds_run(folder: Path) -> bool:
    """Whether the folder has a manifest, or what version 0.1 wrote in place of one."""
    return has_manifest(folder) or _reproduction_of_0_1(folder) is not None


def has_manifest(folder: Path) -> bool:
    """Whether anything stands in a manifest's place, be it a link to nowhere."""
    try:
        (folder / MANIFEST).lstat()
    except OSError:
        return False
    return True


def checked(folder: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    """The manifest of a run, if all that is shown of it is as its command writes it; else a RunError."""
    command = manifest.get("command", "audit")  # what version 0.1 knew before it had others
    if command not in SHAPES:
        raise _damaged(folder, f"its command is {command!r}, and spillover has none of that name")
    if found := fault(manifest, SHAPES[command]):
        raise _damaged(folder, found)
    if RESULTS_HASH in manifest and files.hash_json(manifest.get("results")) != manifest[RESULTS_HASH]:
        raise _damaged(folder, "its results are not those that were written")
    return manifest


def _damaged(folder: Path, what: str) -> RunError:
    return RunError(f"{folder / MANIFEST} is damaged: {what}; {_MEND}")


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a run; `RunError` where there is none that this version can read."""
    path = folder / MANIFEST
    if not has_manifest(folder):
        manifest = _reproduction_of_0_1(folder)
        if manifest is None:
            raise RunError(f"{folder} is not a run: it has no {MANIFEST}")
        return manifest
    try:
        manifest = files.read_json(path)
    except RunError as error:
        raise RunError(f"{error}; {_MEND}") from error
    if not isinstance(manifest, dict) or "format_version" not in manifest:
        raise RunError(f"{path} is not a run's manifest: it has no format_version; {_MEND}")
    version, status = manifest["format_version"], manifest.get("status")
    if type(version) is not int or version < 1:
        raise _damaged(folder, f"format_version is {reprlib.repr(version)}, not a whole number from 1")
    if version > FORMAT_VERSION:
        raise RunError(
            f"{path} has format {version}, this spillover reads up to {FORMAT_VERSION}; upgrade spillover"
        )
    if status not in ("running", "failed", "complete"):
        raise RunError(f"{path} has the unknown status {reprlib.repr(status)}; {_MEND}")
    if found := fault(manifest, MANIFEST_SHAPE):
        raise _damaged(folder, found)
    if status == "complete" and manifest.get("results") is None:
        raise _damaged(folder, "it is complete and has no results")
    return manifest


def _view(folder: Path) -> RunView:
    try:
        view = read_run(folder)
        checked(folder, view.manifest)
        return view
    except RunError as error:
        return RunView(folder=folder, manifest={}, status="broken", reason=str(error))


def _reproduction_of_0_1(folder: Path) -> dict[str, Any] | None:
    """The manifest that version 0.1's reproduction would have today; None where the folder holds none."""
    path = folder / RESULT_0_1
    if not path.is_file():
        return None
    try:
        match files.read_json(path):
            case {
                "format": 1,
                "name": str(name),
                "claim": _,
                "checks": list(),
                "settings": dict(settings),
                "seeds": list(seeds),
                "seconds": float() | int(),
            } as result:
                pass
            case _:
                return None
    except RunError:
        return None
    made_with = {entry: result.pop(entry, None) for entry in environment.ENTRIES}
    del result["format"]
    return {
        "format_version": 1,
        "status": "complete",
        "command": "reproduce",
        "arguments": {"name": name, **settings},
        "seeds": seeds,
        "hashes": {},
        "passed": {"name": name},
        **made_with,
        "seconds": result["seconds"],
        "results": result,
    }
