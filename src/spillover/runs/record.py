"""The run folder: written atomically, locked against a second writer, resumable after a kill.

`manifest.json` is written first with status "running" and completed last, so a complete manifest means a
whole run. How a folder is read is in `views.py`.
"""

import shlex
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Literal, Self

from filelock import FileLock

from spillover.errors import RunError, SpilloverError
from spillover.runs import environment, files
from spillover.runs.files import hash_file, hash_json, jsonable
from spillover.runs.lock import foreign, lock
from spillover.runs.views import (
    FORMAT_VERSION,
    MANIFEST,
    RESULTS_HASH,
    Folder,
    RunView,
    checked,
    has_manifest,
    holds_run,
    list_runs,
    read_manifest,
    read_run,
)

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["FORMAT_VERSION", "Run", "RunView", "hash_file", "hash_json", "jsonable", "list_runs", "read_run"]

Replaced = Literal["none", "other", "any"]
"""Which earlier run of the same command gives way to a new one in its folder: none, one with other settings,
or any."""

_IDENTITY = {
    "command": "the command",
    "arguments": "argument",
    "seeds": "the list of seeds",
    "hashes": "the hash of",
}


class Run(Folder):
    """A run folder open for writing; make one with `Run.start` and use it in a `with` block.

    What cannot be written is a RunError. Leaving the block releases the lock. A SpilloverError inside it
    marks the run as failed; anything else, a kill too, leaves it incomplete, to be resumed. A
    KeyboardInterrupt gets a note that says how.
    """

    def __init__(
        self, folder: Path, manifest: dict[str, Any], lock: FileLock, *, resumed: bool, hint: str | None
    ) -> None:
        self.folder = folder
        self.manifest = manifest
        self.resumed = resumed
        """Whether an earlier, unfinished writer of the same run was here."""
        self._lock = lock
        self._hint = hint or f"the same command with --out {shlex.quote(str(folder))} goes on from there"
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
        replace: Replaced = "none",
        known: Collection[str] = (),
        hint: str | None = None,
    ) -> Self:
        """Create the folder, resume an unfinished run in it, or open a complete one (`complete` tells).

        `arguments` are the resolved ones, `passed` those that the user gave. A folder of another run (other
        command, arguments, seeds or hashes), of a newer format, of no run, or with a writer is a RunError.
        `replace` lets runs of this command give way: their manifest does, their files stay for the new run
        to replace. `known` are names that version 0.1 left without a manifest; nothing else may lie there
        without one. `hint` is what to say on an interrupt, if it is not --out with this folder.
        """
        folder = files.usable(Path(folder) / MANIFEST).parent
        _refuse_foreign(folder, known)
        held = lock(folder)
        try:
            wanted = {"command": command, "arguments": arguments, "seeds": seeds, "hashes": hashes}
            manifest, resumed = _open_manifest(folder, jsonable(wanted), jsonable(passed), replace)
        except BaseException:
            held.release()
            raise
        run = cls(folder, manifest, held, resumed=resumed, hint=hint)
        if run.complete:
            run.close()
        return run

    @property
    def complete(self) -> bool:
        """Whether the run is whole; then nothing more can be written through it."""
        return self.manifest["status"] == "complete"

    @property
    def results(self) -> dict[str, Any]:
        """The results of a complete run. Raises RunError where they are not as its command writes them."""
        return checked(self.folder, self.manifest)["results"]

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
        with self._writing(name) as path:
            files.write_json(path, value)

    def write_text(self, name: str, text: str) -> None:
        """Write UTF-8 text atomically."""
        with self._writing(name) as path:
            files.write_text(path, text)

    def write_bytes(self, name: str, content: bytes) -> None:
        """Write bytes atomically."""
        with self._writing(name) as path:
            files.write_bytes(path, content)

    def write_csv(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write rows of the same names as CSV atomically; an empty cell where undefined."""
        with self._writing(name) as path:
            files.write_csv(path, rows)

    def write_jsonl(self, name: str, rows: Iterable[Any]) -> None:
        """Write one JSON document a line atomically; NaN becomes null."""
        with self._writing(name) as path:
            files.write_jsonl(path, rows)

    def write_parquet(self, name: str, table: "pa.Table") -> None:
        """Write a Parquet table atomically."""
        with self._writing(name) as path:
            files.write_parquet(path, table)

    def finish(self, results: Mapping[str, Any], seconds: float) -> None:
        """Complete the manifest with the results and the seconds they took in all: a run's last write."""
        entries = {"results": results, RESULTS_HASH: hash_json(results)}
        self._update(status="complete", finished=_now(), seconds=seconds, **entries)

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
                with suppress(RunError):  # on a full disk: the first error is the one to tell
                    self.fail(str(error))
            elif isinstance(error, KeyboardInterrupt) and not self.complete:
                # of runs inside each other the outermost is the one to start again, and it leaves last
                error.__notes__ = [self._hint]
                with suppress(RunError):
                    self.record_seconds()
        finally:
            self.close()

    def _update(self, **entries: Any) -> None:
        manifest = self.manifest | jsonable(entries)
        with self._writing(MANIFEST) as path:
            files.write_json(path, manifest)
        self.manifest = manifest

    @contextmanager
    def _writing(self, name: str) -> Iterator[Path]:
        if self.complete:
            raise RunError(f"{self.folder} is complete and is not written again; use another --out")
        if not self._lock.is_locked:
            raise RunError(f"{self.folder} was closed; start the run again to go on writing")
        path = self.path(name)
        with files.writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield path


def _refuse_foreign(folder: Path, known: Collection[str]) -> None:
    """Touch nothing in a folder that holds other files than the known ones but no manifest."""
    others = foreign(folder, known)
    if others and not has_manifest(folder):
        raise RunError(
            f"{folder} is not a run: it holds {others[0]!r} and no {MANIFEST}; "
            "give --out a new or empty folder"
        )


def _open_manifest(
    folder: Path, wanted: dict[str, Any], passed: dict[str, Any], replace: Replaced
) -> tuple[dict[str, Any], bool]:
    """The manifest to go on with, written unless the run is complete, and whether it resumes another."""
    earlier = read_manifest(folder) if holds_run(folder) else None
    if earlier is not None and not _gives_way(earlier, wanted, replace):
        differences = _differences(earlier, wanted)
        if differences:
            raise RunError(f"{folder} holds another run: {'; '.join(differences)}; use another --out")
        if earlier["status"] == "complete":
            return earlier, False
        ended = ("reason", "finished", "resumed_at")
        manifest = {key: value for key, value in earlier.items() if key not in ended}
        manifest |= {"status": "running", "resumed_at": [*earlier.get("resumed_at", []), _now()]}
        resumed = True
    else:
        manifest = {"format_version": FORMAT_VERSION, "status": "running"} | wanted
        manifest |= {"passed": passed, **environment.describe(), "started": _now()}
        resumed = False
    with files.writing(folder / MANIFEST):
        for leftover in folder.glob(files.TEMPORARY):
            leftover.unlink(missing_ok=True)
        files.write_json(folder / MANIFEST, manifest)
    return manifest, resumed


def _gives_way(earlier: dict[str, Any], wanted: dict[str, Any], replace: Replaced) -> bool:
    if earlier.get("command") != wanted["command"]:
        return False
    return replace == "any" or (replace == "other" and bool(_differences(earlier, wanted)))


def _differences(earlier: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """One phrase for everything in which two runs differ; of other commands nothing else compares."""
    if earlier.get("command") != wanted["command"]:
        return _changes("command", earlier.get("command"), wanted["command"])
    return [line for key in _IDENTITY for line in _changes(key, earlier.get(key), wanted[key])]


def _changes(key: str, old: Any, new: Any) -> list[str]:
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
