"""Freeze: some of the model stays as it is."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from spillover.errors import TrainingError
from spillover.interventions.hooks import Before, Intervention
from spillover.interventions.residual import layers_of
from spillover.knowledge.faults import show

_RANGE = re.compile(r"(\d{1,6})(?:-(\d{1,6}))?")


@dataclass(frozen=True, kw_only=True)
class Freeze(Intervention):
    """Keeps layers, or one kind of module in them, as they are; with both knobs that kind in those layers.

    The simplest of controls, without a source of its own: facts and rules may be learned in different places.
    Of LoRA the adapters there are frozen, which are then products of zero.
    """

    layers: str = "all"
    """Ranges of layers, counted from 0, ends included: `0-9`, `3`, `0-9+20-29`; with their norms."""
    modules: Literal["all", "attention", "mlp", "embeddings"] = "all"
    """`attention` and `mlp`: of the `layers`, without the norms between them. `embeddings`: of the input;
    where the output head is tied to them it is the same matrix, and frozen, too."""

    def __post_init__(self) -> None:
        """Raise TrainingError for what are no ranges, or where all is named or nothing."""
        if self.layers == self.modules == "all":
            raise TrainingError("freeze: give layers=0-9, modules=attention, mlp or embeddings, or both")
        if self.layers != "all" and self.modules == "embeddings":
            raise TrainingError("freeze: embeddings are in no layer; give modules=embeddings or layers=...")
        self._numbers(1)

    def check(self, settings: Any, others: Any) -> None:
        """Raise TrainingError for embeddings beside LoRA, which has no adapters on them."""
        if self.modules == "embeddings" and settings.lora is not None:
            raise TrainingError("freeze: LoRA trains no embeddings; freeze layers, attention or mlp there")

    def parameters(self, model: Any, before: Before) -> Any:
        """The model, of which less moves. Raises TrainingError for layers or modules that it has not, and
        where nothing is left to train."""
        for module in self._frozen(model):
            module.requires_grad_(False)
        if not any(parameter.requires_grad for parameter in model.parameters()):
            raise TrainingError("freeze: nothing is left to train; freeze fewer layers or modules")
        return model

    def _frozen(self, model: Any) -> Iterator[Any]:
        if self.modules == "embeddings":
            yield model.get_input_embeddings()
            return
        layers = layers_of(model)
        numbers = self._numbers(len(layers))
        if (last := max(numbers)) >= len(layers):
            raise TrainingError(
                f"freeze: there is no layer {last}; the model has {len(layers)} layers, 0-{len(layers) - 1}"
            )
        for number in sorted(numbers):
            yield from [layers[number]] if self.modules == "all" else _of_kind(layers[number], self.modules)

    def _numbers(self, layers: int) -> set[int]:
        """Of a model with so many layers, those that are named."""
        if self.layers == "all":
            return set(range(layers))
        numbers = set[int]()
        for part in self.layers.split("+"):
            ends = _RANGE.fullmatch(part)
            first, last = (int(ends[1]), int(ends[2] or ends[1])) if ends else (1, 0)
            if first > last:
                raise TrainingError(
                    f"freeze: layers must be ranges such as 0-9, 3 or 0-9+20-29, got {show(self.layers)}"
                )
            numbers.update(range(first, last + 1))
        return numbers


def _of_kind(layer: Any, kind: str) -> list[Any]:
    """A layer's attention or its feed-forward part."""
    word = {"attention": "attn", "mlp": "mlp"}[kind]
    found = [module for name, module in layer.named_children() if name in (word, f"self_{word}")]
    if not found:
        raise TrainingError(f"freeze: a {type(layer).__name__} has no part that is its {kind}")
    return found
