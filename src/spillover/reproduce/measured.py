"""What an audit measured of a rule, as the row of a reproduction: pooled, or seed by seed."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import nan
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from spillover.outcome import outcome, rules_of
from spillover.report.verdict import Outcome
from spillover.report.verdict import outcome as verdict
from spillover.reproduce.figure import Check, Row
from spillover.reproduce.study import Audited
from spillover.runs.stats import Interval, mean_interval

ALL = "all"
"""In a row, in the place of a seed: all of them."""


def rows_of(
    audited: Audited, beside: Callable[[int, Mapping[str, Any]], Row], *, alone: bool = True
) -> Iterator[Row]:
    """Of each of an audit's rules a row of all seeds and, if they are to stand `alone`, too, one of each.

    `beside` says of a rule, by its number and entry, what else its rows have.
    """
    seeds = list(by_seed(audited)) if alone else []
    for number, rule in enumerate(audited.rules):
        more = beside(number, rule)
        yield {"seed": ALL, **row_of(audited, rule), **more}
        for seed, rules in seeds:
            yield {"seed": seed, **row_of(audited, rules[number]), "seeds": 1, **more}


def pooled(rows: Sequence[Row]) -> list[Row]:
    """Those of all seeds."""
    return [row for row in rows if row["seed"] == ALL]


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


def measures(rule: Mapping[str, Any] | None) -> dict[str, Any]:
    """The held-out measures of an audit's rule, `rank_` and `top1_`; NaN where there is none."""
    return {
        f"{short}_{'p' if field == 'p_value' else field}": nan if rule is None else rule[measure][field]
        for short, measure in (("rank", "mean_rank"), ("top1", "top1"))
        for field in ("before", "after", "low", "high", "null", "p_value")
    }


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
    return Outcome(row["verdict"]).is_known


def all_learned(rows: Sequence[Row]) -> Check:
    """That facts and bridges were learned in every row."""
    known = sum(map(learned, rows))
    return Check(
        statement="facts and bridges are learned everywhere, so that there is a verdict",
        holds=known == len(rows),
        measured=f"{known} of {len(rows)}",
    )


def grouped(rows: Sequence[Row], *names: str) -> list[list[Row]]:
    """Those that are alike in these fields, in their order."""
    groups: dict[Any, list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in names), []).append(row)
    return list(groups.values())


CURVE = ("model", "data", "rule")
"""The fields in which rows of one curve are alike."""


def curve_name(row: Row) -> str:
    """Of the curve that a row is of."""
    return ", ".join(filter(None, (row[name] for name in CURVE)))


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
