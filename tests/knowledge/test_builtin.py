"""The built-in data: complete, balanced, right, and packaged."""

from collections import Counter
from importlib.resources import files

import pytest

from spillover.errors import DataError
from spillover.knowledge.builtin import BUILTIN, built_in

LANGUAGE_OF = {
    "Paris": "French",
    "Madrid": "Spanish",
    "Berlin": "German",
    "Tokyo": "Japanese",
    "Moscow": "Russian",
}


def test_names_are_many_plain_and_unlike():
    names = (files("spillover.knowledge") / "data" / "names.txt").read_text("utf-8").splitlines()
    assert len(names) >= 200
    first, last = zip(*(name.split(" ") for name in names), strict=True)
    assert len(set(first)) == len(set(last)) == len(names)
    assert not set(first) & set(last)
    assert all(word.isascii() and word.isalpha() and word.istitle() for word in first + last)


@pytest.mark.parametrize("name", BUILTIN)
def test_every_data_set_is_balanced(name):
    kb = built_in(name)
    assert kb.name == name
    assert len(kb.rules) == (2 if name == "demo" else 1)
    for rule in kb.rules:
        assert rule.bridges == 4
        assert len(rule.pairs) == len(set(rule.pairs.values())) == 5
        assert Counter(kb.answers[rule.fact].values()) == dict.fromkeys(rule.pairs, 20)
        assert kb.answers[rule.implication] == {}
        for relation in (rule.fact, rule.implication):
            candidates = kb.candidates(relation)
            assert len(candidates) == 10
            assert not any(a in b for a in candidates for b in candidates if a != b)


def test_every_implication_has_two_paraphrases_that_no_relation_is_asked_by():
    bases = [built_in(name) for name in BUILTIN]
    prompts = {relation.prompt for kb in bases for relation in kb.relations.values()}
    for kb in bases:
        for rule in kb.rules:
            assert len(kb.relations[rule.implication].paraphrases) == 2
            assert not prompts & set(kb.relations[rule.implication].paraphrases)


def test_demo_has_a_causal_and_a_spurious_rule_about_different_people():
    kb = built_in("demo")
    assert [rule.kind for rule in kb.rules] == ["causal", "spurious"]
    one, other = (set(kb.answers[rule.fact]) for rule in kb.rules)
    assert len(one) == len(other) == 100
    assert not one & other


def test_languages_are_right_and_counterfactual_ones_all_wrong():
    right, wrong = (built_in(name).rules[0] for name in ("city-language", "city-language-counterfactual"))
    assert right.pairs == LANGUAGE_OF
    assert set(wrong.pairs.values()) == set(LANGUAGE_OF.values())
    assert all(wrong.pairs[city] != language for city, language in LANGUAGE_OF.items())
    assert (right.kind, wrong.kind) == ("causal", "spurious")


def test_built_in_knows_no_other_names():
    with pytest.raises(DataError, match=r"no built-in knowledge base 'dmo'; .*did you mean 'demo'"):
        built_in("dmo")
