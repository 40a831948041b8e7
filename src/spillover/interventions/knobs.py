"""What the numbers that people set may be."""

import math

from spillover.errors import TrainingError


def check_least(name: str, least: float, **knobs: float) -> None:
    """Raise TrainingError for a knob of the named intervention that is no number, or below the least."""
    for knob, value in knobs.items():
        if not (math.isfinite(value) and value >= least):
            raise TrainingError(f"{name}: {knob} must be a number from {least:g} up, got {value:g}")
