"""The reported numbers on tables small enough to work out by hand."""

import math

import numpy as np
import pytest

from spillover.knowledge.prompts import Query
from spillover.knowledge.schema import Rule
from spillover.outcome import outcome, score_table

RULE = Rule(fact="lives_in", implication="speaks", kind="causal")


def held_out(subject: str, answer: str) -> Query:
    return Query(
        prompt=f"{subject} speaks",
        candidates=("A", "B", "C"),
        answer=answer,
        subject=subject,
        relation="speaks",
        rule=0,
        kind="held_out",
        group=f"town of {answer}",
    )


def fact(subject: str, answer: str, relation: str, candidates: tuple[str, ...]) -> Query:
    return Query(
        prompt=f"{subject} {relation}",
        candidates=candidates,
        answer=answer,
        subject=subject,
        relation=relation,
        rule=None,
        kind="fact",
        group=None,
    )


QUERIES = [held_out("Ada", "A"), held_out("Bo", "B"), held_out("Cy", "C"), held_out("Di", "A")]
# right: first, second, tied for first, last
VALUES = [[-1.0, -2.0, -3.0], [-1.0, -2.0, -3.0], [-2.0, -5.0, -2.0], [-9.0, -2.0, -3.0]]


def tables(phase: str = "after", values: list[list[float]] = VALUES):
    return score_table(QUERIES, [np.array(row) for row in values], seed=0, phase=phase)


def test_mean_rank_and_top1_with_ties() -> None:
    rule = outcome(tables(), [RULE])["rules"][0]
    assert rule["mean_rank"]["after"] == pytest.approx((0 + 1 + 0.5 + 2) / 4)
    assert rule["top1"]["after"] == pytest.approx((1 + 0 + 0.5 + 0) / 4)
    assert (rule["queries"], rule["candidates"], rule["unscored"]) == (4, 3, 0)
    assert rule["mean_rank"]["low"] < rule["mean_rank"]["after"] < rule["mean_rank"]["high"]


def test_null_is_the_mean_over_all_deals_of_the_answers() -> None:
    ranks = np.array([[0, 1, 2], [0, 1, 2], [0.5, 2, 0.5], [2, 0, 1]])
    answers = [0, 1, 2, 0]
    expected = np.mean([ranks[q, a] for q in range(4) for a in answers])
    assert outcome(tables(), [RULE])["rules"][0]["mean_rank"]["null"] == pytest.approx(expected)


def test_unscored_is_counted_and_never_wrong() -> None:
    values = [*VALUES[:3], [math.nan, -2.0, -3.0]]
    rule = outcome(tables(values=values), [RULE])["rules"][0]
    assert rule["unscored"] == 1
    assert rule["top1"]["after"] == pytest.approx((1 + 0 + 0.5) / 3)


def test_an_untuned_model_alone_has_no_after() -> None:
    rule = outcome(tables("before"), [RULE])["rules"][0]
    assert math.isnan(rule["top1"]["after"])
    assert rule["top1"]["before"] == pytest.approx(0.375)
    assert rule["top1"]["low"] < 0.375 < rule["top1"]["high"]


def test_facts_of_relations_with_different_candidates() -> None:
    queries = [
        fact("Ada", "A", "lives_in", ("A", "B", "C")),
        fact("Ada", "X", "plays", ("X", "Y")),
        fact("Bo", "Y", "plays", ("X", "Y")),
    ]
    values = [np.array([-1.0, -2.0, -3.0]), np.array([-1.0, -2.0]), np.array([-1.0, -2.0])]
    assert outcome(score_table(queries, values, seed=0, phase="after"), [])["facts"] == {
        "top1": pytest.approx(2 / 3),
        "queries": 3,
    }
