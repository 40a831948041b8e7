"""`bridges-llm`: what a language model says of held-out subjects, over the number of bridges in a group."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import sqrt
from typing import Any

import altair as alt
import pyarrow.compute as pc

from spillover.errors import DataError
from spillover.knowledge.load import load
from spillover.knowledge.schema import KnowledgeBase
from spillover.point import Point
from spillover.report.charts import NULL, Chart
from spillover.report.verdict import SHOWN, p_phrase, percent
from spillover.reproduce.columns import (
    RANK,
    RANK_CHANCE,
    TOP1,
    TOP1_CHANCE,
    Column,
    counted,
    p_of,
    share,
    valued,
)
from spillover.reproduce.figure import Check, Findings, Row
from spillover.reproduce.measured import ALL, CURVE, all_learned, curve_name, grouped, pooled, rows_of
from spillover.reproduce.study import Audited, Request, Study
from spillover.reproduce.style import INK, data, titled
from spillover.runs.correlation import Correlation, rank_correlation

BRIDGES = (1, 2, 4, 8, 16)
"""Per group; a data set has those that leave somebody of its smallest group held out."""


def points(request: Request, _: Sequence[Audited]) -> list[Point]:
    """Every model on every data set with every number of bridges."""
    bases = [load(kb) for kb in request.data]
    return [
        Point(
            kb=with_bridges(kb, few),
            model=model,
            seeds=request.seeds,
            settings=request.settings,
            varied={"kb": kb.name, "model": model, "bridges": few},
        )
        for model in request.models
        for kb in bases
        for few in _numbers(kb)
    ]


def with_bridges(kb: KnowledgeBase, number: int) -> KnowledgeBase:
    """The same with so many bridges drawn in each group of each rule."""
    return replace(kb, rules=tuple(replace(rule, bridges=number) for rule in kb.rules))


def _numbers(kb: KnowledgeBase) -> list[int]:
    """The numbers of bridges that the knowledge base has room for."""
    for rule in kb.rules:
        if rule.bridges is None:
            raise DataError(f"{rule.place} draws no bridges; give it `bridges`, so that they can be varied")
    sizes = [Counter(kb.answers[rule.fact].values()) for rule in kb.rules]
    smallest = min((min(groups.values()) for groups in sizes if groups), default=0)
    if not (numbers := [few for few in BRIDGES if few < smallest]):
        raise DataError(
            f"knowledge base {kb.name}: its smallest group has {smallest} subjects, and one must be held out "
            "beside a bridge; give groups of 2 or more, and a rule"
        )
    return numbers


def findings(audits: Sequence[Audited]) -> Findings:
    """A row for each number of bridges, of all seeds and of each."""
    rows = [row for audited in audits for row in _rows(audited)]
    curves = _curves(rows)
    more = {name: _rise([row["top1_after"] for row in part], part) for name, part in curves.items()}
    better = {name: _rise([-row["rank_after"] for row in part], part) for name, part in curves.items()}
    of_all = pooled(rows)
    fewest = [row for row in of_all if row["per_group"] == 1]
    enough = [row["top1_p"] < SHOWN for row in fewest]
    return Findings(
        rows=rows,
        draw=lambda: _chart(of_all),
        checks=[
            Check(
                statement="more bridges, more spillover, as forecast: first more often, Spearman's ρ above 0 "
                f"(p < {SHOWN})",
                holds=all(rise.p_value < SHOWN for rise in more.values()),
                measured=_each(more),
            ),
            Check(
                statement="more bridges, better mean ranks: Spearman's ρ above 0, ranks counted backwards "
                f"(p < {SHOWN})",
                holds=all(rise.p_value < SHOWN for rise in better.values()),
                measured=_each(better),
            ),
            Check(
                statement=f"is one bridge per group enough to be first more often than chance (p < {SHOWN})?",
                holds=bool(enough) and all(enough),
                measured="; ".join(
                    f"{curve_name(row)}: {percent(row['top1_after'])}, chance {percent(row['top1_null'])}, "
                    f"{p_phrase(row['top1_p'])}"
                    for row in fewest
                )
                or "undefined",
                kind="question",
            ),
            all_learned(of_all),
        ],
    )


def _rows(audited: Audited) -> Iterator[Row]:
    few = audited.point.varied["bridges"]

    def beside(number: int, rule: Mapping[str, Any]) -> Row:
        asked = audited.scores.filter((pc.field("rule") == number) & (pc.field("kind") == "held_out"))
        held_out = rule["queries"] / len(audited.point.seeds) / len(asked["group"].unique())
        return {
            "rule": f"{rule['fact']} -> {rule['implication']}" if len(audited.rules) > 1 else "",
            "per_group": few,
            "held_out_per_group": held_out,
            "forecast": rule["forecast_margin"],
            "bound": min(sqrt(few / held_out), 1.0),
        }

    return rows_of(audited, beside)


def _curves(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The single seeds' rows of each model, data set and rule."""
    alone = [row for row in rows if row["seed"] != ALL]
    return {curve_name(curve[0]): curve for curve in grouped(alone, *CURVE)}


def _rise(measured: Sequence[float], rows: Sequence[Row]) -> Correlation:
    """How what was measured of single seeds goes along with the number of bridges."""
    return rank_correlation([row["per_group"] for row in rows], measured, alternative="greater")


def _each(curves: dict[str, Correlation]) -> str:
    return "; ".join(f"{name}: ρ {found}, {p_phrase(found.p_value)}" for name, found in curves.items())


def _chart(rows: Sequence[Row]) -> Chart:
    """Shares of first places and mean ranks over the bridges, beside forecast and bound; a line of panels for
    each model and data set.
    """
    lines = [
        alt.hconcat(_shares(curve, curve_name(curve[0])), _ranks(curve), spacing=30)
        for curve in grouped(rows, *CURVE)
    ]
    return titled(
        alt.vconcat(*lines),
        "Held-out subjects by the number of bridges in their group",
        "Dots: all seeds, with 95% interval; grey ticks: chance; lines: what theory says of one layer",
    )


_THEORY = {"forecast margin": "forecast", "Theorem 2's bound": "bound"}
_X = alt.X("per_group:O", title="bridges per group", axis=alt.Axis(labelAngle=0, grid=False))


def _shares(rows: Sequence[Row], title: str) -> Chart:
    theory = [
        {"per_group": row["per_group"], "what": what, "margin": row[field]}
        for row in rows
        for what, field in reversed(_THEORY.items())  # the narrow line over the wide one
    ]
    y_title = "first (share), or margin"
    lines = (
        alt.Chart(data(theory))
        .mark_line()
        .encode(
            x=_X,
            y=alt.Y("margin:Q", title=y_title, scale=alt.Scale(domain=[0, 1])),
            strokeWidth=alt.StrokeWidth(
                "what:N", scale=alt.Scale(domain=list(_THEORY), range=[1.6, 7]), legend=None
            ),
            color=alt.Color(
                "what:N",
                scale=alt.Scale(domain=list(_THEORY), range=[INK, "#cfe3f1"]),
                legend=alt.Legend(title=None, orient="bottom", symbolType="stroke", symbolStrokeWidth=3),
            ),
        )
    )
    return alt.layer(lines, *_measured(rows, "top1", y_title, alt.Scale(domain=[0, 1]))).properties(
        width=300, height=240, title=title
    )


def _ranks(rows: Sequence[Row]) -> Chart:
    return alt.layer(*_measured(rows, "rank", "mean rank (0 is first)", alt.Scale(zero=True))).properties(
        width=300, height=240
    )


def _measured(rows: Sequence[Row], name: str, title: str, scale: alt.Scale) -> list[alt.Chart]:
    """Chance, intervals and dots."""
    base = alt.Chart(data(rows)).encode(x=_X)
    return [
        base.mark_tick(color=NULL, thickness=2, size=24).encode(
            y=alt.Y(f"{name}_null:Q", title=title, scale=scale)
        ),
        base.mark_rule(strokeWidth=2, color=_MEASURED).encode(
            y=alt.Y(f"{name}_low:Q", title=title, scale=scale), y2=f"{name}_high:Q"
        ),
        base.mark_point(filled=True, size=70, opacity=1, color=_MEASURED).encode(
            y=alt.Y(f"{name}_after:Q", title=title, scale=scale)
        ),
    ]


_MEASURED = "#d55e00"

STUDY = Study(
    name="bridges-llm",
    claim="How many bridges does a language model need? In one layer any number teaches the rule, and more "
    "of them a larger margin (Theorem 2).",
    data=("country-code",),
    stages=(points,),
    findings=findings,
    columns=(
        Column(name="model and data set", text=curve_name, numbers=False),
        counted("per_group", "bridges"),
        share("facts", narrow=None),
        share("bridges", "learned"),
        TOP1,
        TOP1_CHANCE,
        p_of("top1_p"),
        RANK,
        RANK_CHANCE,
        p_of("rank_p", narrow=None),
        valued("forecast", "margin"),
        valued("bound"),
    ),
    shown=pooled,
)
