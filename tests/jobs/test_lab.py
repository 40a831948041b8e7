"""The lab as a verb: its document, and the run that it keeps."""

import csv
import io
from typing import Any

import pytest

from spillover.errors import LabError, RunError
from spillover.jobs import lab
from spillover.jobs.lab import symbolic
from spillover.runs.record import read_run
from spillover.symbolic.measure import MEASURES

SMALL: dict[str, Any] = {
    "world": {"groups": 3, "noise": 1, "length": 4},
    "ov": ("factorized", "merged"),
    "d_h": (2, 4),
    "attention": "linear",
    "optimizer": {"rule": "adamw", "learning_rate": 5e-3, "weight_decay": 0.03},
    "seeds": 2,
    "training": {"steps": 40, "records": 10},
}


def small(**changes: Any) -> dict[str, Any]:
    arguments: dict[str, Any] = SMALL | changes
    return symbolic(**arguments)


def without_time(document):
    return {name: value for name, value in document.items() if name not in ("run", "seconds")}


def test_without_a_folder_nothing_is_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    document = small()
    assert document["run"] is None
    assert document["seconds"] > 0
    assert [(setting["ov"], setting["d_h"]) for setting in document["settings"]] == [
        ("factorized", 2),
        ("factorized", 4),
        ("merged", None),
    ]
    assert list(tmp_path.iterdir()) == []


def test_a_model_named_twice_is_trained_once():
    document = small(ov=("merged", "merged"), d_h=(2, 3))
    assert [setting["ov"] for setting in document["settings"]] == ["merged"]


def test_a_folder_is_a_run(tmp_path):
    document = small(out=tmp_path / "run")
    assert without_time(document) == without_time(small())
    assert {path.name for path in (tmp_path / "run").iterdir()} == {
        ".lock",
        "manifest.json",
        "state.safetensors",
        "table.csv",
    }
    view = read_run(tmp_path / "run")
    assert (view.status, view.manifest["command"], view.manifest["seeds"]) == ("complete", "symbolic", [0, 1])
    assert document == {"run": str(tmp_path / "run"), **(view.results or {})}
    rows = list(csv.DictReader(io.StringIO((tmp_path / "run" / "table.csv").read_text())))
    assert len(rows) == 3 * 11
    last, measured = rows[-1], document["settings"][-1]
    for name in MEASURES:
        for kind, column in (("mean", name), ("least", f"{name}_least"), ("most", f"{name}_most")):
            assert float(last[column]) == measured[name][kind]


def test_a_finished_one_is_only_read(tmp_path, monkeypatch):
    first = small(out=tmp_path)
    monkeypatch.setattr(lab, "train", None)
    assert small(out=tmp_path) == first


def test_an_interrupted_one_goes_on(tmp_path, monkeypatch):
    long = {"steps": 1100, "records": 11}

    def interrupt(_, done, __):
        if done > 1000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as stopped:
        small(training=long, out=tmp_path / "a", progress=interrupt)
    assert stopped.value.__notes__ == [f"the same command with --out {tmp_path / 'a'} goes on from there"]
    assert read_run(tmp_path / "a").status == "incomplete"
    calls = []
    whole = small(training=long, out=tmp_path / "a", progress=lambda *told: calls.append(told))
    assert calls == [("training", 1100, 1100)]
    unbroken = small(training=long)
    assert without_time(whole) == without_time(unbroken)


def test_another_experiment_is_refused_by_name(tmp_path):
    small(out=tmp_path)
    with pytest.raises(RunError, match="argument 'steps' was 40, now 50; use another --out"):
        small(training={"steps": 50, "records": 10}, out=tmp_path)
    with pytest.raises(RunError, match=r"the list of seeds was \[0, 1\], now \[0\]"):
        small(seeds=1, out=tmp_path)


def test_what_cannot_be_makes_no_folder(tmp_path):
    with pytest.raises(LabError, match="seeds must be a whole number of at least 1, got 0"):
        small(seeds=0, out=tmp_path / "run")
    with pytest.raises(LabError, match="groups must be a whole number of at least 2, got 1"):
        small(world={"groups": 1}, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_that_diverges_has_failed(tmp_path):
    wild = {"rule": "gd", "learning_rate": 1e30, "weight_decay": 0}
    with pytest.raises(LabError, match="lower its learning rate"):
        small(optimizer=wild, out=tmp_path)
    view = read_run(tmp_path)
    assert view.status == "failed"
    assert "lower its learning rate" in (view.reason or "")


def test_what_is_undefined_is_null(tmp_path):
    everyone = {"groups": 3, "subjects": 2, "bridges": 2, "noise": 1, "length": 4}
    document = small(world=everyone, out=tmp_path)
    assert document["settings"][0]["held_out_loss"] == {"mean": None, "least": None, "most": None}
