"""The output-value products of a model's attention heads, trained as one matrix each or as their factors.

A head carries W_O[:, head] W_V[head, :] of what it attends to into the residual stream. Gradient descent on
the two factors prefers a product of small nuclear norm, on the merged matrix one of small Frobenius norm
(arXiv 2506.10887, Theorem 1); what follows lets a real model be trained either way.

Legend of shapes: B batch, H heads, K heads of keys and values (H a multiple of it), T tokens, d the residual
stream, h the columns of a head.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from spillover.errors import TrainingError
from spillover.interventions.hooks import Before, Intervention

_NAME = "spillover_merged_ov"
"""Of the attention function, among those that transformers knows."""


@dataclass(frozen=True, kw_only=True)
class MergedOV(Intervention):
    """Trains every head's output-value product as one d × d matrix, from where it is.

    The model answers the same before it is trained; what changes is what its steps prefer. A head then
    has a product of full rank and of its own, where heads that share their values had two factors of rank h.
    """

    rest: Literal["frozen", "trained"] = "frozen"
    """Whether all else is trained, too."""

    loadable: ClassVar[bool] = False

    @property
    def prefers(self) -> Literal["nuclear", "frobenius"]:
        """The Frobenius norm (Theorem 1)."""
        return "frobenius"

    makes_parameters: ClassVar[bool] = True

    def check(self, settings: Any, others: Sequence[Intervention]) -> None:
        """Raise TrainingError beside adapters, or beside `FactorizedOV`."""
        _check_alone("merged-ov", "factorized-ov", FactorizedOV, settings, others)

    def parameters(self, model: Any, before: Before) -> Any:
        """The model with merged products. Raises TrainingError where an architecture has none to be found."""
        layers = _attentions(model)
        model.requires_grad_(self.rest == "trained")
        for layer in layers:
            _merge(layer)
            layer.o_proj.weight.requires_grad_(True)
        _attend_to_hidden_states(model)
        return model


@dataclass(frozen=True, kw_only=True)
class FactorizedOV(Intervention):
    """Trains W_O and W_V of every layer and nothing else: the twin of `MergedOV`."""

    makes_parameters: ClassVar[bool] = True

    def check(self, settings: Any, others: Sequence[Intervention]) -> None:
        """Raise TrainingError beside adapters, or beside `MergedOV`."""
        _check_alone("factorized-ov", "merged-ov", MergedOV, settings, others)

    def parameters(self, model: Any, before: Before) -> Any:
        """The model with all else frozen. Raises TrainingError as `MergedOV` does."""
        layers = _attentions(model)
        model.requires_grad_(False)
        for layer in layers:
            for factor in (layer.o_proj, layer.v_proj):
                factor.weight.requires_grad_(True)
        return model


def _check_alone(
    name: str, twin: str, kind: type[Intervention], settings: Any, others: Sequence[Intervention]
) -> None:
    if any(isinstance(other, kind) for other in others):
        raise TrainingError(f"{name} and {twin} train the same products, each in its way; give one of them")
    if settings.lora is not None:
        raise TrainingError(f"{name} trains the model's own matrices, LoRA adapters beside them; take one")


def _attentions(model: Any) -> list[Any]:
    """The attention of every layer, with plain `v_proj` and `o_proj`."""
    from torch.nn import Linear

    found = [m for m in model.modules() if hasattr(m, "v_proj") and hasattr(m, "o_proj")]
    if not found or any(type(p) is not Linear for layer in found for p in (layer.v_proj, layer.o_proj)):
        raise TrainingError(
            f"the output-value products of a {type(model).__name__} are not found: its attention has no "
            "plain v_proj and o_proj; take a model of Llama's kind, without --lora"
        )
    return found


def _merge(attention: Any) -> None:
    """Let values be the hidden states themselves, and hold the heads' products side by side in `o_proj`."""
    import torch
    from torch import nn

    values, output, columns = attention.v_proj, attention.o_proj, attention.head_dim
    if values.in_features % columns:
        raise TrainingError(
            f"merged-ov needs a hidden size ({values.in_features}) that is a multiple of a head's ({columns})"
        )
    with torch.no_grad():
        W_V_Khd = values.weight.unflatten(0, (-1, columns))
        W_O_dHh = output.weight.unflatten(1, (-1, columns))
        shared_by = W_O_dHh.shape[1] // W_V_Khd.shape[0]
        W_V_Hhd = W_V_Khd.repeat_interleave(shared_by, dim=0)
        W_OV_dHd = torch.einsum("dHh,Hhe->dHe", W_O_dHh, W_V_Hhd)
        bias_d = output.bias
        if values.bias is not None:  # added wherever a head looks, since its attention sums to one
            b_Hh = values.bias.unflatten(0, (-1, columns)).repeat_interleave(shared_by, dim=0)
            bias_d = torch.einsum("dHh,Hh->d", W_O_dHh, b_Hh) + (0 if bias_d is None else bias_d)
    merged = nn.Linear(W_OV_dHd[0].numel(), len(W_OV_dHd), bias=bias_d is not None, device="meta")
    merged.weight = nn.Parameter(W_OV_dHd.flatten(1))
    if bias_d is not None:
        merged.bias = nn.Parameter(bias_d, requires_grad=output.weight.requires_grad)
    attention.o_proj, attention.v_proj = merged, nn.Identity()


def _attend_to_hidden_states(model: Any) -> None:
    """Have every layer attend through `_attend`."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import eager_mask

    AttentionInterface.register(_NAME, _attend)
    AttentionMaskInterface.register(_NAME, eager_mask)
    model.config.get_text_config()._attn_implementation = _NAME


def _attend(module: Any, query: Any, key_BKTh: Any, value: Any, mask: Any, **options: Any) -> Any:
    """The architecture's own attention, where each head has the whole hidden state for its values.

    `value` is the hidden states cut into pieces as long as a head's columns, since the model takes them for
    its heads' values.
    """
    states_BTd = value.transpose(1, 2).flatten(2)
    values_BKTd = states_BTd[:, None].expand(-1, key_BKTh.shape[1], -1, -1)
    own = sys.modules[type(module).__module__].eager_attention_forward
    return own(module, query, key_BKTh, values_BKTd, mask, **options)
