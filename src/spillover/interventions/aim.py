"""Which of a knowledge base's rules an intervention is aimed at."""

from typing import Literal

from spillover.errors import TrainingError
from spillover.knowledge.split import Split

Aim = Literal["spurious", "all"]
"""The rules that are not wanted, or every rule."""


def aimed_at(split: Split, aim: Aim) -> tuple[int, ...]:
    """The numbers of those rules. Raises TrainingError where there is none."""
    found = tuple(
        number for number, rule in enumerate(split.kb.rules) if aim == "all" or rule.kind == "spurious"
    )
    if not found:
        raise TrainingError(
            f"{split.kb.name} has no spurious rule to act on; give the intervention rules=all"
        )
    return found


def implications_of(split: Split, aim: Aim) -> tuple[str, ...]:
    """The relations that those rules imply, each once. Raises TrainingError where there is no such rule."""
    return tuple(dict.fromkeys(split.kb.rules[number].implication for number in aimed_at(split, aim)))
