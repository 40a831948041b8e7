"""Trials: tables that a model can be tuned on, of every shape, the same for everyone."""

from collections import Counter

from spillover.knowledge.builtin import fictional_names
from spillover.knowledge.split import split
from spillover.knowledge.trials import trials


def bridges_of(kb, rule):
    """Of each group how many are told the rule's answer, another one, and none."""
    facts = {t.subject: t.answer for t in kb.triples if t.relation == rule.fact}
    told = {t.subject: t.answer for t in kb.triples if t.relation == rule.implication}
    return {
        group: Counter(
            "held out" if subject not in told else "bridge" if told[subject] == answer else "against"
            for subject, b in facts.items()
            if b == group
        )
        for group, answer in rule.pairs.items()
    }


def test_each_rule_has_a_table_with_counterexamples_and_one_without():
    tables = trials()
    assert len(tables) == 30
    alone = [kb for kb in tables if len(kb.rules) == 1]
    against = {name: [] for name in (kb.rules[0].name for kb in alone)}
    for kb in alone:
        counts = bridges_of(kb, kb.rules[0]).values()
        against[kb.rules[0].name].append(sum(each["against"] for each in counts))
    assert len(against) == 12
    assert all(min(each) == 0 < max(each) for each in against.values())
    assert {kb.rules[0].kind for kb in alone[:12]} == {"causal", "spurious"}


def test_every_group_has_bridges_and_people_to_ask():
    for kb in trials():
        parts = split(kb, 0)
        assert not parts.undecided
        for rule in kb.rules:
            for counts in bridges_of(kb, rule).values():
                assert counts["bridge"] + counts["against"] >= 1
                assert counts["held out"] >= 4
        assert len(parts.held_out) == sum(
            counts["held out"] for rule in kb.rules for counts in bridges_of(kb, rule).values()
        )


def test_two_rules_of_the_same_people_share_a_fact_in_half_of_the_tables():
    joint = [kb.rules for kb in trials() if len(kb.rules) == 2]
    assert [first.fact == second.fact for first, second in joint] == [False, True] * 3


def test_few_tables_already_have_one_rule_and_two():
    tables = trials()
    for place in range(0, 18, 3):
        first, second, both = tables[place : place + 3]
        assert (len(first.rules), len(second.rules), len(both.rules)) == (1, 1, 2)
        assert both.rules[0].name == first.rules[0].name
        assert both.rules[1].implication == second.rules[0].implication
    assert all(len(kb.rules) == 1 for kb in tables[18:])


def test_unused_answers_are_distractors():
    for kb in (kb for kb in trials() if len(kb.rules) == 1):
        (rule,) = kb.rules
        implication = kb.relations[rule.implication]
        assert not set(implication.candidates) & set(rule.pairs.values())
        assert len(implication.candidates) + len(rule.pairs) in range(6, 11)


def test_they_are_the_same_for_everyone_and_others_with_another_seed():
    assert trials() == trials()
    assert trials()[0].triples != trials(seed=1)[0].triples


def test_nobody_of_the_built_in_tables_is_in_them():
    names = set(fictional_names())
    assert not any(triple.subject in names for kb in trials() for triple in kb.triples)
