"""What a forecast costs on large tables: `python -m benchmarks.forecast`.

The whole command is timed, reading, discovery and the margins of every pair of relations included; its
peak memory is that of its process.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.tables import ruled

_LINE = "{name:<46}{seconds:>7.1f} s {memory:>6.2f} GB  gap {gap:.1e}, {patterns:,} patterns, {rules} rules"


def alike(subjects: int, patterns: int) -> np.ndarray:
    """(subjects, 5): every subject is like one of the first `patterns` subjects of a noisy table."""
    return ruled(patterns, 5, 15, 0.1, seed=0)[np.random.default_rng(1).integers(patterns, size=subjects)]


def write(table: np.ndarray, path: Path) -> None:
    """The table as a CSV of triples, subject by subject."""
    subject, relation = np.nonzero(table >= 0)
    answer = table[subject, relation]
    with path.open("w") as file:
        file.write("subject,relation,answer\n")
        rows = zip(subject.tolist(), relation.tolist(), answer.tolist(), strict=True)
        file.writelines(f"person {s},relation {r},answer {r} {a}\n" for s, r, a in rows)


def measure(path: Path, tol: str) -> dict[str, float]:
    """Seconds and peak memory in GB of the command, and what it found."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "spillover", "forecast", str(path), "--tol", tol, "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True)
    found = json.loads(done.stdout)
    return {
        "seconds": time.perf_counter() - started,
        "memory": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20,
        "gap": found["solver"]["relative_gap"],
        "patterns": found["kb"]["patterns"],
        "rules": len(found["rules"]),
    }


def main() -> None:
    """Print a line for each table; memory is the largest so far, so the smaller table comes first."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "facts.csv"
        for name, table in (
            ("1,000,000 subjects of few patterns, gap 1e-3", alike(1_000_000, 2_300)),
            ("100,000 subjects x 5, 10% noise, gap 1e-3", ruled(100_000, 5, 15, 0.1, seed=0)),
        ):
            write(table, path)
            print(_LINE.format(name=name, **measure(path, "1e-3")), flush=True)


if __name__ == "__main__":
    main()
