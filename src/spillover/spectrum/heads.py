"""What a tune changed in each attention head's output-value product, W_O[:, head] W_V[kv head, :].

Shapes: d the model's width, h a head's. The change of the product is (W_O + dW_O)(W_V + dW_V) - W_O W_V =
[W_O + dW_O, dW_O] [dW_V; W_V], of rank at most 2h, so the d x d matrix is never made. With grouped queries,
heads share a W_V. The value's bias and the norm in front of it are not part of the product.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from spillover.spectrum.change import Change, Tune, Weight
from spillover.spectrum.singular import values_of_product

_VALUE = re.compile(r"(?P<attention>(?:.+\.)?layers\.(?P<layer>\d+)\.self_attn)\.v_proj\.weight")


@dataclass(frozen=True, kw_only=True)
class Attention:
    """The two matrices of one layer whose product is taken head by head."""

    layer: int
    name: str
    """As in `layers.3.self_attn`."""
    heads: int
    key_values: int
    width: int
    """h"""
    output: tuple[Weight, Change | None]
    """W_O, (d, heads · h), and its change, if any."""
    value: tuple[Weight, Change | None]
    """W_V, (key_values · h, d), and its change, if any."""

    def values(self, head: int) -> np.ndarray:
        """Singular values of the change of a head's product; 2h, or d where that is less."""
        shared = head * self.key_values // self.heads
        mine = slice(head * self.width, (head + 1) * self.width)
        theirs = slice(shared * self.width, (shared + 1) * self.width)
        output, value = self.output[0].shape[0], self.value[0].shape[1]
        o, o_change = _both(*self.output, slice(0, output), mine)
        v, v_change = _both(*self.value, theirs, slice(0, value))
        return values_of_product(np.hstack([o + o_change, o_change]), np.vstack([v_change, v]))


def _both(weight: Weight, change: Change | None, *part: slice) -> tuple[np.ndarray, np.ndarray]:
    before = weight.piece(*part)
    return before, np.zeros_like(before) if change is None else change.piece(*part)


def attentions(tune: Tune) -> Iterator[Attention]:
    """The layers in which W_O or W_V may have changed, of an architecture that names them `v_proj`, `o_proj`.

    None of one that does otherwise, or whose heads do not part the matrices evenly.
    """
    for name, value in tune.base.items():
        found = _VALUE.fullmatch(name)
        output_name = f"{found['attention']}.o_proj.weight" if found else ""
        output = tune.base.get(output_name)
        if found is None or output is None or not tune.heads:
            continue
        width, odd = divmod(output.shape[1], tune.heads)
        key_values, rest = divmod(value.shape[0], max(1, width))
        changes = tune.changes.get(output_name), tune.changes.get(name)
        if odd or rest or not key_values or tune.heads % key_values or changes == (None, None):
            continue
        yield Attention(
            layer=int(found["layer"]),
            name=found["attention"],
            heads=tune.heads,
            key_values=key_values,
            width=width,
            output=(output, changes[0]),
            value=(value, changes[1]),
        )
