"""A run that the tests start, and what lies in its folder."""

import json
from pathlib import Path

from spillover.runs.record import Run

IDENTITY = {
    "command": "audit",
    "arguments": {"model": "tiny", "epochs": 8, "lora": {"rank": None}, "out": Path("here")},
    "passed": {"epochs": 8},
    "seeds": [0, 1],
    "hashes": {"kb": "a" * 64, "model": "b" * 64},
}


def start(folder, **changes):
    return Run.start(folder, **(IDENTITY | changes))


def manifest(folder):
    return json.loads((folder / "manifest.json").read_text())


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}
