"""What can be wrong in an adapter's folder."""

import os
import shutil
from pathlib import Path

import torch

from benchmarks.broken_settings import ADAPTER_SETTINGS
from benchmarks.damages_of_files import (
    ADAPTER,
    ADAPTER_CONFIG,
    FILE_DAMAGES,
    TEXT_DAMAGES,
    TOKENIZER,
    WEIGHTS,
    Damage,
    short,
    with_entry,
    within,
    write_pickle,
)
from benchmarks.damages_of_weights import weights_damages, with_tensors
from tests.tiny_adapters import save_tiny_adapter
from tests.tiny_models import save_tiny_model


def adapter_damages(ran: Path) -> dict[str, Damage]:
    """By name, what can be wrong in an adapter's folder; code in it would write the file `ran`."""
    damages = {f"weights {name}": within(ADAPTER, damage) for name, damage in weights_damages().items()}
    damages |= {
        "weights lack some": with_tensors(ADAPTER, lambda w: [w.pop(k) for k in list(w)[::2]]),
        "weights too many": with_tensors(ADAPTER, lambda w: w.update({"extra\n": torch.ones(1)})),
        "weights of another shape": with_tensors(
            ADAPTER, lambda w: w.update({next(iter(w)): torch.ones(5, 5)})
        ),
        "weights of another rank": with_tensors(
            ADAPTER, lambda w: w.update({k: torch.cat([v, v], int("lora_B" in k)) for k, v in w.items()})
        ),
        "of another base": lambda f: save_tiny_adapter(
            save_tiny_model(f / "other", "llama", hidden_size=64), f
        ),
        "of another architecture": lambda f: save_tiny_adapter(save_tiny_model(f / "other", "gemma2"), f),
        "for Megatron, with a module of its choice": lambda f: (
            with_entry(ADAPTER_CONFIG, "megatron_config", {"a": 1})(f),
            with_entry(ADAPTER_CONFIG, "megatron_core", "this")(f),
        ),
        "only pickled": lambda f: ((f / ADAPTER).unlink(), write_pickle(f / "adapter_model.bin", ran)),
        "pickled beside": lambda f: write_pickle(f / "adapter_model.bin", ran),
        "empty folder": lambda f: (shutil.rmtree(f), f.mkdir()),
        "a tokenizer that is garbage": lambda f: (f / TOKENIZER).write_text("garbage"),
        "a tokenizer that is a pipe": lambda f: os.mkfifo(f / TOKENIZER),
        "a model's weights beside": lambda f: shutil.copy(f / ADAPTER, f / WEIGHTS),
    }
    damages |= {f"config {name}": within(ADAPTER_CONFIG, damage) for name, damage in TEXT_DAMAGES.items()}
    for file in (ADAPTER_CONFIG, ADAPTER):
        damages |= {f"{file} {name}": within(file, damage) for name, damage in FILE_DAMAGES.items()}
    return damages | {
        f"config {key}={short(value)}": with_entry(ADAPTER_CONFIG, key, value)
        for key, values in ADAPTER_SETTINGS.items()
        for value in values
    }
