"""Cells on a Ray cluster that is started here."""

import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from spillover.cells.cell import Cell
from spillover.cells.folder import CellFolder, State
from spillover.cells.on_ray import OnRay, compute_there
from spillover.cells.plan import carry_out
from spillover.errors import ModelError, RunError, TrainingError


def ray_workers() -> list[int]:
    """Processes that compute a cell for a cluster of this machine."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                words = (folder / "cmdline").read_bytes()
            except OSError:
                continue
            if words.startswith(b"ray::compute_there"):
                found.append(int(folder.name))
    return found


@pytest.mark.filterwarnings("ignore")  # Ray leaves sockets and processes to the collector
def test_cells_on_ray_are_those_of_one_process(untuned: Cell, tuned: Cell, tmp_path: Path) -> None:
    """One fails and says why, one loses its worker and is run again; the answers are the same."""
    failing = replace(tuned, taught=(replace(tuned.taught[0], completion=""),))
    cells = [untuned, tuned, failing]
    here, there = (
        [CellFolder(cell=cell, place=tmp_path / name) for cell in cells] for name in ("here", "ray")
    )
    carry_out(here)
    killed: list[int] = []

    def kill_one() -> None:
        while not killed:
            for pid in ray_workers():
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)
                return
            time.sleep(0.02)

    threading.Thread(target=kill_one, daemon=True).start()
    failed = carry_out(there, executor=OnRay(workers=2))
    assert len(killed) == 1
    assert list(failed) == [there[2]]
    assert isinstance(failed[there[2]], TrainingError)
    assert "cannot be trained" in str(failed[there[2]])
    assert [folder.state for folder in there] == [State.DONE, State.DONE, State.FAILED]
    for alone, other in zip(here[:2], there[:2], strict=True):
        answers = other.answers()
        assert all(
            (answers[q].logprobs == answered.logprobs).all() for q, answered in alone.answers().items()
        )
        assert [row["step"] for row in other.history()] == [row["step"] for row in alone.history()]


def test_what_a_worker_computes_needs_no_folder_of_ours(tuned: Cell, place: Path) -> None:
    table, log = compute_there(tuned.document())
    folder = CellFolder(cell=tuned, place=place)
    folder.compute()
    assert table.num_rows == sum(len(question.completions) for question in tuned.questions)
    assert [row["step"] for row in log] == [row["step"] for row in folder.history()]


def test_a_worker_refuses_other_weights(tuned: Cell) -> None:
    other = replace(tuned, weights=replace(tuned.weights, identity="0" * 64))
    with pytest.raises(ModelError, match="is another one on a worker than here; give each machine the same"):
        compute_there(other.document())


def test_weights_do_not_travel(tuned: Cell, place: Path) -> None:
    with pytest.raises(RunError, match="weights do not travel back from a cluster"):
        carry_out([CellFolder(cell=tuned, place=place, keep_model=True)], executor=OnRay())


def test_without_ray_one_line_says_how_to_get_it(
    untuned: Cell, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(RunError, match=r"--on ray needs Ray; install it with `pip install spillover\[ray\]`"):
        carry_out([CellFolder(cell=untuned, place=place)], executor=OnRay())
