"""Sweeps that are killed again and again, the sweep or one of its workers: do they end as if never disturbed?

`python -m benchmarks.kills [--kills 100] [--on local|ray] [--workers 2] [--pace 5]`; exits with 1 if anything
differs.
"""

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from os import environ
from pathlib import Path
from typing import Any

import psutil
import yaml

from spillover.cells.folder import CELLS
from spillover.jobs.sweep import sweep
from spillover.runs.files import TEMPORARY, jsonable
from spillover.runs.record import read_run
from tests.tiny_models import save_tiny_model

_SHARE_OF_SWEEP = 0.35  # of the kills; the others hit a worker
_SHARE_EARLY = 0.15  # of the starts; there the first kill may come before any cell is begun
_LOOK = 0.1  # seconds between looks at the processes
_GRACE = 30.0  # seconds that whatever a killed sweep started may take to leave
_PATIENCE = 900.0  # seconds that a sweep may take from its start or its last kill

Finished = dict[str, tuple[bytes, int]]
"""The manifest of each complete cell: its bytes and when they were written (ns)."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """The sweep that is to survive."""

    spec: Path
    scratch: Path
    """Where all of its processes put what is temporary. Short: a socket's path has some hundred letters."""
    on: str
    workers: int

    def start(self, place: Path) -> psutil.Popen:
        """The sweep as a process of its own, going on in the place."""
        place.mkdir(exist_ok=True)
        with (place / "stdout").open("wb") as out, (place / "stderr").open("wb") as err:
            return psutil.Popen(
                [
                    *(sys.executable, "-m", "spillover", "sweep", str(self.spec), "--json", "--on", self.on),
                    *("--workers", str(self.workers), "--out", str(place / "sweep")),
                ],
                env={**environ, "TMPDIR": str(self.scratch)},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )

    def workers_of(self, running: psutil.Popen) -> list[psutil.Process]:
        """The processes that compute cells for it, or are about to."""
        return [process for process in _descendants(running) if self._computes(process)]

    def _computes(self, process: psutil.Process) -> bool:
        try:
            words = process.cmdline()
        except psutil.Error:  # it has just ended
            return False
        # Ray's agents are called ray::, too, and a cluster ends with them
        return words[:1] != [] and (
            words[0].startswith(("ray::IDLE", "ray::compute_there")) or words[-1] == "spillover.cells"
        )


@dataclass(frozen=True, kw_only=True)
class End:
    """What a finished sweep leaves."""

    audits: list[dict[str, Any]]
    scores: dict[str, bytes]
    """Each scores.parquet, of cells and of audits, by its path in the place."""


@dataclass(kw_only=True)
class Tally:
    """How a campaign went."""

    of_sweep: int = 0
    """Kills of the sweep's own process."""
    of_workers: int = 0
    """Kills of one of its workers."""
    sweeps: int = 0
    """Sweeps that were finished."""
    cells: int = 0
    """Cells that were computed by these."""
    differences: list[str] = field(default_factory=list)

    @property
    def kills(self) -> int:
        """Of both kinds."""
        return self.of_sweep + self.of_workers

    def __str__(self) -> str:
        return (
            f"{self.of_sweep} kills of the sweep, {self.of_workers} of workers, {self.sweeps} sweeps "
            f"finished, {self.cells} cells computed, differences: {len(self.differences)}"
        )


def campaign(
    folder: Path,
    *,
    kills: int,
    on: str = "local",
    workers: int = 2,
    seeds: Sequence[int] = (0, 1),
    rates: Sequence[float] = (1e-3, 2e-3),
    pace: float = 5.0,
    seed: int = 0,
    say: Callable[[str], None] = print,
) -> Tally:
    """Kill sweeps of a tiny model until there were so many kills, and compare each with an undisturbed one.

    A sweep has a cell for each of `seeds` x `rates` (learning rates), and one for the untuned model. The
    undisturbed one computes them in this process, one after another. The last sweep is left in peace once
    there were enough kills. `pace` is the mean of the seconds to the next kill, once a cell is
    begun; `seed` draws the moments and the victims.
    """
    scratch = folder / "t"
    scratch.mkdir()
    case = Case(spec=_write_spec(folder, seeds, rates), scratch=scratch, on=on, workers=workers)
    (folder / "undisturbed").mkdir()
    document = sweep(case.spec, out=folder / "undisturbed" / "sweep")
    undisturbed = End(audits=jsonable(document["audits"]), scores=scores_in(folder / "undisturbed"))
    say(f"undisturbed: {len(_finished(folder / 'undisturbed'))} cells")
    started: set[psutil.Process] = set()
    rng, tally = random.Random(seed), Tally()  # noqa: S311 - moments, not secrets
    try:
        while tally.kills < kills and not tally.differences:
            place = folder / f"disturbed-{tally.sweeps + 1}"
            _disturb(case, place, kills, pace, rng, tally, started)
            if not tally.differences:
                tally.differences += differences(_end(place), undisturbed, place)
            tally.sweeps += 1
            tally.cells += len(_finished(place))
            say(str(tally))
    finally:
        tally.differences += _orphans(started)
    return tally


def _write_spec(folder: Path, seeds: Sequence[int], rates: Sequence[float]) -> Path:
    model = save_tiny_model(folder / "tiny", "llama")
    spec = folder / "spec.yaml"
    tune = {"epochs": 1, "batch_size": 24, "learning_rate": list(rates)}
    spec.write_text(yaml.safe_dump({"kb": "country-code", "model": str(model), "seeds": list(seeds)} | tune))
    return spec


def _disturb(
    case: Case,
    place: Path,
    kills: int,
    pace: float,
    rng: random.Random,
    tally: Tally,
    started: set[psutil.Process],
) -> None:
    """Bring one sweep to its end, however often it is killed on its way."""
    finished: Finished = {}
    while not tally.differences:
        running = case.start(place)
        since = time.time_ns()
        started.add(running)
        if rng.random() > _SHARE_EARLY:
            while not _is_under_way(place, since) and still_runs_after(_LOOK, running):
                started |= set(_descendants(running))
        while tally.kills < kills and still_runs_after(rng.uniform(0, 2 * pace), running):
            started |= set(_descendants(running))
            if rng.random() < _SHARE_OF_SWEEP or case.workers == 1:
                running.kill()
                running.wait()
                tally.of_sweep += 1
            elif found := case.workers_of(running):
                _kill(rng.choice(found))
                tally.of_workers += 1
            tally.differences += changed(finished, _finished(place))
            finished = _finished(place)
        if still_runs_after(_PATIENCE, running):
            _kill(running)
            tally.differences.append(f"{place}: the sweep did not end")
            return
        tally.differences += changed(finished, _finished(place))
        if running.returncode == 0:
            return
        if running.returncode != -signal.SIGKILL and not _has_lost_its_workers(place):
            tally.differences.append(
                f"{place}: the sweep ended with {running.returncode}: {text_of(place / 'stderr')}"
            )


def _is_under_way(place: Path, since: int) -> bool:
    return any(path.stat().st_mtime_ns > since for path in _manifests(place))


def still_runs_after(seconds: float, running: psutil.Popen) -> bool:
    """Whether it goes on for so many seconds; returns as soon as it ends."""
    try:
        running.wait(seconds)
    except psutil.TimeoutExpired:
        return True
    return False


def _has_lost_its_workers(place: Path) -> bool:
    """Whether cells failed, and all for the reason that their workers were killed too often."""
    try:
        audits = json.loads(text_of(place / "stdout"))["audits"]
    except ValueError:
        return False
    reasons = [audit["failed"] for audit in audits if "failed" in audit]
    return all("was killed 3 times" in reason or "was lost 3 times" in reason for reason in reasons)


def _finished(place: Path) -> Finished:
    complete = [path for path in _manifests(place) if read_run(path.parent).status == "complete"]
    return {path.parent.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in complete}


def _manifests(place: Path) -> list[Path]:
    return list((place / CELLS).glob("*/manifest.json"))


def changed(before: Finished, now: Finished) -> list[str]:
    """A line for each cell that was finished before and is not as it was."""
    return [
        f"cell {name} was finished and was written again" for name in before if now.get(name) != before[name]
    ]


def _end(place: Path) -> End:
    return End(audits=json.loads(text_of(place / "stdout"))["audits"], scores=scores_in(place))


def scores_in(place: Path) -> dict[str, bytes]:
    """Each scores.parquet of a place, by its path there."""
    return {str(path.relative_to(place)): path.read_bytes() for path in place.rglob("scores.parquet")}


def differences(end: End, undisturbed: End, place: Path) -> list[str]:
    """A line for everything in which a sweep's end in a place is not as the undisturbed one's."""
    found = [] if end.audits == undisturbed.audits else [f"{place}: the final table differs"]
    names = end.scores.keys() | undisturbed.scores.keys()
    found += [
        f"{place / name} differs" for name in names if end.scores.get(name) != undisturbed.scores.get(name)
    ]
    return found + [f"{path} was left" for path in place.rglob(TEMPORARY)]


def _descendants(running: psutil.Popen) -> list[psutil.Process]:
    try:
        return running.children(recursive=True)
    except psutil.Error:
        return []


def _kill(process: psutil.Process) -> None:
    with suppress(psutil.NoSuchProcess):  # it has just ended
        process.kill()


def _orphans(started: set[psutil.Process]) -> list[str]:
    """A line for each process that outlives its sweep; none does afterwards."""
    _, left = psutil.wait_procs(list(started), timeout=_GRACE)
    for process in left:
        _kill(process)
    return [f"process {process.pid} outlived its sweep" for process in left]


def text_of(path: Path) -> str:
    """What a file says, without the white space around it."""
    return path.read_text(encoding="utf-8").strip()


def main() -> int:
    """Print a line for each finished sweep, and how it went."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kills", description=main.__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--on", choices=("local", "ray"), default="local")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--pace", type=float, default=5.0)
    asked = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="kills-", ignore_cleanup_errors=True) as folder:
        tally = campaign(
            Path(folder),
            kills=asked.kills,
            on=asked.on,
            workers=asked.workers,
            pace=asked.pace,
            say=lambda line: print(line, flush=True),
        )
    for line in tally.differences:
        print(line)
    print(f"{asked.on}: {tally}, {time.monotonic() - began:.0f} s")
    return 1 if tally.differences else 0


if __name__ == "__main__":
    sys.exit(main())
