"""`rank-sweep`: how many columns d_h the factorized model needs."""

from collections.abc import Sequence
from dataclasses import dataclass

import altair as alt
import numpy as np

from spillover.report.charts import Chart
from spillover.reproduce.figure import Check, Figure, Findings, spread
from spillover.reproduce.style import data, log_scale, span, titled
from spillover.runs.stats import mean_interval
from spillover.symbolic.experiment import Experiment, reference
from spillover.symbolic.summary import learning_curve, mean_least_most
from spillover.symbolic.train import History

_NAMES = ("train_accuracy", "held_out_loss", "held_out_accuracy")


@dataclass(frozen=True, kw_only=True)
class RankSweepSettings:
    """The reference experiment for every rank."""

    seeds: int = 8
    steps: int = 10_000
    """Between the paper's 2,000 and 20,000."""
    ranks: tuple[int, ...] = (3, 4, 8, 16, 32, 64, 128)


def experiments(settings: RankSweepSettings) -> list[Experiment]:
    """All ranks side by side."""
    return [reference(d_h=settings.ranks, seeds=settings.seeds, steps=settings.steps)]


def findings(settings: RankSweepSettings, histories: Sequence[History]) -> Findings:
    """Held-out accuracy of every rank and seed at the end."""
    (history,) = histories
    accuracy_GS = history.measures.held_out_accuracy[-1]
    rows = [
        row
        for place, rank in enumerate(settings.ranks)
        for row in learning_curve(history, place, _NAMES, d_h=rank)
    ]
    checks = [_check(rank, accuracy_S) for rank, accuracy_S in zip(settings.ranks, accuracy_GS, strict=True)]
    if 3 in settings.ranks and 4 in settings.ranks:
        few_S, enough_S = (accuracy_GS[settings.ranks.index(rank)] for rank in (3, 4))
        checks.append(
            Check(
                statement="the worst seed with d_h = 4 is better than the best with d_h = 3",
                holds=bool(enough_S.min() > few_S.max()),
                measured=f"accuracy {enough_S.min():.2f} against {few_S.max():.2f}",
            )
        )
    return Findings(rows=rows, draw=lambda: _chart(settings, history), checks=checks)


def _check(rank: int, accuracy_S: np.ndarray) -> Check:
    right = int((accuracy_S == 1).sum())
    interval = mean_interval(accuracy_S, 0, 1)
    ends = f", 95% for the mean {interval.low:.2f} to {interval.high:.2f}" if len(accuracy_S) > 1 else ""
    measured = f"accuracy {spread(accuracy_S, 2)}{ends}; 1.00 for {right} of {len(accuracy_S)}"
    if rank <= 3:
        return Check(
            statement=f"d_h = {rank} fails: held-out accuracy below 1.00 for every seed",
            holds=bool((accuracy_S < 1).all()),
            measured=measured,
        )
    return Check(
        statement=f"d_h = {rank} works: held-out accuracy 1.00 for every seed",
        holds=right == len(accuracy_S),
        measured=measured,
    )


def _chart(settings: RankSweepSettings, history: History) -> Chart:
    titles = {"accuracy": "held-out accuracy", "loss": "held-out loss (nats, log scale)"}
    panels = []
    for name, title in titles.items():
        values_GS = getattr(history.measures, f"held_out_{name}")[-1]
        points = [
            {"d_h": rank, "seed": seed, name: value}
            for rank, values_S in zip(settings.ranks, values_GS.tolist(), strict=True)
            for seed, value in enumerate(values_S)
        ]
        means = [
            {"d_h": rank, **mean_least_most(values_S, name)}
            for rank, values_S in zip(settings.ranks, values_GS, strict=True)
        ]
        x = alt.X("d_h:O", title="d_h, columns of W_O and W_V", axis=alt.Axis(labelAngle=0))
        scale, axis = alt.Scale(domain=[0, 1]), alt.Axis(tickCount=5)
        if name == "loss":
            scale, axis = log_scale(*span(means, name))
        y = alt.Y(f"{name}:Q", title=title, scale=scale, axis=axis)
        line = alt.Chart(data(means)).mark_line(color="#0072b2", strokeWidth=2).encode(x=x, y=y)
        dots = (
            alt.Chart(data(points))
            .mark_circle(size=42, color="#0072b2", opacity=0.45)
            .encode(x=x, y=y, tooltip=["d_h:O", "seed:O", alt.Tooltip(f"{name}:Q", format=".4f")])
        )
        panels.append(alt.layer(line, dots).properties(width=310, height=260))
    return titled(
        alt.hconcat(*panels, spacing=36),
        "Held-out accuracy and loss by rank",
        f"Factorized, reference setting, {settings.steps:,} steps; a dot is a seed, the line their mean",
    )


FIGURE = Figure(
    name="rank-sweep",
    claim="The factorized model answers the held-out implications from d_h = 4 on; d_h = 3 is too few.",
    settings=RankSweepSettings,
    experiments=experiments,
    findings=findings,
)
