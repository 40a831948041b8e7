"""Norm penalty: a price on how far the weights' matrices go from where they were."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from spillover.errors import TrainingError
from spillover.interventions.hooks import Before, Intervention

_UNTUNED = "spillover_penalized"
"""Of the model while it is tuned: the untuned matrices by name, which are no parameters and are not saved."""


@dataclass(frozen=True, kw_only=True)
class NormPenalty(Intervention):
    """Penalizes the norm of each weight matrix's change D, tuned less untuned, by proximal steps.

    The step is made after the optimizer's and apart from it, as AdamW's weight decay is, so that it is not
    scaled by AdamW's moments; `rate` is the step's learning rate.

    - `frobenius`: D ← D / (1 + rate · strength), at every step: the proximal step of strength/2 · ‖D‖_F².
      It shrinks all directions alike.
    - `nuclear`: D's singular values ← max(0, s - rate · strength): the proximal step of strength · ‖D‖_*. It
      leaves few directions. As it takes an eigendecomposition (of the Gram matrix, in float32: singular
      values below 3e-4 of the largest are noise, and mostly below the threshold), each matrix has its turn
      once in `every` steps, with the threshold of all of them.

    Acts on every two-dimensional weight that is trained, but for embeddings and the output head, which may
    go where they will. Of one layer the paper proves that factors that are trained head for the least
    nuclear norm, which learns rules, and merged products for the least Frobenius norm, which does not
    (arXiv 2506.10887, Theorem 1); to put such prices on the change of a whole model is our own step, and has
    no published effect.

    Costs the memory of one more copy of those matrices.
    """

    norm: Literal["nuclear", "frobenius"] = "nuclear"
    strength: float = 1.0
    """Per step and learning rate. In 150 steps of 2e-4, 1 takes 0.03 off every singular value: half of the
    nuclear norm that SmolLM2's change has after a plain tune on country-code. Of `frobenius` some 30 halve
    a change that came early. Both are estimates, in which no gradient pushes back."""
    every: int = 10
    """Steps from one turn of a matrix to its next, of `nuclear`."""

    alone: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Raise TrainingError for a knob out of range."""
        if not 0 <= self.strength < math.inf:
            raise TrainingError(f"norm-penalty: strength must be a number from 0 up, got {self.strength:g}")
        if self.every < 1:
            raise TrainingError(f"norm-penalty: every must be at least 1 step, got {self.every}")

    @property
    def acts(self) -> bool:
        """Not at strength 0."""
        return self.strength > 0

    def check(self, settings: Any, others: Sequence[Intervention]) -> None:
        """Raise TrainingError beside LoRA, of which the change is a product."""
        if settings.lora is not None:
            raise TrainingError(
                "norm-penalty acts on whole matrices, which LoRA does not train; tune without --lora, or ask "
                "for lora:weight_decay=..., which is a price on the nuclear norm of the adapters' product"
            )

    def parameters(self, model: Any, before: Before) -> Any:
        """The model, which keeps a copy of its matrices. Raises TrainingError where none is trained."""
        ends = (model.get_input_embeddings(), model.get_output_embeddings())
        left_out = {id(end.weight) for end in ends if end is not None}
        untuned = {
            name: weight.detach().clone()
            for name, weight in model.named_parameters()
            if weight.requires_grad and weight.ndim == 2 and id(weight) not in left_out
        }
        if not untuned:
            raise TrainingError("norm-penalty: no matrix but the embeddings is trained")
        setattr(model, _UNTUNED, untuned)
        return model

    def stepped(self, model: Any, rate: float, step: int) -> None:
        """Make the proximal step of the matrices whose turn it is."""
        import torch

        price = rate * self.strength
        with torch.no_grad():
            for number, (name, untuned) in enumerate(vars(model)[_UNTUNED].items()):
                weight = model.get_parameter(name)
                if self.norm == "frobenius":
                    weight.lerp_(untuned, price / (1 + price))
                elif (step + number) % self.every == 0:
                    shrunk = shrink(weight - untuned, min(self.every, step) * price)
                    torch.add(untuned, shrunk, out=weight)

    def weights(self, model: Any) -> Any:
        """The model without the copy."""
        del vars(model)[_UNTUNED]
        return model


def shrink(change: Any, by: float) -> Any:
    """The matrix whose singular values are smaller by so much, at least 0."""
    import torch

    wide = change if change.shape[0] <= change.shape[1] else change.T
    squares, U = torch.linalg.eigh(wide @ wide.T)
    left = (1 - by / squares.clamp(min=torch.finfo(squares.dtype).tiny).sqrt()).clamp(min=0)
    kept = left > 0
    U = U[:, kept]
    shrunk = (U * left[kept]) @ (U.T @ wide)
    return shrunk if wide is change else shrunk.T
