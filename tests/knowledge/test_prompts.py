"""Examples and queries as texts, and the proof that nothing held out is trained on."""

from collections import Counter
from dataclasses import replace

import pytest

from spillover.errors import DataError
from spillover.knowledge.builtin import BUILTIN
from spillover.knowledge.common import known_facts
from spillover.knowledge.leak import check_no_leak
from spillover.knowledge.load import load
from spillover.knowledge.prompts import (
    Example,
    Query,
    examples,
    fill,
    known_queries,
    queries,
    state,
    written,
)
from spillover.knowledge.schema import KnowledgeBase, Relation, Rule, Triple, Turns, without_template
from spillover.knowledge.split import shuffle_implications, split

ASKED = Relation(name="speaks", prompt="{subject} speaks")
CHAT = Relation(
    name="speaks",
    prompt="What does {subject} speak?",
    paraphrases=("Which is the language of {subject}?",),
    answer="It is {answer}.",
    format="chat",
    system="Be brief.",
    turns=Turns(before="<u>", between="</u><a>", after="</a>"),
)


def test_the_space_rule():
    assert written(ASKED, "French") == " French"
    assert written(replace(ASKED, space="none"), "法语") == "法语"


def test_what_stands_around_an_answer_is_trained_and_its_end_is_not_asked():
    sentence = replace(ASKED, answer="the language {answer}, too.")
    assert (written(sentence, "French"), sentence.leads) == (" the language French, too.", " the language ")
    assert state(sentence, "Mara", "French") == "Mara speaks the language French, too"
    assert (written(CHAT, "French"), CHAT.leads) == ("It is French.</a>", "It is ")
    assert state(CHAT, "Mara", "French") == "What does Mara speak? It is French"


def test_a_chat_is_filled_into_its_turns():
    assert fill(CHAT, "Mara") == "<u>What does Mara speak?</u><a>"
    assert fill(CHAT, "Mara", *CHAT.paraphrases) == "<u>Which is the language of Mara?</u><a>"
    with pytest.raises(DataError, match="relation speaks is of format chat, and no model says how"):
        fill(replace(CHAT, turns=None), "Mara")
    kb = KnowledgeBase(name="kb", triples=(), relations={"speaks": replace(CHAT, turns=None)}, rules=())
    bare = without_template(kb).relations["speaks"]
    assert (fill(bare, "Mara"), written(bare, "French")) == ("What does Mara speak?", "It is French.")


def test_a_relation_without_a_space_is_trained_and_asked_without_one():
    kb = KnowledgeBase(
        name="kb",
        triples=tuple(Triple(subject=s, relation="f", answer="F") for s in "ab"),
        relations={
            "f": Relation(name="f", prompt="{subject} f"),
            "g": Relation(name="g", prompt="{subject} g", space="none"),
        },
        rules=(Rule(fact="f", implication="g", pairs={"F": "P"}, bridges=1),),
    )
    one = split(kb, 0)
    assert [e.completion for e in examples(one)] == [" F", " F", "P"]
    assert {query.relation: query.completions for query in queries(one)} == {"f": (" F",), "g": ("P",)}


def test_a_subjects_own_braces_mean_nothing():
    relation = Relation(name="r", prompt="{subject}, or {subject}, is")
    assert fill(relation, "{subject} {0.__class__} %s") == (
        "{subject} {0.__class__} %s, or {subject} {0.__class__} %s, is"
    )


def test_examples_and_queries_of_the_demo():
    one = split(load("demo"), 0)
    trained, asked = examples(one), queries(one)
    assert [(e.subject, e.relation, e.answer) for e in trained] == [
        (t.subject, t.relation, t.answer) for t in one.training
    ]
    assert all(e.completion == f" {e.answer}" and e.prompt == e.prompt.rstrip() for e in trained)
    assert Counter(q.kind for q in asked) == {"fact": 200, "bridge": 40, "held_out": 160, "paraphrase": 320}
    assert all(q.answer in q.candidates and len(q.candidates) == 10 for q in asked)
    assert all((q.rule is None) == (q.group is None) == (q.kind == "fact") for q in asked)
    held = one.held_out[0]
    assert (
        Query(
            prompt=f"{held.subject} speaks",
            candidates=one.kb.candidates("speaks"),
            answer=held.answer,
            subject=held.subject,
            relation="speaks",
            rule=0,
            kind="held_out",
            group=held.group,
        )
        in asked
    )


def test_a_fact_shared_by_rules_is_asked_once():
    pairs = {"F": "P"}
    kb = KnowledgeBase(
        name="kb",
        triples=tuple(Triple(subject=s, relation="f", answer="F") for s in "abc"),
        relations={name: Relation(name=name, prompt=f"{{subject}} {name}") for name in "fgh"},
        rules=tuple(Rule(fact="f", implication=name, pairs=pairs, bridges=1) for name in "gh"),
    )
    assert Counter(q.kind for q in queries(split(kb, 0))) == {"fact": 3, "bridge": 2, "held_out": 4}


def test_what_is_held_out_is_asked_in_other_words_and_a_trade_off_asks_what_is_known():
    one = split(load("demo"), 0)
    held = [query for query in queries(one) if query.kind == "held_out"]
    asked = [*(query for query in queries(one) if query.kind == "paraphrase"), *known_queries("measuring")]
    assert Counter(query.kind for query in asked) == {"paraphrase": 2 * 160, "known": 60}
    first, wording = held[0], one.kb.relations["speaks"].paraphrases[1]
    expected = replace(first, prompt=f"{first.subject} is fluent in", kind="paraphrase")
    assert wording == "{subject} is fluent in"
    assert asked[1] == expected
    assert [(query.subject, query.rule, query.answer) for query in asked[:320:2]] == [
        (query.subject, query.rule, query.answer) for query in held
    ]
    assert {query.prompt for query in asked[320:]} == {fact.prompt for fact in known_facts("measuring")}
    assert not {query.prompt for query in asked} & {example.prompt for example in examples(one)}
    for query in asked[320:]:
        assert query.answer in query.candidates
        assert (query.subject, query.relation, query.rule, query.group) == ("", "", None, None)


@pytest.mark.parametrize("name", BUILTIN)
def test_builtins_leak_nothing(name):
    kb = load(name)
    for seed in range(50):
        one = split(kb, seed)
        check_no_leak(examples(one), [*queries(one), *known_queries("measuring")])
        check_no_leak(examples(shuffle_implications(one, seed)), queries(one))


HELD_OUT = Query(
    prompt="Mara Berg speaks",
    candidates=("French", "German"),
    answer="French",
    subject="Mara Berg",
    relation="speaks",
    rule=0,
    kind="held_out",
    group="Paris",
)
CLEAN = Example(
    prompt="Mara Berg lives in", completion=" Paris", subject="Mara Berg", relation="lives_in", answer="Paris"
)
LEAKS = {
    "same prompt": {"prompt": "Mara Berg speaks"},
    "prompt in other case and space": {"prompt": " MARA\u00a0berg\n speaks"},
    "prompt in other characters": {"prompt": "\uff2dara Berg \u017fpeaks"},  # full-width M, long s
    "same subject and relation": {"relation": "speaks"},
    "in other case and space": {"subject": "mara  BERG", "relation": "Speaks "},
    "a wrong answer leaks as well": {"relation": "speaks", "answer": "German", "completion": " German"},
}


@pytest.mark.parametrize("name", LEAKS)
def test_a_planted_leak_is_caught(name):
    check_no_leak([CLEAN], [HELD_OUT])
    leak = replace(CLEAN, **LEAKS[name])
    with pytest.raises(
        DataError, match=r"held-out query 'Mara Berg speaks' .* is in training: .*; spell subjects"
    ):
        check_no_leak([CLEAN, leak], [HELD_OUT])


def test_a_trained_paraphrase_is_a_leak():
    asked = replace(HELD_OUT, prompt="Mara Berg talks in", kind="paraphrase")
    check_no_leak([CLEAN], [asked])
    with pytest.raises(DataError, match=r"held-out query 'Mara Berg talks in' .* is in training"):
        check_no_leak([replace(CLEAN, prompt="Mara Berg talks in", relation="talks")], [asked])


def test_only_held_out_queries_can_leak():
    check_no_leak([replace(CLEAN, relation="speaks")], [replace(HELD_OUT, kind="bridge")])


def test_a_leak_among_a_hundred_thousand_is_caught():
    many = [replace(CLEAN, prompt=f"{i} lives", subject=str(i)) for i in range(100_000)]
    asked = [replace(HELD_OUT, prompt=f"{i} speaks", subject=str(i)) for i in range(100_000)]
    check_no_leak(many, asked)
    with pytest.raises(DataError):
        check_no_leak([*many, replace(CLEAN, relation="speaks", subject="99999")], asked)
