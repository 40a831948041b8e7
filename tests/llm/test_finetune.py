"""Fine-tuning: learns, repeats bit by bit, resumes to the same weights, and stops with a sentence."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from spillover.errors import TrainingError
from spillover.knowledge.prompts import Example, Query
from spillover.llm import finetune as finetune_module
from spillover.llm import models
from spillover.llm.encode import end_token
from spillover.llm.finetune import (
    FULL_RATE,
    LEARNED,
    LEAST_EPOCHS,
    LORA_RATE,
    MOST_EPOCHS,
    FineTuneConfig,
    finetune,
)
from spillover.llm.score import score
from spillover.llm.trainer import AnswerTrainer, LengthSorted, collate, encode_examples

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


def tune(
    folder: Path,
    tmp_path: Path,
    config: FineTuneConfig = CONFIG,
    examples: Sequence[Example] = EXAMPLES,
    **kwargs: Any,
) -> Any:
    model, tokenizer = models.load(folder)
    return finetune(model, tokenizer, examples, config, checkpoints=tmp_path / "checkpoints", **kwargs)


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
    rows = encode_examples(tokenizer, EXAMPLES)
    trainer = AnswerTrainer(
        model=model, args=finetune_module._arguments(CONFIG, tiny_folder / "x", len(rows))
    )
    loss = trainer.compute_loss(model, collate(rows, tokenizer.pad_token_id))
    loss.backward()
    gradients = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    model.zero_grad()

    pairs = [(row.prompt, row.answer) for row in rows]
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
    merged, _ = models.load(llama_folder, tuned=tmp_path / "adapter")
    ids = torch.tensor([[5, 6, 7]])
    torch.testing.assert_close(merged(ids).logits, tuned(ids).logits)
    assert not torch.allclose(before(ids).logits, merged(ids).logits)


def test_an_answers_end_is_trained(tiny_folder: Path) -> None:
    _, tokenizer = models.load(tiny_folder)
    rows = encode_examples(tokenizer, EXAMPLES)
    assert {row.answer[-1] for row in rows} == {end_token(tokenizer)}
    assert all(row.answer.count(end_token(tokenizer)) == 1 for row in rows)


CONTINUED = [
    Example(prompt=f"{name} codes in", completion=f" {answer}", subject=name, relation="r", answer=answer)
    for name, answer in zip(NAMES, ["Paris", "Paris Paris"] * 3, strict=False)
]


def test_an_answer_and_one_that_goes_on_from_it_are_both_learned(llama_folder: Path, tmp_path: Path) -> None:
    """Without its end, the short answer would be taken for the long one."""
    model, tokenizer = models.load(llama_folder)
    config = FineTuneConfig(epochs=40, learning_rate=1e-2, batch_size=3)
    tuned = finetune(model, tokenizer, CONTINUED, config, checkpoints=tmp_path / "c")
    for example in CONTINUED:
        asked = Query(
            prompt=example.prompt,
            candidates=("Oslo", "Paris", "Paris Paris"),
            answer=example.answer,
            subject=example.subject,
            relation="r",
            rule=0,
            kind="bridge",
            group="g",
        )
        values = score(tuned, tokenizer, [asked])[0]
        assert asked.candidates[int(values.argmax())] == example.answer


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


def test_adapters_have_a_rate_of_their_own() -> None:
    assert FineTuneConfig().rate == FULL_RATE
    assert FineTuneConfig(lora=8).rate == LORA_RATE > FULL_RATE
    assert FineTuneConfig(lora=8, learning_rate=1e-4).rate == 1e-4
    assert replace(FineTuneConfig(), lora=8).rate == LORA_RATE


def _mixed(arguments: Any) -> Any:
    return lambda **given: arguments(**given | {"bf16": True})


def test_mixed_precision_ends_with_the_tune(
    llama_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU: training in bfloat16 from float32 weights, then scoring without any autocast."""
    monkeypatch.setattr(finetune_module, "_OneDevice", _mixed(finetune_module._OneDevice))
    model, tokenizer = models.load(llama_folder)
    kinds: set[torch.dtype] = set()
    hook = model.lm_head.register_forward_hook(lambda _m, _i, out: kinds.add(out.dtype))
    tuned = finetune(model, tokenizer, EXAMPLES, CONFIG, checkpoints=tmp_path / "c")
    hook.remove()
    assert kinds == {torch.bfloat16}, "the simulation trains in mixed precision"
    assert {parameter.dtype for parameter in tuned.parameters()} == {torch.float32}
    models.save(tuned, tokenizer, tmp_path / "tuned")
    again, _ = models.load(tmp_path / "tuned")
    ids = torch.tensor([[5, 6, 7]])
    assert torch.equal(tuned(ids).logits, again(ids).logits)


def test_small_steps_are_not_rounded_away(llama_folder: Path, tmp_path: Path) -> None:
    """In bfloat16 a step of 1e-6 leaves every weight above 4e-4 where it was."""
    before, _ = models.load(llama_folder)
    config = FineTuneConfig(epochs=1, learning_rate=1e-6, batch_size=8, warmup=0.0)
    tuned = tune(llama_folder, tmp_path, config)
    moved = [
        torch.ne(a, b)[a.abs() > 4e-4].float().mean().item()
        for a, b in zip(before.model.layers.parameters(), tuned.model.layers.parameters(), strict=True)
        if a.ndim == 2
    ]
    assert min(moved) > 0.99


def test_several_gpus_do_not_change_the_batch(tmp_path: Path) -> None:
    arguments = finetune_module._arguments(CONFIG, tmp_path, 7)
    arguments._n_gpu = 4  # what TrainingArguments finds where four are visible
    assert arguments.n_gpu == 1
    assert arguments.train_batch_size == CONFIG.batch_size


def test_every_length_has_its_share_of_the_short_batch() -> None:
    """With a remainder: 10 examples, batches of 4. Sorted first, the longest would always be left over."""
    lengths = [1] * 5 + [9] * 5
    sampler = LengthSorted(lengths, 4, seed=0)
    rest: list[int] = []
    for epoch in range(400):
        sampler.set_epoch(epoch)
        order = list(sampler)
        assert sorted(order) == list(range(10))
        rest += order[8:]
    share = sum(lengths[i] == 1 for i in rest) / len(rest)
    assert 0.42 < share < 0.58  # 800 draws: within 4.5 standard errors


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
        ({"epochs": 0}, "epochs must be at least 1, or auto, got 0"),
        ({"epochs": "all"}, "epochs must be at least 1, or auto, got all"),
        ({"learning_rate": 0.0}, "learning rate must be positive and finite, got 0.0"),
        ({"learning_rate": math.nan}, "learning rate must be positive and finite, got nan"),
        ({"batch_size": 0}, "batch size must be at least 1, got 0"),
        ({"warmup": -1.0}, "warm-up must be a number of epochs from 0 up, got -1.0"),
        ({"warmup": math.inf}, "warm-up must be a number of epochs from 0 up, got inf"),
        ({"clip": 0.0}, "the gradient clip must be positive, got 0.0"),
        ({"lora": -1}, "LoRA rank must be positive, got -1"),
        ({"seed": -1}, "seed must not be negative, got -1"),
    ],
)
def test_bad_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        FineTuneConfig(**settings)
