"""Tuning until it is learned: stops after the right epoch, also after a kill."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from spillover.llm import finetune as finetune_module
from spillover.llm import models
from spillover.llm.finetune import LEARNED, LEAST_EPOCHS, MOST_EPOCHS, FineTuneConfig, finetune
from tests.llm.tuning import EXAMPLES, same, tune

AUTO = FineTuneConfig(learning_rate=1e-2, batch_size=2)
RARE = replace(EXAMPLES[0], prompt="Odo codes in", relation="codes_in")
SHORT = [*(example for example in EXAMPLES if " " not in example.answer), RARE]  # six: three steps an epoch


def losses_of_the_last_epoch(log: list[dict[str, Any]], steps: int) -> list[float]:
    """Mean loss an answer, for each relation."""
    totals: dict[str, list[float]] = {}
    for row in [row for row in log if "losses" in row][-steps:]:
        for relation, (loss, count) in row["losses"].items():
            both = totals.setdefault(relation, [0.0, 0.0])
            both[0] += loss
            both[1] += count
    return [loss / count for loss, count in totals.values()]


def test_auto_stops_when_every_relation_is_learned(llama_folder: Path, tmp_path: Path) -> None:
    """A relation of few examples counts as much as one of many."""
    log: list[dict[str, Any]] = []
    model, tokenizer = models.load(llama_folder)
    finetune(
        model,
        tokenizer,
        SHORT,
        AUTO,
        checkpoints=tmp_path / "c",
        on_log=lambda history: log.__setitem__(slice(None), history),
    )
    rows = [row for row in log if "losses" in row]
    assert len(rows) % 3 == 0
    assert 3 < len(rows) < 3 * MOST_EPOCHS
    last, before = losses_of_the_last_epoch(log, 3), losses_of_the_last_epoch(rows[:-3], 3)
    assert len(last) == 2
    assert max(last) <= LEARNED < max(before)


def test_auto_does_not_stop_at_the_first_fit(
    llama_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finetune_module, "LEARNED", math.inf)
    steps: list[int] = []
    tune(llama_folder, tmp_path, AUTO, SHORT, on_step=lambda step, _: steps.append(step))
    assert steps[-1] == 3 * LEAST_EPOCHS


def test_auto_gives_up_on_what_cannot_be_learned(llama_folder: Path, tmp_path: Path) -> None:
    model, tokenizer = models.load(llama_folder)
    steps: list[tuple[int, int]] = []
    contradiction = [SHORT[0], replace(SHORT[0], completion=" Oslo", answer="Oslo")]
    finetune(
        model,
        tokenizer,
        contradiction,
        AUTO,
        checkpoints=tmp_path / "c",
        on_step=lambda *step: steps.append(step),
    )
    assert steps[-1] == (MOST_EPOCHS, MOST_EPOCHS)


def test_auto_resumes_to_the_same_weights(
    llama_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed within an epoch: what it lost before the kill counts towards the epoch's mean."""
    log: list[dict[str, Any]] = []
    whole = tune(llama_folder, tmp_path, AUTO, SHORT, on_log=lambda rows: log.__setitem__(slice(None), rows))
    last = max(row["step"] for row in log)
    monkeypatch.setattr(finetune_module, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)

    def kill(step: int, steps: int) -> None:
        if step == last - 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune(llama_folder, tmp_path, AUTO, SHORT, on_step=kill)
    steps: list[int] = []
    resumed = tune(llama_folder, tmp_path, AUTO, SHORT, on_step=lambda step, _: steps.append(step))
    assert steps == [last - 1, last]
    assert same(whole, resumed)


def test_a_tune_that_had_learned_when_it_was_killed_learns_no_more(
    llama_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed with a checkpoint of its very last step, as while its answers are scored."""
    monkeypatch.setattr(finetune_module, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    log: list[dict[str, Any]] = []
    keep: dict[str, Any] = {"on_log": lambda rows: log.__setitem__(slice(None), rows)}
    whole = tune(llama_folder, tmp_path, AUTO, SHORT, **keep)
    last = log[-1]
    assert list((tmp_path / "checkpoints").glob(f"checkpoint-{last['step']}"))
    steps: list[int] = []
    resumed = tune(llama_folder, tmp_path, AUTO, SHORT, on_step=lambda step, _: steps.append(step), **keep)
    assert steps == []
    assert same(whole, resumed)
    assert (log[-1]["step"], log[-1]["train_loss"]) == (last["step"], last["train_loss"])
