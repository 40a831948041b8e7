"""The trade-off in one picture: what is left of the spurious rule over what is kept of the wanted one."""

from collections.abc import Sequence

import altair as alt

from spillover.report.charts import COLOURS, NULL, Chart
from spillover.reproduce.figure import Row
from spillover.reproduce.style import INK, data, titled
from spillover.tradeoff.arms import PLAIN
from spillover.tradeoff.choice import LEAST_FACTS

_KNOWN, _MISSING = "facts learned", "facts missing"


def chart(rows: Sequence[Row]) -> Chart:
    """A dot for each arm with both 95% intervals; hollow where facts are missing, large where it harms.

    Named are the plain tune and the front, which a line joins.
    """
    dots = [{**row, "learned": _KNOWN if row["facts"] >= LEAST_FACTS else _MISSING} for row in rows]
    labelled = [row for row in dots if row["front"] or row["arm"] == PLAIN]
    x = alt.X("wanted_top1:Q", title="wanted rule's answer first (share)", scale=alt.Scale(domain=[0, 1]))
    y = alt.Y("spurious_top1:Q", title="spurious rule's answer first (share)", scale=alt.Scale(domain=[0, 1]))
    base = alt.Chart(data(dots))
    thin = {"strokeWidth": 1, "opacity": 0.35, "color": NULL}
    chance = (
        alt.Chart(data(dots)).mark_rule(color=NULL, strokeDash=[2, 3]).encode(y="mean(spurious_top1_null):Q")
    )
    colour = alt.Color(
        "front:N",
        scale=alt.Scale(domain=[True, False], range=[COLOURS["causal"], COLOURS["spurious"]]),
        legend=alt.Legend(title=None, labelExpr="datum.value ? 'on the front' : 'beaten by another'"),
    )
    return titled(
        alt.layer(
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
                    legend=alt.Legend(title=None),
                ),
                size=alt.Size(
                    "kl:Q",
                    title="harm: KL on neutral text (nats a token)",
                    scale=alt.Scale(range=[40, 500]),
                    legend=alt.Legend(format=".2f", tickCount=3),
                ),
                tooltip=["arm:N", "facts:Q", "wanted_top1:Q", "spurious_top1:Q", "kl:Q"],
            ),
            alt.Chart(data(labelled))
            .mark_text(align="right", dx=-10, dy=-8, color=INK, fontSize=11)
            .encode(x=x, y=y, text="arm:N"),
        ).properties(width=520, height=420),
        "What each intervention removes of the spurious rule, and keeps of the wanted one",
        "Lower right is better. Lines: 95% intervals; dotted: chance, the same with the groups shuffled",
    )
