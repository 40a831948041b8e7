"""What the rows of all studies share: a rule's numbers, and how a reader sees them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from spillover.report.verdict import Outcome, interval, number, outcome, p_value, percent
from spillover.reproduce.figure import Check, Row
from spillover.reproduce.study import Audited, Cell

_NUMBERS = ("before", "after", "low", "high", "null")


def rows_of(audited: Audited) -> list[dict[str, Any]]:
    """A row for each rule of an audit: every measure with its 95% interval, chance and p."""
    return [
        {
            "model": audited.point.model,
            "data": audited.results["knowledge_base"],
            "kind": rule["kind"],
            "seeds": len(audited.point.seeds),
            "queries": rule["queries"],
            "facts": rule["facts"]["top1"],
            "bridges": rule["bridges"]["top1"],
            **{f"rank_{name}": rule["mean_rank"][name] for name in _NUMBERS},
            "rank_p": rule["mean_rank"]["p_value"],
            **{f"top1_{name}": rule["top1"][name] for name in _NUMBERS},
            "top1_p": rule["top1"]["p_value"],
            "verdict": outcome(rule).value,
        }
        for rule in audited.results["rules"]
    ]


def is_learned(row: Row) -> bool:
    """Whether facts and bridges were learned, so that there is a verdict."""
    return row["verdict"] not in (Outcome.UNLEARNED.value, Outcome.UNKNOWN.value)


def all_learned(rows: Sequence[Row]) -> Check:
    """That every row has a verdict."""
    learned = sum(map(is_learned, rows))
    return Check(
        statement="facts and bridges are learned everywhere, so that there is a verdict",
        holds=learned == len(rows),
        measured=f"{learned} of {len(rows)}",
    )


def section_of(row: Row) -> str:
    """The model and how many seeds."""
    return f"{row['model']}, {row['seeds']} seed{'s' if row['seeds'] != 1 else ''}"


def _measure(prefix: str, text: Callable[[Any], str], *, share: bool) -> Callable[[Row], Cell]:
    return lambda row: (
        text(row[f"{prefix}_after"]),
        interval(row[f"{prefix}_low"], row[f"{prefix}_high"], share=share),
    )


INTERVAL = ("95%",)
"""What stands under the heading of a number with its interval."""

LEARNED: Mapping[tuple[str, ...], Callable[[Row], Cell]] = {
    ("facts", "bridges"): lambda row: (percent(row["facts"]), percent(row["bridges"])),
}
RANK: Mapping[tuple[str, ...], Callable[[Row], Cell]] = {
    ("rank", *INTERVAL): _measure("rank", number, share=False),
    ("chance", "p"): lambda row: (number(row["rank_null"]), p_value(row["rank_p"])),
}
TOP1: Mapping[tuple[str, ...], Callable[[Row], Cell]] = {
    ("first", *INTERVAL): _measure("top1", percent, share=True),
    ("chance", "p "): lambda row: (percent(row["top1_null"]), p_value(row["top1_p"])),
}
"""Columns of `study.Table`: what was learned, the mean rank, and how often the rule's answer comes first."""
