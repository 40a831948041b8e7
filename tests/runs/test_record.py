"""The run folder: whole, locked, and never another run's."""

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest

from spillover.errors import RunError
from spillover.runs import files
from spillover.runs.record import read_run
from tests.runs.folder import IDENTITY, contents, manifest, start


def test_a_run_from_start_to_finish(tmp_path):
    folder = tmp_path / "deep" / "run"
    with start(folder) as run:
        assert not run.complete
        assert not run.resumed
        first = manifest(folder)
        assert (first["format_version"], first["status"]) == (1, "running")
        assert first["arguments"] == {"model": "tiny", "epochs": 8, "lora": {"rank": None}, "out": "here"}
        assert first["packages"]["numpy"] == np.__version__
        assert {"passed", "seeds", "hashes", "code_revision", "python", "platform", "started"} <= first.keys()
        assert read_run(folder).status == "running"

        table = pa.table({"query": [0, 1], "logprob": [-1.5, float("nan")]})
        run.write_parquet("scores.parquet", table)
        run.write_jsonl("metrics.jsonl", [{"loss": np.float32(0.5)}, {"loss": np.nan}])
        run.write_text("notes/word.txt", "Zürich")
        run.write_json("extra.json", (1, 2))
        run.finish({"top1": np.float64("nan"), "ranks": np.arange(2)}, seconds=1.5)
        assert run.complete

    view = read_run(folder)
    assert view.status == "complete"
    assert view.results == {"top1": None, "ranks": [0, 1]}
    assert view.manifest["seconds"] == 1.5
    assert view.manifest["started"] == first["started"] < view.manifest["finished"]
    assert view.read_parquet("scores.parquet").column("query").to_pylist() == [0, 1]
    assert view.read_jsonl("metrics.jsonl") == [{"loss": 0.5}, {"loss": None}]
    assert view.read_json("extra.json") == [1, 2]
    assert view.path("notes/word.txt").read_text(encoding="utf-8") == "Zürich"
    assert not list(folder.glob(files.TEMPORARY))


def test_a_complete_run_is_opened_and_never_written(tmp_path):
    with start(tmp_path) as run:
        run.finish({"x": 1}, 1)
    before = contents(tmp_path)
    with start(tmp_path, passed={}) as again, start(tmp_path) as third:
        assert again.complete
        assert third.complete
        assert not again.resumed
        assert again.manifest["results"] == {"x": 1}
        with pytest.raises(RunError, match="is complete and is not written again; use another --out"):
            again.write_text("report.html", "new")
    assert contents(tmp_path) == before


def test_a_closed_run_is_not_written(tmp_path):
    with start(tmp_path) as run:
        pass
    with pytest.raises(RunError, match="was closed"):
        run.write_text("a", "b")


@pytest.mark.parametrize("name", ["", "/etc/x", "../x", "a/../../x"])
def test_names_stay_inside_the_run(tmp_path, name):
    with start(tmp_path) as run, pytest.raises(ValueError, match="inside the run"):
        run.write_text(name, "")


# Giving way


@pytest.mark.parametrize("finished", [False, True])
def test_a_run_with_other_settings_gives_way_where_that_is_asked_for(tmp_path, finished):
    with start(tmp_path) as run:
        run.write_text("chart.html", "old")
        if finished:
            run.finish({"x": 1}, 9)
    with start(tmp_path, seeds=[2], replace="other") as run:
        assert not run.complete
        assert not run.resumed
        assert run.seconds < 9
        assert manifest(tmp_path)["seeds"] == [2]
        assert "results" not in manifest(tmp_path)
        assert run.path("chart.html").read_text() == "old"  # until it is written again
    assert read_run(tmp_path).status == "incomplete"


def test_a_run_with_the_same_settings_gives_way_to_any_alone(tmp_path):
    with start(tmp_path) as run:
        run.finish({"x": 1}, 9)
    assert start(tmp_path, replace="other").manifest["results"] == {"x": 1}
    with start(tmp_path, replace="any") as run:
        assert not run.complete
    with start(tmp_path, replace="other") as run:
        assert run.resumed
    with start(tmp_path, replace="any") as run:
        assert not run.resumed


@pytest.mark.parametrize("replace", ["other", "any"])
def test_a_run_of_another_command_never_gives_way(tmp_path, replace):
    with start(tmp_path) as run:
        run.finish({"x": 1}, 9)
    before = contents(tmp_path)
    with pytest.raises(RunError, match="the command was 'audit', now 'reproduce'; use another --out"):
        start(tmp_path, command="reproduce", replace=replace)
    with pytest.raises(RunError, match="run: the command was 'audit', now 'reproduce'; use another --out"):
        start(tmp_path, command="reproduce", arguments={"only": 1}, seeds=[5], replace=replace)
    assert contents(tmp_path) == before


def test_known_names_may_lie_in_a_folder_without_a_manifest(tmp_path):
    (tmp_path / "table.csv").write_text("step")
    with pytest.raises(RunError, match=r"it holds 'table.csv' and no manifest.json"):
        start(tmp_path, known={"state"})
    with start(tmp_path, known={"state", "table.csv"}) as run:
        assert not run.resumed
    assert (tmp_path / "table.csv").read_text() == "step"


# Refusals


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arguments": IDENTITY["arguments"] | {"epochs": 4}}, "argument 'epochs' was 8, now 4"),
        (
            {"arguments": IDENTITY["arguments"] | {"lora": {"rank": 2}}},
            "argument 'lora.rank' was None, now 2",
        ),
        ({"arguments": IDENTITY["arguments"] | {"lr": 0.1}}, "argument 'lr' was not set, now 0.1"),
        ({"arguments": {"model": "tiny", "epochs": 8, "lora": None, "out": "here"}}, "argument 'lora'"),
        ({"hashes": {"kb": "c" * 64, "model": "b" * 64}}, f"the hash of 'kb' was {'a' * 12}, now {'c' * 12}"),
        ({"command": "symbolic"}, "the command was 'audit', now 'symbolic'"),
        ({"seeds": [0]}, r"the list of seeds was \[0, 1\], now \[0\]"),
    ],
)
@pytest.mark.parametrize("finished", [False, True])
def test_another_run_is_refused_by_name(tmp_path, changes, message, finished):
    with start(tmp_path) as run:
        if finished:
            run.finish({}, 1)
    before = contents(tmp_path)
    with pytest.raises(RunError, match=f"holds another run: .*{message}.*; use another --out"):
        start(tmp_path, **changes)
    assert contents(tmp_path) == before
    start(tmp_path).close()  # the refusal kept no lock


def test_a_folder_of_something_else_is_not_touched(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(
        RunError, match=r"is not a run: it holds 'thesis.tex' and no manifest.json; give --out"
    ):
        start(tmp_path)
    assert contents(tmp_path) == {"thesis.tex": b"years of work"}
    with pytest.raises(RunError, match="is a file; give --out a folder"):
        start(tmp_path / "thesis.tex")
    with pytest.raises(RunError, match="cannot write to"):
        start(tmp_path / "thesis.tex" / "run")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '{"format_version": 2, "status": "complete"}',
            "has format 2, this spillover reads up to 1; upgrade",
        ),
        ('{"format_version"', "manifest.json is not valid JSON"),
        ("[]", "it has no format_version"),
        *(
            (f'{{"format_version": {version}, "status": "running"}}', "not a whole number from 1")
            for version in ("0", "-1", "true", "1.0", '"1"', "null", "[1]")
        ),
        ("[" * 100_000, "not valid JSON.*restore that file, or remove the folder"),
        (
            '{"format_version": 1, "status": "running", "seeds": 0}',
            "seeds is 0, not a list; restore that file",
        ),
        ('{"format_version": 1, "status": "running", "seeds": [true]}', r"seeds\[0\] is True, not a whole"),
        ('{"format_version": 1, "status": "running", "seconds": "1"}', "seconds is '1', not a number"),
        ('{"format_version": 1, "status": "complete"}', "it is complete and has no results"),
        ('{"format_version": 1, "status": "asleep"}', "unknown status 'asleep'"),
    ],
)
def test_a_manifest_that_cannot_be_used(tmp_path, text, message):
    (tmp_path / "manifest.json").write_text(text)
    for open_run in (read_run, start):
        with pytest.raises(RunError, match=message):
            open_run(tmp_path)
    assert (tmp_path / "manifest.json").read_text() == text


def test_the_record_imports_nothing_heavy():
    heavy = {"torch", "transformers", "scipy", "pyarrow"}
    code = f"import sys, spillover.runs.record; print({heavy} & {{*sys.modules}})"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "set()\n"
    )
