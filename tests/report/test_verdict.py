from typing import Any

import pytest

from spillover.report.verdict import (
    NOTHING,
    Outcome,
    interval,
    outcome,
    p_phrase,
    p_value,
    percent,
    summary,
    verdict,
)

from .fixture import results, rule_row

CHANCE: dict[str, Any] = {"top1_after": 0.22, "top1_low": 0.14, "top1_high": 0.33, "p_value": 0.31}
BELOW: dict[str, Any] = {
    "top1_after": 0.03,
    "top1_low": 0.01,
    "top1_high": 0.09,
    "mean_rank_after": 2.39,
    "p_value": 0.9981,
}
RANKED = {"top1_after": 0.18, "top1_low": 0.1, "top1_high": 0.28, "mean_rank_after": 1.2, "p_value": 0.002}
UNSCORED = {"queries": 0, "top1_after": None, "top1_null": None, "p_value": None}


@pytest.mark.parametrize(
    ("kind", "changes", "expected", "sentence"),
    [
        (
            "causal",
            {"fact": "lives_in", "implication": "speaks", "top1_after": 0.91, "top1_low": 0.83},
            Outcome.SHOWN,
            "Generalized: asked 80 times for “speaks” it was never told, the model answers by the rule "
            "91% of the time (chance 20%, p < 0.001).",
        ),
        (
            "spurious",
            {},
            Outcome.SHOWN,
            "HALLUCINATED: asked 80 times for “codes in” it was never told, the model invents the rule's "
            "answer 59% of the time (chance 20%, p < 0.001).",
        ),
        ("spurious", CHANCE, Outcome.ABSENT, "No spillover shown: 22% vs. chance 20%, p = 0.31."),
        ("causal", CHANCE, Outcome.ABSENT, "No generalization shown: 22% vs. chance 20%, p = 0.31."),
        (
            "spurious",
            CHANCE | {"p_value": 0.01},
            Outcome.ABSENT,
            "No spillover shown: 22% vs. chance 20%, p = 0.010.",
        ),
        (
            "causal",
            BELOW,
            Outcome.AGAINST,
            "Against the rule: only 3% follow it, chance 20%; the model gives other answers. Not spillover.",
        ),
        (
            "spurious",
            BELOW | {"p_value": 0.4},
            Outcome.AGAINST,
            "Against the rule: only 3% follow it, chance 20%; the model gives other answers. Not spillover.",
        ),
        (
            "spurious",
            RANKED,
            Outcome.LEANING,
            "Leaning to the rule: the rule's answer ranks 1.20 on average (0 is first, chance 2.00, "
            "p = 0.002), but comes first in 18%, chance 20%.",
        ),
        ("spurious", UNSCORED, Outcome.UNKNOWN, "No verdict: no held-out query could be scored."),
        (
            "spurious",
            {"p_value": None},
            Outcome.UNKNOWN,
            "No verdict: 59% follow it, but shuffling the groups changes nothing, so nothing can be tested.",
        ),
        (
            "spurious",
            {"top1_before": 0.5},
            Outcome.SHOWN,
            "HALLUCINATED: asked 80 times for “codes in” it was never told, the model invents the rule's "
            "answer 59% of the time (chance 20%, p < 0.001). But before fine-tuning it was 50% already: "
            "little of this is new.",
        ),
        (
            "spurious",
            CHANCE | {"unscored": 1},
            Outcome.ABSENT,
            "No spillover shown: 22% vs. chance 20%, p = 0.31. 1 query could not be scored.",
        ),
    ],
)
def test_every_case_has_its_sentence(kind, changes, expected, sentence):
    rule = rule_row(kind, **changes)
    assert outcome(rule) is expected
    assert verdict(rule) == sentence


@pytest.mark.parametrize(
    ("p", "text", "phrase"),
    [
        (1e-4, "< 0.001", "p < 0.001"),
        (0.004, "0.004", "p = 0.004"),
        (0.0098, "0.0098", "p = 0.0098"),
        (0.0104, "0.010", "p = 0.010"),
        (0.31, "0.31", "p = 0.31"),
        (0.9999, "> 0.99", "p > 0.99"),
        (None, NOTHING, f"p = {NOTHING}"),
    ],
)
def test_a_p_value_is_never_0_or_1(p, text, phrase):
    assert (p_value(p), p_phrase(p)) == (text, phrase)


def test_shares_and_intervals_claim_no_more_than_they_know():
    shares = [percent(share) for share in (0.0, 0.001, 0.5, 0.999, 1.0, None)]
    assert shares == ["0%", "< 1%", "50%", "> 99%", "100%", NOTHING]
    assert interval(0.83, 0.96) == "83–96%"  # noqa: RUF001
    assert interval(None, 0.9) == NOTHING


def test_the_summary_counts_what_was_shown():
    found = results()
    assert summary(found).endswith("it generalized the wanted rule and it hallucinated the spurious rule.")
    found["rules"] += [rule_row(**CHANCE), rule_row(**BELOW)]
    assert summary(found).endswith("and it hallucinated 1 of 3 spurious rules.")
    found["rules"] = [rule_row(**CHANCE)]
    assert summary(found).endswith("beyond them, no hallucination was shown.")
    found["rules"] = []
    assert summary(found).endswith("beyond them, no rule was tested.")
