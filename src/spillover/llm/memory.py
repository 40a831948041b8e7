"""What memory a tune takes, from the model's configuration alone, before any weight is loaded.

Measured on SmolLM2-135M in float32 on a CPU, over what the process had before the model (batches of 8,
answers of 2 tokens, GB):

    rows of      all parameters        LoRA of rank 8
    10 tokens    2.27, measured 2.52   0.70, measured 0.79
    66 tokens    2.88, measured 2.92   1.30, measured 1.66

With activations recomputed, all parameters and rows of 66 tokens are 2.22, measured 2.70; on the same day
3.20 without. It took 7% more time, and the tuned weights are the same bit by bit. What is measured above is
room that malloc keeps between the tensors, and what the libraries load. Nothing was measured on GPUs.
"""

import ctypes
import gc
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from spillover.errors import TrainingError
from spillover.interventions.lora import adapted
from spillover.llm import models
from spillover.llm.free_memory import free_memory
from spillover.llm.settings import FineTuneConfig
from spillover.llm.sharding import layers

_NUMBER, _HALF = 4, 2  # bytes: everything is held in float32; GPUs compute in bfloat16
_LIBRARIES = 10**9  # of a GPU, for CUDA and NCCL in each of several processes; an assumption
_ROOM = 0.9  # a share of what is free; a tune that is forecast to need more recomputes its activations
_RANK = 8  # of the adapters that are offered instead of a full tune
_MOST_PROCESSES = 64  # that are offered


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes that a tune takes in each of its processes."""

    loading: int
    """The weights as they are loaded: whole for every process, in the machine's memory."""
    weights: int
    gradients: int
    optimizer: int
    """AdamW's two moments of every parameter that is trained."""
    gathered: int
    """Of several processes: the largest part that each has whole for a moment, its weights in the kind of
    number that is computed in and its gradients in float32."""
    activations: int
    """What the backward pass needs of the forward pass, and the logits: an estimate. One process with a GPU
    needs the weights in bfloat16, too, as far as no gradients take their place."""
    libraries: int
    """What CUDA and NCCL take: an estimate."""
    recompute: bool
    """Whether each layer's activations are dropped, and computed again in the backward pass."""

    @property
    def held(self) -> int:
        """What is there from step to step."""
        return self.weights + self.gradients + self.optimizer

    @property
    def certain(self) -> int:
        """The least that the tune takes where it computes, whatever its batches."""
        return self.held + self.gathered

    @property
    def total(self) -> int:
        """With what is estimated."""
        return self.certain + self.activations + self.libraries


@dataclass(frozen=True, kw_only=True)
class Room:
    """Memory that is there for a tune, in bytes; None where that is not known."""

    machine: int | None
    """Free on the machine, within what the process's container allows."""
    gpu: int | None = None
    """Free on each GPU; None without GPUs."""
    gpu_size: int = 0
    """Of a GPU, whoever uses it."""

    def allows(self, memory: Memory, processes: int, *, certain: bool = False) -> bool:
        """Whether a tune fits; with `certain` whether it may."""
        takes = memory.certain if certain else memory.total
        loading = processes * memory.loading
        if self.gpu is None:
            return self.machine is None or max(loading, processes * takes) <= self.machine
        return takes <= self.gpu and (self.machine is None or loading <= self.machine)


@dataclass(frozen=True, kw_only=True)
class _Sizes:
    """What of a model decides, in numbers of parameters and of features."""

    everything: int
    trained: int
    part: int
    """Parameters of the largest part that several processes gather at a time."""
    part_trained: int
    layers: int
    hidden: int
    inner: int
    vocabulary: int
    recomputable: bool


def forecast_memory(
    folder: Path,
    settings: FineTuneConfig,
    *,
    longest_row: int,
    longest_answer: int,
    on_gpu: bool = False,
    recompute: bool = False,
) -> Memory:
    """What a tune of the model in a folder takes; raises ModelError as `models.load` does.

    `longest_row` is the most tokens of a prompt and its answer, `longest_answer` the most of an answer with
    its end. Activations are 9 numbers per hidden and 4 per intermediate feature for each token of a batch
    and layer, which is what autograd keeps of a layer of Llama's kind, and 3 (logits, probabilities,
    gradient) for each word of the vocabulary and token of an answer. Recomputed, they are those of one layer
    and what enters the others.
    """
    sizes = _sizes(folder, settings)
    return _memory(sizes, settings, longest_row, longest_answer, on_gpu=on_gpu, recompute=recompute)


def check_memory(
    folder: Path,
    settings: FineTuneConfig,
    *,
    longest_row: int,
    longest_answer: int,
    name: str | None = None,
    log: Callable[[str], None] = lambda line: None,
) -> Memory:
    """The forecast, of a tune that may fit; to be called before the model is loaded.

    It recomputes activations where they would not fit otherwise. `log` is told of it in one line where there
    are GPUs or several processes, and wherever it is tight; `name` is what the model is called there.

    Raises TrainingError if what is certain of it is more than is free: on each GPU, else, for all processes
    together, on the machine; to load it, on the machine as well. It says what would do. Where what is free is
    not known (no GPU, no Linux) nothing is refused.
    """
    room, sizes = _room(), _sizes(folder, settings)

    def takes(sizes: _Sizes, settings: FineTuneConfig) -> Memory:
        kept, again = (
            _memory(
                sizes,
                settings,
                longest_row,
                longest_answer,
                on_gpu=room.gpu is not None,
                recompute=recompute,
            )
            for recompute in (False, True)
        )
        fits = room.allows(replace(kept, activations=int(kept.activations / _ROOM)), settings.processes)
        return kept if fits or not sizes.recomputable else again

    def cures() -> list[str]:
        offered: list[str] = []
        adapters = replace(settings, lora=_RANK)
        if settings.lora is None and room.allows(
            takes(_sizes(folder, adapters), adapters), settings.processes
        ):
            offered.append(f"--lora {_RANK}")
        for more in range(settings.processes + 1, _MOST_PROCESSES + 1) if room.gpu is not None else ():
            if room.allows(takes(sizes, replace(settings, processes=more)), more):
                offered.append(f"{more} GPUs (--processes {more})")
                break
        if room.allows(takes(sizes, replace(settings, batch_size=1)), settings.processes):
            offered.append("a smaller --batch-size")
        return offered or ["a smaller model"]

    needed = takes(sizes, settings)
    line = f"{name or folder}, {_told(needed, settings, room)}"
    if not room.allows(needed, settings.processes, certain=True):
        raise TrainingError(f"{line}: it cannot fit; use {' or '.join(cures())}")
    if not room.allows(needed, settings.processes):
        log(f"{line}: it may not fit; use {' or '.join(cures())}")
    elif room.gpu is not None or settings.processes > 1 or needed.recompute:
        log(line)
    return needed


def _sizes(folder: Path, settings: FineTuneConfig) -> _Sizes:
    model = models.blank(folder)
    if settings.lora is not None:
        with models.Quiet():
            model = adapted(model, settings.lora)
    parts = [{id(p): p for p in layer.parameters()} for layer in layers(model)]
    within = {key for part in parts for key in part}
    parts.append({id(p): p for p in model.parameters() if id(p) not in within})

    def count(parameters: Any) -> tuple[int, int]:
        """(all, those that are trained)"""
        parameters = list(parameters)
        return sum(p.numel() for p in parameters), sum(p.numel() for p in parameters if p.requires_grad)

    config = model.config.get_text_config()
    everything, trained = count(model.parameters())
    part, part_trained = max(count(part.values()) for part in parts)
    return _Sizes(
        everything=everything,
        trained=trained,
        part=part,
        part_trained=part_trained,
        layers=config.num_hidden_layers,
        hidden=config.hidden_size,
        inner=getattr(config, "intermediate_size", None) or 4 * config.hidden_size,
        vocabulary=config.vocab_size,
        recomputable=bool(model.supports_gradient_checkpointing),
    )


def _memory(
    sizes: _Sizes,
    settings: FineTuneConfig,
    longest_row: int,
    longest_answer: int,
    *,
    on_gpu: bool,
    recompute: bool,
) -> Memory:
    processes = settings.processes
    rows, several = -(-settings.batch_size // processes), processes > 1
    layer = 9 * sizes.hidden + 4 * sizes.inner
    kept = sizes.layers * sizes.hidden + layer if recompute else sizes.layers * layer
    copies = 0
    if on_gpu and not several:
        copies = max(0, _HALF * (sizes.part if recompute else sizes.everything) - _NUMBER * sizes.trained)
    computed = _HALF if on_gpu else _NUMBER
    return Memory(
        loading=_NUMBER * sizes.everything,
        weights=_NUMBER * sizes.everything // processes,
        gradients=_NUMBER * sizes.trained // processes,
        optimizer=2 * _NUMBER * sizes.trained // processes,
        gathered=(computed * sizes.part + _NUMBER * sizes.part_trained) if several else 0,
        activations=copies + _NUMBER * rows * (longest_row * kept + 3 * longest_answer * sizes.vocabulary),
        libraries=_LIBRARIES if on_gpu and several else 0,
        recompute=recompute,
    )


def _told(memory: Memory, settings: FineTuneConfig, room: Room) -> str:
    """The forecast in words: what it takes in all, over what, with what is estimated, and what is free."""
    processes = settings.processes
    how = "full" if settings.lora is None else f"LoRA of rank {settings.lora}"
    parts = {"weights": memory.weights, "gradients": memory.gradients, "optimizer": memory.optimizer}
    each = ", ".join(f"{part} {processes * value / 1e9:.1f}" for part, value in parts.items())
    recomputed = " with activations recomputed" if memory.recompute else ""
    if room.gpu is None:
        over, free = f" over {processes} processes" if processes > 1 else "", room.machine
        takes = f"some {_gb(processes * memory.total)} in all{recomputed}"
    else:
        over, free = f" over {processes} GPU{'s'[: processes - 1]} of {_gb(room.gpu_size)}", room.gpu
        takes = f"some {_gb(memory.total)} on each{recomputed}"
    there = "" if free is None else f", and {_gb(free)} are free"
    loading = processes * memory.loading
    if room.gpu is not None and room.machine is not None and loading > room.machine:
        there += f"; loading takes {_gb(loading)} of the machine's memory, and {_gb(room.machine)} are free"
    return f"{how}: {_gb(processes * memory.held)} ({each}){over}, {takes}{there}"


def _room() -> Room:
    """What is free now, counting what this process itself has freed and its allocators still keep."""
    import torch

    gc.collect()  # an earlier tune's model and optimizer may refer to each other
    with suppress(OSError, AttributeError, TypeError):  # glibc's; see `finetune.keep_freed_memory`
        ctypes.CDLL(None).malloc_trim(0)
    machine = free_memory()
    if not torch.cuda.is_available():
        return Room(machine=machine)
    torch.cuda.empty_cache()
    free, size = torch.cuda.mem_get_info()  # of the first; the others are taken for like it
    return Room(machine=machine, gpu=free, gpu_size=size)


def _gb(bytes_: int) -> str:
    return f"{bytes_ / 1e9:.1f} GB"
