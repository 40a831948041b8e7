"""Charts of a run: functions of plain rows. Names from the data appear as field values only.

A name never enters an expression, a field name or a custom sort order, so nothing in the data can be run.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

Chart = alt.Chart | alt.LayerChart | alt.FacetChart
Row = Mapping[str, Any]

COLOURS = {"causal": "#0072b2", "spurious": "#d55e00"}
"""Wanted and unwanted, from Okabe and Ito's palette for every kind of colour vision."""

TINTS = {"causal": "#9cc8e3", "spurious": "#f3bf94"}
"""The same before fine-tuning."""

NULL = "#5f6b76"
"""What chance would give."""

_SEEDS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")
_DASHES = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3], [4, 4], [1, 3])
_POINTS = 1200  # of a training curve: more than a screen shows
_LINE = 30  # letters of a name on one line of an axis; what is longer goes on to a second line
_LONG = f"length(datum.label) > {_LINE}"
_NAME: dict[str, Any] = {
    "domain": False,
    "ticks": False,
    "labelPadding": 6,
    "labelLimit": 400,  # not reached by a line of the widest letters
    "labelExpr": f"{_LONG} ? split(replace(datum.label, regexp('^(.{{12,{_LINE - 1}}}[ -]|.{{{_LINE}}})'), "
    "'$1\\n'), '\\n') : datum.label",
}
_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, Helvetica, Arial, sans-serif"


def rank_chart(rows: Sequence[Row], kind: str) -> Chart:
    """Where the right answer stands, before and after, with chance as a mark on each bar; `Scores.ranks`."""
    title = {"before": "Before fine-tuning", "after": "After fine-tuning"}
    bars, chance = "held-out queries", "chance: groups shuffled"
    data = [{**row, "phase": title[row["phase"]], "mark": chance} for row in rows]
    x = alt.X(
        "rank:O",
        title="rank of the rule's answer (0 = first choice)",
        axis=alt.Axis(labelAngle=0, labelOverlap=True, labelSeparation=3),
    )
    percent = alt.Axis(format=".0%", tickCount=5)
    tooltip = [
        alt.Tooltip("rank:O", title="rank"),
        alt.Tooltip("share:Q", title=bars, format=".1%"),
        alt.Tooltip("chance:Q", title="chance", format=".1%"),
    ]
    fill = alt.Color(
        "phase:N",
        scale=alt.Scale(domain=list(title.values()), range=[TINTS[kind], COLOURS[kind]]),
        legend=None,
    )
    places = len({row["rank"] for row in rows})
    base = alt.Chart(alt.Data(values=data)).encode(x=x, tooltip=tooltip)
    bar = base.mark_bar().encode(
        y=alt.Y("share:Q", title="share of held-out queries", axis=percent, scale=alt.Scale(domain=[0, 1])),
        color=fill,
    )
    tick = base.mark_tick(thickness=2.5, bandSize=min(22, 230 / places), color=NULL, opacity=1).encode(
        y="chance:Q",
        stroke=alt.Stroke(
            "mark:N",
            scale=alt.Scale(domain=[chance], range=[NULL]),
            legend=alt.Legend(title=None, symbolType="stroke", symbolStrokeWidth=3),
        ),
    )
    panels = alt.layer(bar, tick).properties(width=370, height=190)
    facet = alt.Facet("phase:N", title=None, sort="descending", header=alt.Header(labelFontWeight="bold"))
    chart = panels.facet(facet=facet, columns=2, spacing=28)
    narrow = {"columns": 1, "spec": {"width": 270}}
    return finished(chart, "Rank of the right answer before and after", narrow)


def answer_chart(cells: Sequence[Row], kind: str) -> Chart:
    """What each group is answered after tuning, the rule's answer outlined; `Scores.answers`."""
    answers = {cell["answer"] for cell in cells}
    beside = 7 * min(_LINE, max((len(cell["group"]) for cell in cells), default=0))
    step, narrow_step = (min(72, max(30, (room - beside) // max(1, len(answers)))) for room in (820, 300))
    flat = f"width >= {7 * len(answers) * max(map(len, answers), default=0)}"
    x = alt.X(
        "answer:N",
        title="the model's first choice",
        sort=alt.EncodingSortField(field="column", op="min"),
        axis=alt.Axis(
            orient="top",
            labelAngle=alt.ExprRef(f"{flat} ? 0 : -90"),
            labelAlign=alt.ExprRef(f"{flat} ? 'center' : 'left'"),
            labelBaseline=alt.condition(f"{flat} || {_LONG}", alt.value("bottom"), alt.value("middle")),
            **_NAME,
        ),
    )
    y = alt.Y(
        "group:N",
        title="the fact it was told",
        sort=alt.EncodingSortField(field="row", op="min"),
        axis=alt.Axis(labelBaseline=alt.condition(_LONG, alt.value("bottom"), alt.value("middle")), **_NAME),
    )
    rows = [{**cell, "mark": "the rule's answer"} for cell in cells]
    base = alt.Chart(alt.Data(values=rows)).encode(
        x=x,
        y=y,
        tooltip=[
            alt.Tooltip("group:N", title="told"),
            alt.Tooltip("answer:N", title="first choice"),
            alt.Tooltip("share:Q", title="share", format=".1%"),
            alt.Tooltip("queries:Q", title="held-out queries"),
        ],
    )
    heat = base.mark_rect(stroke="white", strokeWidth=2).encode(
        color=alt.Color(
            "share:Q",
            scale=alt.Scale(domain=[0, 1], range=["#f3f5f7", COLOURS[kind]], interpolate="rgb"),
            legend=alt.Legend(title="share of the group", format=".0%", tickCount=2, gradientLength=120),
        )
    )
    light = 0.55 if kind == "causal" else 1  # white is never readable on orange
    outline = (
        base.transform_filter("datum.right")
        .mark_rect(fill=None, strokeWidth=2.5, opacity=1)
        .encode(
            stroke=alt.Stroke(
                "mark:N",
                scale=alt.Scale(range=["#1b1f24"]),
                legend=alt.Legend(title=None, symbolType="square", symbolFillColor="transparent"),
            )
        )
    )
    label = (
        base.transform_filter("datum.share >= 0.005")
        .mark_text(fontSize=12)
        .encode(
            text=alt.Text("share:Q", format=".0%"),
            color=alt.condition(f"datum.share > {light}", alt.value("white"), alt.value("#1b1f24")),
        )
    )
    chart = alt.layer(heat, outline, label).properties(width={"step": step}, height={"step": 34})
    narrow = {"width": {"step": narrow_step}}
    return finished(chart, "What each group is answered after fine-tuning", narrow)


def loss_chart(rows: Sequence[Row]) -> Chart:
    """Training loss over the steps, one line per seed; the rows of `metrics.jsonl`."""
    by_seed: dict[int, list[Row]] = defaultdict(list)
    for row in rows:
        if isinstance(row.get("loss"), int | float) and "step" in row:
            by_seed[row.get("seed", 0)].append(row)
    keep = max(2, _POINTS // max(1, len(by_seed)))
    data = [
        {"seed": str(seed), "step": row["step"], "loss": row["loss"]}
        for seed, all_ in sorted(by_seed.items())
        for row in (*all_[: -1 : max(1, len(all_) // keep)], all_[-1])
    ]
    scale = alt.Scale(type="log") if data and min(row["loss"] for row in data) > 0 else alt.Scale()
    legend = alt.Legend(title="seed") if len(by_seed) > 1 else None
    seeds = [str(seed) for seed in sorted(by_seed)]
    chart = (
        alt.Chart(alt.Data(values=data))
        .mark_line(strokeWidth=2, point=alt.OverlayMarkDef(size=16))
        .encode(
            x=alt.X("step:Q", title="training step", axis=alt.Axis(grid=False, tickMinStep=1)),
            y=alt.Y("loss:Q", title="loss on the answer's tokens", scale=scale, axis=alt.Axis(tickCount=5)),
            color=alt.Color(
                "seed:N",
                scale=alt.Scale(domain=seeds, range=[_SEEDS[i % 6] for i in range(len(seeds))]),
                legend=legend,
            ),
            strokeDash=alt.StrokeDash(
                "seed:N",
                scale=alt.Scale(domain=seeds, range=[_DASHES[i % 6] for i in range(len(seeds))]),
                legend=legend,
            ),
            tooltip=["seed:N", "step:Q", alt.Tooltip("loss:Q", format=".4f")],
        )
        .properties(width=780, height=210)
    )
    return finished(chart, "Training loss", {"width": 270})


def finished(chart: Any, description: str, narrow: Row | None = None) -> Chart:
    """One look for all: white, readable, little ink. `narrow` is what is different on a phone: a part of the
    specification, which the page puts in its place.
    """
    return (
        chart.properties(
            background="white", description=description, padding=6, usermeta={"narrow": narrow or {}}
        )
        .configure(font=_FONT)
        .configure_view(stroke=None)
        .configure_axis(
            labelFontSize=12,
            titleFontSize=12,
            titleFontWeight="normal",
            labelColor="#3b444d",
            titleColor="#3b444d",
            gridColor="#e8ebee",
            domainColor="#b9c1c9",
            tickColor="#b9c1c9",
            titlePadding=9,
        )
        .configure_header(labelFontSize=13, labelColor="#1b1f24")
        .configure_legend(
            orient="bottom",
            labelFontSize=12,
            titleFontSize=12,
            titleFontWeight="normal",
            labelColor="#3b444d",
        )
    )
