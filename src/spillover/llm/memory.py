"""What memory a tune takes, from the model's configuration alone, before any weight is loaded.

Measured on SmolLM2-135M in float32 on a CPU, over what the process had before the model (batches of 8,
answers of 2 tokens, GB):

    rows of      all parameters        LoRA of rank 8
    10 tokens    2.27, measured 2.52   0.70, measured 0.79
    66 tokens    2.88, measured 2.92   1.30, measured 1.66

What is measured above is room that malloc keeps between the tensors, and what the libraries load.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spillover.errors import TrainingError
from spillover.interventions.lora import Lora
from spillover.llm import models
from spillover.llm.settings import FineTuneConfig

_MEMINFO = Path("/proc/meminfo")
_NUMBER = 4  # bytes: everything is float32


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes that a tune takes in each of its processes."""

    loading: int
    """The weights as they are loaded: whole in every process."""
    weights: int
    gradients: int
    optimizer: int
    """AdamW's two moments of every parameter that is trained."""
    activations: int
    """What the backward pass needs of the forward pass, and the logits: an estimate."""

    @property
    def certain(self) -> int:
        """The least that the tune takes, whatever its batches."""
        return max(self.loading, self.weights + self.gradients + self.optimizer)


def forecast_memory(
    folder: Path, settings: FineTuneConfig, *, longest_row: int, longest_answer: int
) -> Memory:
    """What a tune of the model in a folder takes, in float32; raises ModelError as `models.load` does.

    `longest_row` is the most tokens of a prompt and its answer, `longest_answer` the most of an answer with
    its end. Activations are 9 numbers per hidden and 4 per intermediate feature for each token of a batch
    and layer, which is what autograd keeps of a layer of Llama's kind, and 3 (logits, probabilities,
    gradient) for each word of the vocabulary and token of an answer.
    """
    model = models.blank(folder)
    if settings.lora is not None:
        model = Lora(rank=settings.lora).parameters(model)
    everything = sum(parameter.numel() for parameter in model.parameters())
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    config = model.config.get_text_config()
    hidden = config.hidden_size
    inner = getattr(config, "intermediate_size", None) or 4 * hidden
    rows = -(-settings.batch_size // settings.processes)
    layers = longest_row * config.num_hidden_layers * (9 * hidden + 4 * inner)
    logits = 3 * longest_answer * config.vocab_size
    return Memory(
        loading=_NUMBER * everything,
        weights=_NUMBER * everything // settings.processes,
        gradients=_NUMBER * trained // settings.processes,
        optimizer=2 * _NUMBER * trained // settings.processes,
        activations=_NUMBER * rows * (layers + logits),
    )


def check_memory(folder: Path, settings: FineTuneConfig, *, longest_row: int, longest_answer: int) -> Memory:
    """The forecast, of a tune that may fit; to be called before the model is loaded.

    Raises TrainingError if what is certain of it (`Memory.certain`) is more than is free: on the GPU, else,
    for all processes together, on the machine. Where that is not known (no GPU, no Linux) nothing is refused.
    """
    needed = forecast_memory(folder, settings, longest_row=longest_row, longest_answer=longest_answer)
    on_gpu, free = _free()
    times = 1 if on_gpu else settings.processes
    if free is None or times * needed.certain <= free:
        return needed
    cures = [] if settings.lora is not None else ["tune adapters (lora=8)"]
    cures += ["tune over more processes"] if on_gpu and needed.certain > needed.loading else []
    cure = ", or ".join([*cures, "take a smaller model"])
    raise TrainingError(
        f"tuning {folder} takes at least {_gb(times * needed.certain)} (weights "
        f"{_gb(times * needed.weights)}, gradients {_gb(times * needed.gradients)}, optimizer "
        f"{_gb(times * needed.optimizer)}), activations some {_gb(times * needed.activations)} more, and "
        f"{_gb(free)} are free{' on each GPU' if on_gpu else ''}; {cure}"
    )


def _free() -> tuple[bool, int | None]:
    """(whether it is a GPU's, bytes that are free; None if that is not known)"""
    import torch

    if torch.cuda.is_available():
        return True, torch.cuda.mem_get_info()[0]
    if not _MEMINFO.exists():
        return False, None
    lines: Any = dict(line.split(":") for line in _MEMINFO.read_text().splitlines())
    return False, 1024 * int(lines["MemAvailable"].split()[0]) if "MemAvailable" in lines else None


def _gb(bytes_: int) -> str:
    return f"{bytes_ / 1e9:.1f} GB"
