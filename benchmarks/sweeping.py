"""A sweep of twelve cells of about twenty seconds each, a thread a cell: one after another, or by two.

`python -m benchmarks.sweeping [one|local|ray]`; without an argument, all three in turn, each in a process and
a place of its own, with everything that it starts. Wants two idle cores, and Ray.
"""

import json
import os
import sys
import tempfile
import time
from contextlib import redirect_stdout
from pathlib import Path

import yaml

from benchmarks.side_by_side import ratio, rounds
from spillover.cells.apart import Processes
from spillover.cells.on_ray import OnRay
from spillover.jobs.sweep import sweep
from tests.tiny_models import save_tiny_model

_SEEDS = (0, 1)
_RATES = (1e-4, 2e-4, 3e-4, 4e-4, 5e-4, 6e-4)
_EPOCHS = 14  # of a small model, so that a cell takes about twenty seconds
_ROUNDS = 1
_EXECUTORS = {"one": None, "local": Processes(workers=2), "ray": OnRay(workers=2)}


def main() -> None:
    """Print the seconds of each way, and how they relate."""
    os.environ["OMP_NUM_THREADS"] = "1"
    printed = rounds("benchmarks.sweeping", list(_EXECUTORS), _ROUNDS)
    for side, times in printed.items():
        seconds = ", ".join(f"{row['seconds']:.0f} s" for row in times)
        print(f"{side}: {seconds}")
    for side in ("local", "ray"):
        print(f"{side} takes {ratio(printed[side], printed['one'])} of one after another")
    same = all(row["audits"] == printed["one"][0]["audits"] for rows in printed.values() for row in rows)
    print(f"the numbers are {'equal' if same else 'NOT equal'}")


def measure(side: str) -> None:
    """Print, as JSON, the seconds of one sweep, its workers' start included, and its audits."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        model = save_tiny_model(
            folder / "small", "llama", hidden_size=256, intermediate_size=1024, num_hidden_layers=8
        )
        spec = folder / "spec.yaml"
        spec.write_text(
            yaml.safe_dump(
                {
                    "kb": "country-code",
                    "model": str(model),
                    "seeds": list(_SEEDS),
                    "epochs": _EPOCHS,
                    "learning_rate": list(_RATES),
                }
            )
        )
        started = time.perf_counter()
        with redirect_stdout(sys.stderr):
            document = sweep(spec, executor=_EXECUTORS[side], out=folder / "sweep")
        seconds = time.perf_counter() - started
    rules = [[rule["top1"]["after"] for rule in audit["rules"]] for audit in document["audits"]]
    print(json.dumps({"seconds": seconds, "audits": rules}))


if __name__ == "__main__":
    measure(sys.argv[1]) if sys.argv[1:] else main()
