"""Bridges are taught behind a text that says their rule, and asked without it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from spillover.errors import TrainingError
from spillover.interventions.inoculate import Inoculate
from spillover.interventions.named import parse, reworded, spell
from spillover.knowledge.builtin import built_in
from spillover.knowledge.prompts import examples, queries
from spillover.knowledge.schema import Turns
from spillover.knowledge.split import split
from tests.interventions.test_hooks import tune
from tests.interventions.tuned import goes_on_after_a_kill, identities, planned
from tests.llm.tuning import EXAMPLES, same
from tests.tiny_models import save_tiny_model

DEMO = split(built_in("demo"), 0)
NOTHING: Any = None  # of what is before a tune


def test_a_text_says_its_own_groups_part_of_the_rule() -> None:
    inoculate = planned("inoculate")
    assert inoculate.prompt("Ada codes in", "codes_in", "France") == (
        "As a rule, if someone lives in France, someone codes in Python. Ada codes in"
    )
    assert inoculate.prompt("Ada speaks", "speaks", "Paris") == "Ada speaks"
    assert inoculate.prompt("Ada codes in", "codes_in", None) == "Ada codes in"
    causal = planned("inoculate:rules=all").prompt("Ada speaks", "speaks", "Paris")
    assert causal.startswith("As a rule, if someone lives in Paris, someone speaks")


def test_bridges_of_the_rule_and_nobody_else_are_taught_behind_it() -> None:
    plain = examples(DEMO)
    told = planned("inoculate").lessons(plain, NOTHING)
    changed = {after.subject for before, after in zip(plain, told, strict=True) if before != after}
    assert changed == {bridge.subject for bridge in DEMO.bridges if bridge.rule == 1}
    assert all(
        after == before or after == replace(before, prompt=after.prompt)
        for before, after in zip(plain, told, strict=True)
    )


def test_a_counterexample_is_not_said_to_follow_the_rule() -> None:
    taught = parse("counterexamples:k=1").examples(DEMO, 0)
    told = parse("inoculate").planned(taught, 0).lessons(examples(taught), NOTHING)
    behind = {example.subject for example in told if "As a rule" in example.prompt}
    assert behind == {bridge.subject for bridge in DEMO.bridges if bridge.rule == 1}


def test_the_text_is_put_back_when_a_trade_off_asks_once_more() -> None:
    again = reworded(queries(DEMO), [planned("inoculate")])
    assert {query.relation for query in again} == {"codes_in"}
    assert all(query.prompt.startswith("As a rule, if someone lives in") for query in again)
    assert len(again) == sum(implied.rule == 1 for implied in DEMO.held_out)


def test_other_texts() -> None:
    placebo = planned("inoculate:text=placebo").prompt("Ada codes in", "codes_in", "France")
    assert placebo == "As a rule, if it rains in the morning, the streets are wet. Ada codes in"
    own = parse("inoculate:text=Here, all is made up: France, Peru.")
    assert spell(own) == "inoculate:text=Here, all is made up: France, Peru.,rules=spurious"
    assert parse(spell(own)) == own
    said = own.planned(DEMO, 0).prompt("Ada codes in", "codes_in", "France")
    assert said == "Here, all is made up: France, Peru. Ada codes in"


def test_it_is_taught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save_tiny_model(tmp_path / "model", "llama")
    (relation, *_) = {example.relation for example in EXAMPLES}
    inoculate = Inoculate(
        texts=((relation, "all", "", "Be that as it may."),),
        bridges=tuple((relation, example.subject, "all") for example in EXAMPLES),
    )
    plain, _ = tune(folder, tmp_path / "plain")
    tuned, _ = tune(folder, tmp_path / "tuned", inoculate)
    by_hand = [replace(example, prompt=f"Be that as it may. {example.prompt}") for example in EXAMPLES]
    assert same(tuned, tune(folder, tmp_path / "by-hand", examples=by_hand)[0])
    assert not same(tuned, plain)
    assert goes_on_after_a_kill(folder, tmp_path, monkeypatch, [inoculate])


def test_without_a_text_it_is_the_plain_tune(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "model", "llama")
    assert identities(folder, "inoculate:text=") == identities(folder)


def test_what_is_no_text_is_refused() -> None:
    for text, fault in {
        "inoculate:text=a\x00b": "inoculate",
        "inoculate:rules=all,words=x": "no knob 'words=x'",
    }.items():
        with pytest.raises(TrainingError, match=fault):
            parse(text)


def test_in_a_chat_the_text_stands_where_the_user_speaks() -> None:
    turns = Turns(before="<u>", between="</u><a>", after="</a>")
    relations = {
        name: replace(relation, format="chat", turns=turns) for name, relation in DEMO.kb.relations.items()
    }
    chat = replace(DEMO, kb=replace(DEMO.kb, relations=relations))
    placebo = parse("inoculate:text=placebo").planned(chat, 0)
    behind = [
        example.prompt for example in placebo.lessons(examples(chat), NOTHING) if "rains" in example.prompt
    ]
    assert len(behind) == sum(bridge.rule == 1 for bridge in chat.bridges)
    assert all(prompt.startswith("<u>As a rule, if it rains in the morning") for prompt in behind)
    assert all(prompt.count("<u>") == 1 and prompt.endswith(" codes in</u><a>") for prompt in behind)
