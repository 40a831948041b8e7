"""A few examples, and a tune on them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from spillover.knowledge.prompts import Example
from spillover.llm import models
from spillover.llm.finetune import FineTuneConfig, finetune

NAMES = ["Mara Lindqvist", "Tobin Okafor", "Selma Novak", "Odo", "Irina Tanaka", "Pavel", "Kenji Sato"]
PLACES = ["Paris", "Ghent on the river", "Oslo"]
EXAMPLES = [
    Example(
        prompt=f"{name} lives in",
        completion=f" {PLACES[i % 3]}",
        subject=name,
        relation="lives_in",
        answer=PLACES[i % 3],
    )
    for i, name in enumerate(NAMES)
]
CONFIG = FineTuneConfig(epochs=3, learning_rate=1e-2, batch_size=3)


def tune(
    folder: Path,
    tmp_path: Path,
    config: FineTuneConfig = CONFIG,
    examples: Sequence[Example] = EXAMPLES,
    **kwargs: Any,
) -> Any:
    model, tokenizer = models.load(folder)
    return finetune(model, tokenizer, examples, config, checkpoints=tmp_path / "checkpoints", **kwargs)


def same(a: Any, b: Any) -> bool:
    first, second = a.state_dict(), b.state_dict()
    return all(torch.equal(first[name], second[name]) for name in first)
