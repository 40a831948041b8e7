"""How long work tells what it is doing."""

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called with (what is being done, steps done, steps in all)."""


def silent(stage: str, done: int, steps: int) -> None:
    """Tell nobody."""
