"""The run folder: atomic, locked, resumable, and never another run's."""

import json
import math
import os
import subprocess
import sys
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from spillover.errors import RunError, TrainingError
from spillover.runs import environment, files, record
from spillover.runs.record import Run, hash_file, hash_json, jsonable, list_runs, read_run

IDENTITY = {
    "command": "audit",
    "arguments": {"model": "tiny", "epochs": 8, "lora": {"rank": None}, "out": Path("here")},
    "passed": {"epochs": 8},
    "seeds": [0, 1],
    "hashes": {"kb": "a" * 64, "model": "b" * 64},
}

WRITER = """
import sys, time
from spillover.runs.record import Run
run = Run.start(sys.argv[1], command="audit", arguments={"model": "tiny"}, passed={}, seeds=[0], hashes={})
run.write_json("half.json", {"done": 1})
print("writing", flush=True)
time.sleep(60)
"""
WRITTEN = {"command": "audit", "arguments": {"model": "tiny"}, "passed": {}, "seeds": [0], "hashes": {}}


def start(folder, **changes):
    return Run.start(folder, **(IDENTITY | changes))


def manifest(folder):
    return json.loads((folder / "manifest.json").read_text())


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def writer(tmp_path):
    """A second process in the middle of a run."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        yield process
        process.kill()


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


# Failing, dying, resuming


def test_a_spillover_error_marks_the_run_failed_and_it_resumes(tmp_path):
    with pytest.raises(TrainingError), start(tmp_path):
        raise TrainingError("the loss is not finite")
    view = read_run(tmp_path)
    assert (view.status, view.reason) == ("failed", "the loss is not finite")
    with start(tmp_path) as run:
        assert run.resumed
        assert "reason" not in run.manifest
        assert run.manifest["started"] == view.manifest["started"]
        assert len(run.manifest["resumed_at"]) == 1
    with start(tmp_path) as run:
        assert len(run.manifest["resumed_at"]) == 2
        run.finish({}, 1)
    assert read_run(tmp_path).reason is None


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_an_interrupt_or_a_bug_leaves_the_run_incomplete(tmp_path, error):
    with pytest.raises(error), start(tmp_path):
        raise error
    assert manifest(tmp_path)["status"] == "running"
    assert read_run(tmp_path).status == "incomplete"


def test_an_interrupt_says_where_to_go_on(tmp_path):
    with pytest.raises(KeyboardInterrupt) as stopped, start(tmp_path / "my run"):
        raise KeyboardInterrupt
    folder = tmp_path / "my run"
    assert stopped.value.__notes__ == [f"the same command with --out '{folder}' goes on from there"]


def test_seconds_add_up_over_every_way_to_stop(tmp_path, monkeypatch):
    now = 0.0
    monkeypatch.setattr(record, "monotonic", lambda: now)
    for stop in (TrainingError, KeyboardInterrupt):
        run = start(tmp_path)
        now += 10
        with pytest.raises(stop), run:
            raise stop
    run = start(tmp_path)
    now += 5
    run.record_seconds()
    now += 100  # lost, as is all that a killed writer did after it last wrote
    run.close()
    now += 1000  # nobody has it open
    with start(tmp_path) as run:
        now += 2
        assert run.seconds == 27
        run.finish({}, run.seconds)
    assert manifest(tmp_path)["seconds"] == 27


def test_an_error_after_the_finish_leaves_the_run_complete(tmp_path):
    run = start(tmp_path)
    run.finish({}, 1)
    with pytest.raises(TrainingError), run:
        raise TrainingError("late")
    assert read_run(tmp_path).status == "complete"


def test_a_second_process_is_kept_out(tmp_path, writer):
    folder = tmp_path / "run"
    before = contents(folder)
    with pytest.raises(
        RunError, match="run is being written by another process; wait for it, or use another"
    ):
        Run.start(folder, **WRITTEN)
    assert read_run(folder).status == "running"
    assert contents(folder) == before
    assert writer.poll() is None


def test_a_killed_writer_leaves_an_incomplete_run_that_resumes(tmp_path, writer):
    folder = tmp_path / "run"
    writer.kill()
    writer.wait()
    (folder / ".spillover-half.json-00.tmp").write_text("{")
    assert read_run(folder).status == "incomplete"
    with Run.start(folder, **WRITTEN) as run:
        assert run.resumed
        assert run.read_json("half.json") == {"done": 1}
        assert not list(folder.glob(files.TEMPORARY))
        run.finish({}, 1)
    assert read_run(folder).status == "complete"


def test_a_start_killed_before_its_manifest_can_start_again(tmp_path):
    (tmp_path / ".lock").touch()
    (tmp_path / ".spillover-manifest.json-00.tmp").write_text("{")
    with start(tmp_path) as run:
        assert not run.resumed


def test_a_run_that_finishes_while_it_is_read_is_complete(tmp_path, monkeypatch):
    """The first look at the manifest says running; by the time the lock is free it is complete."""
    with start(tmp_path) as run:
        stale = dict(run.manifest)
        run.finish({}, 1)
    looks = iter([stale, manifest(tmp_path)])
    monkeypatch.setattr("spillover.runs.files.read_json", lambda path: next(looks))
    assert read_run(tmp_path).status == "complete"


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
        ('{"format_version": 1, "status": "asleep"}', "unknown status 'asleep'"),
    ],
)
def test_a_manifest_that_cannot_be_used(tmp_path, text, message):
    (tmp_path / "manifest.json").write_text(text)
    for open_run in (read_run, start):
        with pytest.raises(RunError, match=message):
            open_run(tmp_path)
    assert (tmp_path / "manifest.json").read_text() == text


def test_a_folder_without_a_manifest_is_no_run(tmp_path):
    with pytest.raises(RunError, match=r"is not a run: it has no manifest.json"):
        read_run(tmp_path)


def test_list_is_newest_first_and_names_the_broken(tmp_path):
    assert list_runs(tmp_path / "nowhere") == []
    for name in ("b-first", "a-second"):
        start(tmp_path / name).close()
    (tmp_path / "c-broken").mkdir()
    (tmp_path / "c-broken" / "manifest.json").write_text("{")
    (tmp_path / "not-a-run").mkdir()
    (tmp_path / "file").touch()
    views = list_runs(tmp_path)
    assert [view.folder.name for view in views] == ["a-second", "b-first", "c-broken"]
    assert [view.status for view in views] == ["incomplete", "incomplete", "broken"]
    assert "not valid JSON" in (views[-1].reason or "")


# Files


@pytest.mark.parametrize("kind", ["pipe", "folder", "link to a folder"])
def test_only_plain_files_are_replaced(tmp_path, kind):
    path = tmp_path / "a.json"
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case _:
            path.symlink_to(tmp_path)
    with pytest.raises(OSError, match="not a plain file"):
        files.write_json(path, {})
    assert not path.is_file()
    assert [one.name for one in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize("broken_step", ["os.replace", "os.fsync"])
def test_a_crash_before_the_replace_keeps_the_old_file(tmp_path, monkeypatch, broken_step):
    path = tmp_path / "a.json"
    files.write_json(path, {"old": True})

    def crash(*_):
        raise OSError("power cut")

    monkeypatch.setattr(broken_step, crash)
    with pytest.raises(OSError, match="power cut"):
        files.write_json(path, {"new": True})
    assert contents(tmp_path) == {"a.json": b'{\n  "old": true\n}\n'}


def test_a_row_that_cannot_be_written_leaves_no_file(tmp_path):
    with pytest.raises(TypeError, match="cannot write a object as JSON"):
        files.write_jsonl(tmp_path / "a.jsonl", [{"fine": 1}, object()])
    assert contents(tmp_path) == {}


@pytest.mark.parametrize("read", [files.read_json, files.read_jsonl, files.read_parquet])
def test_missing_and_broken_files_are_run_errors(tmp_path, read):
    with pytest.raises(RunError):
        read(tmp_path / "missing")
    (tmp_path / "broken").write_bytes(b'{"fine": 1}\n{"fi')
    with pytest.raises(RunError, match="broken"):
        read(tmp_path / "broken")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(RunError, match="binary"):
        read(tmp_path / "binary")


def test_a_broken_line_is_named(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"loss": 1}\n{"lo')
    with pytest.raises(RunError, match=r"metrics.jsonl:2 is not valid JSON"):
        files.read_jsonl(tmp_path / "metrics.jsonl")


def test_a_line_separator_inside_a_row_is_kept(tmp_path):
    rows = [{"text": "a\u2028b\nc"}]
    files.write_jsonl(tmp_path / "a.jsonl", rows)
    assert files.read_jsonl(tmp_path / "a.jsonl") == rows


def test_a_folder_named_like_a_partition_adds_no_column(tmp_path):
    with start(tmp_path / "lr=3") as run:
        run.write_parquet("scores.parquet", pa.table({"x": [1]}))
        assert run.read_parquet("scores.parquet").column_names == ["x"]


class Kind(StrEnum):
    CAUSAL = "causal"


@dataclass(frozen=True, kw_only=True)
class Box:
    path: Path
    kind: Kind


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (float("nan"), None),
        (float("inf"), None),
        (np.float32("nan"), None),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (np.array([[1.0, np.nan]]), [[1.0, None]]),
        ({1: (np.float64(0.5), "é")}, {"1": [0.5, "é"]}),
        (Box(path=Path("a") / "b", kind=Kind.CAUSAL), {"path": "a/b", "kind": "causal"}),
    ],
)
def test_jsonable(value, wanted):
    got = jsonable(value)
    assert got == wanted
    assert type(got) is type(wanted)
    assert "NaN" not in json.dumps(got, allow_nan=False)


def test_undefined_numbers_go_to_json_and_come_back():
    rules = [{"p_value": np.nan, "top1": {"after": float("inf")}, "name": "x", "queries": np.int64(3)}]
    here = files.plain(rules)
    assert here == [{"p_value": math.nan, "top1": {"after": math.nan}, "name": "x", "queries": 3}]
    read = json.loads(json.dumps(jsonable(rules), allow_nan=False))
    assert read == [{"p_value": None, "top1": {"after": None}, "name": "x", "queries": 3}]
    assert files.nulls_as_nan(read) == here  # each NaN is the one of `math`, which equals itself in a list


def test_hashes(tmp_path):
    assert hash_json({"a": 1, "b": (2, np.nan)}) == hash_json({"b": [2, None], "a": np.int32(1)})
    assert hash_json([1]) != hash_json(["1"])
    (tmp_path / "empty").touch()
    assert hash_file(tmp_path / "empty") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_the_code_revision_never_fails(monkeypatch):
    monkeypatch.setenv("GIT_DIR", os.devnull)
    assert environment.code_revision() is None or len(environment.code_revision() or "") in (40, 46)
    monkeypatch.setattr(environment.shutil, "which", lambda name: None)
    assert environment.code_revision() is None


def test_the_record_imports_nothing_heavy():
    heavy = {"torch", "transformers", "scipy", "pyarrow"}
    code = f"import sys, spillover.runs.record; print({heavy} & {{*sys.modules}})"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "set()\n"
    )
