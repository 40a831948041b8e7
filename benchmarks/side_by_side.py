"""Both sides of a comparison in turn (A B A B ...), each round in a fresh process.

Fresh, because one side's settings of the allocator would help the other; in turn, because shared
machines drift.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from statistics import median
from typing import Any


def rounds(module: str, sides: Sequence[str], count: int) -> dict[str, list[dict[str, Any]]]:
    """What `python -m module SIDE` printed as JSON, per side, over `count` rounds."""
    printed: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
    for _ in range(count):
        for side in sides:
            command = [sys.executable, "-m", module, side]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            printed[side].append(json.loads(done.stdout.splitlines()[-1]))
    return printed


def ratio(slow: Sequence[dict[str, Any]], fast: Sequence[dict[str, Any]]) -> str:
    """The median ratio of the rounds' seconds, with its range."""
    ratios = [a["seconds"] / b["seconds"] for a, b in zip(slow, fast, strict=True)]
    return f"{median(ratios):.2f}x ({min(ratios):.2f} to {max(ratios):.2f})"
