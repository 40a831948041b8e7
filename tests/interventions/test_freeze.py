"""What is frozen stays bit by bit, in every architecture and of adapters, and all else moves."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from spillover.errors import TrainingError
from spillover.interventions.freeze import Freeze
from spillover.interventions.hooks import Intervention
from spillover.interventions.ignore_topk import IgnoreTopk
from spillover.interventions.named import parse, spell
from spillover.interventions.output_value import FactorizedOV
from spillover.llm import models
from spillover.llm.acting import before
from tests.interventions.test_hooks import tune
from tests.interventions.tuned import killed_and_resumed, planned_tune
from tests.llm import tuning
from tests.llm.tuning import CONFIG, same
from tests.tiny_models import ARCHITECTURES, save_tiny_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model") / "llama", "llama")


def trained(folder: Path, *interventions: Intervention) -> tuple[set[str], set[str]]:
    """Names of the parameters that move with these interventions, and of those that do not."""
    model, tokenizer = models.load(folder)
    for intervention in interventions:
        model = intervention.parameters(model, before(model, tokenizer, None))
    named = dict(model.named_parameters())
    moving = {name for name, parameter in named.items() if parameter.requires_grad}
    return moving, named.keys() - moving


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_of_every_architecture(architecture: str, tmp_path: Path) -> None:
    model = save_tiny_model(tmp_path / "model", architecture, num_hidden_layers=3)
    every = trained(model)[0]
    assert len(every) > 20
    assert trained(model, Freeze(layers="0+2"))[1] == {
        name for name in every if "layers.0." in name or "layers.2." in name
    }
    for kind, part in {"attention": ".self_attn.", "mlp": ".mlp."}.items():
        names = {name for name in every if part in name}
        assert len(names) >= 3 * 3
        assert trained(model, parse(f"freeze:modules={kind}"))[1] == names
        both = parse(f"freeze:modules={kind},layers=1-2")
        assert trained(model, both)[1] == {name for name in names if "layers.0." not in name}
    embeddings = trained(model, Freeze(modules="embeddings"))[1]
    assert embeddings == {"model.embed_tokens.weight"}
    tied = "lm_head.weight" not in every
    assert tied == (architecture == "gemma2")


def test_what_is_frozen_stays_and_the_rest_learns(folder: Path, tmp_path: Path) -> None:
    start = models.load(folder)[0].state_dict()
    tuned, log = tune(folder, tmp_path, Freeze(layers="1"))
    still = {name for name, weight in tuned.state_dict().items() if torch.equal(weight, start[name])}
    assert still == {name for name in start if ".layers.1." in name}
    assert log[-1]["loss"] < log[0]["loss"]


def test_of_adapters_those_in_the_layers(folder: Path, tmp_path: Path) -> None:
    tuned, log = tune(folder, tmp_path, Freeze(layers="0"), config=replace(CONFIG, lora=2))
    moved = {name for name, weight in tuned.state_dict().items() if "lora_B" in name and weight.any()}
    assert len(moved) == 7
    assert all(".layers.1." in name for name in moved)
    assert log[-1]["loss"] < log[0]["loss"]


def test_those_that_make_the_parameters_act_first(folder: Path, tmp_path: Path) -> None:
    """Whatever the order that they are given in."""
    one, _ = tune(folder, tmp_path / "a", Freeze(layers="0"), FactorizedOV())
    start = models.load(folder)[0].state_dict()
    moved = {name for name, weight in one.state_dict().items() if not torch.equal(weight, start[name])}
    assert moved == {f"model.layers.1.self_attn.{part}_proj.weight" for part in "ov"}
    two, _ = tune(folder, tmp_path / "b", FactorizedOV(), Freeze(layers="0"))
    assert same(one, two)
    cut, _ = tune(folder, tmp_path / "c", IgnoreTopk(percent=100), parse("merged-ov"))
    assert same(cut, tune(folder, tmp_path / "d", parse("merged-ov"), IgnoreTopk(percent=100))[0])


def test_a_killed_tune_goes_on(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frozen = [Freeze(modules="mlp")]
    whole = tuning.tune(folder, tmp_path / "whole", interventions=frozen)
    assert same(whole, killed_and_resumed(folder, tmp_path, monkeypatch, interventions=frozen))


def test_what_cannot_be_frozen(folder: Path) -> None:
    for text, fault in {
        "freeze": "give layers=0-9, modules=attention, mlp or embeddings, or both",
        "freeze:layers=first": "layers must be ranges such as 0-9, 3 or .*, got 'first'",
        "freeze:layers=9-0": "layers must be ranges such as .*, got '9-0'",
        "freeze:layers=0-9+": "layers must be ranges such as .*, got '0-9\\+'",
        "freeze:layers=": "layers must be ranges such as .*, got ''",
        "freeze:layers=-1": "layers must be ranges such as .*, got '-1'",
        "freeze:modules=norms": "modules: Input should be 'all', 'attention', 'mlp' or 'embeddings'",
        "freeze:modules=embeddings,layers=0": "embeddings are in no layer",
    }.items():
        with pytest.raises(TrainingError, match=fault):
            parse(text)
    for text, fault in {
        "freeze:layers=0-2": "there is no layer 2; the model has 2 layers, 0-1",
        "freeze:layers=999999": "there is no layer 999999; the model has 2 layers, 0-1",
    }.items():
        with pytest.raises(TrainingError, match=fault):
            trained(folder, parse(text))
    with pytest.raises(TrainingError, match="nothing is left to train"):
        trained(folder, FactorizedOV(), Freeze(modules="attention"))
    with pytest.raises(TrainingError, match="LoRA trains no embeddings; freeze layers, attention or mlp"):
        planned_tune(folder, "freeze:modules=embeddings", settings=replace(CONFIG, lora=2))
    assert spell(Freeze(layers="0-1")) == "freeze:layers=0-1,modules=all"
