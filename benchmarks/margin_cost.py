"""What the max-margin solver costs, from a hundred to a hundred thousand subjects: `python -m
benchmarks.margin_cost`.

Each point runs in a process of its own (for its peak memory) and draws into docs/margin-cost.svg.
"""

import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import altair as alt

from benchmarks.tables import rule_table
from spillover.margin.certificate import certificate
from spillover.margin.solve import solve

_GAP, _SECONDS = 1e-3, 120.0
_SUBJECTS = (100, 1_000, 10_000, 100_000)
_LINE = (
    "{table:<27}{subjects:>7} subjects {distinct:>6} distinct {solve:6.1f} + {certificate:.1f} s "
    "{memory:.2f} GB  gap {gap:.1e}"
)
_CHART = Path(__file__).parent.parent / "docs" / "margin-cost.svg"


def measure(subjects: int, answers: int, noise: float) -> dict[str, float]:
    """One point: seconds of solving and proving, peak memory in GB, the certified gap."""
    problem = rule_table(subjects, 5, answers, noise, seed=0)
    started = time.perf_counter()
    solution = solve(problem, _GAP, time_limit=_SECONDS)
    solved = time.perf_counter() - started
    proof = certificate(problem, solution)
    return {
        "subjects": subjects,
        "triples": problem.examples,
        "distinct": len(solution.columns),
        "solve": solved,
        "certificate": time.perf_counter() - started - solved,
        "iterations": solution.iterations,
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "gap": proof.relative_gap,
    }


def main() -> None:
    """Measure every point, print it, and draw the chart."""
    points = []
    for answers in (15, 100):
        for noise in (0.0, 0.1):
            for subjects in _SUBJECTS:
                command = [
                    sys.executable,
                    "-m",
                    "benchmarks.margin_cost",
                    str(subjects),
                    str(answers),
                    str(noise),
                ]
                done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
                table = f"5 x {answers} answers, {'10% noise' if noise else 'rules only'}"
                points.append({"table": table, **json.loads(done.stdout)})
                print(_LINE.format(**points[-1]), flush=True)
    chart(points).save(_CHART)


def chart(points: list[dict]) -> alt.HConcatChart:
    """Seconds, memory and gap over subjects."""
    base = alt.Chart(alt.Data(values=points)).encode(
        x=alt.X("subjects:Q", scale=alt.Scale(type="log"), axis=alt.Axis(values=_SUBJECTS, format="~s")),
        color=alt.Color("table:N", title=None, legend=alt.Legend(orient="bottom", columns=2, labelLimit=0)),
    )
    panels = []
    for field, title in (
        ("solve", "seconds"),
        ("memory", "peak memory, GB"),
        ("gap", "certified relative gap"),
    ):
        y = alt.Y(f"{field}:Q", title=title, scale=alt.Scale(type="log"))
        panels.append(base.mark_line(point=True).encode(y=y).properties(width=200, height=200))
    return alt.hconcat(*panels)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(measure(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))))
    else:
        main()
