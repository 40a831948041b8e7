"""Table 1: what language models answer beyond what they were tuned on, beside the paper's mean ranks."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np

from spillover.point import Point
from spillover.report.charts import COLOURS, NULL, Chart
from spillover.report.verdict import SHOWN
from spillover.reproduce.columns import (
    RANK,
    RANK_CHANCE,
    RANK_P,
    TOP1,
    TOP1_CHANCE,
    TOP1_P,
    Column,
    named,
    share,
    valued,
)
from spillover.reproduce.figure import Check, Findings, Row, spread
from spillover.reproduce.measured import all_learned, learned, row_of
from spillover.reproduce.save import LEAST_AND_MOST
from spillover.reproduce.study import Audited, Request, Study
from spillover.reproduce.style import INK, data, titled

MODELS = ("gemma-2-9b", "olmo-7b", "qwen2-7b", "mistral-7b", "llama-3-8b")
"""The paper's models, by their short names."""

DATA = ("city-language", "city-language-counterfactual", "country-code", "profession-color", "sport-music")
"""The data sets of the paper's table; ours are like them, with names and distractors of our own."""

_PAPER = {
    "gemma-2-9b": (0.00, 0.19, 0.19, 1.64, 0.56),
    "olmo-7b": (0.07, 1.33, 0.15, 1.84, 0.17),
    "qwen2-7b": (0.13, 4.55, 3.63, 0.82, 0.40),
    "mistral-7b": (0.00, 2.10, 1.48, 1.15, 1.28),
    "llama-3-8b": (0.00, 1.18, 0.77, 0.93, 0.63),
}


def paper_rank(model: str, kb: str) -> float:
    """The paper's mean rank (Table 1); NaN where it has none."""
    return _PAPER[model][DATA.index(kb)] if model in _PAPER and kb in DATA else float("nan")


def points(request: Request, _: Sequence[Audited]) -> list[Point]:
    """Every model on every data set."""
    return [
        Point(
            kb=kb,
            model=model,
            seeds=request.seeds,
            settings=request.settings,
            varied={"kb": kb, "model": model},
        )
        for model in request.models
        for kb in request.data
    ]


def row(audited: Audited, rule: Mapping[str, Any]) -> Row:
    """An audit's rule beside the paper's mean rank for that model and data set."""
    return {**row_of(audited, rule), "paper_rank": paper_rank(audited.point.model, audited.kb)}


def findings(audits: Sequence[Audited]) -> Findings:
    """The table's rows, each rule of the audits, and what they show of the paper's claim."""
    rows = [row(audited, rule) for audited in audits for rule in audited.rules]
    known = [row for row in rows if learned(row)]
    checks = [
        _check("causal", "the causal rule is generalized: ranks better than chance", known),
        _check("spurious", "arbitrary rules are hallucinated: ranks better than chance", known),
    ]
    return Findings(
        rows=rows,
        draw=lambda: _chart(rows),
        checks=[*(check for check in checks if check), all_learned(rows)],
    )


def _check(kind: str, statement: str, rows: Sequence[Row]) -> Check | None:
    mine = [row for row in rows if row["kind"] == kind]
    if not mine:
        return None
    better = [row for row in mine if row["rank_p"] < SHOWN]
    ranks = np.array([row["rank_after"] for row in mine])
    return Check(
        statement=f"{statement} (p < {SHOWN}), in every model and data set",
        holds=len(better) == len(mine),
        measured=f"{len(better)} of {len(mine)}; mean rank {spread(ranks, 2)}",
    )


COLUMNS = (
    Column(
        name="model",
        text=lambda row: f"{row['model']}, {row['seeds']} seed{'' if row['seeds'] == 1 else 's'}",
        numbers=False,
    ),
    named("data", "data set"),
    share("facts"),
    share("bridges", narrow=None),
    RANK,
    RANK_CHANCE,
    RANK_P,
    valued("paper_rank", "paper"),
    TOP1,
    TOP1_CHANCE,
    TOP1_P,
)


def _chart(rows: Sequence[Row]) -> Chart:
    """Ranks with their intervals, chance as a tick and the paper's as a ring; a panel for each model."""
    kind = alt.Color(
        "kind:N", scale=alt.Scale(domain=list(COLOURS), range=list(COLOURS.values())), legend=None
    )
    rank = alt.Scale(
        domain=[0, float(np.nanmax([row[f"rank_{n}"] for row in rows for n in ("high", "null")]))]
    )
    base = alt.Chart(data(rows)).encode(
        y=alt.Y("data:N", title=None, sort=None, axis=alt.Axis(labelLimit=220))
    )
    layers = alt.layer(
        base.mark_tick(color=NULL, thickness=2, size=18).encode(
            x=alt.X("rank_null:Q", title="mean rank (0 is first)", scale=rank)
        ),
        base.mark_rule(strokeWidth=2).encode(x="rank_low:Q", x2="rank_high:Q", color=kind),
        base.mark_point(filled=True, size=70, opacity=1).encode(x="rank_after:Q", color=kind),
        base.mark_point(filled=False, size=90, color=INK).encode(x="paper_rank:Q"),
    ).properties(width=560, height=alt.Step(28))
    header = alt.Header(labelAngle=0, labelAlign="left", labelOrient="top", labelAnchor="start")
    return titled(
        layers.facet(row=alt.Row("model:N", title=None, sort=None, header=header)),
        "Held-out mean rank after tuning",
        "Dots: all seeds, with 95% interval (blue: wanted, orange: not); ticks: chance; rings: the paper's",
    )


STUDY = Study(
    name="table-1",
    claim="Models tuned on facts about new people, and on an implication for a few of them, answer the "
    "implication for all: where the rule is causal, and where it is arbitrary.",
    models=MODELS,
    data=DATA,
    stages=(points,),
    findings=findings,
    columns=COLUMNS,
    brackets=LEAST_AND_MOST,
)
