"""The settings of a tune: what they are by default, what is refused, and that they need no torch."""

import math
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from spillover.errors import TrainingError
from spillover.llm.settings import FULL_RATE, LORA_RATE, FineTuneConfig


def test_adapters_have_a_rate_of_their_own() -> None:
    assert FineTuneConfig().rate == FULL_RATE
    assert FineTuneConfig(lora=8).rate == LORA_RATE > FULL_RATE
    assert FineTuneConfig(lora=8, learning_rate=1e-4).rate == 1e-4
    assert replace(FineTuneConfig(), lora=8).rate == LORA_RATE


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "epochs must be at least 1, or auto, got 0"),
        ({"epochs": "all"}, "epochs must be at least 1, or auto, got all"),
        ({"learning_rate": 0.0}, "learning rate must be positive and finite, got 0.0"),
        ({"learning_rate": math.nan}, "learning rate must be positive and finite, got nan"),
        ({"batch_size": 0}, "batch size must be at least 1, got 0"),
        ({"warmup": -1.0}, "warm-up must be a number of epochs from 0 up, got -1.0"),
        ({"warmup": math.inf}, "warm-up must be a number of epochs from 0 up, got inf"),
        ({"clip": 0.0}, "the gradient clip must be positive, got 0.0"),
        ({"lora": -1}, "LoRA rank must be positive, got -1"),
        ({"seed": -1}, "seed must not be negative, got -1"),
        ({"processes": 0}, "processes must be at least 1, got 0"),
    ],
)
def test_bad_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        FineTuneConfig(**settings)


def test_a_tune_is_planned_without_torch() -> None:
    program = """
import sys, spillover, spillover.interventions.lora, spillover.interventions.shuffle
spillover.FineTuneConfig(lora=2)
assert not {"torch", "transformers", "peft"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", program], check=True)
