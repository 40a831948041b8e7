"""Cells are computed once, shared, gone on with, waited for; one that fails stops no other."""

import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from spillover.cells.apart import Processes
from spillover.cells.cell import Cell
from spillover.cells.folder import CellFolder, State
from spillover.cells.plan import Executor, carry_out, one_after_another
from spillover.errors import BusyError, TrainingError
from spillover.llm import finetune as finetune_module
from spillover.runs.record import read_run


def stamps(place: Path) -> dict[str, int]:
    """When each cell's manifest was written."""
    return {path.parent.name: path.stat().st_mtime_ns for path in place.glob("*/manifest.json")}


@pytest.fixture
def folders(untuned: Cell, tuned: Cell, place: Path) -> list[CellFolder]:
    return [CellFolder(cell=cell, place=place) for cell in (untuned, tuned)]


@pytest.mark.parametrize("executor", [one_after_another, Processes(2)], ids=["here", "apart"])
def test_a_cell_goes_from_pending_to_done_and_is_not_computed_again(
    folders: list[CellFolder], place: Path, executor: Executor
) -> None:
    assert [folder.state for folder in folders] == [State.PENDING] * 2
    done: list[CellFolder] = []
    assert carry_out([*folders, folders[0]], executor=executor, on_done=done.append) == {}
    assert [folder.state for folder in folders] == [State.DONE] * 2
    assert set(done) == set(folders)
    assert len(done) == 2
    first = stamps(place)
    assert carry_out(folders, executor=executor) == {}
    assert stamps(place) == first
    assert folders[1].answers().keys() == set(folders[1].cell.questions)
    assert [row["step"] for row in folders[1].history()][:2] == [1, 2]
    assert folders[0].history() == []


def test_the_executors_give_the_same_answers(untuned: Cell, tuned: Cell, tmp_path: Path) -> None:
    found = []
    for name, executor in (("here", one_after_another), ("apart", Processes(2))):
        folders = [CellFolder(cell=cell, place=tmp_path / name) for cell in (untuned, tuned)]
        carry_out(folders, executor=executor)
        found.append([folder.answers() for folder in folders])
    for here, apart in zip(*found, strict=True):
        assert all((here[question].logprobs == apart[question].logprobs).all() for question in here)


@pytest.mark.parametrize("executor", [one_after_another, Processes(2)], ids=["here", "apart"])
def test_a_cell_that_fails_says_why_and_stops_no_other(
    tuned: Cell, untuned: Cell, place: Path, executor: Executor
) -> None:
    example = replace(tuned.taught[0], completion="")
    failing = CellFolder(cell=replace(tuned, taught=(example,)), place=place)
    other = CellFolder(cell=untuned, place=place)
    failed = carry_out([failing, other], executor=executor)
    assert list(failed) == [failing]
    assert isinstance(failed[failing], TrainingError)
    assert "cannot be trained" in str(failed[failing])
    assert (failing.state, other.state) == (State.FAILED, State.DONE)
    assert read_run(failing.path).reason == str(failed[failing])


def test_a_cell_of_another_process_is_waited_for(untuned: Cell, place: Path) -> None:
    mine, others = (CellFolder(cell=untuned, place=place) for _ in range(2))
    held = others.open()
    assert mine.state is State.RUNNING
    with pytest.raises(BusyError, match="is being written by another process"):
        mine.compute()
    threading.Timer(1.0, held.close).start()
    assert carry_out([mine]) == {}
    assert mine.state is State.DONE


def test_a_tune_that_was_stopped_goes_on_to_the_same_answers(
    tuned: Cell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finetune_module, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    whole, stopped = (CellFolder(cell=tuned, place=tmp_path / name) for name in ("whole", "stopped"))
    whole.compute()

    def stop(stage: str, done: int, steps: int) -> None:
        if stage == "tune, seed 0" and done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped.compute(stop)
    assert stopped.state is State.PENDING
    seen: list[tuple[str, int]] = []
    stopped.compute(lambda stage, done, steps: seen.append((stage, done)))
    assert ("tune, seed 0", 1) not in seen
    assert not (stopped.path / "checkpoints").exists()
    for question, answered in whole.answers().items():
        assert (stopped.answers()[question].logprobs == answered.logprobs).all()


def test_a_cell_with_its_model_serves_those_who_do_not_want_it(tuned: Cell, place: Path) -> None:
    plain, kept = (CellFolder(cell=tuned, place=place, keep_model=keep) for keep in (False, True))
    assert carry_out([kept]) == {}
    assert (kept.model / "model.safetensors").is_file()
    assert plain.state is State.DONE
    assert plain.path == kept.path


def test_a_cell_without_its_model_does_not_serve_those_who_want_it(tuned: Cell, place: Path) -> None:
    plain, kept = (CellFolder(cell=tuned, place=place, keep_model=keep) for keep in (False, True))
    carry_out([plain])
    assert kept.state is State.PENDING


def test_a_damaged_cell_is_one_clear_line(untuned: Cell, tuned: Cell, place: Path) -> None:
    folder = CellFolder(cell=untuned, place=place)
    carry_out([folder])
    other = CellFolder(cell=replace(untuned, questions=untuned.questions[1:]), place=place)
    carry_out([other])
    (folder.path / "scores.parquet").write_bytes((other.path / "scores.parquet").read_bytes())
    with pytest.raises(
        Exception, match=r"scores\.parquet is damaged: .*; remove the folder .*, and run again"
    ):
        folder.answers()


def test_a_child_that_is_killed_is_replaced(
    untuned: Cell, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor = Processes(1)
    folder = CellFolder(cell=untuned, place=place)
    killed = 0

    def kill_first() -> None:
        nonlocal killed
        while not executor._children:
            threading.Event().wait(0.01)
        (child,) = executor._children
        child.kill()
        killed += 1

    threading.Thread(target=kill_first).start()
    assert carry_out([folder], executor=executor) == {}
    assert killed == 1
    assert folder.state is State.DONE


def test_a_child_that_is_always_killed_is_a_failed_cell(
    untuned: Cell, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spillover.cells.apart._converse", lambda child, order: (child.kill(), "")[1])
    folder = CellFolder(cell=untuned, place=place)
    failed = carry_out([folder], executor=Processes(1))
    assert "the process was killed 3 times; is there memory enough?" in str(failed[folder])


@pytest.mark.parametrize("written", ["", '{"cell": {"ver'])
def test_a_child_whose_parent_was_killed_before_it_gave_a_cell_leaves_without_a_word(written: str) -> None:
    command = [sys.executable, "-m", "spillover.cells"]
    left = subprocess.run(command, input=written, capture_output=True, text=True, check=False)
    assert (left.returncode, left.stdout, left.stderr) == (0, "", "")


def test_an_interrupt_from_the_keyboard_does_not_reach_the_children() -> None:
    processes = Processes(1)
    child = processes._child()
    try:
        assert os.getpgid(child.pid) not in (0, os.getpgid(0))
    finally:
        child.kill()
        processes._bury(child)
