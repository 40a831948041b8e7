"""`weights`: W_OV of the trained models as heat maps, beside the two certified max-margin solutions."""

from collections.abc import Sequence
from dataclasses import dataclass

import altair as alt
import numpy as np

from spillover.report.charts import Chart
from spillover.reproduce.figure import Check, Figure, Findings, spread
from spillover.reproduce.late import NORMS, Optimum, held_out_margin, late_phase, optimum, world
from spillover.reproduce.style import INK, NULL, data, titled
from spillover.symbolic.experiment import Experiment
from spillover.symbolic.measure import blocks
from spillover.symbolic.task import Task
from spillover.symbolic.train import History

_WITHIN = {"factorized": 0.05, "merged": 0.02}
"""Those of Theorem 1: how near the block must be to that of the solution."""
_TOKENS = {"bridges": "bridges", "held_out": "held-out subjects", "relations": "relations"}


@dataclass(frozen=True, kw_only=True)
class WeightsSettings:
    """One world, a quarter of each group bridges as in the paper, trained into the late phase."""

    seeds: int = 8
    steps: int = 20_000
    groups: int = 5
    bridges: int = 1
    held_out: int = 3


def experiments(settings: WeightsSettings) -> list[Experiment]:
    """Both models side by side."""
    task = world(settings.groups, settings.bridges, settings.held_out)
    return [late_phase(task, seeds=settings.seeds, steps=settings.steps)]


def findings(settings: WeightsSettings, histories: Sequence[History]) -> Findings:
    """The weights scaled to a smallest training margin of 1, block by block."""
    (history,) = histories
    task, measures = history.experiment.task, history.measures
    rows, checks = [], []
    for place, (ov, norm) in enumerate(NORMS.items()):
        best = optimum(task, history.experiment.settings[place].model, norm)
        scale_S = np.where(measures.train_margin[-1, place] > 0, measures.train_margin[-1, place], np.nan)
        trained_SAV = history.weights[place][..., task.content] / scale_S[:, None, None]
        margin_S = np.array([held_out_margin(task, W) for W in trained_SAV])
        rows += _cells(task, trained_SAV[0], ov, f"{ov.capitalize()}, trained")
        rows += _cells(task, best.W, ov, f"{norm.capitalize()} norm, certified solution")
        checks += _checks(ov, norm, best, margin_S, _fill(task, trained_SAV), float(_fill(task, best.W)))
    return Findings(rows=rows, draw=lambda: _chart(rows), checks=checks)


def _fill(task: Task, W: np.ndarray) -> np.ndarray:
    """Norm of the implications' answers by held-out subjects, over that of the facts' answers by them."""
    cut = blocks(task, W)
    return np.linalg.norm(cut["implication", "held_out"], axis=(-2, -1)) / np.linalg.norm(
        cut["fact", "held_out"], axis=(-2, -1)
    )


def _checks(
    ov: str, norm: str, best: Optimum, margin_S: np.ndarray, fill_S: np.ndarray, fill: float
) -> list[Check]:
    measured = f"margin {spread(margin_S)}, {len(margin_S)} seeds; certified {best.held_out_margin:.3f}"
    blocks_measured = f"block norm ratio {spread(fill_S)}; certified {fill:.3f}"
    if ov == "merged":
        return [
            Check(
                statement="merged: the held-out implication block is empty, within 2% of the fact block",
                holds=bool((fill_S <= _WITHIN[ov]).all()),
                measured=blocks_measured,
            ),
            Check(
                statement="merged: held-out margin 0, give or take 2% of the training margin",
                holds=bool((np.abs(margin_S) <= _WITHIN[ov]).all()),
                measured=measured,
            ),
        ]
    return [
        Check(
            statement="factorized: the held-out implication block is as full as the solution's, less 5%",
            holds=bool((fill_S >= (1 - _WITHIN[ov]) * fill).all()),
            measured=blocks_measured,
        ),
        Check(
            statement="factorized: every held-out implication has a positive margin, in every seed",
            holds=bool((margin_S > 0).all()),
            measured=measured,
        ),
        Check(
            statement="is the trained block that of the nuclear solution, within 5%?",
            holds=bool((np.abs(fill_S / fill - 1) <= _WITHIN[ov]).all()),
            measured=blocks_measured,
            kind="question",
        ),
    ]


def _cells(task: Task, W: np.ndarray, ov: str, matrix: str) -> list[dict]:
    """One row for each entry of a W (A, subjects + relations): its block and its place in the picture."""
    wide = np.zeros((task.answers, len(task.inputs)))
    wide[:, task.content] = W
    cut = blocks(task, wide)
    rows = []
    for down, relation in enumerate(("fact", "implication")):
        right = 0
        for tokens in _TOKENS:
            block = cut[relation, tokens]
            rows += [
                {
                    "matrix": matrix,
                    "model": ov,
                    "answers": relation,
                    "tokens": tokens,
                    "row": down * task.groups + i,
                    "column": right + j,
                    "value": float(value),
                }
                for (i, j), value in np.ndenumerate(block)
            ]
            right += block.shape[1]
    return rows


def _chart(rows: list[dict]) -> Chart:
    largest = max(abs(row["value"]) for row in rows)
    matrices = list(dict.fromkeys(row["matrix"] for row in rows))
    panels = [_panel([row for row in rows if row["matrix"] == name], name, largest) for name in matrices]
    return titled(
        alt.vconcat(alt.hconcat(*panels[:2], spacing=44), alt.hconcat(*panels[2:], spacing=44), spacing=20),
        "W_OV as trained, beside the max-margin solutions",
        "Smallest training margin 1; outlined: the block that nothing was trained on; trained: seed 0",
    )


def _panel(rows: list[dict], name: str, largest: float) -> alt.LayerChart | alt.FacetChart:
    wide, high = (max(row[side] for row in rows) + 1 for side in ("column", "row"))
    spans = {
        tokens: (
            min(row["column"] for row in rows if row["tokens"] == tokens),
            max(row["column"] for row in rows if row["tokens"] == tokens) + 1,
        )
        for tokens in _TOKENS
    }
    x = alt.X("x:Q", axis=None, scale=alt.Scale(domain=[0, wide], nice=False))
    y = alt.Y("y:Q", axis=None, scale=alt.Scale(domain=[high, 0], nice=False))
    cells = [
        {**row, "x": row["column"], "x2": row["column"] + 1, "y": row["row"], "y2": row["row"] + 1}
        for row in rows
    ]
    heat = (
        alt.Chart(data(cells))
        .mark_rect(stroke="white", strokeWidth=0.6)
        .encode(
            x=x,
            x2="x2:Q",
            y=y,
            y2="y2:Q",
            color=alt.Color(
                "value:Q",
                scale=alt.Scale(
                    domain=[-largest, 0, largest], range=["#d55e00", "#f6f7f9", "#0072b2"], interpolate="rgb"
                ),
                legend=alt.Legend(title="entry of W_OV", gradientLength=200, tickCount=5, format=".1f"),
            ),
            tooltip=["answers:N", "tokens:N", alt.Tooltip("value:Q", format=".4f")],
        )
    )
    left, right = spans["held_out"]
    outline = (
        alt.Chart(data([{"x": left, "x2": right, "y": high / 2, "y2": high}]))
        .mark_rect(fill=None, stroke=INK, strokeWidth=2, opacity=1)
        .encode(x=x, x2="x2:Q", y=y, y2="y2:Q")
    )
    titles = [{"x": sum(span) / 2, "text": _TOKENS[tokens]} for tokens, span in spans.items()]
    names = [
        {"y": high / 4, "text": "fact's answers"},
        {"y": 3 * high / 4, "text": "implication's answers"},
    ]
    above = (
        alt.Chart(data(titles))
        .mark_text(dy=-8, fontSize=11, color=NULL)
        .encode(x=x, y=alt.value(0), text="text:N")
    )
    beside = (
        alt.Chart(data(names))
        .mark_text(dy=-9, angle=270, fontSize=11, color=NULL)
        .encode(x=alt.value(0), y=y, text="text:N")
    )
    title = alt.TitleParams(text=name, anchor="middle", fontSize=12, fontWeight="normal", offset=20)
    return alt.layer(heat, outline, above, beside).properties(width=330, height=190, title=title)


FIGURE = Figure(
    name="weights",
    claim="The factorized model fills in the block of the implications' answers by the held-out subjects, as "
    "the least nuclear norm does; the merged model leaves it empty, as the least Frobenius norm does.",
    settings=WeightsSettings,
    experiments=experiments,
    findings=findings,
)
