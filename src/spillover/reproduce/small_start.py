"""`small-start`: why a trained model's held-out margins stay above the solution's, long after its norm."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import altair as alt
import numpy as np

from spillover.margin.closed_form import balanced, low_rank
from spillover.report.charts import Chart
from spillover.reproduce.figure import Check, Figure, Findings, spread
from spillover.reproduce.late import late_phase, world
from spillover.reproduce.style import INK, data, titled
from spillover.symbolic.experiment import Experiment
from spillover.symbolic.summary import mean_least_most
from spillover.symbolic.train import History

_WITHIN = 0.03  # of a margin
_NORM = 0.005  # how far above the least one a norm may be
_COUNTS = 0.02  # of the largest singular value: from where on one counts for the rank


@dataclass(frozen=True, kw_only=True)
class SmallStartSettings:
    """Balanced worlds with fewer bridges than held-out subjects, each from a small and from a large start."""

    seeds: int = 2
    steps: int = 10_000
    worlds: tuple[tuple[int, int, int], ...] = ((3, 1, 2), (3, 1, 3), (3, 1, 4), (4, 1, 2), (3, 2, 4))
    """(groups, bridges, held-out subjects)"""
    starts: tuple[float, float] = (0.001, 1.0)
    """Spreads of the normal start, the small one first."""


def experiments(settings: SmallStartSettings) -> list[Experiment]:
    """The factorized model alone, world after world, start after start."""
    both = [
        late_phase(world(*sizes), seeds=settings.seeds, steps=settings.steps, start=start)
        for sizes in settings.worlds
        for start in settings.starts
    ]
    return [replace(experiment, settings=experiment.settings[:1]) for experiment in both]


def findings(settings: SmallStartSettings, histories: Sequence[History]) -> Findings:
    """Norm, rank and held-out margin at the end, beside the optimum's and those of the point of rank n."""
    rows = []
    cases = ((sizes, start) for sizes in settings.worlds for start in settings.starts)
    for (sizes, start), history in zip(cases, histories, strict=True):
        best, low = balanced(*sizes), low_rank(*sizes)
        measures, content = history.measures, history.experiment.task.content
        train_S = measures.train_margin[-1, 0]
        scale_S = np.where(train_S > 0, train_S, np.nan)
        values_SK = np.linalg.svd(history.weights[0][..., content], compute_uv=False)
        rank_S = (values_SK > _COUNTS * values_SK[:, :1]).sum(axis=1)
        groups, m_train, m_test = sizes
        rows.append(
            {
                "groups": groups,
                "m_train": m_train,
                "m_test": m_test,
                "start": start,
                **mean_least_most(measures.held_out_margin[-1, 0] / scale_S, "trained"),
                **mean_least_most(measures.nuclear[-1, 0] / scale_S / best.value, "norm"),
                **mean_least_most(rank_S.astype(float), "rank"),
                "optimum": best.held_out_margin,
                "low_rank": low.held_out_margin,
                "low_rank_norm": low.value / best.value,
                "fourth_root": (m_train / m_test) ** 0.25,
            }
        )
    return Findings(rows=rows, draw=lambda: _chart(rows, settings), checks=_checks(rows, settings))


def _checks(rows: list[dict[str, Any]], settings: SmallStartSettings) -> list[Check]:
    small, large = ([row for row in rows if row["start"] == start] for start in settings.starts)

    def over(mine: list[dict[str, Any]], what: str) -> np.ndarray:
        return np.array([[row[f"trained_{end}"] / row[what] for end in ("least", "most")] for row in mine])

    norms = np.array([row["norm_most"] for row in small])
    ranks = np.array([[row["rank_least"], row["rank_most"]] for row in small])
    groups = np.array([[row["groups"]] for row in small])
    near, fourth, above = (over(small, what) for what in ("low_rank", "fourth_root", "optimum"))
    wide = np.array([row["rank_least"] > row["groups"] for row in large])
    away = [np.abs(over(mine, "optimum") - 1).max(axis=1) for mine in (small, large)]
    many = f"{len(small)} worlds x {settings.seeds} seeds"
    return [
        Check(
            statement=f"from a small start the norm comes within {_NORM:.1%} of the least one",
            holds=bool((norms <= 1 + _NORM).all()),
            measured=f"most of the seeds {spread(norms, 4)}, {many}",
        ),
        Check(
            statement=f"its held-out margin is that of rank n, within {_WITHIN:.0%}, and above the optimum's",
            holds=bool((np.abs(near - 1) <= _WITHIN).all() and (above > 1 + _WITHIN).all()),
            measured=f"of that of rank n {spread(near)}, of the optimum's {spread(above)}, {many}",
        ),
        Check(
            statement="the trained W has rank n, where the optimum has 2n − 1",
            holds=bool((ranks == groups).all()),
            measured=f"{int((ranks == groups).all(axis=1).sum())} of {len(small)} worlds",
        ),
        Check(
            statement="is that margin the fourth root of m_train/m_test, within 5%?",
            holds=bool((np.abs(fourth - 1) <= 0.05).all()),
            measured=f"of it {spread(fourth)}, {many}",
            kind="question",
        ),
        Check(
            statement="from a large start: more than rank n, and nearer the optimum's margin?",
            holds=bool(wide.all() and (away[1] < away[0]).all()),
            measured=f"off by {spread(away[1])} of it, from the small start by {spread(away[0])}",
            kind="question",
        ),
    ]


def _chart(rows: list[dict[str, Any]], settings: SmallStartSettings) -> Chart:
    small, large = (f"trained, start {start:g}" for start in settings.starts)
    names = {settings.starts[0]: small, settings.starts[1]: large}
    points = [
        {
            "world": f"{row['groups']} groups of {row['m_train']} + {row['m_test']}",
            "what": what,
            "margin": value,
        }
        for row in rows
        for what, value in (
            (names[row["start"]], row["trained"]),
            ("optimum", row["optimum"]),
            ("rank n", row["low_rank"]),
        )
    ]
    kinds = ["rank n", small, "optimum", large]
    marks = (
        alt.Chart(data(points))
        .mark_point(size=90, strokeWidth=2)
        .encode(
            x=alt.X("margin:Q", title="held-out margin / training margin", scale=alt.Scale(domain=[0.3, 1])),
            y=alt.Y("world:N", title=None, sort=None, axis=alt.Axis(labelLimit=200)),
            color=alt.Color(
                "what:N",
                scale=alt.Scale(domain=kinds, range=[INK, "#0072b2", INK, "#d55e00"]),
                legend=alt.Legend(title=None, orient="bottom"),
            ),
            shape=alt.Shape(
                "what:N",
                scale=alt.Scale(domain=kinds, range=["stroke", "circle", "cross", "square"]),
                legend=alt.Legend(title=None, orient="bottom"),
            ),
            tooltip=["world:N", "what:N", alt.Tooltip("margin:Q", format=".4f")],
        )
    )
    return titled(
        marks.properties(width=640, height=220),
        "Held-out margins of trained models, by their start",
        "Beside the certified optimum and the best W of rank n, both in closed form",
    )


FIGURE = Figure(
    name="small-start",
    claim="A model that starts small ends at a W of rank n. Its nuclear norm is a fraction of a percent "
    "above the least one, and its held-out margins are nearly the fourth root of m_train/m_test and not its "
    "square root (our own derivation, docs/design/finite-time.md).",
    settings=SmallStartSettings,
    experiments=experiments,
    findings=findings,
)
