"""A cell whose model is shared by several processes is the cell of one, up to rounding."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spillover.cells import tune
from spillover.cells.cell import Cell
from spillover.cells.folder import CellFolder
from spillover.cells.plan import carry_out
from spillover.errors import TrainingError
from spillover.llm import memory


def test_several_processes_give_the_answers_and_the_log_of_one(tuned: Cell, place: Path) -> None:
    tuned = replace(tuned, texts=("Rain falls.", "A kettle sings on the stove."))
    assert tuned.settings is not None
    several = replace(tuned, settings=replace(tuned.settings, processes=2))
    alone, shared = (CellFolder(cell=cell, place=place) for cell in (tuned, several))
    for error in carry_out([alone, shared]).values():
        raise error
    assert alone.path != shared.path
    for question, answered in alone.answers().items():
        np.testing.assert_allclose(shared.answers()[question].logprobs, answered.logprobs, atol=1e-5)
    losses = [[row["loss"] for row in folder.history() if "loss" in row] for folder in (alone, shared)]
    np.testing.assert_allclose(*losses, rtol=1e-5)
    (drift,), (of_shared,) = (
        [row["drift"] for row in folder.history() if "drift" in row] for folder in (alone, shared)
    )
    assert min(text["kl"] for text in drift) > 0
    for text, same in zip(drift, of_shared, strict=True):
        assert same == pytest.approx(text, rel=1e-3)
    assert {path.name for path in shared.path.iterdir()} >= {"manifest.json", "scores.parquet"}
    assert not (shared.path / "checkpoints").exists()


@pytest.mark.parametrize("processes", [1, 2])
def test_a_tune_that_recomputes_gives_the_same_answers(
    tuned: Cell, place: Path, monkeypatch: pytest.MonkeyPatch, processes: int
) -> None:
    assert tuned.settings is not None
    cell = replace(tuned, settings=replace(tuned.settings, processes=processes))
    kept, again = (CellFolder(cell=cell, place=place / name) for name in ("kept", "again"))
    kept.compute()
    told, launched, whole, launch = list[bool](), list[str](), tune.finetune, tune.launch

    def finetune(*rest: Any, recompute: bool, **options: Any) -> Any:
        told.append(recompute)
        return whole(*rest, recompute=recompute, **options)

    def launch_and_tell(module: str, arguments: list[str], count: int) -> None:
        launched.extend(arguments)
        launch(module, arguments, count)

    monkeypatch.setattr(tune, "finetune", finetune)
    monkeypatch.setattr(tune, "launch", launch_and_tell)
    needed = tune.check_memory
    monkeypatch.setattr(tune, "check_memory", lambda *a, **o: replace(needed(*a, **o), recompute=True))
    again.compute()
    assert told == [True] if processes == 1 else launched[1:] == ["--recompute"]
    for question, answered in kept.answers().items():
        np.testing.assert_array_equal(again.answers()[question].logprobs, answered.logprobs)


def test_a_tune_that_does_not_fit_is_refused_before_its_weights_are_loaded(
    tuned: Cell, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "_room", lambda: memory.Room(machine=1000))
    monkeypatch.setattr("spillover.llm.models.load", lambda *rest, **options: pytest.fail("loaded"))
    folder = CellFolder(cell=tuned, place=place)
    (error,) = carry_out([folder]).values()
    assert isinstance(error, TrainingError)
    assert "it cannot fit; use " in str(error)
