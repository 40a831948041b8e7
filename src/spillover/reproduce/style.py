"""The look of all reproductions' charts: the report's, with one colour for each model."""

from collections.abc import Mapping, Sequence
from math import ceil, floor, log10
from typing import Any

import altair as alt

from spillover.report.charts import COLOURS, NULL, Chart, finished
from spillover.reproduce.figure import Row
from spillover.runs.files import jsonable

__all__ = [
    "INK",
    "MODELS",
    "NULL",
    "SCALE",
    "curves",
    "data",
    "first_and_rank",
    "held_out_panels",
    "legend",
    "log_scale",
    "span",
    "titled",
]

MODELS = {"factorized": COLOURS["causal"], "merged": COLOURS["spurious"]}
"""Colour of each model."""

SCALE = alt.Scale(domain=list(MODELS), range=list(MODELS.values()))
"""The same as a scale."""

INK = "#1b1f24"

_TINY = 1e-9  # of a logarithmic axis; a loss of 0 has no place there


def data(rows: Sequence[Row]) -> alt.Data:
    """Rows as chart data; what is undefined is missing."""
    return alt.Data(values=jsonable(list(rows)))


def titled(chart: Any, title: str, subtitle: str) -> Chart:
    """A chart in the house's look under a title and a line that says what is shown."""
    text = alt.TitleParams(
        text=title,
        subtitle=subtitle,
        anchor="start",
        fontSize=15,
        subtitleFontSize=12,
        subtitleColor=NULL,
        offset=12,
        color=INK,
    )
    return finished(chart.properties(title=text), f"{title}. {subtitle}")


def log_scale(low: float, high: float) -> tuple[alt.Scale, alt.Axis]:
    """A logarithmic scale, and an axis with lines at the powers of ten only."""
    low = max(low, _TINY)
    decades = [10.0**power for power in range(floor(log10(low)), ceil(log10(high)) + 1)]
    return alt.Scale(type="log", domain=[low, high], nice=False), alt.Axis(values=decades, format="~g")


def curves(
    rows: Sequence[Row],
    *,
    x: alt.X,
    y: str,
    y_title: str,
    colour: alt.Color,
    dash: alt.StrokeDash | None = None,
    y_domain: Sequence[float] | None = None,
    log: bool = False,
) -> alt.LayerChart | alt.FacetChart:
    """Means as lines, least to most over the seeds as bands; the fields of `mean_least_most`.

    `y_domain` makes panels alike.
    """
    if log:
        scale, axis = log_scale(*(y_domain or span(rows, y)))
    else:
        scale = alt.Scale(domain=list(y_domain), zero=False, nice=False) if y_domain else alt.Scale()
        axis = alt.Axis(tickCount=6)
    base = alt.Chart(data(rows)).encode(x=x, color=colour)
    band, line = base.mark_area(opacity=0.18, clip=True), base.mark_line(strokeWidth=2, clip=True)
    if dash is not None:
        band, line = band.encode(detail=dash["shorthand"]), line.encode(strokeDash=dash)
    return alt.layer(
        band.encode(y=alt.Y(f"{y}_least:Q", title=y_title, scale=scale, axis=axis), y2=f"{y}_most:Q"),
        line.encode(y=alt.Y(f"{y}:Q", title=y_title, scale=scale, axis=axis)),
    )


def legend(title: str | None, columns: int = 0) -> alt.Legend:
    """A legend of lines, in that many columns; 0 is one row."""
    return alt.Legend(
        title=title,
        symbolType="stroke",
        symbolOpacity=1,
        symbolStrokeWidth=3,
        symbolStrokeColor=NULL,
        labelLimit=260,
        columns=columns,
    )


def span(rows: Sequence[Row], y: str) -> list[float]:
    """The least and the most of all rows, with a tenth around, for panels with one logarithmic axis."""
    return [0.9 * min(row[f"{y}_least"] for row in rows), 1.1 * max(row[f"{y}_most"] for row in rows)]


def held_out_panels(
    rows: Sequence[Row], *, field: str, titles: Mapping[str, str], guess: float, colour: alt.Color, ticks: int
) -> alt.HConcatChart:
    """Held-out losses over the steps, on one logarithmic axis, with a dotted line at that of an even guess:
    a panel for the rows of each value of `field` in `titles`.
    """
    domain = span(rows, "held_out_loss")
    guessing = (
        alt.Chart(data([{"guess": guess}]))
        .mark_rule(color=NULL, strokeDash=[1, 3], strokeWidth=1.5)
        .encode(y="guess:Q")
    )

    def panel(value: str, title: str) -> alt.LayerChart | alt.FacetChart:
        lines = curves(
            [row for row in rows if row[field] == value],
            x=alt.X("step:Q", title="training step", axis=alt.Axis(grid=False, tickCount=ticks)),
            y="held_out_loss",
            y_title="held-out loss (nats, log scale)",
            log=True,
            y_domain=domain,
            colour=colour,
        )
        return alt.layer(lines, guessing).properties(width=310, height=280, title=title)

    return alt.hconcat(*(panel(value, title) for value, title in titles.items()), spacing=30)


def first_and_rank(
    rows: Sequence[Row], *, side: str, colours: Mapping[str, str], value: str = ""
) -> alt.HConcatChart:
    """Shares of first places and mean ranks with their intervals, chance as a tick: a line for each `what` of
    the rows, in it a dot for each value of the field `side` that has a colour, in their order.

    A measure's value is in the field `top1`, or `rank`, with the ending `value`.
    """
    colour = alt.Color(
        f"{side}:N",
        scale=alt.Scale(domain=list(colours), range=list(colours.values())),
        legend=alt.Legend(title=None, orient="bottom"),
    )

    def panel(field: str, title: str, scale: alt.Scale, *, labels: bool) -> alt.LayerChart | alt.FacetChart:
        base = alt.Chart(data(rows)).encode(
            y=alt.Y("what:N", title=None, sort=None, axis=alt.Axis(labelLimit=320, labels=labels)),
            yOffset=alt.YOffset(f"{side}:N", sort=list(colours)),
        )
        x = alt.X(f"{field}{value}:Q", title=title, scale=scale)
        return alt.layer(
            base.mark_tick(color=NULL, thickness=2, size=12).encode(x=alt.X(f"{field}_null:Q", title=title)),
            base.mark_rule(strokeWidth=2).encode(x=f"{field}_low:Q", x2=f"{field}_high:Q", color=colour),
            base.mark_point(filled=True, size=60, opacity=1).encode(x=x, color=colour),
        ).properties(width=250, height=alt.Step(20))

    return alt.hconcat(
        panel("top1", "first (share)", alt.Scale(domain=[0, 1]), labels=True),
        panel("rank", "mean rank (0 is first)", alt.Scale(zero=True), labels=False),
        spacing=20,
    )
