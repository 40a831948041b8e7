"""The forecast as its users call it: a table in, a document out."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from spillover.cli import app
from spillover.jobs.forecast import forecast
from spillover.knowledge.load import load
from spillover.knowledge.schema import Triple
from spillover.knowledge.split import split
from tests.implication.tables import grouped
from tests.jobs.tables import noisy, write_csv


def run(*words, capsys):
    """The command's JSON document."""
    assert not app([*map(str, words), "--json"], exit_on_error=False, result_action="return_value")
    return json.loads(capsys.readouterr().out)


def test_a_bare_csv_works_and_follows_the_contract(tmp_path, capsys):
    table = write_csv(tmp_path / "my.csv", grouped(5, 20, 4))
    found = run("forecast", table, capsys=capsys)
    assert found["kb"] | {"patterns": 10} == {
        "name": "my",
        "subjects": 100,
        "relations": 2,
        "answers": 10,
        "triples": 120,
        "patterns": 10,
    }
    solver = found["solver"]
    assert set(solver) >= {"norm", "objective", "lower_bound", "relative_gap", "status", "seconds"}
    assert solver["relative_gap"] == pytest.approx(1 - solver["lower_bound"] / solver["objective"])
    assert 0 <= solver["relative_gap"] <= 1e-4
    (rule,) = found["rules"]
    assert (rule["fact"], rule["implication"], rule["kind"]) == ("lives_in", "codes_in", "discovered")
    assert (rule["bridges"], rule["held_out"]) == (20, 80)
    assert rule["margin"]["mean"] == pytest.approx(0.5, abs=2e-3)
    assert rule["margin"]["min"] <= rule["margin"]["mean"] <= rule["margin"]["max"]
    assert rule["top1"] == 1
    assert rule["chance"] == pytest.approx(0.2)
    assert rule["p_value"] < 1e-6


def test_the_table_on_the_terminal_fits_and_says_it_in_words(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    app(
        ["forecast", str(write_csv(tmp_path / "my.csv", grouped(5, 20, 4))), "--advise"],
        result_action="return_value",
    )
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 80
    said = " ".join(printed.split())
    assert "“codes in” will follow “lives in”: margin 0.50 from 4 bridges per group." in said
    assert "5 counterexamples per group (25 facts more in all): margin 0.09, below 0.1" in said
    assert "Certified: the least nuclear norm lies in [26.236" in said


@pytest.mark.parametrize("name", ["demo", "city-language", "country-code"])
def test_built_in_rules_are_forecast_with_the_bridges_that_the_seed_draws(name):
    found = forecast(name, seed=2)
    kb = load(name)
    assert [(r["fact"], r["implication"], r["kind"]) for r in found["rules"]] == [
        (rule.fact, rule.implication, rule.kind) for rule in kb.rules
    ]
    for rule in found["rules"]:
        assert rule["margin"]["mean"] == pytest.approx(0.5, abs=5e-3)
        assert (rule["bridges"], rule["held_out"]) == (20, 80)
    assert forecast(split(kb, 2))["rules"] == found["rules"]


def test_a_planted_rule_is_found_and_a_shuffled_one_is_not(tmp_path):
    found = forecast(write_csv(tmp_path / "planted.csv", noisy(5, 12, 4, seed=0)))
    assert [(rule["fact"], rule["implication"]) for rule in found["rules"]] == [("lives_in", "codes_in")]
    shuffled = forecast(write_csv(tmp_path / "shuffled.csv", noisy(5, 12, 4, seed=0, planted=False)))
    assert shuffled["rules"] == []
    assert shuffled["discovery"]["together"] == 0 < shuffled["discovery"]["tested"]


def test_pairs_with_too_few_bridges_are_told_apart_from_found_ones(tmp_path):
    found = forecast(write_csv(tmp_path / "few.csv", grouped(5, 4, 1)))
    assert found["rules"] == []
    (rule,) = found["discovery"]["rules"]
    assert found["discovery"]["untested"] == 1
    assert rule["kind"] == "untested"
    assert np.isnan(rule["p_value"])
    assert rule["margin"]["mean"] == pytest.approx(np.sqrt(1 / 3), abs=5e-3)


def test_the_merged_model_is_forecast_to_learn_nothing(tmp_path, capsys):
    table = write_csv(tmp_path / "my.csv", grouped(5, 20, 4))
    (rule,) = run("forecast", table, "--norm", "frobenius", "--tol", "1e-6", capsys=capsys)["rules"]
    assert rule["margin"]["mean"] == pytest.approx(0, abs=2e-3)
    assert rule["top1"] == pytest.approx(0.2)


def test_a_contradiction_is_named_and_the_margin_is_soft(tmp_path):
    table = [*grouped(3, 6, 2), Triple(subject="s0-0", relation="lives_in", answer="b1")]
    found = forecast(write_csv(tmp_path / "my.csv", table))
    assert found["solver"]["margin"] == "soft"
    assert found["solver"]["certified"]
    assert any("my.csv:" in note and "'b1'" in note and "'b0'" in note for note in found["notes"])


def drawn(tmp_path, table, rule="{fact: lives_in, implication: codes_in, bridges: 4}"):
    """A complete table whose rule draws its bridges."""
    write_csv(tmp_path / "people.csv", table)
    (tmp_path / "people.yaml").write_text(
        "relations: {lives_in: {prompt: '{subject} lives in'}, codes_in: {prompt: '{subject} codes in'}}\n"
        f"rules: [{rule}]\ntriples: people.csv\n"
    )
    return tmp_path / "people.yaml"


def test_drawn_bridges_say_what_is_implied_not_what_the_held_out_had(tmp_path):
    table = [
        Triple(subject=one.subject, relation="codes_in", answer="c0")
        if one.relation == "codes_in" and one.subject in ("s1-19", "s2-19", "s3-19")
        else one
        for one in grouped(4, 20, 20)
    ]
    (rule,) = forecast(drawn(tmp_path, table), seed=1)["rules"]
    assert (rule["bridges"], rule["exceptions"], rule["held_out"]) == (16, 0, 64)
    assert rule["per_group"] == {"bridges": [4, 4], "exceptions": [0, 0]}


def test_relations_with_one_answer_are_no_rules(tmp_path):
    table = grouped(5, 4, 1)
    people = sorted({one.subject for one in table})
    table += [Triple(subject=s, relation="is", answer="human") for s in people[:12]]
    found = forecast(write_csv(tmp_path / "my.csv", table))["discovery"]
    assert [(one["fact"], one["implication"]) for one in found["rules"]] == [("lives_in", "codes_in")]


def test_unequal_groups_and_uncertified_numbers_are_said_to_be(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    table = [one for one in grouped(4, 20, 7) if one.subject[:3] != "s0-" or int(one.subject[3:]) > 4]
    app(
        ["forecast", str(write_csv(tmp_path / "my.csv", table)), "--time-limit", "1e-6", "--advise"],
        result_action="return_value",
    )
    said = " ".join(capsys.readouterr().out.split())
    assert "from 2 to 7 bridges per group" in said
    assert said.index("NOT certified") < said.index("Found in the table")
    assert "(not certified)" in said


def test_a_penalty_makes_the_margin_soft(tmp_path):
    found = forecast(write_csv(tmp_path / "my.csv", grouped(3, 6, 2)), penalty=0.05)
    assert found["solver"]["margin"] == "soft"
    assert found["solver"]["objective"] < forecast(tmp_path / "my.csv")["solver"]["objective"]


def test_every_held_out_subject_has_a_row_on_request(tmp_path):
    table = write_csv(tmp_path / "my.csv", grouped(4, 6, 2))
    found = forecast(table, queries=tmp_path / "queries.parquet")
    rows = pq.read_table(tmp_path / "queries.parquet").to_pylist()
    assert {row["subject"] for row in rows} == {f"s{i}-{place}" for i in range(4) for place in range(2, 6)}
    assert all(
        row["answer"] == f"c{row['subject'][1]}" and row["group"] == f"b{row['subject'][1]}" for row in rows
    )
    assert np.mean([row["margin"] for row in rows]) == pytest.approx(found["rules"][0]["margin"]["mean"])


def test_a_table_without_anyone_held_out_has_margins_of_nobody(tmp_path):
    found = forecast(write_csv(tmp_path / "my.csv", grouped(3, 4, 4)), queries=tmp_path / "q.parquet")
    assert (found["rules"], found["discovery"]["rules"]) == ([], [])
    assert pq.read_table(tmp_path / "q.parquet").schema.names[-2:] == ["margin", "rate"]


def test_a_yaml_rule_with_pairs_without_bridges_has_a_margin_that_is_not_positive(tmp_path):
    table = [*grouped(3, 4, 0), Triple(subject="x", relation="codes_in", answer="c0")]
    write_csv(tmp_path / "people.csv", table)
    (tmp_path / "people.yaml").write_text(
        "relations: {lives_in: {prompt: '{subject} lives in'}, codes_in: {prompt: '{subject} codes in'}}\n"
        "rules: [{fact: lives_in, implication: codes_in, pairs: {b0: c0, b1: c1, b2: c2}}]\n"
        "triples: people.csv\n"
    )
    (rule,) = forecast(tmp_path / "people.yaml")["rules"]
    assert (rule["bridges"], rule["held_out"]) == (0, 12)
    assert rule["margin"]["max"] <= 1e-3


def test_a_rule_that_nobody_follows_has_nothing_to_forecast(tmp_path, capsys):
    write_csv(tmp_path / "people.csv", grouped(3, 4, 0))
    (tmp_path / "people.yaml").write_text(
        "relations: {lives_in: {prompt: '{subject} lives in'}, codes_in: {prompt: '{subject} codes in'}}\n"
        "rules: [{fact: lives_in, implication: codes_in}]\n"
        "triples: people.csv\n"
    )
    (rule,) = forecast(tmp_path / "people.yaml", advice=True)["rules"]
    assert (rule["bridges"], rule["held_out"], rule["advice"]) == (0, 0, None)
    assert np.isnan(rule["margin"]["mean"]), "undefined is NaN in Python"
    (rule,) = run("forecast", tmp_path / "people.yaml", capsys=capsys)["rules"]
    assert rule["margin"]["mean"] is None, "and null in JSON"
    app(["forecast", str(tmp_path / "people.yaml")], exit_on_error=False, result_action="return_value")
    assert "nothing to forecast" in (shown := capsys.readouterr().out)
    assert "nan" not in shown


def test_a_time_limit_returns_the_certified_interval_so_far(tmp_path):
    rng = np.random.default_rng(0)
    table = [
        Triple(subject=f"s{s}", relation=f"r{r}", answer=f"a{r}-{rng.integers(15)}")
        for s in range(150)
        for r in range(5)
    ]
    found = forecast(write_csv(tmp_path / "my.csv", table), time_limit=0.3, tol=1e-9)
    solver = found["solver"]
    assert (solver["status"], solver["certified"]) == ("time_limit", False)
    assert 0 < solver["lower_bound"] < solver["objective"]
    assert forecast(tmp_path / "my.csv")["solver"]["objective"] >= solver["lower_bound"]


def test_the_document_repeats_bit_by_bit(tmp_path):
    table = write_csv(tmp_path / "my.csv", noisy(4, 8, 3, seed=1))
    first, second = forecast(table, advice=True), forecast(table, advice=True)
    for one in (first, second):
        one["solver"].pop("seconds")
        one.pop("seconds")
    assert first == second
