"""The common texts and facts: as many as is said, none twice, and nothing of the built-in data sets."""

import re
from importlib.resources import files

import pytest

from spillover.knowledge.alike import fold
from spillover.knowledge.builtin import BUILTIN, built_in
from spillover.knowledge.checks import SUBJECT
from spillover.knowledge.common import known_facts, neutral_texts, other_texts

TEXTS = [*neutral_texts(), *other_texts()]
HALVES = known_facts("training"), known_facts("measuring")
FACTS = [*HALVES[0], *HALVES[1]]


def test_there_are_as_many_as_said():
    assert (len(neutral_texts()), len(other_texts())) == (40, 160)
    assert [len(half) for half in HALVES] == [60, 60]


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_is_one_or_two_whole_sentences(text):
    assert 15 <= len(text.split()) <= 40
    assert text == " ".join(text.split())
    assert text[0].isupper()
    assert text.endswith(".")
    assert len(re.findall(r"[.?!](?= |$)", text)) <= 2


def test_no_text_stands_there_twice_or_nearly():
    words = [set(re.findall(r"\w+", text.lower())) for text in TEXTS]
    for n, mine in enumerate(words):
        for other in words[:n]:
            assert len(mine & other) < len(mine | other) / 3


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: fact.prompt)
def test_a_fact_has_its_answer_among_five_candidates(fact):
    assert fact.answer in fact.candidates
    assert len(set(fact.candidates)) == 5
    assert list(fact.candidates) == sorted(fact.candidates)
    assert fact.prompt == fact.prompt.strip()
    assert all(text == text.strip() and "\t" not in text for text in fact.candidates)
    assert not re.search(rf"\b{fact.answer}\b", fact.prompt, re.IGNORECASE)


def test_no_fact_stands_there_twice_and_no_answer_serves_two():
    assert len({fold(fact.prompt) for fact in FACTS}) == len({fold(fact.answer) for fact in FACTS}) == 120


@pytest.mark.parametrize(("one", "other"), [HALVES, HALVES[::-1]], ids=["training", "measuring"])
def test_what_one_half_answers_the_other_never_offers(one, other):
    offered = {candidate for fact in other for candidate in fact.candidates}
    assert not offered & {fact.answer for fact in one}


def test_nothing_of_the_built_in_data_sets_stands_in_them():
    bases = [built_in(name) for name in BUILTIN]
    relations = [relation for kb in bases for relation in kb.relations.values()]
    names = (files("spillover.knowledge") / "data" / "names.txt").read_text("utf-8").split()
    prompts = [relation.prompt.replace(SUBJECT, "").strip() for relation in relations]
    answers = [answer for kb in bases for name in kb.relations for answer in kb.candidates(name)]
    assert "Lindqvist" in names
    assert "lives in" in prompts
    assert {"green", "Paris", "pilot", "jazz"} <= set(answers)
    anycase = re.compile(rf"\b({'|'.join([*prompts, *answers])})\b", re.IGNORECASE)
    named = re.compile(rf"\b({'|'.join(names)})\b")
    for text in [*TEXTS, *(" ".join([fact.prompt, *fact.candidates]) for fact in FACTS)]:
        assert not anycase.search(text), text
        assert not named.search(text), text
