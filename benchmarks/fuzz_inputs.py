"""What `benchmarks.fuzz` tries: kinds of input, how they are drawn, and what is done with one.

An act returns what is wrong with its result, "" where nothing is; a complaint is a SpilloverError.
"""

import csv
import io
import json
import os
import sys
from collections.abc import Callable, Iterable
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, NoReturn
from unittest import mock

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from hypothesis import strategies as st

from spillover import cli
from spillover.errors import SpilloverError
from spillover.gate import parse_gate
from spillover.jobs.grid import read_grid
from spillover.jobs.inputs import read_with_rules
from spillover.knowledge.columns import COLUMNS
from spillover.knowledge.load import load, load_patterns
from spillover.knowledge.patterns import group_table
from spillover.knowledge.split import split
from tests.knowledge.tables import outcome, reference, spelled


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of input."""

    share: float
    """Of all examples."""
    inputs: st.SearchStrategy[Any]
    act: Callable[[Path, Any], str]
    """Given a folder to write into and the input."""


# Signs and values that programs stumble over

_ODD = [
    *(
        "\0",
        "\ufeff",
        "\u202e",
        "\u2066",
        "\u200b",
        "\x1b[31m",
        "\x1b]0;x\x07",
        "\x85",
        "\u2028",
        "\r",
        "\n",
        "\r\n",
    ),
    *(
        "\t",
        '"',
        '""',
        "'",
        ",",
        ";",
        "\\",
        "\\N",
        "{",
        "}",
        "{subject}",
        "$(ls)",
        "`ls`",
        "<script>",
        "{{7*7}}",
        "%s",
    ),
    *(
        "=1+1",
        "é",
        "e\u0301",
        "ß",
        "İ",
        "\U0001f600",
        "\xa0",
        "\u3000",
        "NULL",
        "nan",
        "1e999",
        "-0",
        "--",
        "/*",
    ),
]
_SIGNS = st.one_of(
    st.sampled_from(_ODD), st.text(max_size=5), st.sampled_from(["a", "b", "x" * 10_000, "y" * 10_001])
)
_TEXT = st.lists(_SIGNS, max_size=4).map("".join)
_BYTES = st.one_of(
    st.sampled_from(
        [b"\xff", b"\xfe\xff", b"\xef\xbb\xbf", b"\0", b"\xed\xa0\x80", b"\x80", b"\xc3", b"\x1a", b"\r"]
    ),
    st.sampled_from(
        [
            b'"',
            b'""',
            b",",
            b"\n",
            b"\n\n",
            b"{",
            b"[",
            b"}",
            b"]",
            b":",
            b"\\ud800",
            b"\\u0000",
            b"\\",
            b"x" * 200_000,
        ]
    ),
    st.sampled_from([b"[" * 5_000, b'{"a":' * 5_000, b"9" * 5_000, b"NaN", b"null", b"1e999"]),
    st.binary(max_size=6),
)
_LONG = st.sampled_from(
    ["9" * 5_000, "-1", "0", "1e999", "nan", "inf", "0x" + "f" * 5_000, "1_000", "true", "~", "1e-3"]
)


def _mutated(original: bytes, pieces: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """The bytes after a few cuts and insertions."""
    changes = st.lists(
        st.tuples(st.integers(0, len(original)), st.integers(0, 30), pieces), min_size=1, max_size=3
    )

    def change(changes: list[tuple[int, int, bytes]]) -> bytes:
        text = original
        for place, cut, piece in changes:
            text = text[:place] + piece + text[place + cut :]
        return text

    return changes.map(change)


# Tables

Row = tuple[str, str, str]


@dataclass(frozen=True, kw_only=True)
class _Table:
    rows: list[Row]
    suffix: str
    encoding: str
    end: str
    quoting: Literal[0, 1]
    order: list[int]


_CELLS = _TEXT.map(lambda text: text.encode(errors="ignore").decode().replace("\0", "").strip()).filter(
    lambda text: 0 < len(text) <= 10_000
)
_RELATIONS = st.sampled_from(["lives_in", "codes_in", "sp,eaks", 'said "so"', "é\u202e", "ist;"])
_ROWS = st.lists(
    st.tuples(_CELLS, _RELATIONS, _CELLS), min_size=1, max_size=8, unique_by=lambda row: (row[0], row[1])
)
_WHOLE = st.builds(
    lambda **parts: _Table(**parts),
    rows=_ROWS,
    suffix=st.sampled_from([".csv", ".tsv", ".jsonl", ".json", ".parquet"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    end=st.sampled_from(["\n", "\r\n"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    order=st.permutations(range(3)),
)


def _bytes_of(table: _Table) -> bytes:
    columns = [COLUMNS[place] for place in table.order]
    rows = [[row[place] for place in table.order] for row in table.rows]
    if table.suffix == ".parquet":
        sink = io.BytesIO()
        pq.write_table(pa.table(dict(zip(columns, map(list, zip(*rows, strict=True)), strict=True))), sink)
        return sink.getvalue()
    text = io.StringIO(newline="")
    if table.suffix in (".csv", ".tsv"):
        sign = "," if table.suffix == ".csv" else "\t"
        # the csv module leaves a lone \\r without quotes
        quoting = csv.QUOTE_ALL if any("\r" in cell for row in rows for cell in row) else table.quoting
        csv.writer(text, delimiter=sign, lineterminator=table.end, quoting=quoting).writerows(
            [columns, *rows]
        )
    else:
        records = [
            json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=len(row[0]) % 2 == 0)
            for row in rows
        ]
        text.write("[" + ",".join(records) + "]" if table.suffix == ".json" else table.end.join(records))
    return text.getvalue().encode(table.encoding)


def _read_whole(folder: Path, table: _Table) -> str:
    file = folder / f"table{table.suffix}"
    file.write_bytes(_bytes_of(table))
    try:
        kb = load(file)
    except SpilloverError as error:
        return f"refused: {error}"
    if [(t.subject, t.relation, t.answer) for t in kb.triples] != table.rows:
        return "the triples are others"
    return "" if _rows_of(file) == sorted(table.rows) else "the patterns are others"


def _rows_of(file: Path) -> list[Row]:
    patterns = group_table(file)
    said: dict[int, list[tuple[str, str]]] = {}
    for pattern, relation, answer in zip(patterns.pattern, patterns.relation, patterns.answer, strict=True):
        said.setdefault(int(pattern), []).append((patterns.relations[relation], patterns.answers[answer]))
    return sorted(
        (row["subject"], *pair) for row in patterns.members.to_pylist() for pair in said[row["pattern"]]
    )


_GOOD_ROWS: list[Row] = [
    ("Ann", "lives_in", "Peru"),
    ("Bo", "lives_in", "Chad"),
    ("Bo", "codes_in", 'C, "so"'),
    ("É", "lives_in", "Peru"),
]
_DAMAGED = st.sampled_from([".csv", ".tsv", ".jsonl", ".json", ".parquet", ".xlsx"]).flatmap(
    lambda suffix: st.tuples(st.just(suffix), _mutated(_good_table(suffix), _BYTES))
)


@cache  # Excel's files hold the time
def _good_table(suffix: str) -> bytes:
    if suffix == ".xlsx":
        from openpyxl import Workbook

        book, sink = Workbook(), io.BytesIO()
        for row in (COLUMNS, *_GOOD_ROWS):
            book.worksheets[0].append(row)
        book.save(sink)
        return sink.getvalue()
    return _bytes_of(
        _Table(rows=_GOOD_ROWS, suffix=suffix, encoding="utf-8", end="\n", quoting=0, order=[0, 1, 2])
    )


def _read_damaged(folder: Path, table: tuple[str, bytes]) -> str:
    """Both readers must say the same of it."""
    file = folder / f"damaged{table[0]}"
    file.write_bytes(table[1])
    fast, careful = outcome(lambda path: spelled(group_table(path)), file), outcome(reference, file)
    if fast != careful:
        return f"the readers differ: {fast!r:.200} and {careful!r:.200}"
    load(file)
    return ""


# The YAML of knowledge bases

_VALUES = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.just(10**4_000), st.floats(), _TEXT, _LONG,
        st.sampled_from(["lives_in", "codes_in", "{subject} is", "France", "one", "causal", "people.csv"]),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_TEXT, inner, max_size=3)),
    max_leaves=6,
)  # fmt: skip
_SHEET: dict[str, Any] = {
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
_WAYS = [
    *(
        ("name",),
        ("relations",),
        ("rules",),
        ("triples",),
        ("relations", "lives_in"),
        ("relations", "codes_in"),
    ),
    *(("relations", "lives_in", key) for key in ("prompt", "space", "candidates", "other")),
    *(
        ("relations", "codes_in", "candidates", 0),
        ("rules", 0),
        ("rules", 0, "pairs", "Peru"),
        ("rules", 0, "pairs", "Chad"),
    ),
    *(("rules", 0, key) for key in ("fact", "implication", "kind", "pairs", "bridges", "other")),
]
_PIECES = st.sampled_from(
    [
        *(
            "&a ",
            "*a",
            "<<: *a",
            "!!python/object/apply:os.system [touch ran]",
            "!!python/name:os.system ",
            "!!binary ",
            "!!int ",
        ),
        *(
            "? [a]\n: b\n",
            "name: x\n",
            "{",
            "[",
            "]",
            "}",
            ":",
            "- ",
            "|\n",
            ">\n",
            "%YAML 9.9\n",
            "---\n",
            "...\n",
            "\t",
            "\0",
        ),
        *(
            "[" * 3_000,
            "- " * 3_000,
            "a: &a [*a]\n",
            "#",
            "'",
            '"',
            '"\\x1b[31m"',
            '"\\0"',
            '"\\ud800"',
            "!<x> ",
            "@",
            "`",
            "9" * 5_000,
        ),
        "".join(f"l{k}: &l{k} [{', '.join([f'*l{k - 1}' if k else 'x'] * 9)}]\n" for k in range(12)),
    ]
)
_SHEETS = st.one_of(
    st.lists(st.tuples(st.sampled_from(_WAYS), _VALUES), min_size=1, max_size=2).map(
        lambda edits: _dumped(_edited(edits))
    ),
    _mutated(yaml.safe_dump(_SHEET, sort_keys=False).encode(), _PIECES.map(str.encode)),
    _VALUES.map(lambda value: _dumped(value)),
)


def _edited(edits: Iterable[tuple[tuple[str | int, ...], Any]]) -> Any:
    sheet = json.loads(json.dumps(_SHEET))
    for way, value in edits:
        inner = sheet
        for step in way[:-1]:
            inner = inner.get(step, {}) if isinstance(inner, dict) else inner[0] if _has_first(inner) else {}
        if isinstance(inner, dict) or (_has_first(inner) and way[-1] == 0):
            inner[way[-1]] = value
    return sheet


def _has_first(value: Any) -> bool:
    return isinstance(value, list) and len(value) > 0


def _dumped(value: Any) -> bytes:
    """As YAML; what that cannot hold is escaped, as in JSON."""
    try:
        return yaml.safe_dump(value, sort_keys=False, allow_unicode=True).encode()
    except (ValueError, yaml.YAMLError):
        return ascii(value).encode()


def _read_sheet(folder: Path, text: bytes) -> str:
    (folder / "people.csv").write_bytes(_good_table(".csv"))
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

_PATHS = st.one_of(
    st.lists(
        st.sampled_from(
            [
                *(
                    "people",
                    ".csv",
                    ".parquet",
                    ".xlsx",
                    ".json",
                    "/",
                    "..",
                    "~",
                    "~nobody",
                    "*",
                    "?",
                    "[a]",
                    "\0",
                    "\n",
                    "\x1b[2J",
                ),
                *(
                    "http://127.0.0.1:9/",
                    "s3://bucket/",
                    "hf://datasets/a",
                    "file:///etc/passwd",
                    "'); ATTACH 'x",
                    "|ls",
                    "\udcff",
                ),
                *(
                    "pipe",
                    "loop",
                    "zero",
                    "folder",
                    "x" * 300,
                    "/proc/self/",
                    "environ",
                    "/dev/",
                    "stdin",
                    "é",
                    "\u202e",
                    "$HOME",
                ),
            ]
        ),
        min_size=1,
        max_size=4,
    ).map("".join),
    _TEXT,
)


def _read_path(folder: Path, name: str) -> str:
    (folder / "people.csv").write_bytes(_good_table(".csv"))
    for suffix in (".csv", ".parquet", ".xlsx", ".json"):
        if not (folder / f"pipe{suffix}").exists():
            os.mkfifo(folder / f"pipe{suffix}")
            (folder / f"loop{suffix}").symlink_to(f"loop{suffix}")
            (folder / f"zero{suffix}").symlink_to("/dev/zero")
            (folder / f"folder{suffix}").mkdir()
    text = json.dumps(_SHEET | {"triples": name})
    (folder / "paths.yaml").write_text(text, encoding="utf-8")
    read_with_rules(folder / "paths.yaml")
    return ""


# Specs of sweeps, gates, command lines

_KEYS = (
    "name",
    "kb",
    "model",
    "seeds",
    "shuffle",
    "epochs",
    "learning_rate",
    "batch_size",
    "warmup",
    "clip",
    "lora",
    "processes",
)
_SPECS = st.one_of(
    st.dictionaries(
        st.sampled_from([*_KEYS, "other"]), st.one_of(_VALUES, st.lists(_VALUES, max_size=3)), max_size=4
    ).map(lambda value: _dumped(value)),
    st.lists(
        st.tuples(
            st.sampled_from(_KEYS),
            st.one_of(_LONG, _PIECES, st.sampled_from(["2026-99-99", "2026-01-01", "[1, 2]", "1:99:99"])),
        ),
        max_size=3,
    ).map(lambda pairs: "".join(f"{key}: {value}\n" for key, value in pairs).encode()),
    _mutated(
        b"kb: [demo, x.yaml]\nmodel: tiny\nseeds: [0, 1]\nlora: [null, 2]\nlearning_rate: 1e-3\n",
        _PIECES.map(str.encode),
    ),
)


def _read_spec(folder: Path, text: bytes) -> str:
    (folder / "spec.yaml").write_bytes(text)
    read_grid(folder / "spec.yaml")
    return "code was run" if (folder / "ran").exists() else ""


_GATES = st.one_of(
    _TEXT,
    st.tuples(
        st.sampled_from(["causal", "spurious", "facts", "spurious", "Facts", ""]),
        st.sampled_from([".top1", ".top1", ".mean_rank", ".p_value", ".__class__", ""]),
        st.sampled_from([" > ", "<=", ">=", "<", " = ", "", " > = "]),
        st.one_of(_LONG, st.floats().map(str), st.sampled_from(["0.3", "1/0", "__import__('os')"]), _TEXT),
    ).map("".join),
)


def _read_gate(folder: Path, text: str) -> str:
    parse_gate(text)
    return ""


_WORDS = st.one_of(
    st.sampled_from(
        [
            *(
                "--model",
                "--seeds",
                "--epochs",
                "--learning-rate",
                "--batch-size",
                "--lora",
                "--processes",
                "--shuffle",
                "--out",
            ),
            *(
                "--keep-model",
                "--json",
                "--fail-on",
                "--tuned",
                "--seed",
                "--write-split",
                "--on",
                "--workers",
                "--address",
            ),
            *(
                "--cpus",
                "--gpus",
                "--norm",
                "--penalty",
                "--tol",
                "--time-limit",
                "--advise",
                "--target",
                "--queries",
                "--list",
            ),
            *(
                "--groups",
                "--subjects",
                "--bridges",
                "--noise",
                "--length",
                "--ov",
                "--d-h",
                "--steps",
                "--lr",
                "--help",
                "--version",
            ),
            *(
                "table.csv",
                "people.yaml",
                "demo",
                "nowhere",
                "0",
                "1",
                "-1",
                "0.5",
                "nan",
                "inf",
                "auto",
                "local",
                "ray",
                "nuclear",
            ),
            *(
                "all",
                "theorem-3",
                "-",
                "--",
                "--no-json",
                "--json=maybe",
                "--seeds=",
                "spurious.top1 > 0.3",
                "folder",
                "x" * 300,
            ),
        ]
    ),
    _LONG,
    _TEXT.filter(lambda text: "/" not in text),
)
_VERBS = ("audit", "forecast", "score", "sweep", "report", "runs", "symbolic", "reproduce")
_LINES = st.tuples(st.sampled_from([*_VERBS, ""]), st.lists(_WORDS, max_size=5)).map(
    lambda line: [line[0], *line[1]]
)
_WORK = (
    *("spillover.jobs.audit.audit", "spillover.jobs.score.score", "spillover.jobs.sweep.sweep"),
    *("spillover.jobs.lab.symbolic", "spillover.reproduce.save.reproduce"),
)


for _name in _WORK:  # their imports take seconds, which are no input's
    import_module(_name.rpartition(".")[0])


class _Understood(SpilloverError):
    """Stands for the work of a verb whose command line was understood."""


def _understand(*_: object, **__: object) -> NoReturn:
    raise _Understood("understood")


def _call(words: list[str]) -> tuple[int, str, str]:
    """The command line in this process: its exit code, stdout and stderr."""
    with (
        mock.patch.object(sys, "argv", ["spillover", *words]),
        redirect_stdout(io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True)) as out,
        redirect_stderr(io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True)) as err,
    ):
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
    return code, _text(out), _text(err)


def _text(stream: io.TextIOWrapper) -> str:
    stream.seek(0)
    return stream.read()


def _call_line(folder: Path, words: list[str]) -> str:
    (folder / "table.csv").write_bytes(_good_table(".csv"))
    (folder / "people.csv").write_bytes(_good_table(".csv"))
    (folder / "people.yaml").write_bytes(_dumped(_SHEET))
    with ExitStack() as stack:
        for name in _WORK:
            stack.enter_context(mock.patch(name, _understand))
        code, _, said = _call(words)
    if code not in (0, 1, 2):
        return f"exit code {code}"
    return _complained(said) if code == 2 else ""


def _complained(said: str) -> str:
    """Raise the one line that stands on stderr behind progress; what is wrong where there is none."""
    lines = said.splitlines()
    if not (lines and lines[-1].startswith("spillover: ")) or "Traceback" in said:
        return f"stderr is {said!r:.300}"
    raise SpilloverError(lines[-1])


# Forecasts of tiny tables

_TINY = st.lists(
    st.tuples(st.integers(0, 7), st.integers(0, 2), st.integers(0, 3)),
    min_size=1,
    max_size=24,
    unique_by=lambda row: row[:2],
)


def _forecast(folder: Path, rows: list[tuple[int, int, int]]) -> str:
    """Its document is strict JSON: every number finite, or null."""
    lines = [f"s{subject},r{relation},a{answer}" for subject, relation, answer in rows]
    (folder / "tiny.csv").write_text("\n".join(["subject,relation,answer", *lines]), encoding="utf-8")
    code, out, said = _call(["forecast", "tiny.csv", "--json", "--time-limit", "3"])
    if code != 0:
        return _complained(said) if code == 2 else f"exit code {code}: {said!r:.300}"
    document = json.loads(out, parse_constant=_refuse)
    return "" if document["kb"]["triples"] == len(rows) else "rows are lost"


def _refuse(word: str) -> NoReturn:
    raise ValueError(f"{word} in the document")


KINDS = {
    "whole tables": Kind(share=0.25, inputs=_WHOLE, act=_read_whole),
    "damaged tables": Kind(share=0.25, inputs=_DAMAGED, act=_read_damaged),
    "knowledge bases": Kind(share=0.2, inputs=_SHEETS, act=_read_sheet),
    "paths of tables": Kind(share=0.05, inputs=_PATHS, act=_read_path),
    "specs of sweeps": Kind(share=0.08, inputs=_SPECS, act=_read_spec),
    "gates": Kind(share=0.07, inputs=_GATES, act=_read_gate),
    "command lines": Kind(share=0.07, inputs=_LINES, act=_call_line),
    "forecasts": Kind(share=0.03, inputs=_TINY, act=_forecast),
}
"""All kinds, by name."""
