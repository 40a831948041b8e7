"""config.json, which may say anything: how it is read, and what it may not ask for."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from spillover.errors import ModelError
from spillover.knowledge.faults import show
from spillover.llm.border import border

_ATTENTION = (None, "eager", "sdpa")
"""Ways to compute attention that are always there; others transformers would fetch from the hub, as code."""

_MOST_OF = {r"layers?$": 2000, r"^num_labels$": 100_000}
"""Pattern of a key -> the most that it may count; transformers makes as many entries of a list."""

_MOST_MODULES = 50_000

_MOST_BYTES = 1 << 30
"""Of a model's tables that are no weights, such as the angles of its positions."""


def read_configuration(folder: Path) -> Any:
    """The configuration of a model folder, as transformers has it.

    Raises ModelError if it is broken, names code that would have to be trusted, or is of an absurd size.
    """
    from transformers import AutoConfig

    fault = f"model folder {folder} cannot be loaded"
    with border(fault):
        document = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if not isinstance(document, dict):
        raise ModelError(f"{fault}: its config.json is {show(document)} and no object; fetch it again")
    for key, value in entries(document):
        most = next((most for pattern, most in _MOST_OF.items() if re.search(pattern, key)), None)
        if most and isinstance(value, int) and value > most:
            raise ModelError(
                f"{fault}: config.json says {key} {show(value)}, at most {most} can be; fetch it again"
            )
    with border(fault):
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        asked = config._attn_implementation, config._experts_implementation
    for way in asked:
        if way not in _ATTENTION:
            raise ModelError(
                f"{fault}: config.json asks for the attention {show(way)}, and only eager and sdpa are used; "
                "take attn_implementation out of it"
            )
    config.return_dict = True
    return config


@contextmanager
def few_modules() -> Iterator[None]:
    """A block in which a model of more modules than any has is a ValueError, and is not made for hours."""
    from torch.nn.modules.module import register_module_module_registration_hook

    made = 0

    def count(*_: Any) -> None:
        nonlocal made
        made += 1
        if made > _MOST_MODULES:
            raise ValueError(f"its configuration asks for more than {_MOST_MODULES} modules")

    handle = register_module_module_registration_hook(count)
    try:
        yield
    finally:
        handle.remove()


def blank(folder: Path) -> Any:
    """The model that a folder's configuration makes, without weights (on torch's meta device).

    Raises ModelError if the configuration is broken, or names code that would have to be trusted.
    """
    import torch
    from transformers import AutoModelForCausalLM

    config = read_configuration(folder)
    with border(f"model folder {folder} cannot be loaded"), torch.device("meta"), few_modules():
        empty = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    refuse_large_tables(empty, folder)
    return empty


def refuse_large_tables(empty: Any, folder: Path) -> None:
    """Raise ModelError if the tables of a blank model, which no file holds, would fill the memory."""
    size = sum(table.nbytes for table in empty.buffers())
    if size > _MOST_BYTES:
        raise ModelError(
            f"model folder {folder} cannot be loaded: its config.json asks for tables of {size / 1e9:.1f} GB "
            f"beside the weights, at most {_MOST_BYTES / 1e9:.1f} can be; fetch it again"
        )


def entries(document: Any) -> Iterator[tuple[str, Any]]:
    """Every key and its value, however deep it lies."""
    left = [document]
    while left:
        item = left.pop()
        if isinstance(item, dict):
            yield from item.items()
            left += item.values()
        elif isinstance(item, list):
            left += item
