"""`theorem-1`: training goes to the least norm, the nuclear one if factorized, Frobenius's if merged."""

from collections.abc import Sequence
from dataclasses import dataclass

import altair as alt
import numpy as np

from spillover.report.charts import Chart
from spillover.reproduce.figure import Check, Figure, Findings, spread
from spillover.reproduce.late import NORMS, late_phase, optimum, world
from spillover.reproduce.style import NULL, curves, data, legend, titled
from spillover.symbolic.experiment import Experiment
from spillover.symbolic.summary import mean_least_most
from spillover.symbolic.train import History

_WITHIN = {"factorized": 0.05, "merged": 0.02}
_ROUNDING = 1e-9
_TITLES = {"nuclear": "nuclear", "frobenius": "Frobenius"}
_NAMES = {"factorized": "factorized: nuclear norm", "merged": "merged: Frobenius norm"}


@dataclass(frozen=True, kw_only=True)
class Theorem1Settings:
    """Small worlds, trained into their late phase."""

    seeds: int = 4
    steps: int = 20_000
    worlds: tuple[tuple[int, int | tuple[int, ...], int | tuple[int, ...]], ...] = (
        (3, 1, 1),
        (3, 1, 2),
        (3, 2, 1),
        (4, 1, 3),
        (5, 1, 4),
        (4, (1, 2, 1, 3), (2, 1, 3, 1)),
    )
    """Groups, bridges and held-out subjects of a group, or of each group."""


def experiments(settings: Theorem1Settings) -> list[Experiment]:
    """One for each world."""
    return [
        late_phase(world(*sizes), seeds=settings.seeds, steps=settings.steps) for sizes in settings.worlds
    ]


def findings(settings: Theorem1Settings, histories: Sequence[History]) -> Findings:
    """The norm over the smallest training margin, relative to the certified optimum, along the steps."""
    rows, last = [], {ov: [] for ov in NORMS}
    lowest = np.inf
    for sizes, history in zip(settings.worlds, histories, strict=True):
        for place, (ov, norm) in enumerate(NORMS.items()):
            best = optimum(history.experiment.task, history.experiment.settings[place].model, norm)
            ratio_KS = getattr(history.measures, f"normalized_{norm}")[:, place] / best.norm
            lowest = min(lowest, np.nanmin(ratio_KS, initial=np.inf) * best.norm / best.lower_bound)
            last[ov].append(ratio_KS[-1])
            for step, ratio_S in zip(history.steps.tolist(), ratio_KS, strict=True):
                rows.append(
                    {
                        "world": _named(sizes),
                        "model": ov,
                        "norm": norm,
                        "step": step,
                        **mean_least_most(ratio_S, "ratio"),
                        "optimum": best.norm,
                        "lower_bound": best.lower_bound,
                    }
                )
    many = f"{len(histories)} worlds x {settings.seeds} seeds"
    checks = [
        Check(
            statement=f"{ov}: within {_WITHIN[ov]:.0%} of the certified {_TITLES[norm]} optimum in every run",
            holds=bool((np.stack(last[ov]) <= 1 + _WITHIN[ov]).all()),
            measured=f"norm / margin is {spread(last[ov], 4)} of the optimum after {settings.steps:,} steps, "
            f"{many}",
        )
        for ov, norm in NORMS.items()
    ]
    checks.append(
        Check(
            statement="no run at any step is below the certified lower bound",
            holds=bool(np.isfinite(lowest) and lowest >= 1 - _ROUNDING),
            measured=f"least {lowest:.6f} of the lower bound, all records, {many}",
        )
    )
    return Findings(rows=rows, draw=lambda: _chart(rows, settings), checks=checks)


def _named(sizes: tuple) -> str:
    """A world in a few words."""
    groups, bridges, held_out = sizes
    if isinstance(bridges, int) and isinstance(held_out, int):
        return f"{groups} groups of {bridges} + {held_out}"
    return f"{groups} unequal groups"


def _chart(rows: list[dict], settings: Theorem1Settings) -> Chart:
    seen = [{**row, "panel": _NAMES[row["model"]]} for row in rows if np.isfinite(row["ratio_most"])]
    names = list(dict.fromkeys(_named(sizes) for sizes in settings.worlds))
    palette = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00"]
    panels = []
    for ov, title in _NAMES.items():
        lines = curves(
            [row for row in seen if row["model"] == ov],
            x=alt.X(
                "step:Q",
                title="training step (log scale)",
                scale=alt.Scale(type="log", domain=[10, settings.steps], nice=False),
                axis=alt.Axis(values=[10, 100, 1000, 10_000], grid=False),
            ),
            y="ratio",
            y_title="(norm / smallest margin) / optimum",
            y_domain=(0.98, 1.5),
            colour=alt.Color(
                "world:N",
                scale=alt.Scale(domain=names, range=[palette[i % 6] for i in range(len(names))]),
                legend=legend("world (bridges + held out)", columns=3),
            ),
        )
        limit = (
            alt.Chart(data([{"y": 1 + _WITHIN[ov]}])).mark_rule(color=NULL, strokeDash=[5, 4]).encode(y="y:Q")
        )
        optimal = alt.Chart(data([{"y": 1}])).mark_rule(color=NULL).encode(y="y:Q")
        panels.append(alt.layer(optimal, limit, lines).properties(width=310, height=270, title=title))
    return titled(
        alt.hconcat(*panels, spacing=30),
        "Norm of the trained direction against the least norm",
        "Line at 1: the certified optimum; dashed: the allowance of 5% and 2%; bands: all seeds",
    )


FIGURE = Figure(
    name="theorem-1",
    claim="With the attention fixed, the factorized model converges in direction to the least nuclear norm "
    "that keeps every training margin, the merged model to the least Frobenius norm.",
    settings=Theorem1Settings,
    experiments=experiments,
    findings=findings,
)
