"""Table 1: what language models answer beyond what they were tuned on, beside the paper's mean ranks.

What is here knows how the table looks and what is expected of it; `jobs/table_1.py` tunes and asks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import numpy as np

from spillover.llm.settings import FineTuneConfig
from spillover.report.charts import COLOURS, NULL, Chart
from spillover.report.verdict import SHOWN, Outcome, interval, number, outcome, p_value, percent
from spillover.reproduce.figure import Check, Findings, Row, spread
from spillover.reproduce.style import INK, data, titled

NAME = "table-1"

CLAIM = (
    "Models tuned on facts about new people, and on an implication for a few of them, answer the implication "
    "for all: where the rule is causal, and where it is arbitrary."
)

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


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How the models are tuned."""

    settings: FineTuneConfig
    left_open: tuple[str, ...]
    """What the paper does not say, and what is done here."""


_OURS_TOO = (
    "the wording of prompts, the names and the distractors: our own, ten candidates as in the paper",
    "precision: float32 weights and optimizer; on a GPU bfloat16 products",
)

RECIPES = {
    "ours": Recipe(
        settings=FineTuneConfig(),
        left_open=(
            "epochs: until the training loss says that facts and bridges are learned, eight at least",
            *_OURS_TOO,
        ),
    ),
    "paper": Recipe(
        settings=FineTuneConfig(learning_rate=1e-5, epochs=8, batch_size=8, warmup=0.0),
        left_open=(
            "the learning rate of each model, 3e-6 to 3e-5 in the code that it builds on: 1e-5 for all",
            "Adam's moments, 0.9 and 0.999, and its weight decay, none",
            *_OURS_TOO,
        ),
    ),
}
"""`ours` tunes until it is learned; `paper` is as the paper and the code that it builds on say."""


def paper_rank(model: str, kb: str) -> float:
    """The paper's mean rank (Table 1); NaN where it has none."""
    return _PAPER[model][DATA.index(kb)] if model in _PAPER and kb in DATA else float("nan")


def row(model: str, kb: str, seeds: Sequence[int], rule: Mapping[str, Any]) -> Row:
    """The table's row of an audit's rule: every measure with its 95% interval, chance and p."""
    return {
        "model": model,
        "data": kb,
        "kind": rule["kind"],
        "seeds": len(seeds),
        "queries": rule["queries"],
        "facts": rule["facts"]["top1"],
        "bridges": rule["bridges"]["top1"],
        **{f"rank_{name}": rule["mean_rank"][name] for name in ("before", "after", "low", "high", "null")},
        "rank_p": rule["mean_rank"]["p_value"],
        "paper_rank": paper_rank(model, kb),
        **{f"top1_{name}": rule["top1"][name] for name in ("before", "after", "low", "high", "null")},
        "top1_p": rule["top1"]["p_value"],
        "verdict": outcome(rule).value,
    }


def findings(rows: Sequence[Row]) -> Findings:
    """What the rows show of the paper's claim."""
    unknown = (Outcome.UNLEARNED.value, Outcome.UNKNOWN.value)
    learned = [row for row in rows if row["verdict"] not in unknown]
    checks = [
        _check("causal", "the causal rule is generalized: ranks better than chance", learned),
        _check("spurious", "arbitrary rules are hallucinated: ranks better than chance", learned),
    ]
    return Findings(
        rows=rows,
        draw=lambda: _chart(rows),
        checks=[check for check in checks if check]
        + [
            Check(
                statement="facts and bridges are learned everywhere, so that there is a verdict",
                holds=len(learned) == len(rows),
                measured=f"{len(learned)} of {len(rows)}",
            )
        ],
    )


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


_LEARNED = ("facts", "bridges")
_RANK, _FIRST = ("mean rank [95%]", "chance", "p"), ("first [95%]", "chance", "p")
HEADINGS = ("model", "data set", "seeds", *_LEARNED, *_RANK, "paper", *_FIRST)
"""Of `cells`."""


def cells(row: Row) -> tuple[str, ...]:
    """A row as a reader sees it, in the order of `HEADINGS`."""
    rank = f"{number(row['rank_after'])} [{interval(row['rank_low'], row['rank_high'], share=False)}]"
    first = f"{percent(row['top1_after'])} [{interval(row['top1_low'], row['top1_high'])}]"
    return (
        *(row["model"], row["data"], str(row["seeds"])),
        *(percent(row[name]) for name in _LEARNED),
        *(rank, number(row["rank_null"]), p_value(row["rank_p"])),
        number(row["paper_rank"]),
        *(first, percent(row["top1_null"]), p_value(row["top1_p"])),
    )


def latex(rows: Sequence[Row]) -> str:
    """The table for a paper's appendix (with booktabs), a block for each model."""
    lines = [
        r"% needs \usepackage{booktabs}",
        rf"\begin{{tabular}}{{ll{'r' * (len(HEADINGS) - 2)}}}",
        r"\toprule",
        _tex_line(HEADINGS),
    ]
    model = None
    for row in rows:
        lines += [] if row["model"] == model else [r"\midrule"]
        model = row["model"]
        lines.append(_tex_line(cells(row)))
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _tex_line(texts: Sequence[str]) -> str:
    return " & ".join(text.translate(_TEX) for text in texts) + r" \\"


_TEX = str.maketrans(
    {c: "\\" + c for c in "%#_{}$&"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"<": "$<$", ">": "$>$", "–": "--"}  # noqa: RUF001
)


def _chart(rows: Sequence[Row]) -> Chart:
    """Ranks with their intervals, chance as a tick and the paper's as a ring; a panel for each data set."""
    kind = alt.Color(
        "kind:N", scale=alt.Scale(domain=list(COLOURS), range=list(COLOURS.values())), legend=None
    )
    rank = alt.Scale(
        domain=[0, float(np.nanmax([row[f"rank_{n}"] for row in rows for n in ("high", "null")]))]
    )
    base = alt.Chart(data(rows)).encode(y=alt.Y("model:N", title=None, sort=None))
    layers = alt.layer(
        base.mark_tick(color=NULL, thickness=2, size=18).encode(
            x=alt.X("rank_null:Q", title="mean rank (0 is first)", scale=rank)
        ),
        base.mark_rule(strokeWidth=2).encode(x="rank_low:Q", x2="rank_high:Q", color=kind),
        base.mark_point(filled=True, size=70, opacity=1).encode(x="rank_after:Q", color=kind),
        base.mark_point(filled=False, size=90, color=INK).encode(x="paper_rank:Q"),
    ).properties(width=640, height=alt.Step(30))
    header = alt.Header(labelAngle=0, labelAlign="left", labelOrient="top", labelAnchor="start")
    return titled(
        layers.facet(row=alt.Row("data:N", title=None, sort=None, header=header)),
        "Held-out mean rank after tuning",
        "Dots: all seeds, with 95% interval; grey ticks: chance; rings: the paper's figure for that model",
    )
