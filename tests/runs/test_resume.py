"""A run that failed, was interrupted or died goes on; a second writer is kept out."""

import subprocess
import sys

import pytest

from spillover.errors import RunError, TrainingError
from spillover.runs import files, record
from spillover.runs.record import Run, read_run
from tests.runs.folder import contents, manifest, start

WRITER = """
import sys, time
from spillover.runs.record import Run
run = Run.start(sys.argv[1], command="audit", arguments={"model": "tiny"}, passed={}, seeds=[0], hashes={})
run.write_json("half.json", {"done": 1})
print("writing", flush=True)
time.sleep(60)
"""
WRITTEN = {"command": "audit", "arguments": {"model": "tiny"}, "passed": {}, "seeds": [0], "hashes": {}}


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
    with pytest.raises(KeyboardInterrupt) as stopped, start(folder, hint="say the word"):
        raise KeyboardInterrupt
    assert stopped.value.__notes__ == ["say the word"]


def test_seconds_add_up_over_every_way_to_stop(tmp_path, monkeypatch):
    now = 0.0
    monkeypatch.setattr(record, "monotonic", lambda: now)
    for stop in (TrainingError("no"), KeyboardInterrupt()):
        run = start(tmp_path)
        now += 10
        with pytest.raises(type(stop)), run:
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
