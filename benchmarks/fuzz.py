"""Inputs that nobody would write, thousands of them: does each end in a result or in one clear line?

`python -m benchmarks.fuzz [--examples 10000] [--seed 0] [--kind NAME]` prints a table of the kinds of input:
how many were tried, read and refused, and which were wrong. Wrong is a traceback, a complaint of several
lines, what takes over ten seconds, and a result that is not what was written. Exits with 1 if anything is.
"""

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import chdir
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from rich.console import Console
from rich.table import Table

from benchmarks.attempts import SECONDS, attempt, peak_memory
from benchmarks.fuzz_inputs import KINDS, Kind

_BATCH = 300  # inputs that hypothesis draws at once; it keeps them all in memory


@dataclass(kw_only=True)
class Tally:
    """How the inputs of one kind went."""

    ends: Counter[str] = field(default_factory=Counter)
    """Of those that were as they should be: `read` or `refused`."""
    wrong: list[str] = field(default_factory=list)
    """A line for each that was not."""
    seconds: float = 0.0

    @property
    def tried(self) -> int:
        """All of them."""
        return self.ends.total() + len(self.wrong)


def campaign(
    folder: Path,
    *,
    examples: int,
    seed: int = 0,
    kinds: Sequence[str] = tuple(KINDS),
    say: Callable[[str], None] = print,
) -> dict[str, Tally]:
    """Try about so many inputs, shared out among the kinds; each wrong one is said at once.

    `folder` is where the files are written; it is empty, and the current folder meanwhile.
    """
    tallies: dict[str, Tally] = {}
    chosen = {name: KINDS[name] for name in kinds}
    shares = sum(kind.share for kind in chosen.values())
    with chdir(folder):
        for name, kind in chosen.items():
            tallies[name] = tally = Tally()
            began = time.monotonic()
            wanted = max(1, round(examples * kind.share / shares))
            for batch, first in enumerate(range(0, wanted, _BATCH)):
                _try_all(kind, min(_BATCH, wanted - first), seed + 1000 * batch, folder, tally, say)
            tally.seconds = time.monotonic() - began
    return tallies


def _try_all(
    kind: Kind, examples: int, seed: int, folder: Path, tally: Tally, say: Callable[[str], None]
) -> None:
    @seeded(seed)
    @settings(
        max_examples=examples,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),  # pyright: ignore[reportArgumentType]
    )
    @given(kind.inputs)
    def try_one(value: object) -> None:
        end, why = _end(kind, folder, value)
        if why:
            tally.wrong.append(f"{end}: {why}: {value!r:.300}")
            say(tally.wrong[-1])
        else:
            tally.ends[end] += 1

    try_one()


def _end(kind: Kind, folder: Path, value: object) -> tuple[str, str]:
    """How an input ends, and what is wrong with that, if anything is."""
    end = attempt(lambda: kind.act(folder, value), SECONDS)
    if end.how == "one line":
        return "refused", ""
    if end.how == "fine":
        return ("wrong", end.value) if end.value else ("read", "")
    return end.how, repr(end.why) if end.how == "several lines" else end.why


def print_table(tallies: dict[str, Tally]) -> None:
    """A line for each kind, and one for all."""
    table = Table("inputs", "tried", "read", "refused", "wrong", "seconds")
    for name, tally in tallies.items():
        numbers = (tally.tried, tally.ends["read"], tally.ends["refused"], len(tally.wrong))
        table.add_row(name, *(f"{number:,}" for number in numbers), f"{tally.seconds:.0f}")
    tried, wrong = (
        sum(numbers) for numbers in zip(*((t.tried, len(t.wrong)) for t in tallies.values()), strict=True)
    )
    Console(width=100).print(table)
    print(f"{tried:,} inputs, {wrong} wrong, {peak_memory():.2f} GB at most")


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz", description=main.__doc__)
    parser.add_argument("--examples", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", choices=tuple(KINDS), action="append")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fuzz-", ignore_cleanup_errors=True) as folder:
        tallies = campaign(
            Path(folder),
            examples=asked.examples,
            seed=asked.seed,
            kinds=asked.kind or tuple(KINDS),
            say=lambda line: print(line, flush=True),
        )
    print_table(tallies)
    return 1 if any(tally.wrong for tally in tallies.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
