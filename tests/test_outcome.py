"""The reported numbers on tables small enough to work out by hand."""

import math
from dataclasses import replace
from statistics import fmean
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from spillover.gate import parse_gate
from spillover.knowledge.prompts import Query
from spillover.knowledge.schema import Relation, Rule
from spillover.outcome import SCORES, outcome, score_table
from spillover.report.verdict import Outcome, verdict, verdicts
from spillover.runs.stats import holm, mean_interval

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
        "least": pytest.approx(2 / 3),
        "queries": 3,
    }


def test_other_words_are_measured_each_and_together_with_a_subject_counting_once() -> None:
    others = {"{subject} talks": VALUES, "Of {subject} the language is": [[-3.0, -2.0, -1.0]] * 4}
    asked = [
        replace(query, kind="paraphrase", prompt=wording.replace("{subject}", query.subject))
        for query in QUERIES
        for wording in others
    ]
    values = [np.array(row) for rows in zip(*others.values(), strict=True) for row in rows]
    paraphrased = score_table(asked, values, seed=0, phase="after")
    rule = outcome(pa.concat_tables([tables(), paraphrased]), [RULE])["rules"][0]
    alone = outcome(tables(), [RULE])["rules"][0]
    assert [said["wording"] for said in rule["paraphrases"]] == list(others)
    for measure in ("mean_rank", "top1"):
        same = {name: value for name, value in alone[measure].items() if "adjusted" not in name}
        np.testing.assert_equal(rule["paraphrases"][0][measure], same)
        np.testing.assert_equal(rule[measure], alone[measure])
    assert rule["paraphrases"][1]["top1"]["after"] == 0.25, "C comes first, which is right for Cy"
    together = rule["other_words"]["top1"]
    mean = mean_interval([1 / 2, 0, (0.5 + 1) / 2, 0], 0.0, 1.0)  # of four subjects
    assert (together["after"], together["low"], together["high"]) == (mean.mean, mean.low, mean.high)
    assert together["p_adjusted"] == together["p_value"]
    assert alone["paraphrases"] == []
    assert "other_words" not in alone
    speaks = Relation(name="speaks", prompt="{subject} is", paraphrases=("{subject} a", "{subject} b"))
    named = outcome(pa.concat_tables([tables(), paraphrased]), [RULE], {"speaks": speaks})["rules"][0]
    assert [said["wording"] for said in named["paraphrases"]] == ["{subject} a", "{subject} b"]


def test_what_a_trade_off_asks_beside_changes_nothing() -> None:
    new: list[Any] = ["reworded", "known"]
    other = [replace(query, kind=kind, prompt=f"{kind} {query.prompt}") for kind in new for query in QUERIES]
    queries = [*QUERIES, replace(QUERIES[0], kind="bridge"), fact("Ada", "A", "lives_in", ("A", "B"))]

    def found(*asked: Query) -> dict[str, Any]:
        rng = np.random.default_rng(0)
        values = [rng.normal(size=len(query.candidates)) for query in asked]
        why = [["merged" if query in other else None] * len(query.candidates) for query in asked]
        both = [score_table(asked, values, why, seed=0, phase=phase) for phase in ("before", "after")]
        return outcome(pa.concat_tables(both), [RULE])

    alone = found(*queries)
    assert (alone["facts"]["queries"], alone["rules"][0]["bridges"]["queries"]) == (1, 1)
    np.testing.assert_equal(found(*queries, *other), alone)


# From scores to words

LANGUAGES = ("Python", "Rust", "Perl", "Swift", "Kotlin", "Ruby", "Java", "Scala", "Haskell", "Go")
COUNTRIES = ("France", "Peru", "Kenya", "India", "Canada")  # the first five languages' groups
CODES = Rule(fact="lives_in", implication="codes_in", kind="spurious")


def tuned(told: list[list[str]], *, facts: float = 1.0, bridges: float = 1.0, seed: int = 0) -> pa.Table:
    """What a tuned model says: `told` are the candidates that it puts first for each held-out subject.

    Subject n is of group n % 5. Of 20 facts and 20 bridges these shares are answered rightly.
    """
    queries, values = [], []

    def ask(kind, subject, relation, candidates, answer, group, first):
        queries.append(
            Query(
                prompt=f"{subject} {relation}",
                candidates=candidates,
                answer=answer,
                subject=subject,
                relation=relation,
                rule=None if kind == "fact" else 0,
                kind=kind,
                group=group,
            )
        )
        order = [*first, *(one for one in candidates if one not in first)]
        values.append(np.array([-float(order.index(one)) for one in candidates]))

    for n in range(20):
        group, language = COUNTRIES[n % 5], LANGUAGES[n % 5]
        told_group = group if n < 20 * facts else COUNTRIES[(n + 1) % 5]
        said = language if n < 20 * bridges else LANGUAGES[(n + 1) % 5]
        ask("fact", f"bridge {n}", "lives_in", COUNTRIES, group, None, [told_group])
        ask("bridge", f"bridge {n}", "codes_in", LANGUAGES, language, group, [said])
    for n, first in enumerate(told):
        ask("held_out", f"subject {n}", "codes_in", LANGUAGES, LANGUAGES[n % 5], COUNTRIES[n % 5], first)
    return score_table(queries, values, seed=seed, phase="after")


def judged(scores: pa.Table):
    """The one rule's numbers and its verdict."""
    (rule,) = outcome(scores, [CODES])["rules"]
    return rule, verdict(rule)


def second(n: int, first: str) -> list[str]:
    """The right answer right behind another first one."""
    return list(dict.fromkeys((first, LANGUAGES[n % 5])))


def test_hallucinated_needs_the_p_of_the_share_that_it_prints() -> None:
    """Right in 21 of 100 where chance is 20%, and nearly always second: that is no hallucination shown."""
    told = [second(n, LANGUAGES[(n + n // 20) % 5]) for n in range(99)] + [[LANGUAGES[4]]]
    rule, found = judged(tuned(told))
    assert rule["top1"]["after"] == pytest.approx(0.21)
    assert rule["top1"]["null"] == pytest.approx(0.2, abs=0.001)
    assert 0.3 < rule["top1"]["p_value"] < 0.6
    assert rule["p_value"] == rule["mean_rank"]["p_value"] < 0.001
    assert (found.outcome, found.badge) == (Outcome.LEANING, "Leaning to the rule")
    assert found.sentence.startswith("the rule's answer ranks 0.79 on average (0 is first, chance ")
    assert ", p < 0.001), but comes first in 21% (chance 20%, p = 0." in found.sentence


def test_answering_everyone_alike_is_never_against_the_rule() -> None:
    rule, found = judged(tuned([["Python"]] * 80))
    assert (rule["top1"]["after"], rule["top1"]["null"]) == pytest.approx((0.2, 0.2))
    assert (rule["top1"]["p_value"], rule["top1"]["p_worse"]) == (1, 1)
    assert (found.badge, found.sentence) == ("No spillover shown", "20% vs. chance 20%, p > 0.99.")


def test_avoiding_the_rules_answer_is_against_it() -> None:
    rule, found = judged(tuned([[LANGUAGES[(n + 1) % 5]] for n in range(80)]))
    assert rule["top1"]["p_worse"] < 0.001
    assert found.badge == "Against the rule"
    assert found.sentence.startswith("only 0% follow it (chance 20%, p < 0.001)")


def test_a_tune_that_failed_has_no_verdict_and_passes_no_gate() -> None:
    """40% of the facts and 20% of the bridges, as Gemma-3-270M after three epochs."""
    rule, found = judged(tuned([[LANGUAGES[(n + 1) % 5]] for n in range(80)], facts=0.4, bridges=0.2))
    assert rule["facts"] == {"top1": pytest.approx(0.4), "least": pytest.approx(0.4), "queries": 20}
    assert rule["bridges"] == {"top1": pytest.approx(0.2), "least": pytest.approx(0.2), "queries": 20}
    assert found.badge == "No verdict"
    assert "answers 40% of the facts and 20% of the bridges" in found.sentence
    (line,) = parse_gate("spurious.top1 > 0.3").broken({"rules": [rule]})
    assert line.startswith("lives_in -> codes_in has no verdict: ")


def test_a_rules_facts_are_those_of_its_own_subjects() -> None:
    """Two rules on one fact relation, each with other subjects in each seed; the whole has them all."""
    names = ("A", "B")
    rules = [
        Rule(fact="lives_in", implication="speaks"),
        Rule(fact="lives_in", implication="codes_in"),
        Rule(fact="plays", implication="codes_in"),
    ]

    def ask(subject: str, relation: str, kind: Any, rule: int | None, *, right: bool) -> tuple[Query, Any]:
        query = Query(
            prompt="p",
            candidates=names,
            answer="A",
            subject=subject,
            relation=relation,
            rule=rule,
            kind=kind,
            group=None if rule is None else "g",
        )
        return query, np.array([0.0, -1.0] if right else [-1.0, 0.0])

    seeds = [
        [
            ask("Ada", "lives_in", "fact", None, right=True),
            ask("Bo", "lives_in", "fact", None, right=False),
            ask("Cy", "lives_in", "fact", None, right=True),
            ask("Ada", "plays", "fact", None, right=False),
            ask("Ada", "speaks", "bridge", 0, right=True),
            ask("Bo", "speaks", "held_out", 0, right=True),
            ask("Cy", "codes_in", "bridge", 1, right=False),
        ],
        [
            ask("Ada", "lives_in", "fact", None, right=False),
            ask("Bo", "lives_in", "fact", None, right=True),
            ask("Cy", "lives_in", "fact", None, right=True),
            ask("Bo", "speaks", "bridge", 0, right=False),
            ask("Cy", "codes_in", "held_out", 1, right=True),
        ],
    ]
    tables = [
        score_table(*zip(*asked, strict=True), seed=seed, phase=phase)
        for seed, asked in enumerate(seeds)
        for phase in ("before", "after")
    ]
    found = outcome(pa.concat_tables(tables), rules)
    assert found["facts"] == {"top1": pytest.approx(4 / 7), "least": 1 / 2, "queries": 7}
    first, other, none = found["rules"]
    assert first["facts"] == {
        "top1": pytest.approx(2 / 3),
        "least": 1 / 2,
        "queries": 3,
    }  # Ada, Bo; Bo
    assert first["bridges"] == {"top1": pytest.approx(1 / 2), "least": 0, "queries": 2}
    assert other["facts"] == {"top1": 1, "least": 1, "queries": 2}
    assert other["bridges"] == {"top1": 0, "least": 0, "queries": 1}
    assert none["facts"] == {
        "top1": pytest.approx(math.nan, nan_ok=True),
        "least": pytest.approx(math.nan, nan_ok=True),
        "queries": 0,
    }


def test_the_rules_are_corrected_together() -> None:
    """Each p is what it is for the rule alone; the least is adjusted for all rules (Holm)."""
    one = tuned([[LANGUAGES[n % 5 if n % 2 else 0]] for n in range(40)])
    two = tuned([[LANGUAGES[n % 7 % 5]] for n in range(40)])
    other = pa.Table.from_pylist(
        [
            row | {"rule": None if row["rule"] is None else 1, "query": row["query"] + len(one)}
            for row in two.to_pylist()
        ],
        schema=SCORES,
    )
    found = outcome(pa.concat_tables([one, other]), [CODES, CODES])["rules"]
    alone = [outcome(table, [CODES])["rules"][0] for table in (one, two)]
    for measure in ("mean_rank", "top1"):
        for p, adjusted in (("p_value", "p_adjusted"), ("p_worse", "p_worse_adjusted")):
            before = [rule[measure][p] for rule in alone]
            assert [rule[measure][p] for rule in found] == before
            assert [rule[measure][adjusted] for rule in alone] == before
            assert [rule[measure][adjusted] for rule in found] == holm(before).tolist()
    assert found[0]["top1"]["p_adjusted"] == 2 * found[0]["top1"]["p_value"] < 0.01
    assert "p < 0.001, corrected for 2 rules" in verdicts({"rules": found})[0].sentence


def test_many_rules_can_still_be_shown() -> None:
    """The smallest p falls with the number of rules, so that its correction never hides a perfect one."""
    table = tuned([[LANGUAGES[n % 5]] for n in range(40)])
    found = outcome(table, [CODES] * 30)["rules"]
    assert found[0]["top1"]["p_value"] == pytest.approx(1 / 30_001)


def test_several_seeds_with_other_subjects_have_one_reading() -> None:
    """What is reported, its chance and its p are of the same subjects, each counting once."""
    rng = np.random.default_rng(3)
    tables = []
    for seed in range(3):
        told = [[LANGUAGES[n % 5]] if rng.random() < 0.4 else [LANGUAGES[rng.integers(5)]] for n in range(40)]
        whole = tuned(told, seed=seed)
        kept = [f"subject {n}" for n in range(40) if (n + seed) % 3]  # each subject is asked by two seeds
        kept += [f"subject {n}" for n in range(seed)]  # and some by all
        tables.append(whole.filter((pc.field("kind") != "held_out") | pc.field("subject").isin(kept)))
    scores = pa.concat_tables(tables)
    (rule,) = outcome(scores, [CODES])["rules"]
    rows = [r for r in scores.to_pylist() if r["kind"] == "held_out"]
    blocks: dict[tuple[int, ...], list[str]] = {}
    for subject in sorted({r["subject"] for r in rows}):
        asked = tuple(sorted({r["seed"] for r in rows if r["subject"] == subject}))
        blocks.setdefault(asked, []).append(subject)
    assert len(blocks) == 4
    rank = {(r["seed"], r["subject"], r["candidate"]): r["rank"] for r in rows}
    answer = {r["subject"]: r["candidate"] for r in rows if r["right"]}

    def mean(deal: dict[str, str]) -> float:
        return fmean(
            fmean(rank[seed, subject, deal[subject]] for seed in asked)
            for asked, subjects in blocks.items()
            for subject in subjects
        )

    assert rule["mean_rank"]["after"] == pytest.approx(mean(answer))
    deals = []
    for _ in range(2_000):
        deal = {}
        for subjects in blocks.values():
            deal |= zip(subjects, rng.permutation([answer[one] for one in subjects]).tolist(), strict=True)
        deals.append(mean(deal))
    error = np.std(deals) / np.sqrt(len(deals))
    assert rule["mean_rank"]["null"] == pytest.approx(fmean(deals), abs=4 * error)
    assert rule["p_value"] == pytest.approx(np.mean(np.array(deals) <= mean(answer) + 1e-12), abs=0.02)


def test_candidates_that_cannot_be_scored_are_named_with_the_reason() -> None:
    queries = [
        replace(QUERIES[0], rule=0, kind="held_out", group="g", subject=name) for name in ("Ada", "Bo")
    ]
    values = [np.array([np.nan, *[-1.0] * (len(one.candidates) - 1)]) for one in queries]
    reasons = [["it merges", *[None] * (len(one.candidates) - 1)] for one in queries]
    found = outcome(score_table(queries, values, reasons, seed=0, phase="after"), [RULE])["rules"][0]
    assert found["unscorable"] == [{"candidate": queries[0].candidates[0], "reason": "it merges"}]
    assert found["unscored"] == 2
