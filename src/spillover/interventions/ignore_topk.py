"""Ignore-topk: what changed most in the tune is put back as it was."""

from dataclasses import dataclass
from typing import Any, Literal

from spillover.errors import TrainingError
from spillover.interventions.hooks import Before, Intervention

_UNTUNED = "spillover_untuned"
"""Of the model while it is tuned: the untuned weights by name, which is no parameter and is not saved."""


@dataclass(frozen=True, kw_only=True)
class IgnoreTopk(Intervention):
    """Drops the largest entries of each tensor's change, tuned less untuned, after training.

    Of a tensor of n entries, round(percent / 100 · n) get their untuned value back; which ones of equals is
    open. Source: Sun et al. 2025, arXiv 2504.09522, where 8% took 50 to 95% off the priming by a new fact
    and left what was learned. Whether they take the largest |change| or the largest signed change is not
    clear from the text, so both are here.

    Of LoRA adapters the product is cut, since it is the change of the matrix that it is added to: the tuned
    model is then the merged one, whole and without adapters. That is our own choice.

    Costs the memory of one more copy of the weights that are trained, in the machine's memory; of adapters
    only at the end.
    """

    percent: float = 8
    """Of each tensor's entries, 0 to 100. 100 leaves the untuned model."""
    by: Literal["size", "value"] = "size"
    """The largest |change|, or the largest signed change: the increases."""

    def __post_init__(self) -> None:
        """Raise TrainingError for a percentage out of range."""
        if not 0 <= self.percent <= 100:
            raise TrainingError(f"ignore-topk: percent must be from 0 to 100, got {self.percent:g}")

    @property
    def acts(self) -> bool:
        """Not at 0 percent."""
        return self.percent > 0

    def parameters(self, model: Any, before: Before) -> Any:
        """The model, which keeps a copy of what is trained; the weights under adapters stay as they are."""
        if not _adapted(model):
            moving = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
            setattr(model, _UNTUNED, {name: _copy(weight) for name, weight in moving.items()})
        return model

    def weights(self, model: Any) -> Any:
        """The model with the largest changes dropped; adapters are merged."""
        import torch

        if _adapted(model):
            below = model.get_base_model().named_modules()
            untuned = {
                f"{name}.weight": _copy(layer.base_layer.weight)
                for name, layer in below
                if hasattr(layer, "base_layer")
            }
            model = model.merge_and_unload()
        else:
            untuned = vars(model).pop(_UNTUNED)
        with torch.no_grad():
            for name, weight in untuned.items():
                self._drop(model.get_parameter(name), weight)
        return model

    def _drop(self, tuned: Any, untuned: Any) -> None:
        """Put a tensor's largest changes back in place."""
        untuned = untuned.to(tuned.device)
        change = (tuned - untuned).flatten()
        size = change.abs() if self.by == "size" else change
        dropped = size.topk(round(self.percent / 100 * size.numel()), sorted=False).indices
        tuned.view(-1)[dropped] = untuned.view(-1)[dropped]


def _adapted(model: Any) -> bool:
    from peft import PeftModel

    return isinstance(model, PeftModel)


def _copy(weight: Any) -> Any:
    return weight.detach().to("cpu", copy=True)
