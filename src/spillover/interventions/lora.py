"""LoRA: low-rank adapters instead of all parameters."""

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from spillover.errors import TrainingError
from spillover.interventions.hooks import Before, Intervention


@dataclass(frozen=True, kw_only=True)
class Lora(Intervention):
    """Trains adapters of a rank on all linear layers (PEFT) and nothing else.

    With weight decay each factor is multiplied by 1 - rate · weight_decay after every step (decoupled, as
    AdamW's), which is a step down on weight_decay · (‖A‖_F² + ‖B‖_F²) / 2. Over all A, B of one product
    W = BA that is least at the nuclear norm, ‖W‖_* = min (‖A‖_F² + ‖B‖_F²) / 2; so decay on the factors
    penalizes the nuclear norm of what is added to a weight, and what is kept is of low rank. Source: weight
    decay and the implicit bias of LoRA, arXiv 2504.12883. It is relative to AdamW's steps, whose size does
    not depend on the gradient's.
    """

    makes_parameters: ClassVar[bool] = True

    rank: int = 8
    weight_decay: float = 0.0
    """Per step and learning rate: 0.1 takes 0.02% off the factors at each step of rate 2e-3."""

    def __post_init__(self) -> None:
        """Raise TrainingError for a rank below 1, or a decay that is negative or not finite."""
        if self.rank < 1:
            raise TrainingError(f"LoRA rank must be positive, got {self.rank}")
        if not 0 <= self.weight_decay < math.inf:
            raise TrainingError(f"lora: weight_decay must be a number from 0 up, got {self.weight_decay:g}")

    @property
    def acts(self) -> bool:
        """Not without decay: adapters alone are what the settings say, which it has made."""
        return self.weight_decay > 0

    def settings(self, settings: Any) -> Any:
        """The settings with these adapters. Raises TrainingError where they have others."""
        if settings.lora not in (None, self.rank):
            raise TrainingError(
                f"lora: the settings have adapters of rank {settings.lora}, this has {self.rank}; give one"
            )
        return replace(settings, lora=self.rank)

    def parameters(self, model: Any, before: Before) -> Any:
        """The model as a PeftModel."""
        return adapted(model, self.rank)

    def stepped(self, model: Any, rate: float, step: int) -> None:
        """Let the factors decay, those that are trained."""
        import torch

        if not self.weight_decay:
            return
        with torch.no_grad():
            for name, factor in model.named_parameters():
                if factor.requires_grad and "lora_" in name:
                    factor.mul_(1 - rate * self.weight_decay)


def adapted(model: Any, rank: int) -> Any:
    """The model with adapters of that rank as a PeftModel; the torch seed decides where they start."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM")
    return get_peft_model(model, config)
