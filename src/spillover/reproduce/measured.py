"""What an audit measured of a rule, as the row of a reproduction: pooled, or seed by seed."""

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from spillover.knowledge.schema import Rule
from spillover.outcome import outcome
from spillover.report.verdict import outcome as verdict
from spillover.reproduce.figure import Row
from spillover.reproduce.study import Audited

UNDECIDED = ("unlearned", "unknown")
"""Verdicts that are none: nothing is known of the rule."""


def row_of(audited: Audited, rule: Mapping[str, Any]) -> dict[str, Any]:
    """An audit's rule: every measure with its 95% interval, chance and p."""
    return {
        "model": audited.point.model,
        "data": audited.kb,
        "kind": rule["kind"],
        "seeds": len(audited.point.seeds),
        "queries": rule["queries"],
        "facts": rule["facts"]["top1"],
        "bridges": rule["bridges"]["top1"],
        **measures(rule),
        "verdict": verdict(rule).value,
    }


def measures(rule: Mapping[str, Any]) -> dict[str, Any]:
    """The held-out measures of an audit's rule, `rank_` and `top1_`."""
    names = {"before": "before", "after": "after", "low": "low", "high": "high", "null": "null"}
    return {
        f"{short}_{name}": rule[measure][field]
        for short, measure in (("rank", "mean_rank"), ("top1", "top1"))
        for name, field in ({**names, "p": "p_value"}).items()
    }


def rules_of(rules: Any) -> list[Rule]:
    """The audit's rules, as much as `outcome` needs of them."""
    return [Rule(fact=rule["fact"], implication=rule["implication"], kind=rule["kind"]) for rule in rules]


def by_seed(audited: Audited) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """Each seed and what the audit's rules would be of it alone."""
    for seed in audited.point.seeds:
        mine = audited.scores.filter(pc.field("seed") == seed)
        yield seed, measured(mine, audited)


def measured(scores: pa.Table, audited: Audited) -> list[dict[str, Any]]:
    """The `rules` of these of its scores."""
    return outcome(scores, rules_of(audited.rules))["rules"]


def learned(row: Row) -> bool:
    """Whether facts and bridges were, so that something is known of the rule."""
    return row["verdict"] not in UNDECIDED
