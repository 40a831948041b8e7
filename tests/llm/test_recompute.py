"""Activations that are computed again: less is kept, the tune and the tuned model are the same."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from spillover.llm import models
from spillover.llm.finetune import finetune
from spillover.llm.memory import forecast_memory
from tests.llm.tuning import CONFIG, EXAMPLES, same
from tests.tiny_models import save_tiny_model


@pytest.mark.parametrize("lora", [None, 2])
def test_the_tune_is_the_same_bit_by_bit(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lora: int | None
) -> None:
    again: list[Any] = []

    def counted(function: Any, *arguments: Any, **options: Any) -> Any:
        again.append(function)
        return checkpoint(function, *arguments, **options)

    monkeypatch.setattr("transformers.modeling_utils.checkpoint", counted)
    tuned = []
    for recompute in (False, True):
        model, tokenizer = models.load(tiny_folder)
        tuned.append(
            finetune(
                model,
                tokenizer,
                EXAMPLES,
                replace(CONFIG, lora=lora),
                checkpoints=tmp_path / str(recompute),
                recompute=recompute,
            )
        )
        assert len(again) == (2 * 9 if recompute else 0), "two layers, nine steps"
    assert same(*tuned)
    assert not tuned[1].is_activation_checkpointing
    assert not tuned[1].get_input_embeddings()._forward_hooks
    ids = torch.ones((1, 4), dtype=torch.long)
    assert torch.equal(tuned[0](input_ids=ids).logits, tuned[1].train()(input_ids=ids, use_cache=True).logits)


@pytest.mark.parametrize("recompute", [False, True])
def test_the_use_of_a_cache_is_as_the_model_says(llama_folder: Path, tmp_path: Path, recompute: bool) -> None:
    model, tokenizer = models.load(llama_folder)
    assert model.config.use_cache
    tuned = finetune(model, tokenizer, EXAMPLES, CONFIG, checkpoints=tmp_path / "c", recompute=recompute)
    assert tuned.config.use_cache
    models.save(tuned, tokenizer, tmp_path / "saved")
    assert models.load(tmp_path / "saved")[0].config.use_cache


def test_what_is_kept_then_is_forecast(tmp_path: Path) -> None:
    """Within a tenth: the forward pass of 32 layers, rows of 40 tokens against rows of 20."""
    folder = save_tiny_model(tmp_path / "deep", "llama", num_hidden_layers=32)
    model, _ = models.load(folder)
    model.activation_checkpointing_enable({"use_reentrant": False})
    kept = [_kept(model, tokens) for tokens in (20, 40)]
    told = [
        forecast_memory(folder, CONFIG, longest_row=tokens, longest_answer=3, recompute=recompute).activations
        for recompute in (True, False)
        for tokens in (20, 40)
    ]
    one_layer = 3 * 20 * (9 * 32 + 4 * 48) * 4  # is computed anew in the backward pass
    assert told[1] - told[0] - one_layer == pytest.approx(kept[1] - kept[0], rel=0.1)
    assert told[1] < told[3] / 8


def _kept(model: Any, tokens: int) -> int:
    """Bytes of what the layers are given in a batch of three rows."""
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        outputs = model.train()(
            input_ids=torch.ones((3, tokens), dtype=torch.long), use_cache=False, logits_to_keep=3
        )
    assert outputs.logits.requires_grad
    return sum(size for place, size in kept.items() if place not in weights)
