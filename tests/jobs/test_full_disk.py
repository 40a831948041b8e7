"""A disk that is full, as far as a limit on the size of files can be one: a line, and what is done is kept."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

CHILD = """
import json, os, resource, sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from functools import partial
from io import StringIO

from spillover import cli, reproduce
from spillover.llm import finetune

finetune.SECONDS_BETWEEN_CHECKPOINTS = 0.0
whole = reproduce.load("theorem-3")
small = replace(whole, settings=partial(whole.settings, reference_steps=2, steps=20))
reproduce.load = lambda name: small
words, limits = json.loads(sys.argv[1]), json.loads(sys.argv[2])
for limit in limits:
    sys.argv = ["spillover", *words]
    most = resource.RLIM_INFINITY
    resource.setrlimit(resource.RLIMIT_FSIZE, (most if limit is None else limit, most))
    with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as err:
        try:
            cli.main()
        except SystemExit as left:
            code = left.code
    print(json.dumps([code, out.getvalue(), err.getvalue()]), flush=True)
"""
"""Calls a verb once for each size that no file may exceed; a traceback would end it."""

LAB = ("--groups", "3", "--noise", "1", "--length", "4", "--steps", "40")


@pytest.mark.parametrize(
    ("verb", "words", "limits", "unwritten"),
    [
        (
            "audit",
            ("people.yaml", "--model", "TINY", "--epochs", "2", "--keep-model"),
            (0, 4_000, 100_000, 300_000),
            ("manifest.json", "cell.json", "checkpoint-1", "checkpoint-1"),
        ),
        ("sweep", ("spec.yaml",), (0, 4_000, 100_000), ("manifest.json", "cell.json", "checkpoint-1")),
        ("symbolic", LAB, (0, 4_000), ("manifest.json", "state.safetensors")),
        ("reproduce", ("theorem-3",), (0, 20_000, 300_000), ("manifest.json", ".safetensors", "chart.html")),
    ],
)
def test_a_full_disk_is_one_line_and_the_next_run_goes_on(
    here: Path,
    tiny: str,
    verb: str,
    words: tuple[str, ...],
    limits: tuple[int, ...],
    unwritten: tuple[str, ...],
) -> None:
    (here / "spec.yaml").write_text(f"kb: people.yaml\nmodel: {tiny}\nepochs: 2\nseeds: [0, 1]\n")
    call = [verb, *(tiny if word == "TINY" else word for word in words), "--json", "--out"]
    *cut, last = called([*call, "a/run"], [*limits, None])
    for (code, out, err), name in zip(cut, unwritten, strict=True):
        lines = [line for line in err.splitlines() if "━" not in line and line.strip()]  # no progress bars
        assert (code, len(lines)) == (2, 1), err
        assert f"{name}: " in lines[0]
        assert "cannot write " in lines[0]
        assert "; make room there, or use another --out; what is finished is kept" in lines[0]
        assert verb == "sweep" or out == ""
    assert last[0] == 0, last[2]
    (undisturbed,) = called([*call, "b/run"], [None])
    assert numbers(last[1]) == numbers(undisturbed[1])
    assert not list((here / "a").rglob("*.tmp"))
    for path in (here / "b").rglob("*"):
        if path.name in ("scores.parquet", "table.csv", "model.safetensors", "state.safetensors"):
            assert (here / "a" / path.relative_to(here / "b")).read_bytes() == path.read_bytes()


def called(words: list[str], limits: list[int | None]) -> list[tuple[int, str, str]]:
    """(exit code, stdout, stderr) of each call."""
    child = [sys.executable, "-c", CHILD, json.dumps(words), json.dumps(limits)]
    done = subprocess.run(child, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def numbers(text: str) -> dict[str, object]:
    """A document, less where and how long."""
    return {name: value for name, value in json.loads(text).items() if name not in ("run", "seconds")}
