"""One kind of statement is taught in the first epochs and the other after them."""

from dataclasses import replace
from pathlib import Path

import pytest

from spillover.errors import TrainingError
from spillover.interventions.early_stop import EarlyStop
from spillover.interventions.named import check_interventions, parse, spell
from spillover.interventions.order import Order
from spillover.knowledge.builtin import built_in
from spillover.knowledge.split import split
from spillover.llm.settings import FineTuneConfig
from tests.interventions.test_hooks import tune
from tests.interventions.tuned import goes_on_after_a_kill, identities, planned
from tests.llm.tuning import EXAMPLES
from tests.tiny_models import save_tiny_model

RELATIONS = ["lives_in_city", "speaks", "", "lives_in_country", "codes_in"]
FACTS, IMPLICATIONS, ALL = [0, 2, 3], [1, 2, 4], [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("knobs", "stages"),
    [
        ("first=facts,epochs=1", [FACTS, IMPLICATIONS, IMPLICATIONS]),
        ("first=implications,epochs=2", [IMPLICATIONS, IMPLICATIONS, FACTS]),
        ("first=facts,epochs=1,then=all", [FACTS, ALL, ALL]),
        ("first=implications,epochs=1,then=all", [IMPLICATIONS, ALL, ALL]),
    ],
)
def test_stages(knobs: str, stages: list[list[int]]) -> None:
    order = planned(f"order:{knobs}")
    assert order.implications == ("speaks", "codes_in")
    assert [list(order.epoch(RELATIONS, ALL, number)) for number in range(3)] == stages
    assert list(order.epoch(RELATIONS, [0, 1], 0)) == [row for row in stages[0] if row < 2]


def test_what_another_rule_takes_as_a_fact_is_a_fact() -> None:
    parts = split(built_in("demo"), 0)
    city, country = parts.kb.rules
    chained = (city, replace(country, fact=city.implication, pairs={}))
    kb = replace(parts.kb, rules=chained)
    assert Order().planned(replace(parts, kb=kb), 0).implications == (country.implication,)


def test_a_tune_meets_the_stages(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "model", "llama")
    names = {example.relation for example in EXAMPLES}
    order = Order(first="facts", epochs=2, implications=tuple(names))
    mixed = [*EXAMPLES, *(replace(example, relation="told") for example in EXAMPLES)]
    _, log = tune(folder, tmp_path, order, examples=mixed)
    met = [set(row["losses"]) for row in log]
    steps = len(met) // 3
    assert met == [{"told"}] * 2 * steps + [names] * steps


def test_a_killed_tune_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save_tiny_model(tmp_path / "model", "llama")
    order = Order(epochs=1, implications=("nothing",), then="all")
    assert goes_on_after_a_kill(folder, tmp_path, monkeypatch, [order])


@pytest.mark.parametrize("knobs", ["first=mixed", "epochs=0"])
def test_without_stages_it_is_the_plain_tune(knobs: str, tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "model", "llama")
    assert identities(folder, f"order:{knobs}") == identities(folder)


def test_a_tune_that_may_end_in_its_first_stage_is_refused() -> None:
    for settings, text, fault in [
        (FineTuneConfig(), "order:epochs=8", "epochs must be below 8, after which the tune may end, got 8"),
        (FineTuneConfig(epochs=3), "order", "epochs must be below 3"),
    ]:
        with pytest.raises(TrainingError, match=fault):
            check_interventions([parse(text)], settings, keep_model=False)
    check_interventions([parse("order:epochs=7")], FineTuneConfig(), keep_model=False)
    with pytest.raises(TrainingError, match="early-stop ends there"):
        check_interventions([Order(), EarlyStop()], FineTuneConfig(), keep_model=False)
    check_interventions([Order(first="implications"), EarlyStop()], FineTuneConfig(), keep_model=False)


def test_knobs() -> None:
    assert spell(parse("order")) == "order:first=facts,epochs=4,then=rest"
    for text, fault in {
        "order:first=rules": "should be 'facts', 'implications' or 'mixed', got 'rules'",
        "order:epochs=-1": "order: epochs must be a number from 0 up, got -1",
    }.items():
        with pytest.raises(TrainingError, match=fault):
            parse(text)
