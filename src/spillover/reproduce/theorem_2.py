"""`theorem-2`: how far the held-out implications are answered, over bridges and held-out subjects."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import altair as alt
import numpy as np

from spillover.margin.closed_form import balanced
from spillover.report.charts import Chart
from spillover.reproduce.figure import Check, Figure, Findings, spread
from spillover.reproduce.late import NORMS, late_phase, optimum, world
from spillover.reproduce.style import INK, data, titled
from spillover.symbolic.experiment import Experiment
from spillover.symbolic.summary import mean_least_most
from spillover.symbolic.train import History

_WITHIN = {"factorized": 0.05, "merged": 0.02}
"""Those of Theorem 1: how near a trained direction must be to be called the solution's."""
_SOLVED = 0.01  # of a margin: a relative gap of 1e-6 leaves an error of about its square root


@dataclass(frozen=True, kw_only=True)
class Theorem2Settings:
    """Balanced worlds with every pair of sizes, trained into their late phase."""

    seeds: int = 4
    steps: int = 10_000
    groups: int = 3
    bridges: tuple[int, ...] = (1, 2, 3, 4)
    held_out: tuple[int, ...] = (1, 2, 3, 4)

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """(m_train, m_test) of every world."""
        return [(few, other) for few in self.bridges for other in self.held_out]


def experiments(settings: Theorem2Settings) -> list[Experiment]:
    """One for each pair."""
    return [
        late_phase(world(settings.groups, *pair), seeds=settings.seeds, steps=settings.steps)
        for pair in settings.pairs
    ]


def findings(settings: Theorem2Settings, histories: Sequence[History]) -> Findings:
    """Held-out margins over training margins: trained, certified, in closed form, and the bound."""
    rows = []
    for (m_train, m_test), history in zip(settings.pairs, histories, strict=True):
        measures = history.measures
        share_GS = measures.held_out_margin[-1] / np.where(
            measures.train_margin[-1] > 0, measures.train_margin[-1], np.nan
        )
        for place, (ov, norm) in enumerate(NORMS.items()):
            best = optimum(history.experiment.task, history.experiment.settings[place].model, norm)
            rows.append(
                {
                    "m_train": m_train,
                    "m_test": m_test,
                    "model": ov,
                    **mean_least_most(share_GS[place], "trained"),
                    "certified": best.held_out_margin,
                    "closed_form": balanced(settings.groups, m_train, m_test, norm).held_out_margin,
                    "bound": min(sqrt(m_train / m_test), 1.0) if norm == "nuclear" else 0.0,
                }
            )
    return Findings(rows=rows, draw=lambda: _chart(rows), checks=_checks(rows, settings))


def _checks(rows: list[dict], settings: Theorem2Settings) -> list[Check]:
    def column(model: str, name: str) -> np.ndarray:
        return np.array([row[name] for row in rows if row["model"] == model])

    many = f"{len(settings.pairs)} worlds x {settings.seeds} seeds"
    bound = column("factorized", "bound")
    solved = column("factorized", "certified") - bound
    exact = np.abs(column("factorized", "closed_form") - bound).max()
    over = column("factorized", "trained_least") / bound
    above = column("factorized", "trained_most") / bound
    merged = np.abs([column("merged", "trained_least"), column("merged", "trained_most")])
    empty = np.abs(column("merged", "certified"))
    return [
        Check(
            statement="certified nuclear solution: held-out margin is min{√(m_train/m_test), 1}",
            holds=bool((np.abs(solved) <= _SOLVED).all() and exact <= _SOLVED),
            measured=f"certified minus bound {spread(solved, 5)}, closed form off by {exact:.0e} at most, "
            f"{len(settings.pairs)} worlds",
        ),
        Check(
            statement=f"trained factorized: at least the bound less {_WITHIN['factorized']:.0%} in every run",
            holds=bool((over >= 1 - _WITHIN["factorized"]).all()),
            measured=f"least of the seeds over the bound {spread(over)}, {many}",
        ),
        Check(
            statement="certified Frobenius solution: held-out margin 0",
            holds=bool((empty <= _SOLVED).all()),
            measured=f"at most {empty.max():.1e} either way, {len(settings.pairs)} worlds",
        ),
        Check(
            statement=f"trained merged: held-out margin 0, give or take {_WITHIN['merged']:.0%}",
            holds=bool((merged <= _WITHIN["merged"]).all()),
            measured=f"at most {merged.max():.1e} of the training margin either way, {many}",
        ),
        Check(
            statement=f"is the trained factorized margin the solution's, within {_WITHIN['factorized']:.0%}?",
            holds=bool(
                (over >= 1 - _WITHIN["factorized"]).all() and (above <= 1 + _WITHIN["factorized"]).all()
            ),
            measured=f"trained over solution {np.min(over):.3f} to {np.max(above):.3f} "
            f"after {settings.steps:,} steps",
            kind="question",
        ),
    ]


def _chart(rows: list[dict]) -> Chart:
    factorized = [
        {**row, "bridges": f"m_train = {row['m_train']}", "ratio": row["m_train"] / row["m_test"]}
        for row in rows
        if row["model"] == "factorized"
    ]
    merged = [{**row, "ratio": row["m_train"] / row["m_test"]} for row in rows if row["model"] == "merged"]
    grid = np.geomspace(min(row["ratio"] for row in factorized), max(row["ratio"] for row in factorized), 80)
    what = ["trained, factorized", "certified solution", "trained, merged", "bound, met by the closed form"]
    shape = alt.Shape(
        "what:N",
        scale=alt.Scale(domain=what[:3], range=["circle", "cross", "square"]),
        legend=alt.Legend(title=None, orient="bottom"),
    )
    colour = alt.Color(
        "what:N",
        scale=alt.Scale(domain=what[:3], range=["#0072b2", INK, "#d55e00"]),
        legend=alt.Legend(title=None, orient="bottom"),
    )
    x = alt.X(
        "ratio:Q",
        title="m_train / m_test (log scale)",
        axis=alt.Axis(values=[0.25, 0.33, 0.5, 0.75, 1, 1.5, 2, 3, 4], grid=False),
        scale=alt.Scale(type="log", nice=False, padding=12),
    )
    y_title = "held-out margin / training margin"
    line = (
        alt.Chart(data([{"ratio": float(r), "bound": min(sqrt(r), 1.0)} for r in grid]))
        .mark_line(color="#5f6b76", strokeWidth=1.5)
        .encode(x=x, y=alt.Y("bound:Q", title=y_title))
    )
    layers = [line]
    for label, part, field in (
        (what[2], merged, "trained"),
        (what[0], factorized, "trained"),
        (what[1], factorized, "certified"),
    ):
        points = [{**row, "what": label, "share": row[field]} for row in part]
        layers.append(
            alt.Chart(data(points))
            .mark_point(size=60, filled=field == "trained", strokeWidth=1.6, opacity=0.8)
            .encode(
                x=x,
                y=alt.Y("share:Q", title=y_title, scale=alt.Scale(domain=[-0.05, 1.1])),
                color=colour,
                shape=shape,
                tooltip=["m_train:O", "m_test:O", alt.Tooltip("share:Q", format=".4f")],
            )
        )
    return titled(
        alt.layer(*layers).properties(width=640, height=320),
        "Held-out margin by the ratio of bridges to held-out subjects",
        "Line: the bound min{√(m_train/m_test), 1}, which the closed form meets; points: means of seeds",
    )


FIGURE = Figure(
    name="theorem-2",
    claim="With m_train bridges and m_test held-out subjects in every group, the least nuclear norm gives "
    "every held-out implication a margin of at least min{√(m_train/m_test), 1}, the least Frobenius norm "
    "exactly 0.",
    settings=Theorem2Settings,
    experiments=experiments,
    findings=findings,
)
