"""YAML: knowledge bases, the tables that they name, and specs of sweeps."""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from hypothesis import strategies as st

from benchmarks.fuzz_signs import LONG, TEXT, mutated
from benchmarks.fuzz_tables import good_table
from spillover.errors import SpilloverError
from spillover.jobs.grid import read_grid
from spillover.jobs.inputs import read_with_rules
from spillover.knowledge.load import load_patterns
from spillover.knowledge.split import split

# Knowledge bases

_VALUES = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.just(10**4_000), st.floats(), TEXT, LONG,
        st.sampled_from(["lives_in", "codes_in", "{subject} is", "France", "one", "causal", "people.csv"]),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXT, inner, max_size=3)),
    max_leaves=6,
)  # fmt: skip

SHEET: dict[str, Any] = {
    "name": "people",
    "relations": {
        "lives_in": {"prompt": "{subject} lives in", "space": "one"},
        "codes_in": {"prompt": "{subject} codes in", "candidates": ["Perl", "C"]},
    },
    "rules": [
        {
            "fact": "lives_in",
            "implication": "codes_in",
            "kind": "causal",
            "pairs": {"Peru": "C"},
            "bridges": 1,
        }
    ],
    "triples": "people.csv",
}
"""A knowledge base that is whole, beside its table."""

_WAYS = [
    ("name",), ("relations",), ("rules",), ("triples",), ("relations", "lives_in"), ("relations", "codes_in"),
    *(("relations", "lives_in", key) for key in ("prompt", "space", "candidates", "other")),
    ("relations", "codes_in", "candidates", 0), ("rules", 0), ("rules", 0, "pairs", "Peru"),
    ("rules", 0, "pairs", "Chad"),
    *(("rules", 0, key) for key in ("fact", "implication", "kind", "pairs", "bridges", "other")),
]  # fmt: skip

_SYNTAX = [
    "&a ", "*a", "<<: *a", "!!python/object/apply:os.system [touch ran]", "!!python/name:os.system ",
    "!!binary ", "!!int ", "? [a]\n: b\n", "name: x\n", "{", "[", "]", "}", ":", "- ", "|\n", ">\n",
    "%YAML 9.9\n", "---\n", "...\n", "\t", "\0", "[" * 3_000, "- " * 3_000, "a: &a [*a]\n", "#", "'", '"',
    '"\\x1b[31m"', '"\\0"', '"\\ud800"', "!<x> ", "@", "`", "9" * 5_000,
    "".join(f"l{k}: &l{k} [{', '.join([f'*l{k - 1}' if k else 'x'] * 9)}]\n" for k in range(12)),
]  # fmt: skip

_PIECES = st.sampled_from(_SYNTAX)

SHEETS = st.one_of(
    st.lists(st.tuples(st.sampled_from(_WAYS), _VALUES), min_size=1, max_size=2).map(
        lambda edits: dumped(_edited(edits))
    ),
    mutated(yaml.safe_dump(SHEET, sort_keys=False).encode(), _PIECES.map(str.encode)),
    _VALUES.map(lambda value: dumped(value)),
)


def _edited(edits: Iterable[tuple[tuple[str | int, ...], Any]]) -> Any:
    sheet = json.loads(json.dumps(SHEET))
    for way, value in edits:
        inner = sheet
        for step in way[:-1]:
            inner = inner.get(step, {}) if isinstance(inner, dict) else inner[0] if _has_first(inner) else {}
        if isinstance(inner, dict) or (_has_first(inner) and way[-1] == 0):
            inner[way[-1]] = value
    return sheet


def _has_first(value: Any) -> bool:
    return isinstance(value, list) and len(value) > 0


def dumped(value: Any) -> bytes:
    """As YAML; what that cannot hold is escaped, as in JSON."""
    try:
        return yaml.safe_dump(value, sort_keys=False, allow_unicode=True).encode()
    except (ValueError, yaml.YAMLError):
        return ascii(value).encode()


def read_sheet(folder: Path, text: bytes) -> str:
    """No reader of a knowledge base may run what stands in it."""
    (folder / "people.csv").write_bytes(good_table(".csv"))
    (folder / "people.yaml").write_bytes(text)
    complaints = []
    for read in (load_patterns, read_with_rules):
        try:
            known = read(folder / "people.yaml")
            if read is read_with_rules:
                split(known, 0)  # pyright: ignore[reportArgumentType]
        except SpilloverError as error:
            complaints.append(error)
    if (folder / "ran").exists():
        return "code was run"
    if complaints:
        raise complaints[-1]
    return ""


# `triples:`

_PARTS = [
    "people", ".csv", ".parquet", ".xlsx", ".json", "/", "..", "~", "~nobody", "*", "?", "[a]", "\0", "\n",
    "\x1b[2J", "http://127.0.0.1:9/", "s3://bucket/", "hf://datasets/a", "file:///etc/passwd",
    "'); ATTACH 'x", "|ls", "\udcff", "pipe", "loop", "zero", "folder", "x" * 300, "/proc/self/", "environ",
    "/dev/", "stdin", "é", "\u202e", "$HOME",
]  # fmt: skip

PATHS = st.one_of(st.lists(st.sampled_from(_PARTS), min_size=1, max_size=4).map("".join), TEXT)


def read_path(folder: Path, name: str) -> str:
    """A table may be named by anything, beside pipes, loops, devices and folders."""
    (folder / "people.csv").write_bytes(good_table(".csv"))
    for suffix in (".csv", ".parquet", ".xlsx", ".json"):
        if not (folder / f"pipe{suffix}").exists():
            os.mkfifo(folder / f"pipe{suffix}")
            (folder / f"loop{suffix}").symlink_to(f"loop{suffix}")
            (folder / f"zero{suffix}").symlink_to("/dev/zero")
            (folder / f"folder{suffix}").mkdir()
    text = json.dumps(SHEET | {"triples": name})
    (folder / "paths.yaml").write_text(text, encoding="utf-8")
    read_with_rules(folder / "paths.yaml")
    return ""


# Specs of sweeps

_KEYS = (
    "name", "kb", "model", "seeds", "shuffle", "epochs", "learning_rate", "batch_size", "warmup", "clip",
    "lora", "processes",
)  # fmt: skip

SPECS = st.one_of(
    st.dictionaries(
        st.sampled_from([*_KEYS, "other"]), st.one_of(_VALUES, st.lists(_VALUES, max_size=3)), max_size=4
    ).map(lambda value: dumped(value)),
    st.lists(
        st.tuples(
            st.sampled_from(_KEYS),
            st.one_of(LONG, _PIECES, st.sampled_from(["2026-99-99", "2026-01-01", "[1, 2]", "1:99:99"])),
        ),
        max_size=3,
    ).map(lambda pairs: "".join(f"{key}: {value}\n" for key, value in pairs).encode()),
    mutated(
        b"kb: [demo, x.yaml]\nmodel: tiny\nseeds: [0, 1]\nlora: [null, 2]\nlearning_rate: 1e-3\n",
        _PIECES.map(str.encode),
    ),
)


def read_spec(folder: Path, text: bytes) -> str:
    """The spec of a sweep may not run what stands in it."""
    (folder / "spec.yaml").write_bytes(text)
    read_grid(folder / "spec.yaml")
    return "code was run" if (folder / "ran").exists() else ""
