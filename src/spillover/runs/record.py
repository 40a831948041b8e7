"""The run folder: written atomically, locked against a second writer, resumable after a kill.

`manifest.json` is written first with status "running" and completed last, so a complete manifest means a
whole run. A writer that died leaves "running" without a lock: readers call that "incomplete".
"""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Literal, Self

from filelock import FileLock, Timeout

from spillover.errors import RunError, SpilloverError
from spillover.runs import environment, files
from spillover.runs.files import hash_file, hash_json, jsonable
from spillover.runs.lock import LOCK, foreign, lock

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["FORMAT_VERSION", "Run", "RunView", "hash_file", "hash_json", "jsonable", "list_runs", "read_run"]

FORMAT_VERSION = 1
"""Version of the run folder's layout; a folder of a newer one is refused."""

Status = Literal["running", "incomplete", "failed", "complete", "broken"]
"""running: being written; incomplete: its writer died; failed: stopped with a reason; broken: unreadable."""

_MANIFEST = "manifest.json"
_IDENTITY = {
    "command": "the command",
    "arguments": "argument",
    "seeds": "the list of seeds",
    "hashes": "the hash of",
}


class _Folder:
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


class Run(_Folder):
    """A run folder open for writing; make one with `Run.start` and use it in a `with` block.

    Leaving the block releases the lock. A SpilloverError inside it marks the run as failed; anything else, a
    kill too, leaves it incomplete, to be resumed. A KeyboardInterrupt gets a note that says how.
    """

    def __init__(self, folder: Path, manifest: dict[str, Any], lock: FileLock, *, resumed: bool) -> None:
        self.folder = folder
        self.manifest = manifest
        self.resumed = resumed
        """Whether an earlier, unfinished writer of the same run was here."""
        self._lock = lock
        self._opened = monotonic()
        self._before: float = manifest.get("seconds", 0.0)

    @classmethod
    def start(
        cls,
        folder: str | Path,
        *,
        command: str,
        arguments: Mapping[str, Any],
        passed: Mapping[str, Any],
        seeds: Sequence[int],
        hashes: Mapping[str, str],
    ) -> Self:
        """Create the folder, resume an unfinished run in it, or open a complete one (`complete` tells).

        `arguments` are the resolved ones, `passed` those that the user gave. A folder of another run (other
        command, arguments, seeds or hashes), of a newer format, of no run, or with a writer is a RunError.
        """
        folder = Path(folder)
        _refuse_foreign(folder)
        held = lock(folder)
        try:
            wanted = {"command": command, "arguments": arguments, "seeds": seeds, "hashes": hashes}
            manifest, resumed = _open_manifest(folder, jsonable(wanted), jsonable(passed))
        except BaseException:
            held.release()
            raise
        run = cls(folder, manifest, held, resumed=resumed)
        if run.complete:
            run.close()
        return run

    @property
    def complete(self) -> bool:
        """Whether the run is whole; then nothing more can be written through it."""
        return self.manifest["status"] == "complete"

    @property
    def seconds(self) -> float:
        """Seconds that this writer and the earlier ones had the run open, up to now."""
        return self._before + monotonic() - self._opened

    def record_seconds(self, *, every: float = 0.0) -> None:
        """Write down the seconds so far, so that a resume after a kill counts on from there.

        With `every`, only if so many seconds have passed since they were last written down.
        """
        if self.seconds - self.manifest.get("seconds", 0.0) >= every:
            self._update(seconds=self.seconds)

    def write_json(self, name: str, value: Any) -> None:
        """Write one JSON document atomically; NaN becomes null."""
        files.write_json(self._target(name), value)

    def write_text(self, name: str, text: str) -> None:
        """Write UTF-8 text atomically."""
        files.write_text(self._target(name), text)

    def write_jsonl(self, name: str, rows: Iterable[Any]) -> None:
        """Write one JSON document a line atomically; NaN becomes null."""
        files.write_jsonl(self._target(name), rows)

    def write_parquet(self, name: str, table: "pa.Table") -> None:
        """Write a Parquet table atomically."""
        files.write_parquet(self._target(name), table)

    def finish(self, results: Mapping[str, Any], seconds: float) -> None:
        """Complete the manifest with the results and the seconds they took in all: a run's last write."""
        self._update(status="complete", finished=_now(), seconds=seconds, results=results)

    def fail(self, reason: str) -> None:
        """Mark the run as failed; it can be resumed."""
        self._update(status="failed", finished=_now(), seconds=self.seconds, reason=reason)

    def close(self) -> None:
        """Release the lock."""
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            if isinstance(error, SpilloverError) and not self.complete:
                self.fail(str(error))
            elif isinstance(error, KeyboardInterrupt) and not self.complete:
                # of runs inside each other the outermost is the one to start again, and it leaves last
                again = f"the same command with --out {shlex.quote(str(self.folder))} goes on from there"
                error.__notes__ = [again]
                self.record_seconds()
        finally:
            self.close()

    def _update(self, **entries: Any) -> None:
        manifest = self.manifest | jsonable(entries)
        files.write_json(self._target(_MANIFEST), manifest)
        self.manifest = manifest

    def _target(self, name: str) -> Path:
        if self.complete:
            raise RunError(f"{self.folder} is complete and is not written again; use another --out")
        if not self._lock.is_locked:
            raise RunError(f"{self.folder} was closed; start the run again to go on writing")
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


@dataclass(frozen=True, kw_only=True)
class RunView(_Folder):
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
    folder = Path(folder)
    manifest = _read_manifest(folder)
    status = manifest["status"]
    if status == "running" and (folder / LOCK).exists():
        try:
            with FileLock(folder / LOCK, timeout=0, thread_local=False):
                manifest = _read_manifest(folder)  # again: its writer may have finished in between
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
    """The runs right below `root`, newest first, then the broken ones and why; no folder, no runs."""
    root = Path(root)
    if not root.is_dir():
        return []
    views = [_view(manifest.parent) for manifest in sorted(root.glob(f"*/{_MANIFEST}"))]
    return sorted(views, key=lambda view: str(view.manifest.get("started", "")), reverse=True)


def _view(folder: Path) -> RunView:
    try:
        return read_run(folder)
    except RunError as error:
        return RunView(folder=folder, manifest={}, status="broken", reason=str(error))


def _refuse_foreign(folder: Path) -> None:
    """Touch nothing in a folder that holds files but no manifest, whoever wrote them."""
    others = foreign(folder)
    if others and not (folder / _MANIFEST).exists():
        raise RunError(
            f"{folder} is not a run: it holds {others[0]!r} and no {_MANIFEST}; "
            "give --out a new or empty folder"
        )


def _open_manifest(
    folder: Path, wanted: dict[str, Any], passed: dict[str, Any]
) -> tuple[dict[str, Any], bool]:
    """The manifest to go on with, written unless the run is complete, and whether it resumes another."""
    resumed = (folder / _MANIFEST).exists()
    if resumed:
        manifest = _read_manifest(folder)
        differences = [
            line for key in _IDENTITY for line in _differences(key, manifest.get(key), wanted[key])
        ]
        if differences:
            raise RunError(f"{folder} holds another run: {'; '.join(differences)}; use another --out")
        if manifest["status"] == "complete":
            return manifest, False
        kept = {
            key: value for key, value in manifest.items() if key not in ("reason", "finished", "resumed_at")
        }
        manifest = kept | {"status": "running", "resumed_at": [*manifest.get("resumed_at", []), _now()]}
    else:
        manifest = {"format_version": FORMAT_VERSION, "status": "running"} | wanted
        manifest |= {"passed": passed, **environment.describe(), "started": _now()}
    for leftover in folder.glob(files.TEMPORARY):
        leftover.unlink(missing_ok=True)
    files.write_json(folder / _MANIFEST, manifest)
    return manifest, resumed


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / _MANIFEST
    if not path.is_file():
        raise RunError(f"{folder} is not a run: it has no {_MANIFEST}")
    manifest = files.read_json(path)
    if not isinstance(manifest, dict) or not isinstance(manifest.get("format_version"), int):
        raise RunError(f"{path} is not a run's manifest: it has no format_version")
    if manifest["format_version"] > FORMAT_VERSION:
        raise RunError(
            f"{path} has format {manifest['format_version']}, this spillover reads up to {FORMAT_VERSION}; "
            "upgrade spillover"
        )
    if manifest.get("status") not in ("running", "failed", "complete"):
        raise RunError(f"{path} has the unknown status {manifest.get('status')!r}")
    return manifest


def _differences(key: str, old: Any, new: Any) -> list[str]:
    """One phrase per entry of the manifest's `key` that differs, nested entries by their dotted name."""
    before, after = _flat(old), _flat(new)
    return [
        f"{_IDENTITY[key]}{f' {name!r}' if name else ''} "
        f"was {_shown(key, name, before)}, now {_shown(key, name, after)}"
        for name in sorted(before.keys() | after.keys())
        if name not in before or name not in after or before[name] != after[name]
    ]


def _flat(entries: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings as dotted names; anything else is itself, named by the prefix."""
    if not isinstance(entries, dict) or (prefix and not entries):
        return {prefix: entries}
    flat: dict[str, Any] = {}
    for name, value in entries.items():
        flat |= _flat(value, f"{prefix}.{name}" if prefix else name)
    return flat


def _shown(key: str, name: str, entries: dict[str, Any]) -> str:
    if name not in entries:
        return "not set"
    return str(entries[name])[:12] if key == "hashes" else repr(entries[name])


def _now() -> str:
    """UTC, ISO 8601, microseconds always there: sorts as text."""
    return datetime.now(UTC).isoformat(timespec="microseconds")
