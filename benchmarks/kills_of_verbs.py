"""Verbs that are killed again and again, and folders with two writers: does each end as if never disturbed?

`python -m benchmarks.kills_of_verbs [--kills 40] [--model smollm2-135m] [--verb audit]` kills `audit`,
`score` and `report`, and starts two audits of one folder at once; exits with 1 if anything differs. Without a
model it is a tiny one, made on the spot.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from benchmarks.kills import scores_in, still_runs_after, text_of
from spillover.cells.folder import CELLS
from spillover.runs.files import TEMPORARY
from tests.tiny_models import save_tiny_model

_SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
_ENDS = {0, 130, *(-sign for sign in _SIGNALS)}
"""Exit codes of a verb that was done, was interrupted, or was killed."""
_SHARE_EARLY = 0.15  # of the kills; they come while the interpreter is still starting
_START = 2.0  # seconds; what an interpreter that is half started makes of a gentle signal is its own affair
_LOOK = 0.002  # seconds between looks at a folder
_PATIENCE = 900.0  # seconds that a verb may take when it is left in peace
_CLOCKS = ("train_runtime", "train_samples_per_second", "train_steps_per_second")
"""Columns of the training log that tell the time, which is never the same twice."""

RUN, PAGE, OLD = "run", "report.html", "An older page, which is whole.\n" * 1_000


@dataclass(frozen=True, kw_only=True)
class Verb:
    """A command that is to survive."""

    words: Sequence[str]
    """Of the command line, in a place of its own."""
    program: Sequence[str] = (sys.executable, "-m", "spillover")
    """What is called with them."""
    begun: Callable[[Path], bool]
    """Whether its work in a place is under way: from then on the kills come."""
    end: Callable[[Path], Any]
    """Everything it leaves in a place that must always be the same."""
    prepare: Callable[[Path], object] = lambda place: None
    """Put into a fresh place what it needs."""
    broken: Callable[[Path, Any], list[str]] = lambda place, undisturbed: []
    """What a kill must never leave: a line for each fault. Given what the undisturbed one left."""

    def start(self, place: Path) -> psutil.Popen:
        """The verb as a process of its own."""
        (place.parent / "t").mkdir(exist_ok=True)
        with (place / "stdout").open("wb") as out, (place / "stderr").open("ab") as err:
            return psutil.Popen(
                [*self.program, *self.words],
                cwd=place,
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join(sys.path),
                    "TMPDIR": str(place.parent / "t"),
                },
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )


@dataclass(kw_only=True)
class Tally:
    """How a campaign went."""

    kills: int = 0
    ends: int = 0
    """Verbs that were brought to their end."""
    differences: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.kills} kills, {self.ends} ends, differences: {len(self.differences)}"


def verbs(folder: Path, model: str | None = None) -> dict[str, Verb]:
    """The verbs, on the smallest built-in knowledge base and a model: by default a tiny one, made here.

    The report's run is made here, too, and takes an audit.
    """
    name = model or str(save_tiny_model(folder / "tiny", "llama"))
    asked = ("country-code", "--model", name)
    tune = ("--epochs", "1", "--batch-size", "24" if model is None else "8")
    audit = Verb(
        words=("audit", *asked, *tune, "--out", RUN, "--json"),
        begun=lambda place: any(place.glob(f"{CELLS}/*/manifest.json")),
        end=_audit_end,
    )
    score = Verb(
        words=("score", *asked, "--json"),
        begun=lambda place: "untuned" in text_of(place / "stderr"),
        end=lambda place: (_numbers(place), sorted(path.name for path in place.iterdir())),
    )
    report = Verb(
        words=("report", str(folder / "reported" / RUN), "--out", PAGE),
        begun=lambda place: any(place.glob(TEMPORARY)),
        end=lambda place: (place / PAGE).read_bytes(),
        prepare=lambda place: (place / PAGE).write_text(OLD, encoding="utf-8"),
        broken=_page_is_whole,
    )
    return {"audit": audit, "score": score, "report": report}


def _audit_end(place: Path) -> Any:
    logs = {
        str(path.relative_to(place)): [_timeless(json.loads(line)) for line in text_of(path).splitlines()]
        for path in sorted(place.rglob("metrics.jsonl"))
    }
    page = (place / RUN / PAGE).is_file()
    left = [str(path) for path in place.rglob(TEMPORARY)]
    return _numbers(place), scores_in(place), logs, page, left


def _timeless(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in _CLOCKS}


def _numbers(place: Path) -> Any:
    """The document's, as text, in which NaN is NaN."""
    document = json.loads(text_of(place / "stdout"))
    return json.dumps({name: document[name] for name in ("facts", "rules")})


def _page_is_whole(place: Path, undisturbed: Any) -> list[str]:
    page = (place / PAGE).read_bytes()
    return (
        [] if page in (OLD.encode(), undisturbed) else [f"{place / PAGE} is neither the old page nor the new"]
    )


def campaign(
    folder: Path, verb: Verb, *, kills: int, seed: int = 0, say: Callable[[str], None] = print
) -> Tally:
    """Kill a verb until there were so many kills, and compare each of its ends with an undisturbed one.

    Each place is gone on with until the verb ends there; then a fresh one is begun. The moments are drawn by
    `seed`, over as long as the undisturbed one worked.
    """
    tally, rng = Tally(), random.Random(seed)  # noqa: S311 - moments, not secrets
    undisturbed, seconds = _undisturbed(verb, _place(folder, "undisturbed", verb))
    while tally.kills < kills and not tally.differences:
        place = _place(folder, f"disturbed-{tally.ends + 1}", verb)
        while not _ended(verb, place, kills, seconds, rng, tally):
            tally.differences += verb.broken(place, undisturbed)
        if not tally.differences and verb.end(place) != undisturbed:
            tally.differences.append(f"{place}: the end differs from the undisturbed one")
        tally.ends += 1
        say(str(tally))
    return tally


def _place(folder: Path, name: str, verb: Verb) -> Path:
    place = folder / name
    place.mkdir(parents=True)
    verb.prepare(place)
    return place


def _undisturbed(verb: Verb, place: Path) -> tuple[Any, float]:
    """What it leaves, and how long it worked after it had begun (s)."""
    running = verb.start(place)
    began = _wait_until_begun(verb, place, running)
    running.wait(_PATIENCE)
    if running.returncode != 0:
        raise RuntimeError(f"{place}: ended with {running.returncode}: {text_of(place / 'stderr')}")
    return verb.end(place), time.monotonic() - began


def _wait_until_begun(verb: Verb, place: Path, running: psutil.Popen) -> float:
    """When it had begun, or ended."""
    while running.poll() is None and not verb.begun(place):
        time.sleep(_LOOK)
    return time.monotonic()


def _ended(verb: Verb, place: Path, kills: int, seconds: float, rng: random.Random, tally: Tally) -> bool:
    """Start the verb and kill it, unless there were enough kills; whether it came to its end, or cannot."""
    running, started = verb.start(place), time.monotonic()
    sign = rng.choice(_SIGNALS)
    if tally.kills >= kills:
        late = still_runs_after(_PATIENCE, running)
    elif rng.random() < _SHARE_EARLY:
        late = still_runs_after(rng.uniform(0, _START), running)
    else:  # at once in a place where an earlier start had begun
        _wait_until_begun(verb, place, running)
        late = still_runs_after(rng.uniform(0, 1.1 * seconds), running)
    if late and tally.kills < kills:
        running.send_signal(sign if time.monotonic() - started > _START else signal.SIGKILL)
        tally.kills += 1
        late = still_runs_after(_PATIENCE, running)
    if late:
        running.kill()
        running.wait()
        tally.differences.append(f"{place}: it did not end")
    elif running.returncode not in _ENDS:
        tally.differences.append(f"{place}: ended with {running.returncode}: {text_of(place / 'stderr')}")
    return running.returncode == 0 or bool(tally.differences)


def two_writers(
    folder: Path, verb: Verb, *, meetings: int, seed: int = 0, say: Callable[[str], None] = print
) -> Tally:
    """Start an audit twice in one folder, at nearly one moment: one does the work, the other says why not.

    In every second meeting the first of the two is killed. In the end the folder holds what an undisturbed
    one does.
    """
    tally, rng = Tally(), random.Random(seed)  # noqa: S311 - moments, not secrets
    undisturbed, seconds = _undisturbed(verb, _place(folder, "undisturbed", verb))
    for meeting in range(meetings):
        place = _place(folder, f"meeting-{meeting + 1}", verb)
        first = verb.start(place)
        still_runs_after(rng.uniform(0, 1), first)
        second = verb.start(place)
        if meeting % 2:
            _wait_until_begun(verb, place, first)
            if still_runs_after(rng.uniform(0, seconds), first):
                first.kill()
                tally.kills += 1
        codes = [running.wait(_PATIENCE) for running in (first, second)]
        said = text_of(place / "stderr")
        if not {*codes} <= {0, 2, -signal.SIGKILL} or "Traceback" in said:
            tally.differences.append(f"{place}: ended with {codes}: {said}")
        if 0 not in codes and -signal.SIGKILL not in codes:
            tally.differences.append(f"{place}: neither did the work: {said}")
        running = verb.start(place)
        if running.wait(_PATIENCE) != 0 or verb.end(place) != undisturbed:
            tally.differences.append(f"{place}: the end differs from the undisturbed one")
        tally.ends += 1
        say(str(tally))
    return tally


def main() -> int:
    """Print a line for each end, and how it went."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kills_of_verbs", description=main.__doc__)
    parser.add_argument("--kills", type=int, default=40, help="of each verb")
    parser.add_argument("--meetings", type=int, default=10, help="of two writers")
    parser.add_argument("--verb", choices=("audit", "score", "report", "writers"), action="append")
    parser.add_argument("--model", help="a short name or a folder")
    asked = parser.parse_args()
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="kills-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        found = verbs(folder, asked.model)
        for verb in asked.verb or (*found, "writers"):
            began = time.monotonic()
            tally = run_campaign(folder, found, verb, asked.meetings if verb == "writers" else asked.kills)
            for line in tally.differences:
                print(line)
            print(f"{verb}: {tally}, {time.monotonic() - began:.0f} s", flush=True)
            wrong += len(tally.differences)
    return 1 if wrong else 0


def run_campaign(
    folder: Path,
    found: dict[str, Verb],
    name: str,
    times: int,
    *,
    seed: int = 0,
    say: Callable[[str], None] = lambda line: print(line, flush=True),
) -> Tally:
    """The campaign of that name, of a verb or `writers`, in a folder of its own within the verbs' folder."""
    if name == "report" and not (folder / "reported").exists():
        _undisturbed(found["audit"], _place(folder, "reported", found["audit"]))
    place = folder / name
    if name == "writers":
        return two_writers(place, found["audit"], meetings=times, seed=seed, say=say)
    return campaign(place, found[name], kills=times, seed=seed, say=say)


if __name__ == "__main__":
    sys.exit(main())
