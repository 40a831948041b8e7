"""Run folders damaged in every way we could think of: is each told of in one line, or read as it was?

`python -m benchmarks.broken_runs [--of audit] [--sample 40] [--seed 0]` damages copies of good small runs (an
audit, a reproduction, a sweep, a run of the lab, those of version 0.1, a cell) and sends each through
`spillover runs`, `spillover report` and the command that made it. Exits with 1 if anything got through.
"""

import argparse
import io
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from spillover import cli
from spillover.errors import SpilloverError
from spillover.jobs.audit import audit
from spillover.jobs.lab import symbolic
from spillover.jobs.sweep import sweep
from spillover.llm.settings import FineTuneConfig
from spillover.reproduce import load
from spillover.reproduce.save import reproduce
from tests.report.fixture import of_version_0_1
from tests.tiny_models import save_tiny_model

SECONDS = 10
"""What takes longer hangs."""

RUN = "run"
Damage = Callable[[Path], None]

_SETTINGS = FineTuneConfig(epochs=1, batch_size=24)
_LAB: dict[str, Any] = {
    "world": {"groups": 3, "noise": 1, "length": 4},
    "ov": ("factorized", "merged"),
    "d_h": (2,),
    "attention": "linear",
    "optimizer": {"rule": "adamw", "learning_rate": 5e-3, "weight_decay": 0.03},
    "seeds": 1,
    "training": {"steps": 10, "records": 2},
}


class Hang(BaseException):
    """Raised where something takes longer than `SECONDS`."""


@dataclass(frozen=True, kw_only=True)
class Good:
    """A place with a run that is whole, and the call that made it."""

    place: Path
    made: Callable[[Path], dict[str, Any]]
    """Given the run's folder; returns the document."""

    @property
    def numbers(self) -> Any:
        """What its document says."""
        return numbers(self.made(self.place / RUN))


def numbers(document: dict[str, Any]) -> Any:
    """What of a document must not change."""
    return json.dumps(
        {name: document.get(name) for name in ("facts", "rules", "audits", "checks", "settings")}
    )


@dataclass(frozen=True, kw_only=True)
class Case:
    """A good run and what is done to a copy of it."""

    of: str
    name: str
    damage: Damage
    speaks: bool = False
    """Whether the command that made it must say a word: it may not give out the run as whole."""


@dataclass(kw_only=True)
class Tally:
    """How the cases went."""

    ends: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(what was called, how it ended): fine, one line, traceback, hang, silent."""
    wrong: list[str] = field(default_factory=list)


# Good runs


def good_runs(place: Path) -> dict[str, Good]:
    """A good run of each kind, by its name."""
    model = str(save_tiny_model(place / "tiny", "llama"))
    spec = place / "spec.yaml"
    spec.write_text(f"kb: country-code\nmodel: {model}\nepochs: 1\nbatch_size: 24\n", encoding="utf-8")
    figure = load("theorem-3")
    settings = replace(figure.settings(), reference_steps=2, steps=20)
    calls: dict[str, Callable[[Path], dict[str, Any]]] = {
        "audit": lambda run: audit("country-code", model=model, settings=_SETTINGS, out=run),
        "sweep": lambda run: sweep(spec, out=run),
        "reproduction": lambda run: reproduce(figure, run, settings=settings),
        "lab": lambda run: symbolic(**_LAB, out=run),
    }
    found: dict[str, Good] = {}
    for name, made in calls.items():
        (place / name).mkdir()
        made(place / name / RUN)
        found[name] = Good(place=place / name, made=made)
    for name, old in (("audit", _as_audit_of_0_1), ("reproduction", _as_reproduction_of_0_1)):
        shutil.copytree(found[name].place, place / f"{name} of 0.1")
        old(place / f"{name} of 0.1" / RUN)
        found[f"{name} of 0.1"] = replace(found[name], place=place / f"{name} of 0.1")
    shutil.copytree(found["audit"].place, place / "cell")
    shutil.rmtree(place / "cell" / RUN)
    found["cell"] = replace(found["audit"], place=place / "cell")
    return found


def _as_audit_of_0_1(run: Path) -> None:
    manifest = json.loads((run / "manifest.json").read_text("utf-8"))
    del manifest["results_hash"]
    manifest["results"]["rules"] = [of_version_0_1(rule) for rule in manifest["results"]["rules"]]
    (run / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    table = parquet.read_table(run / "scores.parquet").drop_columns("reason")
    parquet.write_table(table, run / "scores.parquet")


def _as_reproduction_of_0_1(run: Path) -> None:
    manifest = json.loads((run / "manifest.json").read_text("utf-8"))
    made_with = {name: manifest[name] for name in ("code_revision", "packages", "python", "platform")}
    result = {"format": 1, **manifest["results"], **made_with}
    (run / "result.json").write_text(json.dumps(result), encoding="utf-8")
    (run / "manifest.json").unlink()


# Damages


def cases(good: dict[str, Good]) -> list[Case]:
    """Every case."""
    found = [
        Case(of=of, name=f"{file}: {name}", damage=damage, speaks=file == "scores.parquet" and of != "cell")
        for of, file in _FILES
        for name, damage in _of_any_file(file)
    ]
    for of in ("audit", "sweep", "reproduction", "lab", "cell"):
        manifest = json.loads(_manifest(good[of].place, of).read_text("utf-8"))
        found += [Case(of=of, name=f"manifest: {name}", damage=damage) for name, damage in _texts(of)]
        for path in _paths(manifest, deepest=1 if of == "cell" else 7):
            shown = ".".join(map(str, path))
            found += [
                Case(of=of, name=f"manifest: {shown} {name}", damage=_edit(of, path, change))
                for name, change in _CHANGES
            ]
    for of in ("audit", "audit of 0.1"):
        found += [Case(of=of, name=f"scores: {name}", damage=_rows(name), speaks=True) for name in _SCORES]
        found += [Case(of=of, name=f"metrics: {name}", damage=_log(line)) for name, line in _LINES.items()]
    found += [Case(of="audit", name="the lock is a folder", damage=_lock_is_a_folder)]
    found += [
        Case(of=of, name="cut off, forecast " + name, damage=_cut(text))
        for of in ("audit",)
        for name, text in _LINES.items()
    ]
    return found


_FILES = [
    (of, name)
    for of, names in {
        "audit": "manifest.json scores.parquet metrics.jsonl forecast.json report.html .lock",
        "sweep": "manifest.json report.html",
        "reproduction": "manifest.json chart.html table.csv",
        "lab": "manifest.json state.safetensors table.csv",
        "audit of 0.1": "scores.parquet",
        "reproduction of 0.1": "result.json",
        "cell": "manifest.json scores.parquet metrics.jsonl cell.json",
    }.items()
    for name in names.split()
]


def _target(place: Path, of: str) -> Path:
    """The run's folder in a place, or the cell's."""
    if of != "cell":
        return place / RUN
    return next(path.parent for path in sorted((place / "cells").glob("*/metrics.jsonl")))


def _manifest(place: Path, of: str) -> Path:
    return _target(place, of) / "manifest.json"


def _of_any_file(name: str) -> Iterator[tuple[str, Damage]]:
    """What can befall any file; a damage is given the folder that holds the file."""

    def in_place(make: Callable[[Path], object]) -> Damage:
        def damage(folder: Path) -> None:
            (folder / name).unlink(missing_ok=True)
            make(folder / name)

        return damage

    def truncate(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])

    yield "gone", in_place(lambda path: None)
    yield "empty", in_place(lambda path: path.touch())
    yield "truncated", truncate
    yield "garbage", in_place(lambda path: path.write_bytes(bytes(range(256)) * 20))
    yield "UTF-16", in_place(lambda path: path.write_text('{"format_version": 1}', encoding="utf-16"))
    yield "a pipe", in_place(os.mkfifo)
    yield "a folder", in_place(Path.mkdir)
    yield "a link to nowhere", in_place(lambda path: path.symlink_to("nowhere"))
    yield "a link to itself", in_place(lambda path: path.symlink_to(path.name))
    yield "a device", in_place(lambda path: path.symlink_to("/dev/zero"))


def _texts(of: str) -> Iterator[tuple[str, Damage]]:
    """Manifests whose text is wrong, or whose version or status is."""

    def swap(old: str, new: str) -> Damage:
        def damage(folder: Path) -> None:
            text = (folder / "manifest.json").read_text("utf-8")
            assert old in text
            (folder / "manifest.json").write_text(text.replace(old, new, 1), encoding="utf-8")

        return damage

    version = '"format_version": 1'
    for text in ("9" * 5000, "0", "-1", "true", "1.0", '"1"', "null", "2", "[1]", "1e999", "NaN"):
        yield f"version {text[:8]}", swap(version, f'"format_version": {text}')
    for text in (
        '"asleep"',
        "1",
        "null",
        "[]",
        '{"a": 1}',
        '"broken"',
        '"incomplete"',
        '"running"',
        '"failed"',
    ):
        yield f"status {text}", swap('"status": "complete"', f'"status": {text}')
    yield "deep", swap(version, f'{version}, "more": {"[" * 100_000}{"]" * 100_000}')
    yield "rather deep", swap(version, f'{version}, "more": {"[" * 400}{"]" * 400}')
    mappings = '{"a":' * 300 + "1" + "}" * 300
    yield "deep mappings", swap(version, f'{version}, "more": {mappings}')
    yield "half a surrogate", swap('"command": "', '"platform": "\\ud800", "command": "')
    yield "a NUL", swap('"command": "', '"command": "\\u0000')
    yield "twice", swap("{", "{} {")
    yield "a byte order mark", swap("{", "\ufeff{")


def _paths(value: Any, deepest: int, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The way to every entry, of each list to the first alone."""
    entries = (
        list(value.items())
        if isinstance(value, dict)
        else [*enumerate(value)][:1]
        if isinstance(value, list)
        else []
    )
    for name, inner in entries:
        if name in ("packages", "passed", "hashes", "arguments") and path:
            continue
        yield (*path, name)
        if len(path) + 1 < deepest:
            yield from _paths(inner, deepest, (*path, name))


_GONE = object()
_OTHER = {dict: [1], list: {"a": 1}, str: 7, int: "many", float: "0.5", bool: "yes", type(None): [[]]}
_CHANGES: list[tuple[str, Callable[[Any], Any]]] = [
    ("gone", lambda value: _GONE),
    ("null", lambda value: None),
    ("of another type", lambda value: _OTHER[type(value)]),
    ("nested", lambda value: [[value]]),
]


def _edit(of: str, path: Sequence[str | int], change: Callable[[Any], Any]) -> Damage:
    def damage(folder: Path) -> None:
        manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
        inner: Any = manifest
        for name in path[:-1]:
            inner = inner[name]
        if (new := change(inner[path[-1]])) is _GONE:
            del inner[path[-1]]
        else:
            inner[path[-1]] = new
        (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")

    return damage


_SCORES: dict[str, Callable[[pa.Table], pa.Table]] = {
    "no rows": lambda table: table.slice(0, 0),
    "no columns": lambda table: table.select([]),
    "other columns": lambda table: pa.table({"a": [1]}),
    **{
        f"without {name}": lambda table, name=name: table.drop_columns(name)
        for name in ("rank", "seed", "right", "prompt")
    },
    **{
        f"{name} as text": lambda table, name=name: table.set_column(
            table.column_names.index(name), name, table[name].cast(pa.string())
        )
        for name in ("rank", "logprob", "seed", "right")
    },
    "nested": lambda table: table.set_column(
        table.column_names.index("logprob"), "logprob", pa.array([[1.0]] * len(table))
    ),
}


def _rows(name: str) -> Damage:
    def damage(folder: Path) -> None:
        table = parquet.read_table(folder / "scores.parquet")
        parquet.write_table(_SCORES[name](table), folder / "scores.parquet")

    return damage


_LINES = {
    "NaN": '{"loss": NaN, "step": 1, "seed": 0}',
    "infinite": '{"loss": 1e999, "step": 1, "seed": 0}',
    "text": '{"loss": "much", "step": "first"}',
    "a truth": '{"loss": true, "step": 1}',
    "other columns": '{"gain": 1}',
    "lists": "[1, 2]",
    "odd seeds": '{"loss": 1, "step": 1, "seed": [0]}\n{"loss": 1, "step": 1, "seed": "x"}',
    "no step": '{"loss": 1}',
    "an odd step": '{"loss": 1, "step": {"a": 1}, "seed": 0}',
    "deep": "[" * 100_000,
    "huge": '{"loss": ' + "9" * 5000 + ', "step": 1}',
}


def _log(line: str) -> Damage:
    def damage(folder: Path) -> None:
        (folder / "metrics.jsonl").write_text(line + "\n", encoding="utf-8")

    return damage


def _lock_is_a_folder(folder: Path) -> None:
    (folder / ".lock").unlink()
    (folder / ".lock" / "inner").mkdir(parents=True)


def _cut(text: str) -> Damage:
    """An audit that was killed, and its forecast damaged."""

    def damage(folder: Path) -> None:
        manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
        del manifest["results"]
        (folder / "manifest.json").write_text(json.dumps(manifest | {"status": "running"}), encoding="utf-8")
        (folder / "forecast.json").write_text(text, encoding="utf-8")

    return damage


# The campaign


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
        case.damage(_target(copy, case.of))
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
    try:
        with _alarm():
            silent = call()
    except Hang:
        return "hang", f"more than {SECONDS} s"
    except SpilloverError as error:
        return ("traceback", "several lines") if "\n" in str(error) else ("one line", "")
    except Exception as error:  # what gets through is what is looked for
        where = traceback.extract_tb(error.__traceback__)[-1]
        return "traceback", f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})"[
            :300
        ]
    return ("silent", silent) if silent else ("fine", "")


@contextmanager
def _alarm() -> Iterator[None]:
    def ring(*_: object) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def table(tally: Tally) -> str:
    """How often each command ended in each way."""
    ends = ("fine", "one line", "traceback", "hang", "silent")
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
