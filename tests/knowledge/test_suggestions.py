"""What is proposed to import a file by: all wordings of facts, in their relations, and nothing else."""

import random

import pytest

from benchmarks.suggesting import CODES, LIVES, OTHERS, PEOPLE, facts, others, ours, products, written
from spillover.knowledge.builtin import BUILTIN
from spillover.knowledge.suggestions import Suggestions, name_of, suggest
from spillover.knowledge.templates import parse_template

CHAT = [
    ("Where does Ada Ilves live?", "In Paris."),
    ("Which language does Ada Ilves code in?", "Ruby"),
    ("Where does Ben Orr live?", "In Lima."),
    ("Which language does Ben Orr code in?", "Scala"),
    ("What city is Cyd Marr at home in?", "In Paris."),
    ("Which language does Cyd Marr code in?", "Ruby"),
    ("What city is Dov Pell at home in?", "In Lima."),
    ("Which language does Dov Pell code in?", "Scala"),
    ("Where does Eva Rask live?", "In Paris."),
    ("Where does Finn Sode live?", "In Lima."),
    ("What city is Gil Tamm at home in?", "In Paris."),
    ("What city is Hal Urne at home in?", "In Lima."),
    *((f"Spell the number {number}.", word) for number, word in ((0, "zero"), (3, "three"), (6, "six"))),
]


def templates(found: Suggestions) -> dict[str, list[str]]:
    return {name: [each.template(name).text for each in its] for name, its in found.relations.items()}


@pytest.mark.parametrize("seed", [300, 301, 302])
def test_of_500_records_the_six_wordings_are_proposed_and_nothing_of_the_200_others(seed: int) -> None:
    rng = random.Random(seed)  # noqa: S311
    exchanges = facts(rng, PEOPLE) + others(rng, OTHERS)
    rng.shuffle(exchanges)
    assert len(exchanges) == 500
    found = suggest(exchanges)
    assert {frozenset(text.partition(": ")[2] for text in its) for its in templates(found).values()} == {
        frozenset(f"{asked} => {answer}" for asked, answer in wordings) for wordings in (LIVES, CODES)
    }
    assert sum(each.records for its in found.relations.values() for each in its) == 300
    assert {subject for its in found.relations.values() for each in its for subject in each.facts} > {
        subject for each in found.relations["live"] for subject in each.facts if len(subject.split()) > 2
    }
    assert suggest(exchanges) == found


@pytest.mark.parametrize("seed", [300, 301])
def test_other_things_in_other_words(seed: int) -> None:
    rng = random.Random(seed)  # noqa: S311
    exchanges, wordings = products(rng, 100)
    assert ours(exchanges + others(rng, OTHERS)) == wordings


@pytest.mark.parametrize("name", BUILTIN)
@pytest.mark.parametrize("seed", [1, 7])
def test_the_built_in_data_sets(name: str, seed: int) -> None:
    exchanges, wordings = written(name, seed)
    frequent = {
        text
        for text in wordings
        if sum(parse_template(f"r: {text}").triple(*exchange) is not None for exchange in exchanges) > 2
    }
    assert ours(exchanges) == frequent


def test_a_small_chat_file() -> None:
    found = suggest(CHAT)
    assert templates(found) == {
        "city_home_in": [
            "city_home_in: What city is {subject} at home in? => In {answer}.",
            "city_home_in: Where does {subject} live? => In {answer}.",
        ],
        "language_code_in": ["language_code_in: Which language does {subject} code in? => {answer}"],
    }
    (left,) = found.passed_over
    assert (left.wording, left.records) == ("Spell the number {subject}.", 3)
    assert "occur in no other wording" in left.why


def people(prompt: str, answer: str, count: int = 12) -> list[tuple[str, str]]:
    """So many people and their cities, in one wording."""
    subjects = [f"Ada {chr(65 + number)}mil" for number in range(count)]
    return [
        (
            prompt.format(subject=subject),
            answer.format(subject=subject, city=("Rome", "Oslo", "Bonn")[number % 3]),
        )
        for number, subject in enumerate(subjects)
    ]


TEXTS = [(f"Where is Ada {a}mil?", " ".join(f"{a}{b}" for b in "abcdefghij")) for a in "ABCDEF"] * 2


@pytest.mark.parametrize(
    ("exchanges", "why"),
    [
        (people("Where is {subject}?", "Here."), "it is always answered alike"),
        (people("Where is {subject}?", "{subject} is in {city}."), "its answers repeat the subject"),
        (people("Where is {{x}} {subject}?", "{city}"), "it has braces"),
        (people("Say en => fr: {subject}?", "{city}"), "it has braces, => or line breaks"),
        (people("Where is he?\n{subject}", "{city}"), "it has braces, => or line breaks"),
        (people("Where is {subject}?", "{{{city}}}"), "its answers have braces or line breaks around them"),
        (people("Where is {subject}?", "In:\n{city}"), "its answers have braces or line breaks around them"),
        (TEXTS, "its answers are texts"),
        (
            people("Where is {subject}?", "Rome") + people("Where is {subject}?", "{city}"),
            "its subjects have several answers",
        ),
        (
            [(f"Where is {n} Ada {n}?", f"{n}") for n in range(9)],
            "its subjects occur in no other wording, or have each their own answer",
        ),
    ],
)
def test_what_is_no_fact_is_passed_over_with_the_reason(exchanges: list[tuple[str, str]], why: str) -> None:
    found = suggest(exchanges)
    assert not found.relations
    assert [why in each.why for each in found.passed_over] == [True]


def test_one_relation_alone_is_proposed_and_its_sentences_are() -> None:
    exchanges = (
        people("Where is {subject}?", "In {city}.", 8) + people("Where is {subject}?", "{city}", 18)[8:]
    )
    assert templates(suggest(people("Where is {subject}?", "In {city}."))) == {
        "relation": ["relation: Where is {subject}? => In {answer}."]
    }
    assert templates(suggest(exchanges)) == {"relation": ["relation: Where is {subject}? => {answer}"]}
    two = (
        people("Where is {subject}?", "In {city}.", 9)
        + people("Where is {subject}?", "It is {city}!", 18)[9:]
    )
    assert templates(suggest(two))["relation"] == [
        "relation: Where is {subject}? => In {answer}.",
        "relation: Where is {subject}? => It is {answer}!",
    ]


def test_nothing_is_proposed_of_nothing() -> None:
    assert suggest([]) == Suggestions(relations={}, passed_over=[])
    assert not suggest([("Who?", "I."), ("", "")]).relations


@pytest.mark.parametrize(
    ("prompt", "taken", "name"),
    [
        ("Where does {subject} live?", (), "live"),
        ("{subject} lives in", (), "lives_in"),
        ("What is the favourite old red car of {subject}?", (), "favourite_old_red_of"),
        ("Where is {subject}?", (), "relation"),
        ("{subject} lives in", ("lives_in", "lives_in_2"), "lives_in_3"),
    ],
)
def test_a_relation_is_named_by_its_words(prompt: str, taken: tuple[str, ...], name: str) -> None:
    assert name_of(prompt, taken) == name
