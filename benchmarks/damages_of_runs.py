"""What can be wrong in a run's folder: any file, any entry of the manifest, the scores, the log, the lock."""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from benchmarks.good_runs import RUN, Good

Damage = Callable[[Path], None]
"""What is done to the folder of a copy of a good run."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A good run and what is done to a copy of it."""

    of: str
    name: str
    damage: Damage
    speaks: bool = False
    """Whether the command that made it must say a word: it may not give out the run as whole."""


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


def folder_of(place: Path, of: str) -> Path:
    """The run's folder in a place, or the cell's."""
    if of != "cell":
        return place / RUN
    return next(path.parent for path in sorted((place / "cells").glob("*/metrics.jsonl")))


def _manifest(place: Path, of: str) -> Path:
    return folder_of(place, of) / "manifest.json"


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
