"""Questions asked along a tune: it notices nothing, and they travel with its log."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model

from spillover.errors import TrainingError
from spillover.knowledge.prompts import Question
from spillover.llm import finetune as module
from spillover.llm import models
from spillover.llm.asking import STEP_ANSWERS, refuse_askings_apart, undisturbed
from spillover.llm.finetune import FineTuneConfig
from spillover.llm.score import score
from tests.llm.tuning import CONFIG, NAMES, PLACES, same, tune
from tests.tiny_models import save_tiny_model

QUESTIONS = [
    Question(prompt=f"{name} lives in", completions=tuple(f" {place}" for place in PLACES))
    for name in NAMES[:4]
]


Log = list[dict[str, Any]]


def logged(folder: Path, place: Path, config: FineTuneConfig = CONFIG, **options: Any) -> tuple[Any, Log]:
    """The tuned model and the whole log."""
    log: Log = []
    model = tune(folder, place, config, on_log=lambda rows: log.__setitem__(slice(None), rows), **options)
    return model, log


def answers_in(log: Log) -> dict[int, Any]:
    return {row["step"]: row[STEP_ANSWERS] for row in log if STEP_ANSWERS in row}


def draw() -> None:
    """Go on in all random states."""
    random.random()  # noqa: S311
    np.random.random()
    torch.rand(3)


def states() -> tuple[Any, ...]:
    _, numpys, *_ = np.random.get_state(legacy=True)
    return random.getstate(), list(numpys), torch.get_rng_state().tolist()


def test_a_tune_is_bit_by_bit_the_same_with_and_without_askings(tiny_folder: Path, tmp_path: Path) -> None:
    plain, log = logged(tiny_folder, tmp_path / "plain")
    asked, log_of_asked = logged(tiny_folder, tmp_path / "asked", questions=QUESTIONS, ask_every=2)
    assert same(plain, asked)
    assert answers_in(log) == {}
    assert sorted(answers_in(log_of_asked)) == [2, 4, 6, 8]
    losses = [[row["loss"] for row in rows if "loss" in row] for rows in (log, log_of_asked)]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 9


def test_a_tune_with_dropout_draws_the_same_numbers_whatever_an_asking_draws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save_tiny_model(tmp_path / "model", "llama", attention_dropout=0.5)
    monkeypatch.setattr("spillover.llm.asking.score", lambda *of: draw() or score(*of))
    plain, _ = logged(folder, tmp_path / "plain")
    asked, log = logged(folder, tmp_path / "asked", questions=QUESTIONS, ask_every=1)
    assert len(answers_in(log)) == 9
    assert same(plain, asked)


def test_the_last_asking_is_what_the_tuned_model_answers(llama_folder: Path, tmp_path: Path) -> None:
    tuned, log = logged(llama_folder, tmp_path, questions=QUESTIONS, ask_every=3)
    answers = answers_in(log)
    assert list(answers) == [3, 6, 9]
    after = score(tuned, models.load_tokenizer(llama_folder, tuned.config), QUESTIONS)
    np.testing.assert_array_equal(np.array(answers[9], np.float32), np.array(after, np.float32))
    assert answers[9] != answers[3]


def test_a_tune_that_was_killed_has_the_askings_from_before(
    llama_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    options: dict[str, Any] = {"questions": QUESTIONS, "ask_every": 2}
    whole, log = logged(llama_folder, tmp_path / "whole", **options)

    def kill(step: int, steps: int) -> None:
        if step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune(llama_folder, tmp_path / "again", on_step=kill, **options)
    asked: list[Any] = []
    monkeypatch.setattr("spillover.llm.asking.score", lambda *of: asked.append(1) or score(*of))
    again, log_of_again = logged(llama_folder, tmp_path / "again", **options)
    assert same(whole, again)
    assert len(asked) == 2, "of steps 6 and 8; those from before are in the log of the checkpoint"
    assert answers_in(log) == answers_in(log_of_again)
    assert sorted(answers_in(log)) == [2, 4, 6, 8]


def test_what_cannot_be_scored_is_none_and_no_number_is_infinite(
    llama_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = [np.array([np.nan, -np.inf, -0.1])]
    monkeypatch.setattr("spillover.llm.asking.score", lambda *of: values)
    _, log = logged(llama_folder, tmp_path, questions=QUESTIONS[:1], ask_every=9)
    assert answers_in(log) == {9: [[None, -3.4028235e38, -0.1]]}


def test_a_model_is_left_as_it_was(llama_folder: Path) -> None:
    model, _ = models.load(llama_folder)
    model.train()
    layers = list(model.modules())
    layers[3].eval()
    before, wrapped, drawn = [layer.training for layer in layers], lambda *of: None, states()
    model.forward = wrapped
    with undisturbed(model) as still:
        assert not any(layer.training for layer in still.modules())
        assert "forward" not in vars(still)
        draw()
    assert [layer.training for layer in layers] == before
    assert vars(model)["forward"] is wrapped
    assert states() == drawn


@pytest.mark.parametrize("adapted", [False, True])
def test_a_head_of_16_bits_gives_logits_of_32_and_is_left_as_it_was(
    llama_folder: Path, adapted: bool
) -> None:
    model, _ = models.load(llama_folder, dtype="bfloat16")
    plain, ids = model.lm_head, {"input_ids": torch.tensor([[1, 2, 3]])}
    if adapted:
        lora = LoraConfig(r=2, target_modules=["lm_head"], init_lora_weights=False)
        model = get_peft_model(model, lora)
    head = model.get_output_embeddings()
    read: list[torch.Tensor] = []
    hook = head.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))
    coarse = model(**ids).logits
    with undisturbed(model) as still:
        fine = still(**ids).logits
    hook.remove()
    assert (coarse.dtype, fine.dtype) == (torch.bfloat16, torch.float32)
    assert torch.equal(read[0], read[1]), "it reads the same"
    weight = plain.weight if not adapted else head.weight + head.get_delta_weight("default")
    torch.testing.assert_close(fine, read[1].float() @ weight.float().T, rtol=1e-3, atol=1e-3)
    assert "forward" not in vars(head)
    assert head.weight.dtype is torch.bfloat16
    torch.testing.assert_close(model(**ids).logits, coarse, rtol=0, atol=0)


def test_a_model_on_several_processes_is_not_asked_along_its_tune(llama_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="between askings must be 1 or more, or 0 for none, got -1"):
        tune(llama_folder, tmp_path, questions=QUESTIONS, ask_every=-1)
    with pytest.raises(TrainingError, match="on 2 processes cannot be asked while it is tuned"):
        refuse_askings_apart(2, processes=2)
