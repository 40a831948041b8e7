"""Typed results, and the document that they make: its keys are a contract with those who read the JSON."""

from dataclasses import replace
from math import isnan

import pytest

from spillover.implication.advice import Advice
from spillover.implication.asking import AskedKind, ask
from spillover.implication.margins import FitSettings, fit
from spillover.implication.results import (
    SUBJECT_MARGINS,
    Discovery,
    Forecast,
    collect_notes,
    count_knowledge,
    describe_solver,
    document,
    forecast_rule,
    rank,
    subject_margins,
)
from spillover.knowledge.patterns import group_triples
from spillover.knowledge.training import TrainingTable
from tests.implication.tables import grouped, triples

KB = ["name", "subjects", "relations", "answers", "triples", "patterns"]
SOLVER = [
    "norm",
    "margin",
    "objective",
    "lower_bound",
    "relative_gap",
    "status",
    "certified",
    "tol",
    "seconds",
]
RULE = [
    "fact",
    "implication",
    "kind",
    "groups",
    "undecided",
    "bridges",
    "exceptions",
    "per_group",
    "held_out",
]
RULE += ["margin", "rate", "prior", "top1", "chance", "p_value"]


@pytest.fixture(scope="module")
def solved():
    return fit(group_triples(grouped(4, 6, 2)), FitSettings())


def rule(solved, kind: AskedKind = "spurious", back=False):
    relations = ["lives_in", "codes_in"][:: -1 if back else 1]
    fact, implication = (solved.patterns.relations.index(name) for name in relations)
    return ask(solved.patterns, fact, implication, kind=kind)


def whole(solved, advice=(), discovery=None):
    table = TrainingTable(name="people", patterns=solved.patterns, rules=())
    rules = tuple(forecast_rule(solved, rule(solved, back=back)) for back in (False, True))
    return Forecast(
        knowledge=count_knowledge(table),
        solver=describe_solver(solved, 1e-4),
        rules=rules,
        advice=advice,
        discovery=discovery,
        calibration=None,
        notes=("a note",),
    )


def test_the_documents_keys_and_their_order(solved):
    found = document(whole(solved), 1.5)
    assert list(found) == ["kb", "solver", "rules", "discovery", "calibration", "notes", "seconds"]
    assert (list(found["kb"]), list(found["solver"])) == (KB, SOLVER)
    assert [list(entry) for entry in found["rules"]] == [RULE, RULE]
    assert list(found["rules"][0]["per_group"]) == ["bridges", "exceptions"]
    assert list(found["rules"][0]["margin"]) == ["mean", "min", "max"]
    assert (found["discovery"], found["notes"], found["seconds"]) == (None, ["a note"], 1.5)
    assert found["rules"][0]["per_group"]["bridges"] == [2, 2], "a list, as JSON has it"


def test_a_rule_has_the_key_of_advice_where_advice_was_looked_for(solved):
    advice = Advice(target=0.1, reached=True)
    advised, other = document(whole(solved, advice=(advice,)), 0)["rules"]
    assert list(advised) == [*RULE, "advice"]
    assert advised["advice"] == {"target": 0.1, "reached": True, "options": []}
    assert list(other) == RULE
    assert document(whole(solved, advice=(None, advice)), 0)["rules"][0]["advice"] is None


def test_discovered_rules_are_entries_like_the_others(solved):
    rules = (forecast_rule(solved, rule(solved, kind="untested")),)
    found = document(whole(solved, discovery=Discovery(tested=3, together=1, untested=1, rules=rules)), 0)
    assert list(found["discovery"]) == ["tested", "together", "untested", "rules"]
    assert list(found["discovery"]["rules"][0]) == RULE


def test_a_rules_forecast_counts_the_table_and_has_its_margins(solved):
    found = forecast_rule(solved, rule(solved))
    assert (found.fact, found.implication, found.groups, found.undecided) == ("lives_in", "codes_in", 4, 0)
    assert (found.bridges, found.exceptions, found.held_out) == (8, 0, 16)
    assert found.margin.min <= found.margin.mean <= found.margin.max
    assert found.margin.mean == pytest.approx(2**-0.5, abs=5e-3)
    nobody = forecast_rule(solved, rule(solved, back=True))
    assert nobody.held_out == 0
    assert all(map(isnan, (nobody.margin.mean, nobody.margin.min, nobody.margin.max, nobody.top1)))


def test_rules_are_ranked_by_their_mean_margins():
    drives = [one for one in grouped(4, 6, 4, implied="drives") if one.relation == "drives"]
    table = [*grouped(4, 6, 1), *(replace(one, answer=f"d{one.answer}") for one in drives)]
    solved = fit(group_triples(table), FitSettings())
    lives, codes, drives = (
        solved.patterns.relations.index(name) for name in ("lives_in", "codes_in", "drives")
    )
    ranked = rank(
        solved, [ask(solved.patterns, lives, other, kind="discovered") for other in (codes, drives)]
    )
    assert [forecast.implication for _, forecast in ranked] == ["drives", "codes_in"]
    assert [rule.implication for rule, _ in ranked] == [drives, codes]


def test_every_held_out_subject_has_its_margin(solved):
    rows = subject_margins(solved, [rule(solved), rule(solved, back=True)])
    assert rows.schema == SUBJECT_MARGINS
    assert rows.num_rows == 16
    assert {(row["subject"][1], row["group"], row["answer"]) for row in rows.to_pylist()} == {
        (str(i), f"b{i}", f"c{i}") for i in range(4)
    }
    assert subject_margins(solved, []).schema == SUBJECT_MARGINS


def test_notes_name_contradictions_and_soft_margins():
    rows = [(f"s{i}", "r", answer) for i in range(12) for answer in "xy"]
    solved = fit(group_triples(triples(*rows)), FitSettings())
    lines = collect_notes(solved)
    assert len(lines) == 10 + 3
    assert lines[0] == "triple 2: ('s0', 'r') is 'y' here but 'x' in triple 1"
    assert lines[10:12] == ("... and 2 more like these", "margins are soft: each that is missed by 1 costs 1")
    assert lines[12].startswith(
        "no model of one layer can keep all margins at once, such as these: r is 'x' for 12"
    )
    assert collect_notes(fit(group_triples(grouped(3, 4, 1)), FitSettings())) == ()
