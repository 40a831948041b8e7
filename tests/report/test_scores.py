import math
import random
from collections import defaultdict
from typing import Any

import pyarrow as pa
import pytest

from spillover.knowledge.schema import Rule
from spillover.outcome import outcome
from spillover.report.scores import Scores

from .fixture import PAIRS, SCHEMA, scores

SEEDS = 2


@pytest.fixture(scope="module")
def table():
    return scores(seeds=SEEDS)


def queries(table, rule, phase):
    """The plain reading of the table: seed, query -> its rows."""
    found = {}
    for row in table.to_pylist():
        if (row["kind"], row["rule"], row["phase"]) == ("held_out", rule, phase):
            found.setdefault((row["seed"], row["query"]), []).append(row)
    return found


@pytest.mark.parametrize("rule", [0, 1])
@pytest.mark.parametrize("phase", ["before", "after"])
def test_ranks_and_chance_equal_a_plain_loop(table, rule, phase):
    asked = queries(table, rule, phase)
    share: dict[float, float] = defaultdict(float)
    chance: dict[float, float] = defaultdict(float)
    for (seed, _), rows in asked.items():
        by_name = {row["candidate"]: row["rank"] for row in rows}
        share[next(row["rank"] for row in rows if row["right"])] += 1
        others = [other for key, other in asked.items() if key[0] == seed]
        for other in others:
            (right,) = (row["candidate"] for row in other if row["right"])
            chance[by_name[right]] += 1 / len(others)
    found = {row["rank"]: row for row in Scores(table).ranks(rule) if row["phase"] == phase}
    for rank in range(10):
        row = found.get(rank, {"share": 0, "chance": 0})
        assert row["share"] == pytest.approx(share[rank] / len(asked))
        assert row["chance"] == pytest.approx(chance[rank] / len(asked))


def ask(ranks, *, right=0, query=0, rule=0, seed=0, subject=None) -> list[dict[str, Any]]:
    """One held-out query after tuning."""
    row = (seed, "after", query, "held_out", rule, "r", subject or f"s{query}", "g", "p")
    return [
        dict(
            zip(SCHEMA.names, (*row, f"c{n}", n == right, None if rank is None else -rank, rank), strict=True)
        )
        for n, rank in enumerate(ranks)
    ]


def test_the_means_are_the_outcomes_where_seeds_ask_different_subjects():
    asked = [(0, name) for name in "abcd"] + [(1, name) for name in "abefg"]
    answer = {"a": 0, "b": 1, "c": 1, "d": 2, "e": 2, "f": 2, "g": 0}
    rows, rng = [], random.Random(1)  # noqa: S311
    for query, (seed, name) in enumerate(asked):
        ranks = rng.sample([0.0, 1.0, 2.5, 2.5], 4)
        rows += ask(ranks, right=answer[name], query=query, seed=seed, subject=name)
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    found = Scores(table).ranks(0)
    (rule,) = outcome(table, [Rule(fact="f", implication="r")])["rules"]
    for column, name in (("share", "after"), ("chance", "null")):
        mean = sum(row["rank"] * row[column] for row in found)
        assert mean == pytest.approx(rule["mean_rank"][name])
        assert sum(row[column] for row in found) == pytest.approx(1)


def test_ties_share_and_keep_the_mean():
    tied = Scores(pa.Table.from_pylist(ask([0.5, 0.5, 2.0]), schema=SCHEMA))
    assert [(row["rank"], row["share"]) for row in tied.ranks(0)] == [(0, 0.5), (1, 0.5)]
    assert {cell["answer"]: cell["share"] for cell in tied.answers(0)} == {"c0": 0.5, "c1": 0.5, "c2": 0}


@pytest.mark.parametrize("missing", [None, math.nan])
def test_what_was_not_scored_counts_nowhere(missing):
    rows = ask([0.0, 1.0, 2.0]) + ask([missing] * 3, query=1)
    found = Scores(pa.Table.from_pylist(rows, schema=SCHEMA))
    assert [(row["rank"], row["share"]) for row in found.ranks(0)] == [(0, 1.0)]
    assert {cell["queries"] for cell in found.answers(0)} == {1}
    assert [row["subject"] for row in found.examples(0, "f")] == ["s0"]
    nothing = Scores(pa.Table.from_pylist(ask([missing] * 3), schema=SCHEMA))
    assert nothing.ranks(0) == nothing.answers(0) == nothing.examples(0, "f") == []


def test_the_map_has_the_rule_on_its_diagonal_and_rows_of_one(table):
    cells = Scores(table).answers(1)
    assert {(cell["group"], cell["answer"]) for cell in cells if cell["right"]} == set(PAIRS[1].items())
    assert all((cell["row"] == cell["column"]) == cell["right"] for cell in cells)
    for group in PAIRS[1]:
        assert sum(cell["share"] for cell in cells if cell["group"] == group) == pytest.approx(1)


def test_a_large_map_keeps_the_largest_groups(table):
    cells = Scores(table).answers(1, limit=3)
    assert len({cell["group"] for cell in cells}) == len({cell["answer"] for cell in cells}) == 3


def test_learned_tells_facts_from_bridges(table):
    found = [(row["kind"], row["relation"], row["queries"], row["after"]) for row in Scores(table).learned()]
    assert [row[:3] for row in found] == [
        ("fact", "lives_in", 50 * SEEDS),
        ("fact", "comes_from", 50 * SEEDS),
        ("bridge", "speaks", 10 * SEEDS),
        ("bridge", "codes_in", 10 * SEEDS),
    ]
    assert all(row[3] > 0.95 for row in found)


def test_examples_are_the_largest_gains_of_distinct_held_out_subjects(table):
    found = Scores(table).examples(1, "comes_from", limit=200)
    before, after = queries(table, 1, "before"), queries(table, 1, "after")
    gains = {}
    for rows in after.values():
        top = max(rows, key=lambda row: row["logprob"])
        (old,) = (
            row["logprob"]
            for rows in before.values()
            for row in rows
            if (row["seed"], row["subject"], row["candidate"])
            == (top["seed"], top["subject"], top["candidate"])
        )
        gain = top["logprob"] - old
        gains[top["subject"]] = max(gain, gains.get(top["subject"], -math.inf))
    assert [row["subject"] for row in found] == sorted(gains, key=lambda name: -gains[name])
    assert [row["gain"] for row in found] == pytest.approx(sorted(gains.values(), reverse=True))


def test_an_example_carries_what_its_sentence_needs(table):
    for right in (True, False):
        rows = Scores(table).examples(1, "comes_from", right=right)
        assert 0 < len(rows) <= 5
        for row in rows:
            assert row["fact_prompt"] == f"{row['subject']} comes from"
            assert row["prompt"] == f"{row['subject']} codes in"
            assert row["expected"] == PAIRS[1][row["group"]]
            assert (row["answer"] == row["expected"]) is row["right"] is right
            assert 0 < row["before"] < 1
            assert 0.1 <= row["after"] < 1


def test_probabilities_among_candidates_survive_tiny_log_probabilities():
    rows = [row | {"logprob": -5000 - row["rank"]} for row in ask([0.0, 1.0])]
    (found,) = Scores(pa.Table.from_pylist(rows, schema=SCHEMA)).examples(0, "f")
    assert found["after"] == pytest.approx(1 / (1 + math.exp(-1)))
    assert found["before"] is None
