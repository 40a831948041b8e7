"""What an audit measured of a rule, as the row of a reproduction: pooled, or seed by seed."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from spillover.knowledge.schema import Rule
from spillover.outcome import outcome
from spillover.report.verdict import outcome as verdict
from spillover.reproduce.figure import Row
from spillover.reproduce.study import Audited
from spillover.runs.stats import Interval, mean_interval

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


Answers = Mapping[tuple[int, int, str], float]
"""(rule, seed, subject) -> what a held-out subject's answer was worth after tuning."""


def held_out_ranks(audited: Audited) -> Answers:
    """The right answers' ranks; who could not be scored is left out."""
    asked = (pc.field("kind") == "held_out") & (pc.field("phase") == "after") & pc.field("right")
    rows = audited.scores.filter(asked & pc.field("rank").is_valid())
    return {(row["rule"], row["seed"], row["subject"]): row["rank"] for row in rows.to_pylist()}


def held_out_firsts(audited: Audited) -> Answers:
    """1 where the right answer alone comes first, else 0."""
    return {key: float(rank == 0) for key, rank in held_out_ranks(audited).items()}


def gap(first: Audited, second: Audited, worth: Callable[[Audited], Answers]) -> Interval:
    """By how much the held-out subjects' answers are worth more in the second audit than in the first, with
    its 95% interval; over the subjects that both hold out in the same seed, each counting once.
    """
    ours, theirs = worth(first), worth(second)
    common = sorted(ours.keys() & theirs.keys())
    most = max(rule["candidates"] - 1.0 for audited in (first, second) for rule in audited.rules)
    bound = 1.0 if worth is held_out_firsts else most
    more = np.array([theirs[key] - ours[key] for key in common], dtype=float)
    return mean_interval(more, -bound, bound, [subject for _, _, subject in common])
