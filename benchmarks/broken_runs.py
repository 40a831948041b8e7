"""Run folders damaged in every way we could think of: is each told of in one line, or read as it was?

`python -m benchmarks.broken_runs [--of audit] [--sample 40] [--seed 0]` damages copies of good small runs (an
audit, a reproduction, a sweep, a run of the lab, those of version 0.1, a cell) and sends each through
`spillover runs`, `spillover report` and the command that made it. Exits with 1 if anything got through.
"""

import argparse
import io
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.attempts import attempt
from benchmarks.damages_of_runs import Case, cases, folder_of
from benchmarks.good_runs import RUN, Good, good_runs, numbers
from spillover import cli


@dataclass(kw_only=True)
class Tally:
    """How the cases went."""

    ends: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(what was called, how it ended): as an attempt does, or silent."""
    wrong: list[str] = field(default_factory=list)


def campaign(
    place: Path, *, of: str | None = None, sample: int | None = None, seed: int = 0,
    say: Callable[[str], None] = print,
) -> Tally:  # fmt: skip
    """Send the cases (those of one kind, or a sample) through the commands."""
    good = good_runs(place / "good")
    expected = {name: one.numbers for name, one in good.items()}
    chosen = [case for case in cases(good) if of in (None, case.of)]
    if sample is not None:
        chosen = random.Random(seed).sample(chosen, min(sample, len(chosen)))  # noqa: S311 - a draw
    tally = Tally()
    for number, case in enumerate(chosen):
        copy = place / f"{number}"
        shutil.copytree(good[case.of].place, copy)
        if case.of == "cell":  # a new audit reads it
            shutil.rmtree(copy / RUN)
        case.damage(folder_of(copy, case.of))
        with chdir(copy):
            for what, call in _calls(case, good[case.of], expected[case.of]).items():
                end, why = _end(call)
                tally.ends[what, end] += 1
                if end not in ("fine", "one line"):
                    tally.wrong.append(f"{case.of}: {case.name}: {what}: {end}: {why}")
                    say(tally.wrong[-1])
        shutil.rmtree(copy)
    return tally


def _calls(case: Case, good: Good, expected: Any) -> dict[str, Callable[[], str]]:
    """What is done with a case; each returns what is wrong without a word, if anything is."""

    def runs() -> str:
        printed, _ = _printed("runs", ".")
        return "" if RUN in printed or case.of == "cell" or not _is_run(Path(RUN)) else "not listed"

    def report() -> str:
        _, said = _printed("report", RUN, "--out", "page.html")
        if case.of == "audit of 0.1" or not case.speaks:
            return ""
        return "" if "scores.parquet" in said else "written without a word"

    def again() -> str:
        with redirect_stdout(io.StringIO()):
            document = good.made(Path(RUN))
        if case.speaks:
            return "given out as whole"
        return "" if numbers(document) == expected else "other numbers"

    calls = {"runs": runs, "report": report, "again": again}
    if case.of == "cell":
        del calls["report"]
    return calls


def _is_run(folder: Path) -> bool:
    return folder.joinpath("manifest.json").is_file()


def _printed(*words: str) -> tuple[str, str]:
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
        cli.app([*words], exit_on_error=False, print_error=False, result_action="return_value")
    return out.getvalue(), err.getvalue()


def _end(call: Callable[[], str]) -> tuple[str, str]:
    """How a call ends, and why where it should not."""
    end = attempt(call)
    if end.how == "fine" and end.value:
        return "silent", end.value
    return end.how, end.why


def table(tally: Tally) -> str:
    """How often each command ended in each way."""
    ends = ("fine", "one line", "several lines", "traceback", "hang", "silent")
    lines = ["| | tried | " + " | ".join(ends) + " |", "|---" * (len(ends) + 2) + "|"]
    for what in ("runs", "report", "again"):
        counts = [tally.ends[what, end] for end in ends]
        lines.append(f"| {what} | {sum(counts)} | " + " | ".join(map(str, counts)) + " |")
    return "\n".join(lines)


def main() -> int:
    """Print what got through, and a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.broken_runs", description=main.__doc__)
    parser.add_argument("--of")
    parser.add_argument("--sample", type=int)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="broken-runs-") as folder:
        tally = campaign(Path(folder).resolve(), of=asked.of, sample=asked.sample, seed=asked.seed)
    print(table(tally))
    return 1 if tally.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
