"""What a tune changed inside, for the terminal and the page: from spectrum.parquet and its document alone."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from spillover.errors import RunError
from spillover.report.heat import heat_map
from spillover.report.sheet import Column, Sheet
from spillover.report.verdict import NOTHING, defined, p_value, percent
from spillover.runs.record import RunView
from spillover.spectrum.table import (
    HEADS,
    KINDS,
    SPECTRUM_FILE,
    by_kind,
    by_layer,
    mean_over_seeds,
    read_spectra,
)

_LARGEST = 5  # layers that are listed
_OF_LIMIT = "As a part of the rank that the change can have."

CHANGES = {
    "effective_rank": "effective rank",
    "ratio": "nuclear / Frobenius",
    "ov_rank": "heads: effective rank",
    "ov_ratio": "heads: nuclear / Frobenius",
}
"""What the numbers of a tune's change are called."""

_SPILLOVER = {"top1": "top-1", "mean_rank": "mean rank"}
_KIND_LEGEND = (
    "share: of the whole change's squared Frobenius norm. effective rank: exp of the entropy of the singular "
    "values, the mean over the weights by their share, beside the rank that they can have. Numbers are "
    "means over the seeds."
)
_CORRELATION_LEGEND = (
    "Spearman's correlation of the change's number and spillover (held-out top-1, and mean rank reversed, "
    "less chance): below 0, spillover goes with low rank. 95% bootstrap interval and two-sided permutation "
    "p, data sets as blocks, p corrected for all of its column. within: ranked and permuted inside each set."
)


def size(value: float | None) -> str:
    """Three digits, or all of a whole number's; a dash where undefined."""
    if not defined(value):
        return NOTHING
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:#.3g}".rstrip(".")


def spectrum_table(document: Mapping[str, Any]) -> RenderableType:
    """The document of `spillover spectrum`, in 80 columns."""
    runs, parts = document["runs"], list[RenderableType]()
    if len(runs) == 1:
        parts += _one_run(runs[0])
    else:
        parts += [Text(f"What {len(runs)} audits changed", style="bold"), _audits(runs)]
    if len(runs) > 1 or len(document["cells"]) > 3:
        parts += _correlations(document)
    return Group(*parts)


def _one_run(run: Mapping[str, Any]) -> list[RenderableType]:
    names = ("weights", "share", "Frobenius", "nuclear", "spectral", "effective\nrank", "of")
    table = Sheet([Column(), *(Column(name=name, numbers=True) for name in names)])
    for kind in run["kinds"]:
        table.add_row(*_kind_cells(kind))
    layers = Sheet(
        [
            Column(name=name, numbers=True)
            for name in ("layer", "share", "effective\nrank", "heads' eff.\nrank")
        ]
    )
    for layer in sorted(run["layers"], key=lambda layer: -layer["share"])[:_LARGEST]:
        numbers = size(layer["effective_rank"]), size(layer["ov_rank"])
        layers.add_row(str(layer["layer"]), percent(layer["share"]), *numbers)
    seeds = ", ".join(str(seed["seed"]) for seed in run["seeds"])
    title = (
        f"What tuning {run['model']} on {run['knowledge_base']} changed, seed{'s' * (len(run['seeds']) > 1)} "
    )
    parts = [Text(title + seeds, style="bold"), table]
    if run["layers"]:
        parts += [Text("The layers with most of it", style="bold"), layers]
    return [*parts, Text(_KIND_LEGEND, style="dim")]


def _kind_cells(kind: Mapping[str, Any]) -> tuple[str, ...]:
    numbers = ("frobenius", "nuclear", "spectral", "effective_rank", "rank_limit")
    share = "" if kind["kind"] == HEADS else percent(kind["share"])
    return (
        KINDS.get(kind["kind"], kind["kind"]),
        f"{kind['weights']:.0f}",
        share,
        *(size(kind[n]) for n in numbers),
    )


def _audits(runs: Sequence[Mapping[str, Any]]) -> Sheet:
    numbers = ("seed", "Frobenius", "eff.\nrank", "nuclear /\nFrobenius", "heads'\nrank")
    table = Sheet([Column(name="data set, model"), *(Column(name=name, numbers=True) for name in numbers)])
    for run in runs:
        label = [str(run["knowledge_base"]), str(run["model"])]
        for place, seed in enumerate(run["seeds"]):
            shown = [size(seed[name]) for name in ("frobenius", "effective_rank", "ratio", "ov_rank")]
            alone = len(run["seeds"]) == 1
            name = tuple(label) if alone else label[place] if place < len(label) else ""
            table.add_row(name, str(seed["seed"]), *shown)
        table.end_section()
    return table


def _correlations(document: Mapping[str, Any]) -> list[RenderableType]:
    cells = document["cells"]
    blocks = len({cell["block"] for cell in cells})
    columns = ("all cells", "p", "within", "p")
    table = Sheet(
        [Column(name="of the change"), Column(name="spillover")]
        + [Column(name=name, numbers=True) for name in columns]
    )
    last = None
    for entry in document["correlations"]:
        name = "" if entry["change"] == last else CHANGES[entry["change"]]
        last = entry["change"]
        scopes = [entry["all"], entry["within"]]
        numbers = [cell for scope in scopes for cell in (_correlation(scope), p_value(scope["p_adjusted"]))]
        table.add_row(name, _SPILLOVER[entry["spillover"]], *numbers)
    title = f"Does spillover go with low rank? {len(cells)} cells, {blocks} data set{'s' * (blocks > 1)}"
    return [Text(title, style="bold"), table, Text(_CORRELATION_LEGEND, style="dim")]


def _correlation(scope: Mapping[str, Any]) -> tuple[str, ...]:
    if not defined(scope["value"]):
        return (NOTHING,)
    ends = [f"{scope[end]:.2f}" for end in ("low", "high") if defined(scope[end])]
    return (f"{scope['value']:.2f}", f"[{', '.join(ends)}]") if ends else (f"{scope['value']:.2f}",)


def section(view: RunView) -> dict[str, Any] | None:
    """What the page says of a run's spectrum; None where none was measured, `gap` where it is unreadable."""
    if not view.path(SPECTRUM_FILE).exists():
        return None
    try:
        rows = read_spectra(view).to_pylist()
    except RunError as error:
        return {"gap": f"{error}. `spillover spectrum` with this run's folder makes it anew."}
    layers = sorted(by_layer(rows), key=lambda layer: -layer["share"])[:_LARGEST]
    means = mean_over_seeds(rows)
    weights = [row for row in means if row["kind"] != HEADS and row["layer"] is not None]
    heads = [row for row in means if row["kind"] == HEADS]
    figures = []
    for part, name, whose in (
        (weights, "Weights", "the whole change"),
        (heads, "Heads", "all heads' changes"),
    ):
        if part:
            share = f"Of the squared Frobenius norm of {whose}."
            figures.append((f"{name}: share", share, heat_map(part, field="share")))
            figures.append((f"{name}: effective rank", _OF_LIMIT, heat_map(part, field="rank")))
    return {
        "gap": None,
        "kinds": [_kind_cells(kind) for kind in by_kind(rows)],
        "layers": ", ".join(f"{layer['layer']} ({percent(layer['share'])})" for layer in layers),
        "legend": _KIND_LEGEND,
        "figures": figures,
    }
