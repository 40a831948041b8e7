"""What the numbers that people set may be."""

import math
from typing import Any

from spillover.errors import TrainingError


def check_least(name: str, least: float, **knobs: float) -> None:
    """Raise TrainingError for a knob of the named intervention that is no number, or below the least."""
    for knob, value in knobs.items():
        if not (math.isfinite(value) and value >= least):
            raise TrainingError(f"{name}: {knob} must be a number from {least:g} up, got {value:g}")


def check_first_epochs(name: str, settings: Any = None, **knobs: int) -> None:
    """Raise TrainingError for a knob of the named intervention that is no number of epochs at a tune's start,
    or, for a tune of such settings (`llm.settings.FineTuneConfig`), one that may be all of the tune."""
    check_least(name, 0, **knobs)
    for knob, value in knobs.items():
        if settings is not None and value >= settings.least_epochs:
            raise TrainingError(
                f"{name}: {knob} must be below {settings.least_epochs}, after which the tune may end, got "
                f"{value}; give fewer, or --epochs"
            )
