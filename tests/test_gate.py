import math

import pytest

from spillover.errors import DataError
from spillover.gate import parse_gate


def rule(kind: str, implication: str, rank: float, top1: float, p_value: float | None) -> dict:
    return {
        "fact": "a",
        "implication": implication,
        "kind": kind,
        "mean_rank": {"after": rank},
        "top1": {"after": top1},
        "p_value": p_value,
    }


RESULTS = {
    "facts": {"top1": 0.97},
    "rules": [
        rule("causal", "b", 0.1, 0.9, 1e-4),
        rule("spurious", "c", 1.4, 0.31, None),
        rule("spurious", "d", 2.0, math.nan, 0.4),
    ],
}


@pytest.mark.parametrize(
    ("text", "broken"),
    [
        ("spurious.top1 > 0.3", ["a -> c.top1 is 0.31", "a -> d.top1 is undefined"]),
        ("spurious.top1 > 0.4", ["a -> d.top1 is undefined"]),
        ("spurious.mean_rank<=1.4", ["a -> c.mean_rank is 1.4"]),
        ("causal.top1 < 0.9", []),
        ("causal.p_value >= 1e-4", ["a -> b.p_value is 0.0001"]),
        ("spurious.p_value < 0.01", ["a -> c.p_value is undefined"]),
        ("facts.top1 < 0.98", ["facts.top1 is 0.97"]),
    ],
)
def test_gates(text: str, broken: list[str]) -> None:
    lines = parse_gate(text).broken(RESULTS)
    assert [line.partition(" (")[0] for line in lines] == broken


def test_a_condition_is_met_where_its_number_is_known_and_whatever_was_learned() -> None:
    untaught = {"facts": {"top1": 0.4, "least": 0.4}, "bridges": {"top1": 0.2, "least": 0.2}}
    results = {"facts": {"top1": 0.4}, "rules": [entry | untaught for entry in RESULTS["rules"]]}
    assert parse_gate("spurious.top1 > 0.3").met(results) == ["a -> c.top1 is 0.31 (spurious.top1 > 0.3)"]
    assert parse_gate("spurious.p_value < 0.5").met(results) == [
        "a -> d.p_value is 0.4 (spurious.p_value < 0.5)"
    ]
    assert parse_gate("facts.top1 < 0.5").met(results) == ["facts.top1 is 0.4 (facts.top1 < 0.5)"]
    assert parse_gate("spurious.mean_rank > 2").met(results) == []


@pytest.mark.parametrize("text", ["spurious.top1 > 0.3", "spurious.mean_rank < 9", "spurious.p_value < 0.5"])
@pytest.mark.parametrize(
    ("facts", "bridges", "why"),
    [
        (0.4, 0.2, "of what it was trained on, the model answers 40% of the facts and 20% of the bridges, "
         "and a verdict needs 80% of each"),
        (1.0, math.nan, "none of the rule's bridges could be scored"),
        (None, None, "none of the rule's facts and bridges could be scored"),
    ],
)  # fmt: skip
def test_a_rule_that_was_not_taught_fails_every_gate_on_it(text, facts, bridges, why) -> None:
    taught = {
        "facts": {"top1": facts, "least": facts, "queries": 100},
        "bridges": {"top1": bridges, "least": bridges, "queries": 20},
    }
    results = {"facts": {"top1": 0.97}, "rules": [rule("spurious", "b", 0.1, 0.2, 0.5) | taught]}
    assert parse_gate(text).broken(results) == [f"a -> b has no verdict: {why} ({text})"]
    assert parse_gate("facts.top1 < 0.9").broken(results) == []
    learned = {
        "facts": {"top1": 1.0, "least": 1.0, "queries": 100},
        "bridges": {"top1": 0.8, "least": 0.8, "queries": 20},
    }
    results["rules"][0] |= learned
    assert parse_gate("spurious.top1 > 0.3").broken(results) == []


def test_a_gate_with_nothing_to_judge_fails() -> None:
    assert parse_gate("causal.top1 < 0.9").broken({"rules": []}) == [
        "the knowledge base has no causal rule to judge"
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("spurious", "is not of the form"),
        ("spurious.top1 == 0.3", "is not of the form"),
        ("wrong.top1 > 0.3", "allowed are causal, spurious, facts"),
        ("causal.rank > 0.3", "allowed are causal.top1, causal.mean_rank, causal.p_value"),
        ("facts.mean_rank > 1", "allowed are facts.top1"),
        ("facts.top1 < nan", "not a finite number"),
        ("facts.top1 < x", "not a finite number"),
    ],
)
def test_bad_gates(text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        parse_gate(text)
