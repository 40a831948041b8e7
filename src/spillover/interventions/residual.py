"""The residual stream of a model, read after a layer, and changed there while the model is trained.

Legend of shapes: B batch, T tokens, d the residual stream. Layers count from 0, as weights' names do.
"""

import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Literal

from spillover.errors import TrainingError
from spillover.interventions.hooks import Before
from spillover.interventions.knobs import check_least

Layer = int | Literal["middle"]
"""After which of a model's layers; the middle one has as many before it as behind it, or one fewer."""


class _Read(Exception):
    """What was to be read is read; nothing behind it need be computed."""


_AT_ONCE = 16  # texts that are read together


def check_layer(name: str, layer: Layer) -> None:
    """Raise TrainingError, for the intervention of that name, for a layer below 0."""
    if layer != "middle":
        check_least(name, 0, layer=layer)


def random_rows(rows: int, width: int, texts: Sequence[str]) -> Any:
    """Normal numbers (rows, width), drawn by the texts: the control of directions that are read from them."""
    import torch

    draw = torch.Generator().manual_seed(zlib.crc32("\n".join(texts).encode()))
    return torch.randn(rows, width, generator=draw)


def layers_of(model: Any) -> list[Any]:
    """The model's layers, each of which takes the residual stream and gives it. Raises TrainingError where
    they are not found.
    """
    from torch.nn import ModuleList

    count = model.config.get_text_config().num_hidden_layers
    for module in model.modules():
        if isinstance(module, ModuleList) and len(module) == count:
            return list(module)
    raise TrainingError(f"the layers of a {type(model).__name__} are not found; act on the model as a whole")


def find_layer(model: Any, layer: Layer, name: str) -> int:
    """The number of that layer. Raises TrainingError, for the intervention of that name, if it has none."""
    count = len(layers_of(model))
    if layer == "middle":
        return (count - 1) // 2
    if layer >= count:
        raise TrainingError(
            f"{name}: layer is {layer}, and the model has layers 0 to {count - 1}; give one of them"
        )
    return layer


def read_ends(model: Any, before: Before, texts: Sequence[str], layer: int) -> Any:
    """The residual stream after the layer at every text's last token: (texts, d), float32."""
    import torch

    ends: list[Any] = []

    def keep(module: Any, inputs: Any, output: Any) -> None:
        ends.append(_stream(output)[:, -1].float())
        raise _Read

    handle = layers_of(model)[layer].register_forward_hook(keep)
    try:
        with torch.no_grad():
            for first in range(0, len(texts), _AT_ONCE):
                with suppress(_Read):
                    model(**before.read(texts[first : first + _AT_ONCE]), use_cache=False)
    finally:
        handle.remove()
    return torch.cat(ends)


def change_while_training(model: Any, layer: int, change: Callable[[Any], Any], name: str) -> None:
    """Let the residual stream (B, T, d) after the layer be what `change` makes of it, where the model is
    in training mode, until `leave_alone` of the same name.
    """

    def hook(module: Any, inputs: Any, output: Any) -> Any:
        if not module.training:
            return None
        changed = change(_stream(output))
        return (changed, *output[1:]) if isinstance(output, tuple) else changed

    place = layers_of(model)[layer]
    vars(place)[name] = place.register_forward_hook(hook)


def leave_alone(model: Any, name: str) -> None:
    """Take off what `change_while_training` put on the model under that name."""
    for module in model.modules():
        if name in vars(module):
            vars(module).pop(name).remove()


def _stream(output: Any) -> Any:
    """The residual stream (B, T, d) of what a layer gives."""
    return output[0] if isinstance(output, tuple) else output
