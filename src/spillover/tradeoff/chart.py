"""The trade-off in one picture: what is left of the spurious rule over what is kept of the wanted one."""

from collections.abc import Iterable, Sequence
from math import floor, isnan
from typing import Any

import altair as alt
import numpy as np
from scipy.optimize import isotonic_regression

from spillover.report.charts import COLOURS, NULL, Chart
from spillover.reproduce.figure import Row
from spillover.reproduce.style import INK, data, titled
from spillover.tradeoff.arms import PLAIN
from spillover.tradeoff.choice import LEAST_FACTS, plain_of

_SAME_MARGIN = 0.01
_WIDTH, _HEIGHT = 620, 420  # pixels of the upper panel
_LINE = 15 / _HEIGHT  # between two labels, as a share of the axis
_LABELS = 0.04  # how far beyond the axis of the wanted rule they stand, as a share of it
_SHARE = alt.Scale(domain=[0, 1])
_LEGEND: dict[str, Any] = {"title": None, "padding": 12, "columnPadding": 24}
_KNOWN, _MISSING = "facts learned", "facts missing"


def chart(rows: Sequence[Row]) -> Chart:
    """The trade-off, and below it what the theory says of those arms that change its table or its norm."""
    forecast = [row for row in rows if row["arm"] == PLAIN or _is_forecast(row, rows)]
    panels = [_trade_off(rows), *([_beside_theory(forecast)] if len(forecast) > 1 else [])]
    made = titled(
        alt.vconcat(*panels, spacing=40).resolve_scale(
            color="independent", shape="independent", size="independent"
        ),
        "What each intervention removes of the spurious rule, and keeps of the wanted one",
        "Lower right is better. Lines: 95% intervals; grey: chance, the same with the groups shuffled; "
        "size: harm, KL on neutral text (nats a token)",
    )
    return made.properties(padding={"left": 60, "right": 60, "top": 6, "bottom": 6})  # fonts may be wider


def _is_forecast(row: Row, rows: Sequence[Row]) -> bool:
    """Whether the theory says another margin of it than of the plain tune."""
    plain = plain_of(row, rows)["spurious_margin"]
    return abs(row["spurious_margin"] - plain) > _SAME_MARGIN


def _beside_theory(rows: Sequence[Row]) -> alt.LayerChart | alt.FacetChart:
    """Measured first places, and the forecast margin, of the spurious rule; the largest margin first."""
    kinds = {"measured (share first)": COLOURS["spurious"], "forecast (margin)": COLOURS["causal"]}
    measured, forecast = kinds
    ordered = sorted(rows, key=lambda row: -row["spurious_margin"])
    marks = [
        {"arm": row["arm"], "kind": kind, "value": row[field]}
        for row in ordered
        for kind, field in ((measured, "spurious_top1"), (forecast, "spurious_margin"))
    ]
    y = alt.Y("arm:N", title=None, sort=[row["arm"] for row in ordered], axis=alt.Axis(labelLimit=400))
    scale = alt.Scale(domain=[min(0.0, *(row["spurious_margin"] for row in rows)), 1.0])
    x = alt.X("value:Q", title="spurious rule", scale=scale)
    bars = alt.Chart(data(ordered)).encode(y=y)
    colour = alt.Color(
        "kind:N",
        scale=alt.Scale(domain=list(kinds), range=list(kinds.values())),
        legend=alt.Legend(**_LEGEND),
    )
    shape = alt.Shape("kind:N", scale=alt.Scale(domain=list(kinds), range=["circle", "diamond"]), legend=None)
    return alt.layer(
        bars.mark_tick(color=NULL, thickness=2, size=12).encode(
            x=alt.X("spurious_top1_null:Q", title="spurious rule")
        ),
        bars.mark_rule(strokeWidth=2, color=kinds[measured]).encode(
            x="spurious_top1_low:Q", x2="spurious_top1_high:Q"
        ),
        alt.Chart(data(marks))
        .mark_point(filled=True, size=60, opacity=1)
        .encode(x=x, y=y, color=colour, shape=shape),
    ).properties(
        width=700, height=alt.Step(22), title="Beside the theory: interventions that change its table or norm"
    )


def _trade_off(rows: Sequence[Row]) -> alt.LayerChart | alt.FacetChart:
    """A dot for each arm with both 95% intervals; a cross where facts are missing, large where it harms.

    Names stand in a column beside the panel, each with a line to its dot.
    """
    dots = [
        {**row, "label": at, "learned": _KNOWN if row["facts"] >= LEAST_FACTS else _MISSING}
        for row, at in zip(rows, _apart([row["spurious_top1"] for row in rows]), strict=True)
    ]
    least = _tenth_below(row["wanted_top1_low"] for row in rows)
    column, edge = (1 + share * (1 - least) for share in (_LABELS, _LABELS - 0.01))
    named = alt.Chart(data(dots)).transform_calculate(column=str(column), edge=str(edge))
    x = alt.X(
        "wanted_top1:Q",
        title="wanted rule's answer first (share)",
        scale=alt.Scale(domain=[least, 1.0], zero=False),
        axis=alt.Axis(tickCount=5),
    )
    y = alt.Y(
        "spurious_top1:Q",
        title="spurious rule's answer first (share)",
        scale=_SHARE,
        axis=alt.Axis(tickCount=5),
    )
    base = alt.Chart(data(dots))
    thin = {"strokeWidth": 1, "opacity": 0.35, "color": NULL}
    chance = (
        alt.Chart(data(dots)).mark_rule(color=NULL, strokeDash=[2, 3]).encode(y="mean(spurious_top1_null):Q")
    )
    colour = alt.Color(
        "front:N",
        scale=alt.Scale(domain=[True, False], range=[COLOURS["causal"], COLOURS["spurious"]]),
        legend=alt.Legend(labelExpr="datum.value ? 'on the front' : 'beaten by another'", **_LEGEND),
    )
    return alt.layer(
        chance,
        base.mark_rule(**thin).encode(x="wanted_top1_low:Q", x2="wanted_top1_high:Q", y=y),
        base.mark_rule(**thin).encode(x=x, y="spurious_top1_low:Q", y2="spurious_top1_high:Q"),
        base.mark_point(strokeWidth=2, opacity=0.9).encode(
            x=x,
            y=y,
            color=colour,
            shape=alt.Shape(
                "learned:N",
                scale=alt.Scale(domain=[_KNOWN, _MISSING], range=["circle", "cross"]),
                legend=alt.Legend(**_LEGEND),
            ),
            size=alt.Size(
                "kl:Q",
                scale=alt.Scale(range=[40, 500]),
                legend=alt.Legend(labelExpr="'KL ' + datum.label", format=".1f", tickCount=3, **_LEGEND),
            ),
            tooltip=["arm:N", "facts:Q", "wanted_top1:Q", "spurious_top1:Q", "kl:Q"],
        ),
        named.mark_rule(strokeWidth=0.7, color=NULL).encode(x=x, y=y, x2="edge:Q", y2="label:Q"),
        named.mark_text(align="left", fontSize=11).encode(
            x="column:Q",
            y="label:Q",
            text="arm:N",
            color=alt.condition(f"datum.arm === '{PLAIN}'", alt.value(NULL), alt.value(INK)),
        ),
    ).properties(width=_WIDTH, height=_HEIGHT)


def _tenth_below(shares: Iterable[float]) -> float:
    """The last tenth below all of these shares that are defined; at most a half, and 0 without any."""
    least = min((share for share in shares if not isnan(share)), default=0.0)
    return min(floor(10 * least) / 10, 0.5)


def _apart(heights: Sequence[float]) -> list[float]:
    """Places for labels, in the order given, a line or more apart and else as near as can be to these heights
    (least squares); as many as do not fit above 0 go below it."""
    heights_A = np.nan_to_num(np.asarray(heights, dtype=float))  # without a spurious rule there are none
    order = np.argsort(heights_A, kind="stable")
    steps = _LINE * np.arange(len(heights))
    places = isotonic_regression(heights_A[order] - steps).x + steps
    found = np.empty_like(heights_A)
    found[order] = places - max(0.0, places[-1] - 1.0)
    return found.tolist()
