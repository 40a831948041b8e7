"""Everything that is known to break programs, done to this one: kills, writers, damage, full disks, fuzz.

`python -m benchmarks.campaign [--scale 1.0] [--part NAME]` prints one table: what was tried, how often
something was wrong, how long it took and the most memory that any of its processes had. In full (scale 1) it
takes hours. Exits with 1 if anything was wrong. Each part runs in a process of its own.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib import import_module
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import fuzz, kills, kills_of_verbs
from benchmarks.attempts import peak_memory

_ROOT = Path(__file__).parents[1]
_SHOWN = 20  # faults that are printed of a part


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How one part went."""

    tried: int
    wrong: list[str]
    """A line for each fault."""
    seconds: float = 0.0
    memory: float = 0.0
    """The most that one of its processes had (GB)."""


Part = Callable[[Path, float], Outcome]
"""Given an empty folder and the scale."""


def _of(number: int, scale: float) -> int:
    return max(1, round(number * scale))


def _kills_of_sweeps(folder: Path, scale: float) -> Outcome:
    tally = kills.campaign(folder, kills=_of(60, scale), say=_quietly)
    return Outcome(tried=tally.kills, wrong=tally.differences)


def _kills_of(verb: str, number: int, model: str | None, folder: Path, scale: float) -> Outcome:
    verbs = kills_of_verbs.verbs(folder, model)
    tally = kills_of_verbs.run_campaign(folder, verbs, verb, _of(number, scale), say=_quietly)
    return Outcome(tried=tally.ends if verb == "writers" else tally.kills, wrong=tally.differences)


def _fuzz(folder: Path, scale: float) -> Outcome:
    tallies = fuzz.campaign(folder, examples=_of(10_500, scale), say=_quietly).values()
    return Outcome(
        tried=sum(tally.tried for tally in tallies), wrong=[line for tally in tallies for line in tally.wrong]
    )


def _damaged_runs(folder: Path, scale: float) -> Outcome:
    broken_runs = import_module("benchmarks.broken_runs")
    sample = None if scale >= 1 else _of(200, scale)
    tally = broken_runs.campaign(folder.resolve(), sample=sample, say=_quietly)
    return Outcome(
        tried=sum(number for (what, _), number in tally.ends.items() if what == "runs"), wrong=tally.wrong
    )


def _hostile_models(folder: Path, scale: float) -> Outcome:
    os.environ |= {"SPILLOVER_CACHE": str(folder / "cache"), "HF_HUB_OFFLINE": "1"}
    broken_models = import_module("benchmarks.broken_models")
    rng = random.Random(0)  # noqa: S311 - a draw
    found = list(broken_models.try_all(folder, lambda name: rng.random() < scale))
    wrong = [f"{result.name}: {result.outcome}: {result.text}" for result in found if result.is_wrong]
    return Outcome(tried=len(found), wrong=wrong)


def _full_disk(folder: Path, scale: float) -> Outcome:
    """The test of it, which is all there is at any scale: each verb with several limits to a file's size."""
    module = import_module("tests.jobs.test_full_disk")
    test = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--basetemp={folder / 'disk'}"]
    done = subprocess.run(
        [*test, str(module.__file__)], cwd=_ROOT, capture_output=True, text=True, check=False
    )
    wrong = [" ".join(done.stdout.split())[-500:]] if done.returncode else []
    return Outcome(tried=sum(len(limits) for limits in module.VERBS.values()), wrong=wrong)


PARTS: dict[str, Part] = {
    "kills of sweeps and workers": _kills_of_sweeps,
    "kills of audits": partial(_kills_of, "audit", 25, None),
    "kills of scores": partial(_kills_of, "score", 10, None),
    "kills of reports": partial(_kills_of, "report", 20, None),
    "kills of an audit of SmolLM2": partial(_kills_of, "audit", 5, "smollm2-135m"),
    "two writers": partial(_kills_of, "writers", 10, None),
    "damaged runs": _damaged_runs,
    "full disks": _full_disk,
    "hostile models": _hostile_models,
    "fuzzed inputs": _fuzz,
}
"""What a campaign is made of, by name."""


def run_part(name: str, scale: float) -> Outcome:
    """One part, in this process."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="campaign-", ignore_cleanup_errors=True) as folder:
        found = PARTS[name](Path(folder), scale)
    return replace(found, seconds=time.monotonic() - began, memory=peak_memory())


def run_apart(name: str, scale: float) -> Outcome:
    """One part, in a process of its own; one that ends without an outcome is wrong."""
    call = [sys.executable, "-m", "benchmarks.campaign", "--alone", name, "--scale", str(scale)]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    if done.returncode != 0 or not lines:
        return Outcome(tried=0, wrong=[f"no outcome: {' '.join(done.stderr.split())[-500:]}"])
    return Outcome(**json.loads(lines[-1]))


def table_of(outcomes: dict[str, Outcome]) -> Table:
    """A line for each part, and one for all."""
    table = Table("part", "tried", "wrong", "seconds", "memory")
    for name, outcome in outcomes.items():
        table.add_row(name, *_cells(outcome))
    found = outcomes.values()
    everything = Outcome(
        tried=sum(outcome.tried for outcome in found),
        wrong=[line for outcome in found for line in outcome.wrong],
        seconds=sum(outcome.seconds for outcome in found),
        memory=max(outcome.memory for outcome in found),
    )
    table.add_section()
    table.add_row("all", *_cells(everything))
    return table


def _cells(outcome: Outcome) -> list[str]:
    number = f"{outcome.tried:,}", f"{len(outcome.wrong):,}", f"{outcome.seconds:,.0f}"
    return [*number, f"{outcome.memory:.2f} GB"]


def _quietly(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.campaign", description=main.__doc__)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--part", choices=tuple(PARTS), action="append")
    parser.add_argument("--alone", choices=tuple(PARTS), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.alone:
        print(json.dumps(asdict(run_part(asked.alone, asked.scale))))
        return 0
    outcomes: dict[str, Outcome] = {}
    for name in asked.part or tuple(PARTS):
        outcomes[name] = run_apart(name, asked.scale)
        print(f"{name}: {', '.join(_cells(outcomes[name]))}", flush=True)
        for line in outcomes[name].wrong[:_SHOWN]:
            print(f"  {' '.join(line.split()):.500}", flush=True)
    Console(width=100).print(table_of(outcomes))
    return 1 if any(outcome.wrong for outcome in outcomes.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
