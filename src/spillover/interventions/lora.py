"""LoRA: low-rank adapters instead of all parameters."""

from dataclasses import dataclass
from typing import Any

from spillover.errors import TrainingError
from spillover.interventions.hooks import Before, Intervention


@dataclass(frozen=True, kw_only=True)
class Lora(Intervention):
    """Trains adapters of a rank on all linear layers (PEFT) and nothing else."""

    rank: int

    def __post_init__(self) -> None:
        """Raise TrainingError for a rank below 1."""
        if self.rank < 1:
            raise TrainingError(f"LoRA rank must be positive, got {self.rank}")

    def parameters(self, model: Any, before: Before) -> Any:
        """The model as a PeftModel."""
        return adapted(model, self.rank)


def adapted(model: Any, rank: int) -> Any:
    """The model with adapters of that rank as a PeftModel; the torch seed decides where they start."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM")
    return get_peft_model(model, config)
