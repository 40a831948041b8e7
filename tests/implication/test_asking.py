"""Which rules are asked: stated ones as they stand, associated ones both ways."""

from math import isnan

import pytest

from spillover.implication.asking import ask, ask_associated, ask_stated, too_few_to_tell
from spillover.implication.discovery import Association
from spillover.knowledge.load import load
from spillover.knowledge.patterns import group_triples
from spillover.knowledge.split import split
from spillover.knowledge.training import TrainingTable
from tests.implication.tables import grouped, triples


def association(relations, bridges=8, testable=True):
    p_value = 0.01 if testable else float("nan")
    return Association(
        relations=relations, bridges=bridges, p_value=p_value, adjusted=p_value, testable=testable
    )


def test_stated_rules_are_asked_in_their_order_of_whom_the_split_holds_out():
    parts = split(load("demo"), 0)
    table = TrainingTable.of_split(parts)
    asked = ask_stated(table)
    relations = table.patterns.relations
    assert [(relations[rule.fact], relations[rule.implication], rule.kind) for rule in asked] == [
        (rule.fact, rule.implication, rule.kind) for rule in parts.kb.rules
    ]
    names = table.patterns.members["subject"].to_pylist()
    for number, rule in enumerate(asked):
        held_out = {implied.subject for implied in parts.held_out if implied.rule == number}
        assert {names[member] for member in rule.questions.member} == held_out
        assert isnan(rule.p_value)


def test_pairs_are_asked_both_ways_where_somebody_is_held_out():
    patterns = group_triples([*grouped(3, 6, 2), *triples(("x", "codes_in", "c0"))])
    lives, codes = patterns.relations.index("lives_in"), patterns.relations.index("codes_in")
    there, back = ask_associated(patterns, [association((codes, lives))])
    assert (there.fact, there.implication, there.kind, there.p_value) == (codes, lives, "discovered", 0.01)
    assert (back.fact, back.implication) == (lives, codes)
    assert (there.questions.subjects.sum(), back.questions.subjects.sum()) == (1, 12)
    patterns = group_triples(grouped(3, 6, 2))  # nobody has codes_in alone
    (alone,) = ask_associated(patterns, [association((codes, lives), testable=False)])
    assert (alone.fact, alone.kind) == (lives, "untested")


@pytest.mark.parametrize("pairs", [None, {0: 4}])
def test_what_follows_is_what_pairs_say_and_else_what_bridges_show(pairs):
    patterns = group_triples(grouped(3, 6, 2))
    lives, codes = patterns.relations.index("lives_in"), patterns.relations.index("codes_in")
    rule = ask(patterns, lives, codes, kind="causal", pairs=pairs)
    assert rule.groups.implied.tolist() == ([4, 4, 5] if pairs else [3, 4, 5])
    assert rule.questions.answer.tolist() == rule.groups.implied.tolist()


def test_pairs_with_too_few_bridges_are_listed_by_their_bridges_without_constant_relations():
    patterns = group_triples(
        triples(
            ("Al", "a", "x"),
            ("Bo", "a", "y"),
            ("Al", "b", "x"),
            ("Bo", "b", "z"),
            ("Al", "c", "w"),
            ("Bo", "d", "x"),
            ("Al", "d", "y"),
        )
    )
    found = [
        association((0, 1), bridges=1, testable=False),
        association((0, 2), bridges=5, testable=False),  # c has one answer
        association((0, 3), bridges=2, testable=False),
        association((1, 3), bridges=9),
    ]
    assert [pair.relations for pair in too_few_to_tell(patterns, found)] == [(0, 3), (0, 1)]
