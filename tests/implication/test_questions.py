"""Who is asked, and what would be right."""

import numpy as np

from spillover.implication.questions import NO_ANSWER, answers_to, held_out, held_out_by, lacks, rule_groups
from spillover.knowledge.load import load
from spillover.knowledge.patterns import group_triples
from spillover.knowledge.split import split
from tests.implication.tables import grouped, triples

TABLE = triples(
    ("Al", "lives", "Rome"),
    ("Al", "codes", "Perl"),
    ("Bo", "lives", "Rome"),
    ("Bo", "codes", "Perl"),
    ("Cy", "lives", "Rome"),
    ("Cy", "codes", "Rust"),
    ("Di", "lives", "Rome"),
    ("Ed", "lives", "Rome"),
    ("Fa", "lives", "Oslo"),
    ("Gu", "codes", "Rust"),
    ("Hi", "lives", "Oslo"),
    ("Hi", "lives", "Rome"),
)


def world(table=TABLE):
    patterns = group_triples(table)
    return patterns, patterns.relations.index("lives"), patterns.relations.index("codes")


def test_groups_count_bridges_exceptions_and_who_is_held_out():
    patterns, lives, codes = world()
    found = rule_groups(patterns, lives, codes, {})
    names = [patterns.answers[b] for b in found.group]
    assert names == ["Oslo", "Rome"]
    assert [patterns.answers[c] if c != NO_ANSWER else None for c in found.implied] == [None, "Perl"]
    assert found.bridges.tolist() == [0, 2]
    assert found.exceptions.tolist() == [0, 1]
    assert found.held_out.tolist() == [1, 2]


def test_a_pair_decides_against_the_bridges():
    patterns, lives, codes = world()
    pair = {patterns.answers.index("Rome"): patterns.answers.index("Rust")}
    found = rule_groups(patterns, lives, codes, pair)
    assert found.bridges.tolist() == [0, 1]
    assert found.exceptions.tolist() == [0, 2]


def test_a_tie_is_left_open():
    table = [*TABLE, *triples(("Jo", "lives", "Rome"), ("Jo", "codes", "Rust"))]
    patterns, lives, codes = world(table)
    found = rule_groups(patterns, lives, codes, {})
    assert found.implied.tolist() == [NO_ANSWER, NO_ANSWER]
    assert not held_out(patterns, lives, codes, found).pattern.size


def test_who_contradicts_himself_says_nothing_and_is_not_asked():
    patterns, lives, codes = world()
    hi = patterns.members["pattern"].to_pylist()[patterns.members["subject"].to_pylist().index("Hi")]
    assert answers_to(patterns, lives)[hi] == NO_ANSWER
    assert not lacks(patterns, lives)[hi]
    questions = held_out(patterns, lives, codes, rule_groups(patterns, lives, codes, {}))
    asked = [patterns.members["subject"].to_pylist()[row] for row in questions.member]
    assert asked == ["Di", "Ed"]
    assert questions.subjects.tolist() == [2]


def test_members_are_the_subjects_of_their_question():
    patterns = group_triples(grouped(4, 6, 2))
    fact, implication = patterns.relations.index("lives_in"), patterns.relations.index("codes_in")
    questions = held_out(patterns, fact, implication, rule_groups(patterns, fact, implication, {}))
    names, patterns_of_members = (
        patterns.members["subject"].to_pylist(),
        patterns.members["pattern"].to_numpy(),
    )
    rows = np.repeat(np.arange(questions.pattern.size), questions.subjects)
    assert np.array_equal(patterns_of_members[questions.member], questions.pattern[rows])
    assert sorted(names[row] for row in questions.member) == sorted(
        f"s{i}-{place}" for i in range(4) for place in range(2, 6)
    )


def test_a_splits_questions_are_its_held_out_subjects():
    parts = split(load("country-code"), 3)
    patterns = group_triples(parts.training)
    questions = held_out_by(parts, 0, patterns)
    names = patterns.members["subject"].to_pylist()
    rows = np.repeat(np.arange(questions.pattern.size), questions.subjects)
    told = {
        (names[member], patterns.answers[questions.group[row]], patterns.answers[questions.answer[row]])
        for member, row in zip(questions.member, rows, strict=True)
    }
    assert told == {(one.subject, one.group, one.answer) for one in parts.held_out}
    assert len(questions.pattern) == 5
