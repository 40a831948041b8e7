"""What a cell's identity counts, and that a cell survives being written down."""

import json
from dataclasses import replace
from pathlib import Path
from shutil import copytree

import pytest

from spillover.cells.cell import Cell, Weights
from spillover.cells.compute import locate
from spillover.errors import RunError
from spillover.interventions.ignore_topk import IgnoreTopk
from spillover.interventions.lora import Lora
from spillover.knowledge.prompts import Example, Question
from spillover.llm.settings import FULL_RATE, FineTuneConfig


def test_the_identity_is_of_contents_not_of_names_or_paths(tuned: Cell, tmp_path: Path) -> None:
    copied = locate(str(copytree(tuned.weights.folder, tmp_path / "elsewhere")))
    assert copied.folder != tuned.weights.folder
    assert replace(tuned, weights=copied).identity == tuned.identity
    assert replace(tuned, weights=copied) == tuned


def test_the_identity_does_not_depend_on_the_order_or_number_of_questions(tuned: Cell) -> None:
    turned = replace(tuned, questions=(*reversed(tuned.questions), tuned.questions[0]))
    assert turned.identity == tuned.identity
    assert replace(tuned, questions=tuned.questions[1:]).identity != tuned.identity


def test_a_rate_that_is_given_and_the_same_by_default_are_the_same_tune(tuned: Cell) -> None:
    by_default, given = FineTuneConfig(), FineTuneConfig(learning_rate=FULL_RATE)
    assert replace(tuned, settings=by_default).identity == replace(tuned, settings=given).identity


def test_everything_that_changes_the_numbers_changes_the_identity(tuned: Cell) -> None:
    settings = tuned.settings
    assert settings is not None
    others = [
        replace(tuned, taught=tuned.taught[::-1]),
        replace(tuned, taught=tuned.taught[1:]),
        replace(tuned, settings=replace(settings, seed=1)),
        replace(tuned, settings=replace(settings, epochs=2)),
        replace(tuned, settings=replace(settings, lora=2)),
        replace(tuned, interventions=(Lora(rank=2),)),
        replace(tuned, interventions=(Lora(rank=3),)),
        replace(tuned, weights=replace(tuned.weights, identity="0" * 64)),
        replace(tuned, taught=(), settings=None),
        replace(tuned, taught=(), settings=None, tuned=tuned.weights),
    ]
    assert len({cell.identity for cell in (tuned, *others)}) == 1 + len(others)


def test_a_knob_is_the_same_however_its_number_is_written(tuned: Cell) -> None:
    """And stays so where the cell travels as JSON."""
    one, other = (replace(tuned, interventions=(IgnoreTopk(percent=p),)) for p in (50, 50.0))
    assert one.identity == other.identity == Cell.of(one.document()).identity


def test_a_cell_that_is_asked_along_its_tune_is_another_and_all_others_are_what_they_were(
    untuned: Cell, tuned: Cell
) -> None:
    """Cells that were computed before there were askings are found again."""
    keys = ["version", "weights", "tuned", "taught", "settings", "interventions", "questions", "folders"]
    for cell in (untuned, tuned):
        assert list(cell.document()) == keys
        assert "ask_every" not in cell.summary()
    asked = replace(tuned, ask_every=2)
    assert asked.document() == tuned.document() | {"ask_every": 2}
    assert len({cell.identity for cell in (tuned, asked, replace(tuned, ask_every=3))}) == 3


def test_the_identity_of_what_was_computed_before_stays() -> None:
    """Literal hashes: where one changes, nothing in any cells/ folder is found again, so raise `VERSION`."""
    weights = Weights(identity="0" * 64, name="any", folder=Path("anywhere"))
    asked = (Question(prompt="Mara speaks", completions=(" French", " Polish")),)
    taught = (Example(prompt="a", completion=" b", subject="s", relation="r", answer="b"),)
    untuned = Cell(weights=weights, questions=asked)
    full = replace(untuned, taught=taught, settings=FineTuneConfig())
    adapters = replace(full, settings=FineTuneConfig(lora=8, processes=2, seed=3, epochs=2))
    assert [cell.identity for cell in (untuned, full, adapters)] == [
        "cbf379c7191fb0e68d3f6c470f4ebd89bec87f1b5a53048e7e2bcb9aecb2c46a",
        "63323f157d5b5ffc1f99622c361838669a89f8f8d0b03880d6f3d9e16ebf751b",
        "366b44cfb772dac8c877a3f86649d0ea80502422b0ebace22e7bf846d7709698",
    ]


def test_a_cell_that_was_written_down_is_the_same(tuned: Cell) -> None:
    for cell in (tuned, replace(tuned, interventions=(Lora(rank=2),), tuned=tuned.weights, ask_every=3)):
        again = Cell.of(json.loads(json.dumps(cell.document())))
        assert again == cell
        assert again.identity == cell.identity
        assert again.weights.folder == cell.weights.folder


def test_a_cell_of_another_version_is_refused(tuned: Cell) -> None:
    with pytest.raises(RunError, match="a cell of version 2 cannot be run by this spillover"):
        Cell.of(tuned.document() | {"version": 2})
