"""The lab's table for the terminal, from its document of plain JSON types, in 80 columns."""

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from spillover.report.sheet import Column, Sheet

_COLUMNS = {
    "train\nloss": "train_loss",
    "accu-\nracy": "train_accuracy",
    "held-out\nloss": "held_out_loss",
    "accu-\nracy ": "held_out_accuracy",
    "train\nmargin": "train_margin",
    "held-out\nmargin": "held_out_margin",
    "nuclear\nnorm": "nuclear",
    "eff.\nrank": "effective_rank",
}


def lab_table(document: Mapping[str, Any]) -> RenderableType:
    """The document of `spillover symbolic`: a row for each setting, the spread below each mean."""
    many = len(document["seeds"]) > 1
    table = Sheet([Column(), *(Column(name=heading.strip(), numbers=True) for heading in _COLUMNS)])
    for setting in document["settings"]:
        name = (setting["ov"], *([] if setting["d_h"] is None else [f"d_h = {setting['d_h']}"]))
        cells = [
            (
                Text(_number(setting[measure]["mean"]), style="bold"),
                *(Text(_number(setting[measure][end]), style="dim") for end in ("least", "most") if many),
            )
            for measure in _COLUMNS.values()
        ]
        table.add_row(name, *cells)
        table.end_section()
    seeds = f"mean, least and most of {len(document['seeds'])} seeds" if many else "1 seed"
    about = (
        f"{document['settings'][0]['attention'].capitalize()} attention, {document['gradient']} gradient, "
        f"{document['step']:,} steps, {document['seconds']:.1f} s; {seeds}."
    )
    legend = (
        f"Losses in nats; a guess among the implication's {document['task']['groups']} answers costs "
        f"{document['guess']:.3f}. A margin is the smallest of all triples. Held-out: implications of "
        "subjects that were told the fact alone."
    )
    kept = [Text(f"Kept in {document['run']}", style="dim")] if document["run"] else []
    return Group(Text(about), table, Text(legend, style="dim"), *kept)


def _number(value: float | None) -> str:
    """Three digits that count; a dash where undefined."""
    if value is None:
        return "–"  # noqa: RUF001 - the report's mark for what is undefined
    if value == 0 or 0.001 <= abs(value) < 1000:
        return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"
    return f"{value:.0e}" if abs(value) < 1 else f"{value:.0f}" if abs(value) < 1e6 else f"{value:.1e}"
