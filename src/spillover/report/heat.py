"""Heat maps over a model's layers: its kinds of weights, or its heads."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import altair as alt

from spillover.report.charts import Chart, finished
from spillover.spectrum.table import HEADS, KINDS

_WIDE, _NARROW = 700, 215  # pixels for all layers, on a desk and on a phone
_TITLES = {"share": "share of the change", "rank": "effective rank, of the possible"}


def heat_map(rows: Sequence[Mapping[str, Any]], *, field: Literal["share", "rank"]) -> Chart:
    """A cell for each layer and kind of weight, or for each layer and head; `mean_over_seeds` has the rows.

    Weights of one kind in one layer (biases, norms) are one cell; matrices alone have a rank.
    """
    heads = any(row["kind"] == HEADS for row in rows)
    parts: dict[tuple[int, Any], list[Mapping[str, Any]]] = {}
    for row in rows:
        if field == "share" or row["rank_limit"] is not None:
            parts.setdefault((row["layer"], row["head"] if heads else row["kind"]), []).append(row)
    cells = [
        {
            "layer": layer,
            "part": part if heads else KINDS.get(part, part),
            "order": part if heads else list(KINDS).index(part) if part in KINDS else len(KINDS),
            "share": sum(row["share"] for row in mine),
            "frobenius": sum(row["frobenius"] ** 2 for row in mine) ** 0.5,
            "effective": mine[0]["effective_rank"] if mine[0]["rank_limit"] else None,
            "rank": mine[0]["effective_rank"] / mine[0]["rank_limit"] if mine[0]["rank_limit"] else None,
        }
        for (layer, part), mine in parts.items()
    ]
    layers = max(1, len({cell["layer"] for cell in cells}))
    step, narrow = (max(4, min(24, width // layers)) for width in (_WIDE, _NARROW))
    top = 1.0 if field == "rank" else max((cell["share"] for cell in cells), default=1.0)
    overlap: dict[str, Any] = {"labelAngle": 0, "labelOverlap": True, "domain": False, "ticks": False}
    chart = (
        alt.Chart(alt.Data(values=cells))
        .mark_rect(stroke="white", strokeWidth=0.5)
        .encode(
            x=alt.X("layer:O", title="layer", axis=alt.Axis(labelSeparation=3, **overlap)),
            y=alt.Y(
                "part:O" if heads else "part:N",
                title="head" if heads else None,
                sort=alt.EncodingSortField(field="order", op="min"),
                axis=alt.Axis(**overlap),
            ),
            color=alt.Color(
                f"{field}:Q",
                scale=alt.Scale(domain=[0, top], range=["#f3f5f7", "#0072b2"], interpolate="rgb"),
                legend=alt.Legend(title=_TITLES[field], format="~%", tickCount=2, gradientLength=120),
            ),
            tooltip=[
                alt.Tooltip("layer:O"),
                alt.Tooltip("part:O", title="head" if heads else "weight"),
                alt.Tooltip("share:Q", format=".2%"),
                alt.Tooltip("frobenius:Q", title="Frobenius norm", format=".3g"),
                alt.Tooltip("effective:Q", title="effective rank", format=".1f"),
            ],
        )
        .properties(width={"step": step}, height={"step": 15 if heads else 24})
    )
    what = "heads" if heads else "kinds of weights"
    return finished(chart, f"{_TITLES[field]} over layers and {what}", {"width": {"step": narrow}})
