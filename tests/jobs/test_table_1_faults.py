"""Table 1 where a cell diverges, or memory or disk run out: one line, the other rows, and it goes on."""

import errno
import gc
import json
import time
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Trainer

from spillover.cells import tune
from spillover.llm import finetune, memory
from spillover.llm.settings import FineTuneConfig
from spillover.reproduce.study import RECIPES, Recipe
from spillover.reproduce.table_1 import DATA
from spillover.runs.record import read_run
from tests.jobs.people import run_cli
from tests.tiny_models import save_tiny_model

Tune = Callable[..., Any]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A recipe of two epochs in big batches."""
    settings = FineTuneConfig(epochs=2, batch_size=24, learning_rate=1e-3)
    monkeypatch.setitem(RECIPES, "ours", Recipe(settings=settings, left_open=("everything",)))


@pytest.fixture
def three(here: Path) -> list[str]:
    """Three small data sets; of the second, other people are taught."""
    text = (here / "people.yaml").read_text("utf-8")
    (here / "others.yaml").write_text(text.replace("bridges: 2", "bridges: 3"), encoding="utf-8")
    (here / "last.yaml").write_text(text.replace("bridges: 2", "bridges: 1"), encoding="utf-8")
    return ["people.yaml", "others.yaml", "last.yaml"]


def diverges(whole: Tune, *arguments: Any, **options: Any) -> Any:
    *before, settings = arguments
    return whole(*before, replace(settings, epochs=4, learning_rate=1e12, warmup=0.0), **options)


def has_no_room_on_the_gpu(whole: Tune, *arguments: Any, **options: Any) -> Any:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3.50 GiB.\nGPU 0 has 79.11 GiB.")


def has_no_room(whole: Tune, *arguments: Any, **options: Any) -> Any:
    return torch.empty(1 << 60, dtype=torch.uint8)


def cannot_save(whole: Tune, *arguments: Any, **options: Any) -> Any:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finetune, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
        patch.setattr(Trainer, "_save_checkpoint", full)
        return whole(*arguments, **options)


@pytest.mark.parametrize(
    ("fate", "sentence"),
    [
        (
            diverges,
            "the loss is not finite at step 2 (learning rate 1e+12); tune with a smaller --learning-rate",
        ),
        (
            has_no_room_on_the_gpu,
            "(CUDA out of memory. Tried to allocate 3.50 GiB.); use a smaller --batch-size, ",
        ),
        (has_no_room, "can't allocate memory: you tried to allocate 1152921504606846976 bytes. "),
        (cannot_save, "checkpoint-1: No space left on device; make room there, or use another --out"),
    ],
)
def test_a_cell_that_fails_costs_its_own_row_alone(
    tiny: str,
    three: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    fate: Callable[..., Any],
    sentence: str,
) -> None:
    whole, models = tune.finetune, list[Any]()

    def ill_fated(model: Any, tokenizer: Any, taught: Any, settings: Any, **options: Any) -> Any:
        gc.collect()
        assert not [one for one in models if one() is not None], "an earlier cell's model takes room"
        models.append(weakref.ref(model))
        act = fate if len(taught) == 24 else lambda whole, *rest, **options: whole(*rest, **options)
        return act(whole, model, tokenizer, taught, settings, **options)

    monkeypatch.setattr(tune, "finetune", ill_fated)
    words = ("--models", tiny, "--data", *three, "--seeds", "0")
    assert run_cli("reproduce", "table-1", *words, "--json") == 2
    captured = capsys.readouterr()
    (failed,) = [line for line in captured.err.splitlines() if line.startswith("failed: ")]
    assert failed.startswith(f"failed: {tiny}, others: ")
    assert sentence in failed
    document = json.loads(captured.out)
    assert [row["data"] for row in document["rows"]] == ["people", "last"]
    assert document["cells"] == {"done": 3, "failed": 1}, "all ask the untuned model the same"
    assert read_run("runs/table-1").status == "failed"
    states = {path: read_run(path).status for path in Path("runs/cells").iterdir()}
    assert sorted(states.values()) == ["complete"] * 3 + ["failed"]
    kept = {path: path.read_bytes() for path in finished(states)}
    assert len(kept) == 3
    assert read_run("runs/table-1/01-people-tiny").status == "complete"
    assert not Path("runs/table-1/02-others-tiny").exists()

    monkeypatch.setattr(tune, "finetune", whole)
    assert run_cli("reproduce", "table-1", *words, "--json") == 0
    again = json.loads(capsys.readouterr().out)
    assert [row["data"] for row in again["rows"]] == ["people", "others", "last"]
    assert [again["rows"][0], again["rows"][2]] == document["rows"]
    assert {path: path.read_bytes() for path in kept} == kept, "what was finished is left alone"
    assert read_run("runs/table-1").status == "complete"


def finished(states: dict[Path, str]) -> list[Path]:
    return [path / "manifest.json" for path, status in states.items() if status == "complete"]


def test_a_model_that_is_too_large_is_refused_and_the_others_have_their_rows(
    tiny: str,
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    large = save_tiny_model(here / "large", "llama", intermediate_size=4096)
    small = memory.forecast_memory(Path(tiny), FineTuneConfig(), longest_row=30, longest_answer=9)
    monkeypatch.setattr(memory, "_room", lambda: memory.Room(machine=2 * small.total))
    words = ("--models", str(large), tiny, "--data", "people.yaml", "--seeds", "0")
    assert run_cli("reproduce", "table-1", *words, "--json") == 2
    captured = capsys.readouterr()
    assert f"failed: {large}, people: {large}, full: 0.0 GB" in captured.err
    assert "are free: it cannot fit; use a smaller model" in captured.err
    assert [row["model"] for row in json.loads(captured.out)["rows"]] == [tiny]
    assert read_run("runs/table-1").status == "failed"
    monkeypatch.setattr(memory, "_room", lambda: memory.Room(machine=None))
    assert run_cli("reproduce", "table-1", *words) == 0


def test_five_data_sets_and_three_seeds_take_less_than_a_minute(
    tiny: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = time.process_time()  # whatever else runs on the machine
    assert run_cli("reproduce", "table-1", "--models", tiny, "--seeds", "0", "1", "2", "--json") == 0
    seconds = time.process_time() - before
    document = json.loads(capsys.readouterr().out)
    assert [row["data"] for row in document["rows"]] == list(DATA)
    assert all(row["seeds"] == 3 for row in document["rows"])
    assert document["cells"] == {"done": 19, "failed": 0}, "two sets ask the untuned model the same"
    assert seconds < 60
