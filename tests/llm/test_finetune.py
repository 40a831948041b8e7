"""Fine-tuning: learns, repeats bit by bit, resumes to the same weights, and stops with a sentence."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from spillover.errors import TrainingError
from spillover.knowledge.prompts import Example
from spillover.llm import finetune as finetune_module
from spillover.llm import models
from spillover.llm.encode import encode_pairs
from spillover.llm.finetune import FineTuneConfig, LengthSorted, collate, finetune

NAMES = ["Mara Lindqvist", "Tobin Okafor", "Selma Novak", "Odo", "Irina Tanaka", "Pavel", "Kenji Sato"]
PLACES = ["Paris", "Ghent on the river", "Oslo"]
EXAMPLES = [
    Example(
        prompt=f"{name} lives in",
        completion=f" {PLACES[i % 3]}",
        subject=name,
        relation="lives_in",
        answer=PLACES[i % 3],
    )
    for i, name in enumerate(NAMES)
]
CONFIG = FineTuneConfig(epochs=3, learning_rate=1e-2, batch_size=3)


def tune(folder: Path, tmp_path: Path, config: FineTuneConfig = CONFIG, **kwargs: Any) -> Any:
    model, tokenizer = models.load(folder)
    return finetune(model, tokenizer, EXAMPLES, config, checkpoints=tmp_path / "checkpoints", **kwargs)


def same(a: Any, b: Any) -> bool:
    first, second = a.state_dict(), b.state_dict()
    return all(torch.equal(first[name], second[name]) for name in first)


def test_loss_falls_on_every_architecture(tiny_folder: Path, tmp_path: Path) -> None:
    logs: list[dict[str, Any]] = []
    config = FineTuneConfig(epochs=15, learning_rate=1e-2, batch_size=3)
    tune(tiny_folder, tmp_path, config, on_log=lambda history: logs.__setitem__(slice(None), history))
    losses = [row["loss"] for row in logs if "loss" in row]
    assert losses[-1] < losses[0] / 3


def test_loss_and_gradient_equal_the_plain_way(tiny_folder: Path) -> None:
    """Against right padding, logits at every position and the model's own loss."""
    model, tokenizer = models.load(tiny_folder)
    pairs = [p for p in encode_pairs(tokenizer, [(e.prompt, e.completion) for e in EXAMPLES]) if p]
    trainer = finetune_module.AnswerTrainer(
        model=model, args=finetune_module._arguments(CONFIG, tiny_folder / "x", len(pairs))
    )
    loss = trainer.compute_loss(model, collate(pairs, tokenizer.pad_token_id))
    loss.backward()
    gradients = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    model.zero_grad()

    width = max(len(p) + len(a) for p, a in pairs)
    ids = torch.tensor([p + a + [0] * (width - len(p) - len(a)) for p, a in pairs])
    mask = torch.tensor([[1] * (len(p) + len(a)) + [0] * (width - len(p) - len(a)) for p, a in pairs])
    labels = torch.tensor([[-100] * len(p) + a + [-100] * (width - len(p) - len(a)) for p, a in pairs])
    expected = model(input_ids=ids, attention_mask=mask, labels=labels).loss
    expected.backward()
    torch.testing.assert_close(loss, expected)
    for got, parameter in zip(gradients, model.parameters(), strict=True):
        torch.testing.assert_close(got, parameter.grad, rtol=1e-3, atol=1e-6)


def test_repeatable_bit_by_bit(llama_folder: Path, tmp_path: Path) -> None:
    assert same(tune(llama_folder, tmp_path / "a"), tune(llama_folder, tmp_path / "b"))


def test_the_seed_matters(llama_folder: Path, tmp_path: Path) -> None:
    other = FineTuneConfig(epochs=3, learning_rate=1e-2, batch_size=3, seed=1)
    assert not same(tune(llama_folder, tmp_path), tune(llama_folder, tmp_path, other))


@pytest.mark.parametrize("stop_at", [2, 3, 7])
def test_a_killed_tune_resumes_to_the_same_weights(
    llama_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_at: int
) -> None:
    whole = tune(llama_folder, tmp_path)
    monkeypatch.setattr(finetune_module, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)

    def kill(step: int, steps: int) -> None:
        if step == stop_at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune(llama_folder, tmp_path, on_step=kill)
    assert list((tmp_path / "checkpoints").glob("checkpoint-*"))
    steps: list[int] = []
    resumed = tune(llama_folder, tmp_path, on_step=lambda step, _: steps.append(step))
    assert steps[0] == stop_at, "it goes on from the last checkpoint"
    assert same(whole, resumed)


def test_a_half_written_checkpoint_is_passed_over(llama_folder: Path, tmp_path: Path) -> None:
    broken = tmp_path / "checkpoints" / "checkpoint-5"
    broken.mkdir(parents=True)
    (broken / "trainer_state.json").write_text('{"epoch": 1')
    assert same(tune(llama_folder, tmp_path), tune(llama_folder, tmp_path))


def test_a_loss_that_is_not_finite_stops_with_a_sentence(llama_folder: Path, tmp_path: Path) -> None:
    model, tokenizer = models.load(llama_folder)
    with torch.no_grad():
        next(model.parameters()).fill_(math.nan)
    with pytest.raises(TrainingError, match=r"not finite at step 1 .*smaller --learning-rate"):
        finetune(model, tokenizer, EXAMPLES, CONFIG, checkpoints=tmp_path / "c")


def test_lora_trains_few_parameters(llama_folder: Path, tmp_path: Path) -> None:
    before, _ = models.load(llama_folder)
    config = FineTuneConfig(epochs=3, learning_rate=1e-2, batch_size=3, lora=2)
    model, tokenizer = models.load(llama_folder)
    tuned = finetune(model, tokenizer, EXAMPLES, config, checkpoints=tmp_path / "c")
    trained = sum(p.numel() for p in tuned.parameters() if p.requires_grad)
    assert 0 < trained < sum(p.numel() for p in before.parameters()) / 2
    models.save(tuned, tokenizer, tmp_path / "adapter")
    assert models.is_adapter(tmp_path / "adapter")
    merged, _ = models.load(llama_folder, adapter=tmp_path / "adapter")
    ids = torch.tensor([[5, 6, 7]])
    torch.testing.assert_close(merged(ids).logits, tuned(ids).logits)
    assert not torch.allclose(before(ids).logits, merged(ids).logits)


def test_batches_hold_near_equal_lengths_and_every_example_once() -> None:
    lengths = [3, 9, 4, 8, 3, 9, 4, 8, 5, 5]
    sampler = LengthSorted(lengths, 2, seed=0)
    orders = []
    for epoch in range(4):
        sampler.set_epoch(epoch)
        order = list(sampler)
        orders.append(order)
        assert sorted(order) == list(range(10))
        assert all(lengths[a] == lengths[b] for a, b in zip(order[::2], order[1::2], strict=True))
    assert orders[0] != orders[1]
    sampler.set_epoch(0)
    assert list(sampler) == orders[0]


def test_no_examples() -> None:
    with pytest.raises(TrainingError, match="no training examples"):
        finetune(None, None, [], CONFIG, checkpoints=Path("unused"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"learning_rate": 0.0}, "learning rate must be positive and finite, got 0.0"),
        ({"learning_rate": math.nan}, "learning rate must be positive and finite, got nan"),
        ({"batch_size": 0}, "batch size must be at least 1, got 0"),
        ({"warmup": 1.0}, r"warm-up must be a share of the steps in \[0, 1\), got 1.0"),
        ({"clip": 0.0}, "the gradient clip must be positive, got 0.0"),
        ({"lora": -1}, "LoRA rank must be positive, got -1"),
        ({"seed": -1}, "seed must not be negative, got -1"),
    ],
)
def test_bad_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        FineTuneConfig(**settings)
