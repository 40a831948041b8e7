"""Table 1: what language models answer beyond what they were tuned on, beside the paper's mean ranks.

Every model on every data set is an audit, and each of its rules a row.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby

import altair as alt
import numpy as np

from spillover.point import Point
from spillover.report.charts import COLOURS, NULL, Chart
from spillover.report.verdict import SHOWN, number
from spillover.reproduce.figure import Check, Findings, Row, spread
from spillover.reproduce.rows import (
    INTERVAL,
    LEARNED,
    RANK,
    TOP1,
    all_learned,
    is_learned,
    rows_of,
    section_of,
)
from spillover.reproduce.study import Audited, Cell, Options, Study, Table
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


def points(options: Options, before: Sequence[Audited]) -> list[Point]:
    """Every model on every data set."""
    return [
        options.point(kb=kb, model=model, varied={"kb": kb, "model": model})
        for model in options.models
        for kb in options.data
    ]


def findings(options: Options, audited: Sequence[Audited]) -> Findings:
    """What the audits show of the paper's claim."""
    rows = [
        {**row, "paper_rank": paper_rank(row["model"], row["data"])}
        for audit in audited
        for row in rows_of(audit)
    ]
    learned = [row for row in rows if is_learned(row)]
    checks = [
        _check("causal", "the causal rule is generalized: ranks better than chance", learned),
        _check("spurious", "arbitrary rules are hallucinated: ranks better than chance", learned),
        all_learned(rows),
    ]
    return Findings(rows=rows, draw=lambda: _chart(rows), checks=[check for check in checks if check])


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


_PAPERS: Mapping[tuple[str, ...], Callable[[Row], Cell]] = {
    ("paper",): lambda row: (number(row["paper_rank"]),)
}
TABLE = Table(
    section=section_of, name=lambda row: row["data"], columns={**LEARNED, **RANK, **_PAPERS, **TOP1}
)


def latex(rows: Sequence[Row]) -> str:
    """The table for an appendix (with booktabs), a block for each model; intervals stand in brackets."""
    headings = ["data set", *(text for heading in TABLE.columns for text in _apart(heading, heading))]
    lines = [
        r"% needs \usepackage{booktabs}",
        rf"\begin{{tabular}}{{l{'r' * (len(headings) - 1)}}}",
        r"\toprule",
        _tex_line(headings),
    ]
    for section, mine in groupby(rows, TABLE.section):
        lines += [r"\midrule", rf"\multicolumn{{{len(headings)}}}{{l}}{{{_tex(section)}}} \\"]
        for row in mine:
            cells = [text for heading, show in TABLE.columns.items() for text in _apart(heading, show(row))]
            lines.append(_tex_line([TABLE.name(row), *cells]))
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _apart(heading: Sequence[str], cell: Cell) -> list[str]:
    """A cell's lines as cells of their own, but for an interval, which stays with its number."""
    if heading[1:] == INTERVAL:
        return [f"{cell[0]} [{cell[1]}]"]
    return [line.strip() for line in cell]


def _tex(text: str) -> str:
    return text.translate(_TEX)


def _tex_line(texts: Sequence[str]) -> str:
    return " & ".join(map(_tex, texts)) + r" \\"


_TEX = str.maketrans(
    {c: "\\" + c for c in "%#_{}$&"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"<": "$<$", ">": "$>$", "–": "--"}  # noqa: RUF001
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
    ).properties(width=560, height=alt.Step(30))
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
    options=Options(models=MODELS, data=DATA),
    stages=[points],
    findings=findings,
    table=TABLE,
    latex=latex,
)
