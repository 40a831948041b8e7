"""A disk that is full, as far as a limit on the size of files is one: a line, and what is done is kept."""

import json
import re
import subprocess
import sys
from pathlib import Path

from safetensors.torch import load_file

CHILD = """
import json, os, resource, sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from functools import partial
from io import StringIO

from spillover import cli, reproduce
from spillover.llm import finetune
from spillover.llm.settings import FineTuneConfig
from spillover.reproduce import study

finetune.SECONDS_BETWEEN_CHECKPOINTS = 0.0
whole = reproduce.load("theorem-3")
small = replace(whole, settings=partial(whole.settings, reference_steps=2, steps=20))
reproduce.load = lambda name: small
study.RECIPES["ours"] = study.Recipe(settings=FineTuneConfig(epochs=2), left_open=("everything",))
for words, limit in json.loads(sys.argv[1]):
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
"""Makes each call with a size that no file may exceed; a traceback would end it."""

TUNE = ("--model", "TINY", "--epochs", "2", "--keep-model")
TABLE = ("--models", "TINY", "--data", "people.yaml", "--seeds", "0")
LAB = ("--groups", "3", "--noise", "1", "--length", "4", "--steps", "40")
VERBS: dict[tuple[str, ...], dict[int, str]] = {
    ("audit", "people.yaml", *TUNE): {
        0: "manifest.json",
        4_000: "scores.parquet",
        100_000: "checkpoint-1",  # its weights
        300_000: "checkpoint-1",  # its optimizer
    },
    ("sweep", "spec.yaml"): {0: "manifest.json", 100_000: "checkpoint-1"},
    ("reproduce", "table-1", *TABLE): {
        0: "manifest.json",
        4_000: "cell.json",
        100_000: "checkpoint-1",
        300_000: "checkpoint-1",
    },
    ("symbolic", *LAB): {0: "manifest.json", 4_000: "state.safetensors"},
    ("reproduce", "theorem-3"): {0: "manifest.json", 20_000: ".safetensors", 300_000: "chart.html"},
}
"""What is called, and what cannot be written where no file may have more than so many bytes."""


def test_a_full_disk_is_one_line_and_the_next_run_goes_on(here: Path, tiny: str) -> None:
    (here / "spec.yaml").write_text(f"kb: people.yaml\nmodel: {tiny}\nepochs: 2\n")
    calls: list[tuple[list[str], int | None]] = []
    for number, (words, limits) in enumerate(VERBS.items()):
        call = [*(tiny if word == "TINY" else word for word in words), "--json", "--out"]
        calls += [([*call, f"cut/{number}/run"], limit) for limit in (*limits, None)]
        calls += [([*call, f"whole/{number}/run"], None)]
    child = [sys.executable, "-c", CHILD, json.dumps(calls)]
    done = subprocess.run(child, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    ends = iter([json.loads(line) for line in done.stdout.splitlines()])
    for words, limits in VERBS.items():
        for name in limits.values():
            code, out, err = next(ends)
            lines = [line for line in err.splitlines() if line.strip() and " left " not in line]  # no bars
            assert (code, len(lines)) == (2, 1), err
            assert re.search(rf"cannot write \S*{name}: .*; make room there, or use another --out", lines[0])
            assert out == "" or "spec.yaml" in words or "table-1" in words
        (code, gone_on, err), (_, undisturbed, _) = next(ends), next(ends)
        assert code == 0, err
        assert numbers(gone_on) == numbers(undisturbed)
    assert not list((here / "cut").rglob("*.tmp"))
    assert not list((here / "cut").rglob("checkpoint-*"))
    compared = [path for name in KEPT for path in (here / "whole").rglob(name)]
    assert len(compared) >= 10
    for path in compared:
        assert content(here / "cut" / path.relative_to(here / "whole")) == content(path)


KEPT = ("scores.parquet", "table.csv", "model.safetensors", "state.safetensors")


def content(path: Path) -> object:
    """A file's bytes, of tensors their own: their header is in any order."""
    if path.suffix != ".safetensors":
        return path.read_bytes()
    return {name: tensor.numpy().tobytes() for name, tensor in load_file(path).items()}


def numbers(text: str) -> dict[str, object]:
    """A document, less where and how long."""
    return {name: value for name, value in json.loads(text).items() if name not in ("run", "seconds")}
