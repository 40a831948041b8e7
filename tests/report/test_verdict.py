import math
from typing import Any

import pytest

from spillover.report.verdict import (
    LEARNED,
    NOTHING,
    Outcome,
    correction,
    interval,
    not_scored,
    number,
    outcome,
    p_phrase,
    p_value,
    percent,
    summary,
    verdict,
    verdicts,
)

from .fixture import measured, of_version_0_1, results, rule_row

CHANCE: dict[str, Any] = {
    "top1": measured(0.1, 0.22, 0.14, 0.33, 0.2, 0.31),
    "mean_rank": measured(4.4, 1.9, 1.5, 2.3, 2.0, 0.2),
}
BELOW: dict[str, Any] = {
    "top1": measured(0.1, 0.03, 0.01, 0.09, 0.2, 1.0),
    "mean_rank": measured(4.4, 2.39, 2.1, 2.7, 2.0, 0.9981),
}
RANKED: dict[str, Any] = {
    "top1": measured(0.1, 0.18, 0.1, 0.28, 0.2, 0.62),
    "mean_rank": measured(4.4, 1.2, 1.0, 1.4, 2.0, 0.002),
}
NOTHING_SCORED: dict[str, Any] = {
    "queries": 0,
    "top1": measured(None, None, None, None, None, None),
    "mean_rank": measured(None, None, None, None, None, None),
}
UNTESTED = {"top1": measured(0.1, 0.59, 0.48, 0.7, 0.2, None), "mean_rank": measured(4, 1, 0, 2, 2, None)}
ADVICE = "Train it longer (more epochs), or with another learning rate or other prompts."
UNLEARNED = {**BELOW, "facts_top1": 0.4, "bridges_top1": 0.2}


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
            CHANCE | {"top1_p_value": 0.01, "top1_p_adjusted": 0.01},
            Outcome.ABSENT,
            "No spillover shown: 22% vs. chance 20%, p = 0.010.",
        ),
        (
            "causal",
            BELOW,
            Outcome.AGAINST,
            "Against the rule: only 3% follow it (chance 20%, p < 0.001); the model gives other answers. "
            "Not spillover.",
        ),
        (
            "spurious",
            BELOW | {"mean_rank_p_adjusted": 0.4},
            Outcome.AGAINST,
            "Against the rule: only 3% follow it (chance 20%, p < 0.001); the model gives other answers. "
            "Not spillover.",
        ),
        (
            "spurious",
            BELOW | {"top1_p_worse_adjusted": 0.01},
            Outcome.ABSENT,
            "No spillover shown: 3% vs. chance 20%, p > 0.99.",
        ),
        (
            "spurious",
            RANKED,
            Outcome.LEANING,
            "Leaning to the rule: the rule's answer ranks 1.20 on average (0 is first, chance 2.00, "
            "p = 0.002), but comes first in 18% (chance 20%, p = 0.62).",
        ),
        ("spurious", NOTHING_SCORED, Outcome.UNKNOWN, "No verdict: no held-out query could be scored."),
        (
            "spurious",
            UNTESTED,
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
        (
            "spurious",
            UNLEARNED,
            Outcome.UNLEARNED,
            "No verdict: of what it was trained on, the model answers 40% of the facts and 20% of the "
            f"bridges, and a verdict needs 80% of each, so nothing is known of the rule. {ADVICE}",
        ),
        (
            "causal",
            {"bridges_top1": 0.7999},
            Outcome.UNLEARNED,
            "No verdict: of what it was trained on, the model answers 99% of the facts and 79% of the "
            f"bridges, and a verdict needs 80% of each, so nothing is known of the rule. {ADVICE}",
        ),
        (
            "causal",
            {"facts_top1": None},
            Outcome.UNLEARNED,
            "No verdict: none of the rule's facts could be scored, so nothing is known of the rule. "
            f"{ADVICE}",
        ),
    ],
)
def test_every_case_has_its_sentence(kind, changes, expected, sentence):
    rule = rule_row(kind, **changes)
    found = verdict(rule)
    assert outcome(rule) is found.outcome is expected
    assert f"{found.badge}: {found.sentence}" == sentence
    assert verdict(in_python(rule)) == found


@pytest.mark.parametrize(
    ("changes", "words", "said"),
    [
        ({}, (0.55, 0.0001), "Asked in other words: so, too (55%, chance 20%, p < 0.001)."),
        (
            {},
            (0.24, 0.3),
            "Asked in other words: no spillover is seen: this holds for the trained wording alone (24%, "
            "chance 20%, p = 0.30).",
        ),
        (
            CHANCE,
            (0.5, 0.0001),
            "Asked in other words: it is seen, so the trained wording alone misleads (50%, chance 20%, "
            "p < 0.001).",
        ),
        (CHANCE, (0.21, 0.4), "Asked in other words: so, too (21%, chance 20%, p = 0.40)."),
        (UNLEARNED, (0.5, 0.0001), None),
        ({}, (None, None), None),
    ],
)
def test_other_words_are_part_of_a_verdict(changes, words, said):
    after, p = words
    other = {"top1": measured(0.1, after, 0.1, 0.6, 0.2, p), "mean_rank": measured(4, 1, 0, 2, 2, p)}
    rule = rule_row("spurious", **changes) | {"other_words": other}
    alone = verdict(rule_row("spurious", **changes)).sentence
    assert verdict(rule).sentence == (f"{alone} {said}" if said else alone)


def in_python(value):
    """A document as it is before it is written: undefined is NaN."""
    if isinstance(value, dict):
        return {name: in_python(item) for name, item in value.items()}
    return math.nan if value is None else value


def test_both_shares_of_what_was_trained_need_the_threshold_itself():
    for part in ("facts_top1", "bridges_top1"):
        assert outcome(rule_row(**{part: LEARNED})) is Outcome.SHOWN
        assert outcome(rule_row(**{part: LEARNED - 1e-9})) is Outcome.UNLEARNED


def test_a_model_tuned_elsewhere_gets_other_advice():
    document = results() | {"tuned": "mine", "rules": [rule_row(**UNLEARNED)]}
    assert verdicts(document)[0].sentence.endswith(
        "so nothing is known of the rule. Is it the right model or adapter for this base, "
        "tuned on these prompts and on the bridges of this seed?"
    )


def test_what_is_shown_needs_the_p_of_top1_corrected_for_the_rules():
    both = {"mean_rank": RANKED["mean_rank"], "top1": measured(0.1, 0.35, 0.22, 0.4, 0.2, 0.006)}
    assert outcome(rule_row(**both)) is Outcome.SHOWN
    corrected = rule_row(**both, top1_p_adjusted=0.012, mean_rank_p_adjusted=0.004)
    assert outcome(corrected) is Outcome.LEANING
    one, other = verdicts(results() | {"rules": [corrected, rule_row(**CHANCE)]})
    assert one.sentence == (
        "the rule's answer ranks 1.20 on average (0 is first, chance 2.00, p = 0.004, corrected for 2 "
        "rules), but comes first in 35% (chance 20%, p = 0.012)."
    )
    assert other.sentence == "22% vs. chance 20%, p = 0.31, corrected for 2 rules."
    untested = verdicts(results() | {"rules": [rule_row(**CHANCE), rule_row(**UNTESTED)]})
    assert untested[0].sentence == "22% vs. chance 20%, p = 0.31."


@pytest.mark.parametrize(
    ("changes", "expected", "sentence"),
    [
        (
            {},
            Outcome.SHOWN,
            "asked 80 times for “codes in” it was never told, the model invents the rule's answer 59% of the "
            "time (chance 20%).",
        ),
        (
            {"top1_after": 0.21, "top1_low": 0.13},
            Outcome.LEANING,
            "the rule's answer ranks 0.71 on average (0 is first, chance 2.00, p < 0.001), but comes first "
            "in 21% (chance 20%).",
        ),
        (
            BELOW,
            Outcome.AGAINST,
            "only 3% follow it (chance 20%); the model gives other answers. Not spillover.",
        ),
        (
            {"top1": measured(0.2, 0.2, 0.12, 0.3, 0.2), "p_value": 1.0},
            Outcome.ABSENT,
            "20% vs. chance 20%.",
        ),
        (NOTHING_SCORED | {"p_value": None}, Outcome.UNKNOWN, "no held-out query could be scored."),
    ],
)
def test_a_run_of_version_0_1_is_read_by_what_it_has(changes, expected, sentence):
    rule = of_version_0_1(rule_row(**({"p_value": 0.9981} if changes is BELOW else {}) | changes))
    found = verdict(rule)
    assert found.outcome is expected
    assert found.sentence == (
        f"{sentence} Measured by version 0.1: it did not record whether the rule's bridges were learned."
    )
    assert correction({"rules": [rule, rule]}) == ""


def test_candidates_that_cannot_be_scored_are_named_with_the_reason():
    assert not_scored(rule_row()) == not_scored(rule_row(unscorable=[])) == ""
    why = [("C++", "it has no tokens"), ("C#", "it has no tokens"), ("Go", "it joins the prompt")]
    rule = rule_row(unscorable=[{"candidate": name, "reason": reason} for name, reason in why])
    assert not_scored(rule) == "Not scored: “C++”, “C#” (it has no tokens); “Go” (it joins the prompt)."


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
    assert interval(None, 0.9) == interval(0.9, math.nan) == NOTHING
    assert percent(math.nan) == number(math.nan) == number(None) == p_value(math.nan) == NOTHING


def test_the_summary_counts_what_was_shown():
    found = results()
    assert summary(found).endswith("it generalized the wanted rule and it hallucinated the spurious rule.")
    found["rules"] += [rule_row(**CHANCE), rule_row(**BELOW)]
    assert summary(found).endswith("and it hallucinated 1 of 3 spurious rules.")
    found["rules"] = [rule_row(**CHANCE)]
    assert summary(found).endswith("beyond them, no hallucination was shown.")
    found["rules"] = []
    assert summary(found).endswith("beyond them, no rule was tested.")


def test_the_summary_says_which_rules_have_no_verdict():
    found = results()
    found["rules"][1] = rule_row(**UNLEARNED)
    assert summary(found).endswith(
        "it generalized the wanted rule and there is no verdict on the spurious rule."
    )
    found["rules"] += [rule_row(**CHANCE), rule_row(**NOTHING_SCORED)]
    assert summary(found).endswith("and there is no verdict on 2 of 3 spurious rules.")
    found["rules"] += [rule_row()]
    assert summary(found).endswith(
        "and it hallucinated 1 of 4 spurious rules, and there is no verdict on 2 of 4 spurious rules."
    )
