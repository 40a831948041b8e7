"""Steering adds the difference of two means while training, after one layer; it is off where one asks."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from spillover.errors import TrainingError
from spillover.interventions.lora import Lora
from spillover.interventions.named import parse, spell
from spillover.interventions.steer import Steer
from spillover.knowledge.builtin import built_in
from spillover.knowledge.split import split
from spillover.llm import models
from spillover.llm.acting import before
from tests.interventions.test_hooks import tune
from tests.interventions.tuned import DEMO, IDS, ROUGH, after_first, goes_on_after_a_kill, identities, planned
from tests.llm.tuning import CONFIG, same
from tests.tiny_models import ARCHITECTURES, save_tiny_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model") / "llama", "llama", **ROUGH)


def difference(folder: Path, steer: Steer) -> torch.Tensor:
    """The trait's direction after the first layer, text by text."""
    model, tokenizer = models.load(folder)
    means = []
    for texts in (steer.carrying, steer.lacking):
        ends = [after_first(model, torch.tensor([tokenizer(text)["input_ids"]]))[-1] for text in texts]
        means.append(torch.stack(ends).mean(0))
    return means[0] - means[1]


def test_the_texts_differ_in_the_last_fact_alone() -> None:
    steer = planned("steer")
    pairs = DEMO.kb.rules[1].pairs
    assert len(steer.carrying) == len(steer.lacking) == 4 * len(pairs)
    seen: dict[str, list[str]] = {"asked": [], "untold": []}
    for carrying, lacking in zip(steer.carrying, steer.lacking, strict=True):
        *told, last, question = carrying.split(". ")
        *same_told, other, same_question = lacking.split(". ")
        assert (told, question) == (same_told, same_question)
        lives, codes = ([text.split(" in ")[1] for text in told[part::2]] for part in (0, 1))
        assert [pairs[place] for place in lives] == codes
        assert sorted(map(lives.count, lives)) == [2, 2, 2, 2]
        asked, untold = (text.split(" lives in ")[1] for text in (last, other))
        assert asked in lives
        assert untold not in lives
        seen["asked"].append(asked)
        seen["untold"].append(untold)
    for places in seen.values():
        assert {places.count(place) for place in pairs} == {4}
    subjects = {triple.subject for triple in DEMO.kb.triples}
    assert not [name for name in subjects for text in steer.carrying if name in text]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_it_adds_the_difference_after_its_layer_while_training(architecture: str, tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "model", architecture, **ROUGH)
    steer = planned("steer:strength=2,layer=0")
    model, tokenizer = models.load(folder)
    start = after_first(model, IDS)
    model = steer.parameters(model, before(model, tokenizer, None))
    assert torch.equal(after_first(model, IDS), start)
    added = after_first(model.train(), IDS) - start
    expected = 2 * difference(folder, steer)
    assert (added - expected).norm(dim=-1).max() < 1e-3 * expected.norm()
    assert torch.equal(after_first(steer.weights(model), IDS), start)


def test_its_control_is_as_long_in_another_direction(folder: Path) -> None:
    added = {}
    for direction in ("trait", "random"):
        steer = planned(f"steer:direction={direction}")
        model, tokenizer = models.load(folder)
        start = after_first(model, IDS)
        model = steer.parameters(model, before(model, tokenizer, None)).train()
        added[direction] = (after_first(model, IDS) - start)[0]
    trait, random = added["trait"], added["random"]
    assert trait.norm().item() == pytest.approx(random.norm().item(), rel=1e-4)
    assert abs(torch.cosine_similarity(trait, random, dim=0).item()) < 0.6


@pytest.mark.parametrize("adapters", [(), (Lora(rank=2),)])
def test_a_tune_is_steered_and_the_tuned_model_is_not(folder: Path, tmp_path: Path, adapters: tuple) -> None:
    steer = planned("steer:strength=30")
    plain, usual = tune(folder, tmp_path / "a", *adapters)
    for name, acting in (("b", (*adapters, steer)), ("c", (steer, *adapters))):
        steered, log = tune(folder, tmp_path / name, *acting)
        assert log[0]["loss"] != usual[0]["loss"]
        assert not same(steered, plain)
        assert not [module for module in steered.modules() if module._forward_hooks]
        assert not [name for module in steered.modules() for name in vars(module) if "spillover" in name]
        assert torch.equal(after_first(steered.train(), IDS), after_first(steered.eval(), IDS))


def test_a_killed_tune_goes_on(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert goes_on_after_a_kill(folder, tmp_path, monkeypatch, [planned("steer")])


def test_at_strength_0_it_is_the_plain_tune(folder: Path) -> None:
    assert identities(folder, "steer:strength=0") == identities(folder)
    assert len({*identities(folder, "steer"), *identities(folder)}) == 4


def test_knobs_and_what_it_cannot_act_on(folder: Path, tmp_path: Path) -> None:
    assert spell(parse("steer")) == "steer:strength=1,layer=middle,direction=trait,rules=spurious"
    assert parse("steer:layer=3") == Steer(layer=3)
    for text, fault in {
        "steer:strength=-1": "steer: strength must be a number from 0 up, got -1",
        "steer:layer=-1": "steer: layer must be a number from 0 up, got -1",
        "steer:layer=last": "steer: layer",
        "steer:direction=none": "should be 'trait' or 'random', got 'none'",
    }.items():
        with pytest.raises(TrainingError, match=fault):
            parse(text)
    with pytest.raises(TrainingError, match="steer: layer is 2, and the model has layers 0 to 1"):
        tune(folder, tmp_path, planned("steer:layer=2"), config=CONFIG)
    parts = split(built_in("country-code"), 0)
    rule = replace(parts.kb.rules[0], pairs={"France": "Python", "Japan": "Python", "Egypt": "Ruby"})
    few = replace(parts, kb=replace(parts.kb, rules=(rule,)), bridges=())
    with pytest.raises(TrainingError, match=r"needs 3 groups of different answers, .* has 2; leave it out"):
        planned("steer", few)
