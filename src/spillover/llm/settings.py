"""The settings of a tune; no torch, so that a tune can be planned without it."""

import math
from dataclasses import dataclass
from typing import Literal

from spillover.errors import TrainingError
from spillover.interventions.lora import Lora

LEAST_EPOCHS, MOST_EPOCHS = 8, 30
"""`epochs="auto"` never stops before the first, which is what the paper's predecessor trained for: the bias
towards a rule goes on after the answers fit. At the second it gives up."""

LEARNED = 0.05
"""Mean loss of a relation's answers, in nats an answer, at which `epochs="auto"` calls it learned.

By Markov's inequality at least 93% of the answers then had a loss below log 2, more than half of all
probability, when they were last trained on.
"""

FULL_RATE, LORA_RATE = 2e-4, 2e-3
"""Learning rates of a full tune and of adapters, which start from a product of zero and need a larger one."""


@dataclass(frozen=True, kw_only=True)
class FineTuneConfig:
    """How a model is tuned."""

    epochs: int | Literal["auto"] = "auto"
    """Passes over the examples; `auto`: until the training loss says that every relation is learned, from
    `LEAST_EPOCHS` to `MOST_EPOCHS`. What is held out is never looked at."""
    learning_rate: float | None = None
    """Learning rate of AdamW, constant after the warm-up; None: `FULL_RATE`, with LoRA `LORA_RATE`."""
    batch_size: int = 8
    """Examples per optimizer step."""
    warmup: float = 1.0
    """Epochs over which the learning rate rises. Without it, even 1e-4 has diverged."""
    clip: float = 1.0
    """Largest gradient norm; larger gradients are scaled down to it."""
    lora: int | None = None
    """Rank of LoRA adapters on all linear layers (PEFT); None tunes every parameter."""
    seed: int = 0
    """Seed of the order of the examples and of the adapters' start."""
    processes: int = 1
    """Processes of this machine over which the model is sharded, each with a GPU of its own if there are any;
    a step stays the same step."""

    @property
    def rate(self) -> float:
        """The learning rate, given or by default."""
        if self.learning_rate is not None:
            return self.learning_rate
        return FULL_RATE if self.lora is None else LORA_RATE

    @property
    def least_epochs(self) -> int:
        """Those that the tune surely has."""
        return LEAST_EPOCHS if self.epochs == "auto" else self.epochs

    def __post_init__(self) -> None:
        """Raise TrainingError for a setting out of range."""
        if self.epochs != "auto" and not (isinstance(self.epochs, int) and self.epochs >= 1):
            raise TrainingError(f"epochs must be at least 1, or auto, got {self.epochs}")
        if not (math.isfinite(self.rate) and self.rate > 0):
            raise TrainingError(f"learning rate must be positive and finite, got {self.rate}")
        if self.batch_size < 1:
            raise TrainingError(f"batch size must be at least 1, got {self.batch_size}")
        if not (math.isfinite(self.warmup) and self.warmup >= 0):
            raise TrainingError(f"warm-up must be a number of epochs from 0 up, got {self.warmup}")
        if not self.clip > 0:
            raise TrainingError(f"the gradient clip must be positive, got {self.clip}")
        if self.lora is not None:
            Lora(rank=self.lora)
        if self.seed < 0:
            raise TrainingError(f"seed must not be negative, got {self.seed}")
        if self.processes < 1:
            raise TrainingError(f"processes must be at least 1, got {self.processes}")
