"""The split: who is a bridge, who is held out, what is right, and what it must not depend on."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spillover.errors import DataError
from spillover.knowledge.builtin import BUILTIN
from spillover.knowledge.load import load
from spillover.knowledge.schema import KnowledgeBase, Relation, Rule, Triple
from spillover.knowledge.split import Implied, Split, shuffle_implications, split


def make(facts: dict[str, str], implications: dict[str, str], *rules: Rule, **rule) -> KnowledgeBase:
    """A knowledge base of facts `f` and implications `g`, with one rule unless rules are given."""
    triples = [
        Triple(subject=subject, relation=relation, answer=answer)
        for relation, answers in (("f", facts), ("g", implications))
        for subject, answer in answers.items()
    ]
    return KnowledgeBase(
        name="kb",
        triples=tuple(triples),
        relations={name: Relation(name=name, prompt=f"{{subject}} {name}") for name in "fgh"},
        rules=rules or (Rule(fact="f", implication="g", **rule),),
    )


def shown(implied: tuple[Implied, ...]) -> dict[str, str]:
    return {one.subject: one.answer for one in implied}


FACTS = {"a": "F", "b": "F", "c": "F", "d": "G", "e": "G"}


def test_without_drawing_the_table_says_who_is_a_bridge():
    kb = make(FACTS, {"a": "P", "d": "Q", "z": "R"})
    one = split(kb, 0)
    assert one.training == kb.triples
    assert one.bridges == (
        Implied(rule=0, subject="a", group="F", answer="P"),
        Implied(rule=0, subject="d", group="G", answer="Q"),
    )
    assert one.held_out == (
        Implied(rule=0, subject="b", group="F", answer="P"),
        Implied(rule=0, subject="c", group="F", answer="P"),
        Implied(rule=0, subject="e", group="G", answer="Q"),
    )


def test_pairs_come_before_what_bridges_show():
    one = split(make(FACTS, {"a": "P", "b": "X"}, pairs={"F": "P"}), 0)
    assert shown(one.bridges) == {"a": "P", "b": "X"}
    assert shown(one.held_out) == {"c": "P"}
    assert one.undecided == ((0, "d"), (0, "e"))


def test_drawn_bridges_are_taught_and_the_others_not():
    kb = make(FACTS, {"a": "X", "b": "P", "c": "P"}, pairs={"F": "P", "G": "Q"}, bridges=1)
    drawn = set()
    for seed in range(20):
        one = split(kb, seed)
        assert Counter(bridge.group for bridge in one.bridges) == {"F": 1, "G": 1}
        right = {"a": "X", "b": "P", "c": "P", "d": "Q", "e": "Q"}
        assert shown(one.bridges) | shown(one.held_out) == right
        assert not shown(one.bridges).keys() & shown(one.held_out).keys()
        taught = {triple.subject: triple.answer for triple in one.training if triple.relation == "g"}
        assert taught == shown(one.bridges)
        assert {triple.subject for triple in one.training if triple.relation == "f"} == set("abcde")
        drawn |= taught.keys()
    assert drawn == set("abcde")


def test_drawing_without_pairs_chooses_among_those_who_have_the_implication():
    one = split(make(FACTS, {"a": "P", "b": "P"}, bridges=1), 3)
    assert len(one.bridges) == 1
    assert shown(one.bridges) | shown(one.held_out) == {"a": "P", "b": "P", "c": "P"}
    assert one.undecided == ((0, "d"), (0, "e"))


def test_rules_draw_apart():
    facts = {f"s{i:02}": "F" for i in range(40)}
    rules = [Rule(fact="f", implication=name, pairs={"F": "P"}, bridges=10) for name in "gh"]
    one = split(make(facts, {}, *rules), 0)
    first, second = ({b.subject for b in one.bridges if b.rule == rule} for rule in (0, 1))
    assert first != second
    alone = split(make(facts, {}, rules[0]), 0)
    assert {b.subject for b in alone.bridges} == first


def test_a_chain_of_rules_in_its_order():
    chain = [
        Rule(fact="f", implication="g", pairs={"F": "P", "G": "Q"}, bridges=1),
        Rule(fact="g", implication="h", pairs={"P": "Y", "Q": "Y"}, bridges=1),
    ]
    with pytest.raises(DataError, match="no held-out subjects"):
        split(make(FACTS, {}, *chain), 0)
    facts = FACTS | {"x": "F"}
    deeper = [Rule(fact="f", implication="g", pairs={"F": "P", "G": "Q"}, bridges=2), chain[1]]
    one = split(make(facts | {"y": "G"}, {}, *deeper), 0)
    assert Counter(b.rule for b in one.bridges) == {0: 4, 1: 2}
    with pytest.raises(DataError, match="rule g -> h rests on facts that a later rule draws; put the rule"):
        split(make(facts, dict.fromkeys("abcdex", "P"), *deeper[::-1]), 0)


FAULTS = {
    "bridges contradict": (
        make(FACTS, {"a": "P", "b": "X"}),
        "knowledge base kb: rule f -> g: bridges of group 'F' contradict each other ('P' 1 times, 'X' 1 "
        "times); "
        "say which is right: `pairs: {F: P}`",
    ),
    "no bridges": (
        make(FACTS, {}),
        "knowledge base kb: rule f -> g has no bridges: no subject has both f and g in training; "
        "add g triples for a few subjects, or give the rule `pairs` and `bridges`",
    ),
    "no held-out subjects": (
        make(FACTS, dict.fromkeys(FACTS, "P")),
        "knowledge base kb: rule f -> g has no held-out subjects: no subject has f, lacks g in training "
        "and is in a "
        "group with a pair or a bridge; leave out the g triples of some subjects, or set `bridges` below "
        "the size "
        "of the groups",
    ),
    "group too small": (
        make(FACTS, {}, pairs={"F": "P", "G": "Q"}, bridges=3),
        "knowledge base kb: rule f -> g: group 'G' has 2 subjects whose implication is known, and 3 "
        "bridges are to "
        "be drawn; lower `bridges` or add subjects",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_faults(name):
    kb, message = FAULTS[name]
    with pytest.raises(DataError) as caught:
        split(kb, 0)
    assert str(caught.value) == message


def test_rules_that_share_an_implication_must_not_share_subjects():
    facts = {f"s{i}": "F" for i in range(8)}
    rules = [Rule(fact=name, implication="g", pairs={"F": "P"}, bridges=4) for name in "fh"]
    more = tuple(Triple(subject=subject, relation="h", answer="F") for subject in facts)
    kb = make(facts, {})
    kb = replace(kb, triples=kb.triples + more, rules=tuple(rules))
    with pytest.raises(
        DataError, match=r"is held out by rule .* and a bridge of rule .*; give rules that share"
    ):
        split(kb, 0)


def test_a_negative_seed_is_named():
    with pytest.raises(DataError, match="seed must be a whole number from 0 up, got -1"):
        split(load("demo"), -1)


@pytest.mark.parametrize("name", BUILTIN)
def test_builtins_split_by_seed_and_repeat(name):
    kb = load(name)
    rules = len(kb.rules)
    one = split(kb, 0)
    assert (len(one.bridges), len(one.held_out), one.undecided) == (20 * rules, 80 * rules, ())
    assert len(one.training) == 120 * rules
    assert one == split(kb, 0) != split(kb, 1)


def parts(one: Split) -> tuple:
    return frozenset(one.training), one.bridges, one.held_out, one.undecided


def test_which_bridges_a_seed_draws_stays_the_same_over_versions():
    one = split(load("city-language"), 0)
    assert [b.subject for b in one.bridges[:4]] == [
        "Annika Renard",
        "Leila Zorin",
        "Nadia Rao",
        "Renzo Makarov",
    ]


@given(st.randoms(use_true_random=False), st.integers(0, 2**70))
def test_row_order_plays_no_role(random, seed):
    kb = make(FACTS, {"a": "X", "z": "P"}, pairs={"F": "P", "G": "Q"}, bridges=1)
    rows = list(kb.triples)
    random.shuffle(rows)
    moved = KnowledgeBase(name=kb.name, triples=tuple(rows), relations=kb.relations, rules=kb.rules)
    assert parts(split(kb, seed)) == parts(split(moved, seed))


NAMES = st.text(min_size=1).filter(lambda text: text == text.strip() and "\0" not in text)
"""All that a knowledge base takes."""


@given(
    st.permutations(["F", "G", "P", "Q", "X", "long answer", "ö"]),
    st.lists(NAMES, min_size=6, max_size=6, unique=True).map(sorted),
    st.integers(0, 1000),
)
def test_names_play_no_role(answers, subjects, seed):
    """Answers renamed in any way, subjects in a way that keeps their order."""
    call = dict(zip("FGPQX", answers, strict=False)) | dict(zip("abcdez", subjects, strict=True))
    pairs, implications = {"F": "P", "G": "Q"}, {"a": "X", "z": "P"}

    def renamed(table: dict[str, str]) -> dict[str, str]:
        return {call[key]: call[value] for key, value in table.items()}

    one = split(make(FACTS, implications, pairs=pairs, bridges=1), seed)
    other = split(make(renamed(FACTS), renamed(implications), pairs=renamed(pairs), bridges=1), seed)
    for mine, theirs in ((one.bridges, other.bridges), (one.held_out, other.held_out)):
        assert theirs == tuple(
            Implied(rule=0, subject=call[m.subject], group=call[m.group], answer=call[m.answer]) for m in mine
        )


def test_the_null_control_permutes_the_bridges_implications_only():
    one = split(load("demo"), 0)
    null = shuffle_implications(one, 0)
    assert null == shuffle_implications(one, 0) != shuffle_implications(one, 1)
    assert null.held_out == one.held_out
    facts, implications = {"lives_in_city", "lives_in_country"}, ("speaks", "codes_in")
    assert [t for t in null.training if t.relation in facts] == [
        t for t in one.training if t.relation in facts
    ]
    for rule, relation in enumerate(implications):
        before, after = (
            {t.subject: t.answer for t in either.training if t.relation == relation} for either in (one, null)
        )
        assert before != after
        assert before.keys() == after.keys()
        assert Counter(before.values()) == Counter(after.values())
        assert {b.subject: b.answer for b in null.bridges if b.rule == rule} == after


def test_a_rule_that_cannot_be_tested_is_named_with_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "people.csv").write_text("subject,relation,answer\nAda,lives_in,Oslo\nBo,lives_in,Rome\n")
    (tmp_path / "people.yaml").write_text(
        "relations:\n"
        '  lives_in: {prompt: "{subject} lives in"}\n'
        '  speaks: {prompt: "{subject} speaks"}\n'
        "rules:\n"
        "  - {fact: lives_in, implication: speaks}\n"
        "triples: people.csv\n"
    )
    with pytest.raises(DataError, match=r"people\.yaml:5: rule lives_in -> speaks has no bridges"):
        split(load(tmp_path / "people.yaml"), 0)
