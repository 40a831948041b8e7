"""What the numbers that people set may be."""

import math
from typing import Any

from spillover.errors import DataError, TrainingError
from spillover.knowledge.checks import check_text


def check_least(name: str, least: float, **knobs: float) -> None:
    """Raise TrainingError for a knob of the named intervention that is no number, or below the least."""
    for knob, value in knobs.items():
        if not (math.isfinite(value) and value >= least):
            raise TrainingError(f"{name}: {knob} must be a number from {least:g} up, got {value:g}")


def check_words(name: str, **knobs: str) -> None:
    """Raise TrainingError for a knob of the named intervention that is no text of a knowledge base."""
    try:
        for knob, value in knobs.items():
            check_text(value, knob, name)
    except DataError as error:
        raise TrainingError(str(error)) from None


def count_beside(name: str, what: str, share: float, taught: int, there: int) -> int:
    """How many of what is `there` the named intervention mixes in: `share` for each of the `taught` examples.

    At least one. Raises TrainingError where there are not as many.
    """
    count = max(1, round(share * taught))
    if count > there:
        raise TrainingError(
            f"{name}: share {share:g} of {taught} examples is {count} {what}, and there are {there}; give a "
            f"share of at most {math.floor(100 * there / taught) / 100:g}"
        )
    return count


def check_first_epochs(name: str, settings: Any, **knobs: int) -> None:
    """Raise TrainingError for a knob of the named intervention, a number of epochs at a tune's start, that
    may be all of a tune of such settings (`llm.settings.FineTuneConfig`)."""
    for knob, value in knobs.items():
        if value >= settings.least_epochs:
            raise TrainingError(
                f"{name}: {knob} must be below {settings.least_epochs}, after which the tune may end, got "
                f"{value}; give fewer, or --epochs"
            )
