"""The forecast of a tune's memory: exact where it is certain, and refused before a weight is loaded."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim import AdamW

from spillover.errors import ModelError, TrainingError
from spillover.llm import memory as memory_module
from spillover.llm import models
from spillover.llm.finetune import FineTuneConfig, finetune
from spillover.llm.memory import Memory, check_memory, forecast_memory
from tests.llm.tuning import CONFIG, EXAMPLES
from tests.tiny_models import save_tiny_model

LONGEST = {"longest_row": 10, "longest_answer": 3}


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets how much memory is free, on a GPU or not."""
    return lambda free, on_gpu=False: monkeypatch.setattr(memory_module, "_free", lambda: (on_gpu, free))


@pytest.mark.parametrize("lora", [None, 2])
def test_parameters_are_counted_exactly(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lora: int | None
) -> None:
    """Against what a tune holds at its end; of the tied weights of Gemma there is one."""
    config = replace(CONFIG, lora=lora, epochs=1)
    model, tokenizer = models.load(tiny_folder)
    moments: list[int] = []
    step = AdamW.step

    def step_and_count(optimizer: Any, *args: Any) -> Any:
        done = step(optimizer, *args)
        states = optimizer.state.values()
        moments.append(sum(state["exp_avg"].nbytes + state["exp_avg_sq"].nbytes for state in states))
        return done

    monkeypatch.setattr(AdamW, "step", step_and_count)
    tuned = finetune(model, tokenizer, EXAMPLES, config, checkpoints=tmp_path / "c")
    forecast = forecast_memory(tiny_folder, config, **LONGEST)
    assert forecast.weights == forecast.loading == sum(p.nbytes for p in tuned.parameters())
    assert forecast.gradients == sum(p.nbytes for p in tuned.parameters() if p.requires_grad)
    assert {forecast.optimizer} == set(moments)


def test_activations_of_a_token_are_what_autograd_keeps(llama_folder: Path) -> None:
    """Within a tenth: the forward pass of rows of 40 tokens against that of rows of 20."""
    model, _ = models.load(llama_folder)
    kept = [_kept(model, longest) for longest in (20, 40)]
    told = [
        forecast_memory(llama_folder, FineTuneConfig(), longest_row=longest, longest_answer=3).activations
        for longest in (20, 40)
    ]
    assert told[1] - told[0] == pytest.approx(kept[1] - kept[0], rel=0.1)


def _kept(model: Any, tokens: int) -> int:
    """Bytes of the tensors that a batch's forward pass leaves for the backward pass, weights aside."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, Any] = {}

    def keep(tensor: Any) -> Any:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        ids = torch.ones((8, tokens), dtype=torch.long)
        model.train()(input_ids=ids, use_cache=False, logits_to_keep=3)
    return sum(storage.nbytes() for place, storage in kept.items() if place not in weights)


def test_processes_share_all_but_the_loading(llama_folder: Path) -> None:
    one = forecast_memory(llama_folder, FineTuneConfig(), **LONGEST)
    four = forecast_memory(llama_folder, FineTuneConfig(processes=4), **LONGEST)
    parts = (one.weights, one.gradients, one.optimizer, one.activations)
    shared = (four.weights, four.gradients, four.optimizer, four.activations)
    assert shared == tuple(part // 4 for part in parts)
    assert four.loading == one.loading


def test_what_is_certain_is_refused_and_no_more(llama_folder: Path, free: Any) -> None:
    certain = forecast_memory(llama_folder, FineTuneConfig(), **LONGEST).certain
    free(certain)
    assert isinstance(check_memory(llama_folder, FineTuneConfig(), **LONGEST), Memory)
    free(None)
    check_memory(llama_folder, FineTuneConfig(), **LONGEST)
    free(certain - 1)
    with pytest.raises(TrainingError):
        check_memory(llama_folder, FineTuneConfig(), **LONGEST)


def test_a_model_too_large_is_refused_before_its_weights(tmp_path: Path, free: Any) -> None:
    """A configuration of 10.2 billion parameters, without any weights beside it."""
    folder = save_tiny_model(tmp_path / "tiny", "llama", num_hidden_layers=1)
    (folder / "model.safetensors").unlink()
    config = models.blank(folder).config
    config.update({"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 56, "head_dim": 128})
    config.save_pretrained(folder)
    free(21_300_000_000)
    with pytest.raises(TrainingError) as caught:
        check_memory(folder, FineTuneConfig(), **LONGEST)
    assert str(caught.value) == (
        f"tuning {folder} takes at least 163.5 GB (weights 40.9 GB, gradients 40.9 GB, optimizer 81.8 GB), "
        "activations some 1.7 GB more, and 21.3 GB are free; tune adapters (lora=8), or take a smaller model"
    )


def test_on_gpus_more_processes_help_until_the_loading_does_not_fit(llama_folder: Path, free: Any) -> None:
    weights = forecast_memory(llama_folder, FineTuneConfig(), **LONGEST).loading
    free(2 * weights, on_gpu=True)
    with pytest.raises(TrainingError, match=r"each GPU; tune adapters .*, or tune over more processes, or"):
        check_memory(llama_folder, FineTuneConfig(), **LONGEST)
    check_memory(llama_folder, FineTuneConfig(processes=2), **LONGEST)
    check_memory(llama_folder, FineTuneConfig(processes=8), **LONGEST)
    free(weights - 1, on_gpu=True)
    with pytest.raises(TrainingError, match=r"on each GPU; tune adapters .*, or take a smaller model$"):
        check_memory(llama_folder, FineTuneConfig(processes=8), **LONGEST)


def test_on_a_cpu_processes_share_one_memory(llama_folder: Path, free: Any) -> None:
    weights = forecast_memory(llama_folder, FineTuneConfig(), **LONGEST).loading
    free(4 * weights)
    check_memory(llama_folder, FineTuneConfig(processes=4), **LONGEST)
    with pytest.raises(TrainingError, match="are free; tune adapters"):
        check_memory(llama_folder, FineTuneConfig(processes=5), **LONGEST)


def test_what_is_free_is_read_from_the_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "meminfo"
    monkeypatch.setattr(memory_module, "_MEMINFO", info)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert memory_module._free() == (False, None)
    info.write_text("MemTotal:       24000000 kB\nMemFree:        1000000 kB\nMemAvailable:   2000000 kB\n")
    assert memory_module._free() == (False, 2_048_000_000)
    info.write_text("MemTotal:       24000000 kB\n")
    assert memory_module._free() == (False, None)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda: (7, 9))
    assert memory_module._free() == (True, 7)


def test_a_broken_configuration_is_the_models_fault(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="cannot be loaded"):
        forecast_memory(tmp_path, FineTuneConfig(), **LONGEST)
