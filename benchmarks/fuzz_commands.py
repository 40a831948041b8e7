"""Command lines: any words behind any verb, gates, and whole forecasts of tiny tables."""

import io
import json
import sys
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from importlib import import_module
from pathlib import Path
from typing import NoReturn
from unittest import mock

from hypothesis import strategies as st

from benchmarks.fuzz_signs import LONG, TEXT
from benchmarks.fuzz_tables import good_table
from benchmarks.fuzz_yaml import SHEET, dumped
from spillover import cli
from spillover.errors import SpilloverError
from spillover.gate import parse_gate

# Gates

GATES = st.one_of(
    TEXT,
    st.tuples(
        st.sampled_from(["causal", "spurious", "facts", "spurious", "Facts", ""]),
        st.sampled_from([".top1", ".top1", ".mean_rank", ".p_value", ".__class__", ""]),
        st.sampled_from([" > ", "<=", ">=", "<", " = ", "", " > = "]),
        st.one_of(LONG, st.floats().map(str), st.sampled_from(["0.3", "1/0", "__import__('os')"]), TEXT),
    ).map("".join),
)


def read_gate(folder: Path, text: str) -> str:
    """A gate is read or refused."""
    parse_gate(text)
    return ""


# Command lines

_KNOWN = [
    "--model", "--seeds", "--epochs", "--learning-rate", "--batch-size", "--lora", "--processes",
    "--shuffle", "--out", "--keep-model", "--json", "--fail-on", "--tuned", "--seed", "--split", "--to",
    "--on", "--workers", "--address", "--cpus", "--gpus", "--norm", "--penalty", "--tol", "--time-limit",
    "--advise", "--target", "--queries", "--list", "--groups", "--subjects", "--bridges", "--noise",
    "--length", "--ov", "--d-h", "--steps", "--lr", "--help", "--version", "table.csv", "people.yaml",
    "demo", "nowhere", "0", "1", "-1", "0.5", "nan", "inf", "auto", "local", "ray", "nuclear", "all",
    "theorem-3", "-", "--", "--no-json", "--json=maybe", "--seeds=", "spurious.top1 > 0.3", "folder",
    "x" * 300,
]  # fmt: skip

_WORDS = st.one_of(st.sampled_from(_KNOWN), LONG, TEXT.filter(lambda text: "/" not in text))

_VERBS = ("audit", "forecast", "score", "init", "export", "sweep", "report", "runs", "symbolic", "reproduce")

LINES = st.tuples(st.sampled_from([*_VERBS, ""]), st.lists(_WORDS, max_size=5)).map(
    lambda line: [line[0], *line[1]]
)

_WORK = (
    *("spillover.jobs.audit.audit", "spillover.jobs.score.score", "spillover.jobs.sweep.sweep"),
    *("spillover.jobs.init.init", "spillover.jobs.export.export"),
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


def call_line(folder: Path, words: list[str]) -> str:
    """It ends with 0, 1 or 2, and with one line where that is 2; no verb does its work."""
    (folder / "table.csv").write_bytes(good_table(".csv"))
    (folder / "people.csv").write_bytes(good_table(".csv"))
    (folder / "people.yaml").write_bytes(dumped(SHEET))
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

TINY = st.lists(
    st.tuples(st.integers(0, 7), st.integers(0, 2), st.integers(0, 3)),
    min_size=1,
    max_size=24,
    unique_by=lambda row: row[:2],
)


def forecast(folder: Path, rows: list[tuple[int, int, int]]) -> str:
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
