"""Knowledge bases made in code check themselves: one line that names the part."""

from dataclasses import replace
from typing import Any

import pytest

from spillover import KnowledgeBase, Relation, Rule, Triple
from spillover.errors import DataError
from spillover.jobs.forecast import forecast
from spillover.knowledge.split import split

LIVES = Relation(name="lives_in", prompt="{subject} lives in")
CODES = Relation(name="codes_in", prompt="{subject} codes in")
RULE = Rule(fact="lives_in", implication="codes_in", pairs={"France": "Python"}, bridges=1)
ANN = Triple(subject="Ann", relation="lives_in", answer="France")
KB = KnowledgeBase(
    name="people",
    triples=(ANN, replace(ANN, subject="Bo"), replace(ANN, subject="Cy", answer="Chile")),
    relations={"lives_in": LIVES, "codes_in": CODES},
    rules=(RULE,),
)


def complaint(part: Any, changes: dict[str, Any]) -> str:
    with pytest.raises(DataError) as caught:
        replace(part, **changes)
    assert "\n" not in str(caught.value)
    return str(caught.value)


RELATION_FAULTS = {
    "name": ({"name": ""}, "relation '': name is empty; fill it in or remove the entry"),
    "ends in a space": (
        {"prompt": "{subject} lives in "},
        "relation 'lives_in': prompt '{subject} lives in ' has white space at its ends; remove it",
    ),
    "no subject": (
        {"prompt": "She lives in"},
        "relation 'lives_in': prompt 'She lives in' has no {subject}; write {subject} where the name goes",
    ),
    "other braces": (
        {"prompt": "{subject} of {place}"},
        "relation 'lives_in': prompt '{subject} of {place}' has other braces than {subject}, which alone is "
        "filled in; remove them",
    ),
    "prompt no text": (
        {"prompt": None},
        "relation 'lives_in': prompt is None, it must be text; write it in quotes",
    ),
    "candidate": (
        {"candidates": ("Perl", "")},
        "relation 'lives_in': candidate is empty; fill it in or remove the entry",
    ),
    "candidates one text": (
        {"candidates": "Perl"},
        "relation 'lives_in': candidates are 'Perl', they must be a tuple of texts",
    ),
    "paraphrase no text": (
        {"paraphrases": (7,)},
        "relation 'lives_in': paraphrase is 7, it must be text; write it in quotes",
    ),
    "paraphrase ends in a space": (
        {"paraphrases": ("{subject} is at home in ",)},
        "relation 'lives_in': paraphrase '{subject} is at home in ' has white space at its ends; remove it",
    ),
    "paraphrase without a subject": (
        {"paraphrases": ("She is at home in",)},
        "relation 'lives_in': paraphrase 'She is at home in' has no {subject}; "
        "write {subject} where the name goes",
    ),
    "paraphrase as the prompt": (
        {"paraphrases": ("{subject} lives in",)},
        "relation 'lives_in': paraphrase '{subject} lives in' is the prompt or an earlier wording of it; "
        "word it otherwise",
    ),
    "paraphrase twice": (
        {"paraphrases": ("Home of {subject} is", "Home of {subject} is")},
        "relation 'lives_in': paraphrase 'Home of {subject} is' is the prompt or an earlier wording of it; "
        "word it otherwise",
    ),
    "paraphrases one text": (
        {"paraphrases": "Home of {subject} is"},
        "relation 'lives_in': paraphrases are 'Home of {subject} is', they must be a tuple of texts",
    ),
    "space": (
        {"space": "two"},
        "relation 'lives_in': space is 'two', allowed are one, none",
    ),
}


@pytest.mark.parametrize("name", RELATION_FAULTS)
def test_a_faulty_relation(name):
    changes, message = RELATION_FAULTS[name]
    assert complaint(LIVES, changes) == message


RULE_FAULTS = {
    "fact is implication": (
        {"fact": "codes_in"},
        "rule codes_in -> codes_in: the rule's fact and implication are both 'codes_in'; "
        "name two different relations",
    ),
    "fact": ({"fact": ""}, "rule  -> codes_in: fact is empty; fill it in or remove the entry"),
    "kind": (
        {"kind": "casual"},
        "rule lives_in -> codes_in: kind is 'casual', allowed are causal, spurious; did you mean 'causal'?",
    ),
    "pairs no mapping": (
        {"pairs": [("France", "Python")]},
        "rule lives_in -> codes_in: pairs are [('France', 'Python')], they must be a mapping of texts",
    ),
    "pair": (
        {"pairs": {"France": " Python"}},
        "rule lives_in -> codes_in: pair of 'France' ' Python' has white space at its ends; remove it",
    ),
    "answer of a pair": (
        {"pairs": {7: "Python"}},
        "rule lives_in -> codes_in: answer of a pair is 7, it must be text; write it in quotes",
    ),
    "source": (
        {"kind": "", "source": "people.yaml:7"},
        "people.yaml:7: kind is '', allowed are causal, spurious",
    ),
}
RULE_FAULTS |= {
    f"bridges {bridges}": (
        {"bridges": bridges},
        f"rule lives_in -> codes_in: bridges must be a whole number from 1 up, or None, got {bridges!r}",
    )
    for bridges in (0, -1, 1.0, True, "2")
}


@pytest.mark.parametrize("name", RULE_FAULTS)
def test_a_faulty_rule(name):
    changes, message = RULE_FAULTS[name]
    assert complaint(RULE, changes) == message


def more(*triples: Any) -> dict[str, Any]:
    return {"triples": (*KB.triples, *triples)}


FAULTS = {
    "name": ({"name": " "}, "knowledge base: name is empty; fill it in or remove the entry"),
    "relation of a triple": (
        more(replace(ANN, relation="live_in")),
        "knowledge base people: triple 4: relation 'live_in' is not in knowledge base people, which has "
        "lives_in, codes_in; did you mean 'lives_in'?",
    ),
    "duplicate": (
        more(ANN),
        "knowledge base people: triple 4: ('Ann', 'lives_in') stands already in "
        "knowledge base people: triple 1; remove the duplicate",
    ),
    "contradiction": (
        more(replace(ANN, answer="Peru")),
        "knowledge base people: triple 4: ('Ann', 'lives_in') is 'Peru' here but 'France' in "
        "knowledge base people: triple 1; keep one",
    ),
    "empty subject": (
        more(replace(ANN, subject="")),
        "knowledge base people: triple 4: subject is empty; fill it in or remove the entry",
    ),
    "answer with a space": (
        more(replace(ANN, subject="Di", answer=" Peru")),
        "knowledge base people: triple 4: answer ' Peru' has white space at its ends; remove it",
    ),
    "answer no text": (
        more(replace(ANN, subject="Di", answer=[7])),  # pyright: ignore[reportArgumentType]
        "knowledge base people: triple 4: answer is [7], it must be text; write it in quotes",
    ),
    "no triple": (
        more(("Di", "lives_in", "Peru")),
        "knowledge base people: triple 4 is ('Di', 'lives_in', 'Peru'); give a Triple",
    ),
    "no relation": (
        {"relations": {"lives_in": "{subject} lives in"}},
        "knowledge base people: 'lives_in' stands for '{subject} lives in'; give the Relation of that name",
    ),
    "relations no mapping": (
        {"relations": [LIVES]},
        "knowledge base people: relations must map names to relations; give a mapping",
    ),
    "no rule": (
        {"rules": ("lives_in -> codes_in",)},
        "knowledge base people: got 'lives_in -> codes_in' among the rules; give a Rule",
    ),
    "fact of a rule": (
        {"rules": (replace(RULE, fact="live_in"),)},
        "rule live_in -> codes_in: fact 'live_in' of the rule is not a relation of knowledge base people, "
        "which has lives_in, codes_in; did you mean 'lives_in'?",
    ),
    "implication of a rule": (
        {"rules": (replace(RULE, implication="speaks"),)},
        "rule lives_in -> speaks: implication 'speaks' of the rule is not a relation of knowledge base "
        "people, which has lives_in, codes_in",
    ),
    "rule twice": (
        {"rules": (RULE, replace(RULE, kind="causal"))},
        "rule lives_in -> codes_in: rule lives_in -> codes_in stands there twice, "
        "first at rule lives_in -> codes_in; remove one",
    ),
    "pair of nothing": (
        {"rules": (replace(RULE, pairs={"Frence": "Python"}),)},
        "rule lives_in -> codes_in: no triple of lives_in has the answer 'Frence' of this pair, only "
        "'France', 'Chile'; did you mean 'France'?",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_faulty_knowledge_base(name):
    changes, message = FAULTS[name]
    assert complaint(KB, changes) == message


def test_a_sound_knowledge_base_is_used_as_it_is():
    assert [one.group for one in split(KB, 0).bridges] == ["France"]
    assert forecast(KB)["rules"][0]["held_out"] == 1
    once = KnowledgeBase(
        name="people",
        triples=(one for one in KB.triples),  # pyright: ignore[reportArgumentType]
        relations=KB.relations,
        rules=[RULE],  # pyright: ignore[reportArgumentType]
    )
    assert once == KB


def test_a_pair_may_be_for_an_answer_that_an_earlier_rule_gives():
    hosts = Relation(name="hosts", prompt="{subject} hosts")
    second = Rule(fact="codes_in", implication="hosts", pairs={"Python": "PyPI"}, bridges=1)
    relations = {**KB.relations, "hosts": hosts}
    chain = replace(KB, relations=relations, rules=(RULE, second))
    assert chain.candidates("hosts") == ("PyPI",)
    undrawn = (replace(RULE, bridges=None), second)
    assert "no triple of codes_in has the answer 'Python'" in complaint(
        KB, {"relations": relations, "rules": undrawn}
    )
