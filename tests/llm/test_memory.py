"""The forecast of a tune's memory: exact where it is certain, and refused before a weight is loaded."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim import AdamW

from spillover.errors import ModelError, TrainingError
from spillover.llm import free_memory, models
from spillover.llm import memory as memory_module
from spillover.llm.border import within_memory
from spillover.llm.finetune import FineTuneConfig, finetune
from spillover.llm.memory import Memory, Room, check_memory, forecast_memory
from tests.llm.five_models import FIVE, save_configuration
from tests.llm.tuning import CONFIG, EXAMPLES
from tests.tiny_models import save_tiny_model

LONGEST: dict[str, Any] = {"longest_row": 10, "longest_answer": 3}


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets how much memory is free on the machine, and on each GPU if there are any."""
    return lambda machine, gpu=None, size=0: monkeypatch.setattr(
        memory_module, "_room", lambda: Room(machine=machine, gpu=gpu, gpu_size=size)
    )


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


def test_processes_share_all_but_the_loading_and_what_they_gather(llama_folder: Path) -> None:
    one = forecast_memory(llama_folder, FineTuneConfig(), **LONGEST)
    four = forecast_memory(llama_folder, FineTuneConfig(processes=4), **LONGEST)
    parts = (one.weights, one.gradients, one.optimizer, one.activations)
    shared = (four.weights, four.gradients, four.optimizer, four.activations)
    assert shared == tuple(part // 4 for part in parts)
    assert four.loading == one.loading
    model = models.blank(llama_folder)
    ends = [model.model.embed_tokens, model.model.norm, model.lm_head]  # more than a layer has
    assert one.gathered == 0
    assert four.gathered == 8 * sum(p.numel() for part in ends for p in part.parameters())


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
    told = (
        f"{folder}, full: 163.5 GB (weights 40.9, gradients 40.9, optimizer 81.8), some 163.6 GB in all with "
    )
    told += "activations recomputed, and 21.3 GB are free: it cannot fit; use "
    assert str(caught.value) == told + "a smaller model"
    free(60_000_000_000)
    with pytest.raises(TrainingError, match=r"it cannot fit; use --lora 8$"):
        check_memory(folder, FineTuneConfig(), **LONGEST)


def test_on_gpus_more_processes_help_until_the_machine_cannot_load_for_them(
    tmp_path: Path, free: Any
) -> None:
    folder = save_configuration("mistral-7b", tmp_path / "mistral-7b")
    free(500 * GB, 60 * GB, 64 * GB)
    with pytest.raises(TrainingError, match=r"1 GPU of 64.0 GB.* use --lora 8 or 3 GPUs \(--processes 3\)$"):
        check_memory(folder, FineTuneConfig(), **LONGEST)
    for processes in (3, 8):
        check_memory(folder, FineTuneConfig(processes=processes), **LONGEST)
    free(80 * GB, 60 * GB, 64 * GB)
    with pytest.raises(TrainingError, match=r"it cannot fit; use --lora 8$"):
        check_memory(folder, FineTuneConfig(), **LONGEST)
    line = (
        r"; loading takes 87.0 GB of the machine's memory, and 80.0 GB are free: it cannot fit; use a smaller"
    )
    with pytest.raises(TrainingError, match=line):
        check_memory(folder, FineTuneConfig(processes=3), **LONGEST)
    free(None, 60 * GB, 64 * GB)
    check_memory(folder, FineTuneConfig(processes=3), **LONGEST)


def test_on_a_cpu_processes_share_one_memory(llama_folder: Path, free: Any) -> None:
    four, five = (FineTuneConfig(processes=processes) for processes in (4, 5))
    certain = forecast_memory(llama_folder, four, **LONGEST).certain
    free(4 * certain)
    check_memory(llama_folder, four, **LONGEST)
    for settings, bytes_ in ((five, 4 * certain), (four, 4 * certain - 1)):
        free(bytes_)
        with pytest.raises(TrainingError, match=r"over . processes, .* are free: it cannot fit; use "):
            check_memory(llama_folder, settings, **LONGEST)


def test_activations_are_recomputed_where_they_do_not_fit(llama_folder: Path, free: Any) -> None:
    long: dict[str, Any] = {"longest_row": 64, "longest_answer": 3}
    lines: list[str] = []
    kept, again = (
        forecast_memory(llama_folder, FineTuneConfig(), recompute=recompute, **long)
        for recompute in (False, True)
    )
    assert (kept.held, kept.certain) == (again.held, again.certain)
    assert again.total < kept.total
    free(2 * kept.total)
    assert check_memory(llama_folder, FineTuneConfig(), log=lines.append, **long) == kept
    assert lines == [], "there is nothing to tell"
    free(kept.total)
    assert check_memory(llama_folder, FineTuneConfig(), log=lines.append, **long) == again
    free(again.total - 1)
    assert check_memory(llama_folder, FineTuneConfig(), log=lines.append, **long) == again
    assert len(lines) == 2
    assert lines[0].endswith("with activations recomputed, and 0.0 GB are free")
    assert re.search("are free: it may not fit; use --lora 8 or a smaller --batch-size$", lines[1])


GB = 10**9


@pytest.mark.parametrize("name", FIVE)
def test_the_papers_models_are_what_they_are_published_as(tmp_path: Path, name: str) -> None:
    folder = save_configuration(name, tmp_path / name)
    model = models.blank(folder)
    _, architecture, billions = FIVE[name]
    assert type(model).__name__ == architecture
    assert round(sum(p.numel() for p in model.parameters()) / 1e9, 2) == billions
    for on_gpu in (False, True):
        full = forecast_memory(folder, FineTuneConfig(), on_gpu=on_gpu, **LONGEST)
        assert full.held == pytest.approx(16 * billions * 1e9, rel=1e-3)
    two, three = (
        forecast_memory(folder, FineTuneConfig(processes=processes), on_gpu=True, recompute=True, **LONGEST)
        for processes in (2, 3)
    )
    assert three.total < two.total < 81 * GB
    assert (two.total > 80 * GB) == (name == "gemma-2-9b")


def test_gemma_over_two_gpus_is_told_in_one_line(tmp_path: Path, free: Any) -> None:
    folder = save_configuration("gemma-2-9b", tmp_path / "gemma")
    lines: list[str] = []

    def check(**settings: Any) -> Memory:
        return check_memory(
            folder, FineTuneConfig(**settings), name="gemma-2-9b", log=lines.append, **LONGEST
        )

    free(500 * GB, 80 * GB, 80 * GB)
    check(processes=2)
    check(processes=3)
    check(lora=8)
    full = "gemma-2-9b, full: 147.9 GB (weights 37.0, gradients 37.0, optimizer 73.9) over "
    assert lines == [
        full
        + "2 GPUs of 80.0 GB, some 80.5 GB on each with activations recomputed, and 80.0 GB are free: it may "
        "not fit; use --lora 8 or 3 GPUs (--processes 3)",
        full + "3 GPUs of 80.0 GB, some 56.3 GB on each, and 80.0 GB are free",
        "gemma-2-9b, LoRA of rank 8: 37.4 GB (weights 37.1, gradients 0.1, optimizer 0.2) over 1 GPU of "
        "80.0 GB, some 57.1 GB on each, and 80.0 GB are free",
    ]
    with pytest.raises(TrainingError) as caught:
        check(processes=1)
    assert str(caught.value) == (
        full
        + "1 GPU of 80.0 GB, some 148.0 GB on each with activations recomputed, and 80.0 GB are free: it "
        "cannot fit; use --lora 8 or 3 GPUs (--processes 3)"
    )


@pytest.mark.parametrize("name", FIVE)
def test_the_guide_says_what_is_forecast(tmp_path: Path, name: str) -> None:
    folder = save_configuration(name, tmp_path / name)

    def forecast(**settings: Any) -> Memory:
        config = FineTuneConfig(**settings)
        return forecast_memory(folder, config, longest_row=24, longest_answer=4, on_gpu=True)

    guide = Path(__file__).parents[2] / "docs" / "guide" / "many-audits.md"
    (row,) = [line for line in guide.read_text("utf-8").splitlines() if line.startswith(f"| {name} |")]
    least = int(row.split("|")[3])
    shared, fewer = forecast(processes=least), forecast(processes=least - 1)
    assert shared.total <= 80 * GB < fewer.total
    told = (least * shared.held, shared.total, least * shared.loading, forecast(lora=8).total)
    total, each, loading, adapters = (f"{bytes_ / GB:.1f} GB" for bytes_ in told)
    assert row == f"| {name} | {total} | {least} | {each} | {loading} | {adapters} |"


def test_what_is_free_is_read_from_the_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "meminfo"
    monkeypatch.setattr(free_memory, "_MEMINFO", info)
    monkeypatch.setattr(free_memory, "_CGROUP", tmp_path / "none")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert memory_module._room() == Room(machine=None)
    info.write_text("MemTotal:       24000000 kB\nMemFree:        1000000 kB\nMemAvailable:   2000000 kB\n")
    assert memory_module._room() == Room(machine=2_048_000_000)
    info.write_text("MemTotal:       24000000 kB\n")
    assert memory_module._room() == Room(machine=None)
    order: list[str] = []
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.empty_cache", lambda: order.append("emptied"))
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda: (len(order), 9))
    assert memory_module._room() == Room(machine=None, gpu=1, gpu_size=9)


@pytest.mark.skipif(not free_memory._MEMINFO.exists(), reason="needs Linux")
def test_what_an_earlier_tune_has_freed_is_free() -> None:
    """In a process that has malloc keep what it freed, half a GB in small pieces, in a cycle."""
    program = """
import torch
from spillover.llm.finetune import keep_freed_memory
from spillover.llm.memory import _room

def own():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

keep_freed_memory()
before = own()
pieces = [torch.ones(250_000) for _ in range(500)]
last = torch.ones(1000)
pieces.append(pieces)
assert own() - before > 450e6
del pieces
_room()
assert own() - before < 150e6, (own() - before) / 1e6
"""
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        MemoryError(),
    ],
)
def test_memory_that_runs_out_is_one_line(error: Exception) -> None:
    line = (
        r"^memory ran out in the tune of x \(.*\); use a smaller --batch-size, --lora 8, or more --processes"
    )
    with pytest.raises(TrainingError, match=line), within_memory("the tune of x"):
        raise error


def test_another_error_stays_what_it_is() -> None:
    with pytest.raises(RuntimeError, match="shapes differ"), within_memory("the tune of x"):
        raise RuntimeError("shapes differ")


def test_what_is_to_be_shared_is_not_loaded_onto_a_gpu(
    llama_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if torch.cuda.is_available():
        pytest.skip("fakes a GPU")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert models.load(llama_folder, on_gpu=False)[0].device.type == "cpu"
    with pytest.raises(ModelError, match="cannot be put on the GPU"):
        models.load(llama_folder)


def test_a_broken_configuration_is_the_models_fault(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="cannot be loaded"):
        forecast_memory(tmp_path, FineTuneConfig(), **LONGEST)
