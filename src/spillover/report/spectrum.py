"""What a tune changed inside, for the terminal and the page; from the numbers of `spectrum.parquet`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Group, RenderableType
from rich.text import Text

from spillover.errors import RunError
from spillover.report.charts import Chart, finished
from spillover.report.sheet import Column, Sheet
from spillover.report.verdict import number, p_value, percent
from spillover.runs.views import RunView

SPECTRUM = "spectrum.parquet"
"""The file in an audit's run folder: a row for each weight, and for each head's product."""

OV = "ov"
"""The module of a head's output-value product."""

_NAMES = {OV: "heads' W_O W_V", "embed_tokens": "embeddings", "lm_head": "output head"}
_ABOUT = {
    "effective_rank": "effective rank, weights",
    "heads_effective_rank": "effective rank, heads' W_O W_V",
    "frobenius": "size (Frobenius norm)",
    "top1": "first",
    "mean_rank": "mean rank",
}
_ORDER = [
    "q_proj",
    "k_proj",
    "v_proj",
    "o_proj",
    "gate_proj",
    "up_proj",
    "down_proj",
]  # as data go through a layer
_LEGEND = (
    "share: of the squared Frobenius norm of the whole change. effective rank: exp of the entropy of the "
    "singular values' shares in their sum; of several matrices the mean, each by its share. Products of "
    "heads are shares among themselves. ρ: Spearman's rank correlation over the cells (a seed of an audit), "
    "and within data sets, where each data set's mean is taken off and dealt out within it; p is two-sided."
)


def spectrum_table(document: Mapping[str, Any]) -> RenderableType:
    """The document of `spillover spectrum`, in 80 columns."""
    parts: list[RenderableType] = []
    for run in dict.fromkeys(row["run"] for row in document["modules"]):
        sheet = Sheet(
            [
                Column(name="changed"),
                *(
                    Column(name=name, numbers=True)
                    for name in ("matrices", "share", "Frobenius", "nuclear", "effective\nrank", "of")
                ),
            ]
        )
        mine = [row for row in document["modules"] if row["run"] == run]
        for row in sorted(mine, key=lambda row: (row["module"] == OV, -(row["share"] or 0))):
            sheet.add_row(
                name_of(row["module"]),
                str(row["parts"]),
                percent(row["share"]),
                number(row["frobenius"]),
                number(row["nuclear"]),
                number(row["effective_rank"]),
                str(row["full_rank"]),
            )
        parts += [Text(run, style="bold"), sheet]
    cells = document["cells"]
    if len(cells) > 1:
        sheet = Sheet(
            [
                Column(name="over the cells"),
                *(Column(name=name, numbers=True) for name in ("ρ", "95%", "p", "within", "95%", "p")),
            ]
        )
        for row in document["correlations"]:
            sheet.add_row(
                (f"{_ABOUT[row['of']]},", f"with {_ABOUT[row['with']]}"),
                *_correlation(row["all"]),
                *_correlation(row["within"]),
            )
        parts += [Text(f"Does spillover go with it? {len(cells)} cells", style="bold"), sheet]
    parts += [Text(f"Note: {note}") for note in document["notes"]]
    return Group(*parts, Text(_LEGEND, style="dim"))


def _correlation(found: Mapping[str, Any]) -> tuple[str, str, str]:
    if found["rho"] is None:
        return "–", "", ""  # noqa: RUF001
    interval = f"{found['low']:.2f} to {found['high']:.2f}" if found["low"] is not None else ""
    return f"{found['rho']:.2f}", interval, p_value(found["p_value"])


def name_of(module: str) -> str:
    """A module in words, where there are better ones."""
    return _NAMES.get(module, module)


def spectrum_section(view: RunView) -> dict[str, Any] | None:
    """The page's section: a table and two charts; None where there is no spectrum, or it is damaged."""
    try:
        table = view.read_parquet(SPECTRUM)
        weights = table.filter(pc.field("module") != OV)
        heads = table.filter(pc.field("module") == OV)
        return {
            "weights": _weights_chart(weights),
            "heads": _heads_chart(heads) if heads.num_rows else None,
            "rows": _largest(weights),
        }
    except (RunError, pa.ArrowException, LookupError, ValueError, TypeError):
        return None


def _largest(weights: pa.Table, most: int = 8) -> list[dict[str, Any]]:
    """The weights with most of the change, over the seeds."""
    rows = weights.group_by(["layer", "module"]).aggregate(
        [("share", "mean"), ("frobenius", "mean"), ("nuclear", "mean"), ("effective_rank", "mean")]
    )
    rows = rows.sort_by([("share_mean", "descending")]).slice(0, most).to_pylist()
    return [{**row, "name": _placed(row)} for row in rows]


def _placed(row: Mapping[str, Any]) -> str:
    where = "" if row["layer"] is None else f"layer {row['layer']}, "
    return where + name_of(row["module"])


def _mean_over_seeds(table: pa.Table, keys: Sequence[str], values: Sequence[str]) -> list[dict[str, Any]]:
    made = table.group_by(list(keys)).aggregate([(value, "mean") for value in values])
    return [{key.removesuffix("_mean"): value for key, value in row.items()} for row in made.to_pylist()]


def _weights_chart(weights: pa.Table) -> Chart:
    """Share and effective rank of each matrix, layers across and kinds down."""
    layered = weights.filter(pc.field("layer").is_valid() & (pc.field("columns") > 1))
    rows = _mean_over_seeds(layered, ["layer", "module", "most"], ["share", "effective_rank"])
    for row in rows:
        row["of"] = row["effective_rank"] and row["effective_rank"] / row["most"]
    return finished(
        _maps(
            rows,
            "module",
            16,
            [
                _Shade(field="share", title="share of the whole change", form=".1%", scheme="blues"),
                _Shade(
                    field="of", title="effective rank, of the largest possible", form=".0%", scheme="purples"
                ),
            ],
        ),
        "What tuning changed, by layer and kind of weight",
    )


def _heads_chart(heads: pa.Table) -> Chart:
    """Share and effective rank of each head's product, layers across and heads down."""
    rows = _mean_over_seeds(heads, ["layer", "head"], ["share", "effective_rank"])
    many = len({row["head"] for row in rows})
    return finished(
        _maps(
            rows,
            "head",
            max(6, min(16, 260 // many)),
            [
                _Shade(
                    field="share",
                    title="share of the change of all heads' products",
                    form=".1%",
                    scheme="blues",
                ),
                _Shade(field="effective_rank", title="effective rank", form=".0f", scheme="purples"),
            ],
        ),
        "What tuning changed in the heads' output-value products",
    )


@dataclass(frozen=True, kw_only=True)
class _Shade:
    """What a map shows as colour."""

    field: str
    title: str
    form: str
    scheme: Any


def _maps(rows: Sequence[Mapping[str, Any]], down: str, step: int, shades: Sequence[_Shade]) -> Any:
    """A map for each shade, one below the other, layers across and a field down."""
    base = alt.Chart(alt.Data(values=list(rows))).encode(
        x=alt.X("layer:O", title="layer", axis=alt.Axis(labelAngle=0, labelOverlap=True)),
        y=alt.Y(f"{down}:O", title=down, sort=_ORDER, axis=alt.Axis(labelOverlap=True)),
    )
    panels = [
        base.mark_rect()
        .encode(
            color=alt.Color(
                f"{shade.field}:Q",
                scale=alt.Scale(scheme=shade.scheme, zero=True),
                legend=alt.Legend(title=None, format=shade.form, orient="right", gradientLength=90),
            ),
            tooltip=[
                f"{down}:O",
                "layer:O",
                alt.Tooltip(f"{shade.field}:Q", title=shade.title, format=shade.form),
            ],
        )
        .properties(width=640, height=alt.Step(step), title=shade.title)
        for shade in shades
    ]
    return alt.vconcat(*panels).resolve_scale(color="independent")
