"""Questions asked along a tune: it notices nothing, and they travel with its log."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from spillover.errors import TrainingError
from spillover.knowledge.prompts import Question
from spillover.llm import finetune as module
from spillover.llm.asking import STEP_ANSWERS, undisturbed
from spillover.llm.finetune import FineTuneConfig
from spillover.llm.score import score
from tests.llm.tuning import CONFIG, EXAMPLES, NAMES, PLACES, same, tune

QUESTIONS = [
    Question(prompt=f"{name} lives in", completions=tuple(f" {place}" for place in PLACES))
    for name in NAMES[:4]
]


def answers_in(log: list[dict[str, Any]]) -> dict[int, Any]:
    return {row["step"]: row[STEP_ANSWERS] for row in log if STEP_ANSWERS in row}


def test_a_tune_is_bit_by_bit_the_same_with_and_without_askings(tiny_folder: Path, tmp_path: Path) -> None:
    logs: list[list[dict[str, Any]]] = [[], []]

    def run(number: int, **options: Any) -> Any:
        torch.manual_seed(5)
        return tune(
            tiny_folder,
            tmp_path / str(number),
            on_log=lambda log: logs.__setitem__(number, [*log]),
            **options,
        )

    plain, asked = run(0), run(1, questions=QUESTIONS, ask_every=2)
    assert same(plain, asked)
    steps = 3 * 3
    assert sorted(answers_in(logs[1])) == [2, 4, 6, 8]
    assert answers_in(logs[0]) == {}
    assert [row["loss"] for row in logs[0] if "loss" in row] == [
        row["loss"] for row in logs[1] if "loss" in row
    ]
    assert len([row for row in logs[1] if "loss" in row]) == steps


def test_a_tune_with_dropout_draws_the_same_numbers(llama_folder: Path, tmp_path: Path, monkeypatch) -> None:
    """A scoring that drew numbers, and left the model in another mode, would show."""
    whole = module.AskAlong.on_step_end

    def with_draws(self, *rest: Any, **named: Any) -> None:
        def drawing(*of: Any) -> Any:
            random.random(), np.random.random(), torch.rand(3)  # noqa: S311
            assert not of[0].training
            return score(*of)

        monkeypatch.setattr("spillover.llm.asking.score", drawing)
        whole(self, *rest, **named)

    monkeypatch.setattr(module.AskAlong, "on_step_end", with_draws)
    config = FineTuneConfig(epochs=2, learning_rate=1e-2, batch_size=3, lora=2)
    plain = tune(llama_folder, tmp_path / "plain", config)
    asked = tune(llama_folder, tmp_path / "asked", config, questions=QUESTIONS, ask_every=1)
    assert same(plain, asked)


def test_the_last_asking_is_what_the_tuned_model_answers(llama_folder: Path, tmp_path: Path) -> None:
    from spillover.llm import models

    log: list[dict[str, Any]] = []
    tuned = tune(
        llama_folder,
        tmp_path,
        questions=QUESTIONS,
        ask_every=3,
        on_log=lambda rows: log.__setitem__(slice(None), rows),
    )
    answers = answers_in(log)
    assert list(answers) == [3, 6, 9]
    after = score(tuned, models.load_tokenizer(llama_folder, tuned.config), QUESTIONS)
    np.testing.assert_array_equal(np.float32(answers[9]), np.float32(after))
    assert answers[9] != answers[3]


def test_a_tune_that_was_killed_has_the_askings_from_before(
    llama_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    logs: list[list[dict[str, Any]]] = [[], []]
    options: dict[str, Any] = {"questions": QUESTIONS, "ask_every": 2}
    whole = tune(
        llama_folder, tmp_path / "whole", on_log=lambda rows: logs.__setitem__(0, [*rows]), **options
    )

    def kill(step: int, steps: int) -> None:
        if step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune(llama_folder, tmp_path / "again", on_step=kill, **options)
    asked: list[Any] = []
    monkeypatch.setattr("spillover.llm.asking.score", lambda *of: asked.append(1) or score(*of))
    again = tune(
        llama_folder, tmp_path / "again", on_log=lambda rows: logs.__setitem__(1, [*rows]), **options
    )
    assert same(whole, again)
    assert len(asked) == 2, "of steps 6 and 8; those from before are in the log of the checkpoint"
    assert answers_in(logs[0]) == answers_in(logs[1])
    assert sorted(answers_in(logs[1])) == [2, 4, 6, 8]


def test_what_cannot_be_scored_is_none_and_no_number_is_infinite(
    llama_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = [np.array([np.nan, -np.inf, -0.1])]
    monkeypatch.setattr("spillover.llm.asking.score", lambda *of: values)
    log: list[dict[str, Any]] = []
    tune(
        llama_folder,
        tmp_path,
        questions=QUESTIONS[:1],
        ask_every=9,
        on_log=lambda rows: log.__setitem__(slice(None), rows),
    )
    assert answers_in(log) == {9: [[None, -3.4028235e38, -0.1]]}


def test_a_model_is_left_as_it_was(llama_folder: Path) -> None:
    from spillover.llm import models

    model, _ = models.load(llama_folder)
    model.train()
    layers = list(model.modules())
    layers[3].eval()
    before, wrapped = [layer.training for layer in layers], lambda *of: None
    model.forward = wrapped
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    with undisturbed(model) as still:
        assert not any(layer.training for layer in still.modules())
        assert "forward" not in vars(still)
        random.random(), np.random.random(), torch.rand(3)  # noqa: S311
    assert [layer.training for layer in layers] == before
    assert vars(model)["forward"] is wrapped
    assert (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == states


def test_a_model_on_several_processes_is_not_asked_along_its_tune(llama_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="between askings must be 1 or more, or 0 for none, got -1"):
        tune(llama_folder, tmp_path, questions=QUESTIONS, ask_every=-1)
    monkey = FineTuneConfig(epochs=1, processes=2)
    with pytest.raises(TrainingError, match="on 2 processes cannot be asked while it is tuned"):
        module.refuse_askings_apart(2, monkey.processes)


assert len(EXAMPLES) == 7
assert CONFIG.epochs == 3
