"""Fine-tuning: learns, repeats bit by bit, resumes to the same weights, and stops with a sentence."""

import errno
import math
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import torch
from transformers import Trainer

from spillover.errors import RunError, TrainingError
from spillover.knowledge.prompts import Example, Query
from spillover.llm import finetune as finetune_module
from spillover.llm import models
from spillover.llm.finetune import FineTuneConfig, finetune
from spillover.llm.score import score
from tests.llm.tuning import CONFIG, EXAMPLES, NAMES, same, tune


def test_loss_falls_on_every_architecture(tiny_folder: Path, tmp_path: Path) -> None:
    logs: list[dict[str, Any]] = []
    config = FineTuneConfig(epochs=15, learning_rate=1e-2, batch_size=3)
    tune(tiny_folder, tmp_path, config, on_log=lambda history: logs.__setitem__(slice(None), history))
    losses = [row["loss"] for row in logs if "loss" in row]
    assert losses[-1] < losses[0] / 3


def test_repeatable_bit_by_bit(llama_folder: Path, tmp_path: Path) -> None:
    assert same(tune(llama_folder, tmp_path / "a"), tune(llama_folder, tmp_path / "b"))


def test_the_seed_matters(llama_folder: Path, tmp_path: Path) -> None:
    other = FineTuneConfig(epochs=3, learning_rate=1e-2, batch_size=3, seed=1)
    assert not same(tune(llama_folder, tmp_path), tune(llama_folder, tmp_path, other))


@pytest.mark.parametrize("stop_at", [2, 3, 7])
def test_a_killed_tune_resumes_to_the_same_weights(
    llama_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_at: int
) -> None:
    log: list[dict[str, Any]] = []
    keep: dict[str, Any] = {"on_log": lambda history: log.__setitem__(slice(None), history)}
    whole = tune(llama_folder, tmp_path, **keep)
    undisturbed = [_without_time(row) for row in log]
    assert undisturbed[-1]["train_loss"] == fmean(row["loss"] for row in log[:-1])
    monkeypatch.setattr(finetune_module, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)

    def kill(step: int, steps: int) -> None:
        if step == stop_at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune(llama_folder, tmp_path, on_step=kill)
    assert list((tmp_path / "checkpoints").glob("checkpoint-*"))
    steps: list[int] = []
    resumed = tune(llama_folder, tmp_path, on_step=lambda step, _: steps.append(step), **keep)
    assert steps[0] == stop_at, "it goes on from the last checkpoint"
    assert same(whole, resumed)
    assert [_without_time(row) for row in log] == undisturbed


def _without_time(row: dict[str, Any]) -> dict[str, Any]:
    timed = ("train_runtime", "train_samples_per_second", "train_steps_per_second")
    return {name: value for name, value in row.items() if name not in timed}


def test_a_checkpoint_that_cannot_be_written_is_one_line_and_leaves_no_part(
    llama_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finetune_module, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    whole = Trainer._save_checkpoint

    def fill(trainer: Any, *rest: Any) -> None:
        if trainer.state.global_step < 2:
            whole(trainer, *rest)
        else:
            (tmp_path / "checkpoints" / "checkpoint-2").mkdir()
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Trainer, "_save_checkpoint", fill)
    message = r"cannot write .*checkpoint-2: No space left on device; make room there, or use another --out"
    with pytest.raises(RunError, match=message):
        tune(llama_folder, tmp_path)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["checkpoint-1"]
    monkeypatch.undo()
    steps: list[int] = []
    tune(llama_folder, tmp_path, on_step=lambda step, _: steps.append(step))
    assert steps[0] == 2, "it goes on from the checkpoint before"
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match=r"cannot write .*file/checkpoints: Not a directory"):
        tune(llama_folder, tmp_path / "file")


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
        values = score(tuned, tokenizer, [asked.question])[0]
        assert asked.candidates[int(values.argmax())] == example.answer


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


def test_no_examples() -> None:
    with pytest.raises(TrainingError, match="no training examples"):
        finetune(None, None, [], CONFIG, checkpoints=Path("unused"))
