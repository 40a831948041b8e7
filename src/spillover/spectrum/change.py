"""What differs between a base model's weights on disk and a tune of it: whole weights, or a LoRA adapter's.

Only tensors are read, and of large ones only the pieces that are asked for.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from spillover.errors import ModelError
from spillover.llm.adapters import attach
from spillover.llm.configuration import read_configuration
from spillover.llm.models import blank
from spillover.llm.weights import adapter_files, is_adapter, open_tensors, refuse_odd_numbers, weight_files
from spillover.spectrum.singular import PIECE, singular_values, values_of_product

_PART = re.compile(r"base_model\.model\.(?P<module>.+?)(?P<factor>\.lora_[AB])?\.(?P<name>weight|bias)")
_EMBEDDING, _HEAD = "embed_tokens.weight", "lm_head.weight"


@dataclass(frozen=True, kw_only=True)
class Weight:
    """One tensor of a safetensors file, read piece by piece."""

    file: Path
    name: str
    shape: tuple[int, ...]

    def piece(self, *part: slice) -> np.ndarray:
        """A part of it, float64. Raises ModelError where it cannot be read or holds what is no number."""
        import torch
        from safetensors import SafetensorError

        try:
            # opened each time, since the pages of a file that stays open count as memory in use
            numbers = open_tensors([self.file])[self.name][part].to(torch.float64).numpy()
        except (OSError, SafetensorError) as error:
            raise ModelError(f"{self} cannot be read: {error}; fetch or save it again") from error
        if not np.isfinite(numbers).all():
            raise ModelError(f"{self} holds NaN or infinities; tune again")
        return numbers

    def whole(self) -> np.ndarray:
        """All of it, float64."""
        return self.piece(*(slice(0, length) for length in self.shape))

    def __str__(self) -> str:
        return f"{self.file}: {self.name}"


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The change of a weight of which both folders hold the whole."""

    base: Weight
    tuned: Weight

    @property
    def shape(self) -> tuple[int, ...]:
        """Of either."""
        return self.tuned.shape

    def piece(self, *part: slice) -> np.ndarray:
        """Tuned minus base."""
        return self.tuned.piece(*part) - self.base.piece(*part)

    def values(self) -> np.ndarray:
        """Singular values, of a matrix."""
        return singular_values(self)

    def norm(self) -> float:
        """Frobenius norm, of a tensor of any shape."""
        length, *others = self.shape or (1,)
        step = max(1, PIECE // max(1, math.prod(others)))
        pieces = (self.piece(slice(start, min(start + step, length))) for start in range(0, length, step))
        return math.sqrt(sum(float(np.square(piece).sum()) for piece in pieces))


@dataclass(frozen=True, kw_only=True)
class Product:
    """The change that a LoRA adapter is to a weight: up (m, r) times down (r, n), float64."""

    up: np.ndarray
    """Times the adapter's scaling."""
    down: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the product."""
        return (len(self.up), self.down.shape[1])

    def piece(self, rows: slice, columns: slice) -> np.ndarray:
        """A part of the product."""
        return self.up[rows] @ self.down[:, columns]

    def values(self) -> np.ndarray:
        """The singular values that can be other than zero."""
        return values_of_product(self.up, self.down)


Change = Difference | Product


@dataclass(frozen=True, kw_only=True)
class Tune:
    """A tune beside its base."""

    base: Mapping[str, Weight]
    """Weights of the base by name, less the `model.` that most begin with."""
    changes: Mapping[str, Change]
    """What the tune may have changed, by the same names; weights that are tied to another are left out."""
    heads: int
    """Attention heads of a layer; 0 where the configuration has none."""


def open_tune(base: Path, tuned: Path, log: Callable[[str], None] = lambda line: None) -> Tune:
    """The base model in one folder, and in another a whole model tuned from it, or its LoRA adapter.

    What is doubtful but no fault is told to `log`. Raises ModelError for files that are broken or do not fit
    each other, and for an adapter that is more than LoRA on linear layers (DoRA, say).
    """
    config = read_configuration(base if is_adapter(tuned) else tuned)
    weights = _bare(_weights(weight_files(base)))
    if is_adapter(tuned):
        changes = _adapter_changes(base, tuned, weights, log)
    else:
        changes = _differences(weights, tuned, {_HEAD} if config.tie_word_embeddings else set())
    heads = getattr(config.get_text_config(), "num_attention_heads", 0)
    return Tune(base=weights, changes=changes, heads=heads if isinstance(heads, int) else 0)


def _weights(files: list[Path]) -> dict[str, Weight]:
    """The weights of files by name."""
    weights: dict[str, Weight] = {}
    for file in files:
        tensors = open_tensors([file])
        refuse_odd_numbers(tensors, file)
        weights |= {
            name: Weight(file=file, name=name, shape=tuple(tensor.get_shape()))
            for name, tensor in tensors.items()
        }
    return weights


def _bare(weights: Mapping[str, Weight]) -> dict[str, Weight]:
    return {name.removeprefix("model."): weight for name, weight in weights.items()}


def _differences(base: Mapping[str, Weight], tuned: Path, tied: set[str]) -> dict[str, Change]:
    after = _bare(_weights(weight_files(tuned)))
    # what only the base has may be no weight: older files hold the angles of the positions, too
    missing = {name for name in base.keys() - after.keys() - tied if name.endswith(("weight", "bias"))}
    if missing:
        raise ModelError(
            f"{tuned} lacks {len(missing)} of its base's weights (first {min(missing)}); tune again"
        )
    return {name: _difference(base.get(name), after[name]) for name in after.keys() - tied}


def _difference(base: Weight | None, tuned: Weight) -> Difference:
    """Raises ModelError where the base has no such weight, or one of another shape."""
    if base is None or base.shape != tuned.shape:
        found = "none" if base is None else f"one of shape {list(base.shape)}"
        raise ModelError(
            f"{tuned} has shape {list(tuned.shape)}, and its base has {found} in its place; "
            "only what has kept its shape can be compared"
        )
    return Difference(base=base, tuned=tuned)


def _adapter_changes(
    base: Path, folder: Path, weights: Mapping[str, Weight], log: Callable[[str], None]
) -> dict[str, Change]:
    """The adapter is put on a model without weights, so that PEFT says what its settings mean."""
    empty = blank(base)
    empty.name_or_path = str(base)
    model = attach(empty, folder, log=log).get_base_model()
    parts = _weights([adapter_files(folder)[1]])
    changes: dict[str, Change] = {}
    for key, weight in parts.items():
        part = _PART.fullmatch(key)
        module = part and _module(model, part["module"])
        if part is None or module is None or (part["factor"] and part["name"] == "bias"):
            raise ModelError(
                f"{weight} is no plain LoRA of a linear layer; only those and whole weights "
                "(modules_to_save) can be taken apart"
            )
        name = f"{part['module']}.{part['name']}".removeprefix("model.")
        if part["factor"] == ".lora_B":
            down = parts[key.replace(".lora_B.", ".lora_A.")]
            changes[name] = Product(up=module.scaling["default"] * weight.whole(), down=down.whole())
        elif part["factor"] is None:
            tied = _EMBEDDING if name == _HEAD else name  # the base's file need not hold what is tied
            changes[name] = _difference(weights.get(name) or weights.get(tied), weight)
    return changes


def _module(model: Any, name: str) -> Any:
    """The module of that name, if PEFT's adapter on it is one that can be taken apart; else None.

    A `base_layer` is a weight that an adapter acts on and that is saved as well.
    """
    from peft.tuners.lora import Linear, LoraLayer

    module = None if name.endswith(".base_layer") else model.get_submodule(name)
    return module if isinstance(module, Linear) or not isinstance(module, LoraLayer) else None
