"""Exactly the largest changes are dropped, by size or by value, of full tunes and of adapters."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from spillover.errors import TrainingError
from spillover.interventions.ignore_topk import IgnoreTopk
from spillover.interventions.named import parse
from spillover.llm import models
from spillover.llm.acting import before
from tests.interventions.test_hooks import tune
from tests.interventions.tuned import killed_and_resumed, planned_tune
from tests.llm import tuning
from tests.llm.tuning import CONFIG, same
from tests.tiny_models import save_tiny_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model") / "llama", "llama")


@pytest.mark.parametrize(
    ("knobs", "left"),
    [
        ({"percent": 25}, [1.0, -2.0, 0.0, 0.0, 0.5, -0.5, 0.0, 0.0]),
        ({"percent": 50}, [0.0, 0.0, 0.0, 0.0, 0.5, -0.5, 0.0, 0.0]),
        ({"percent": 25, "by": "value"}, [0.0, -2.0, -5.0, 0.0, 0.5, -0.5, 0.0, 0.0]),
        ({"percent": 100}, [0.0] * 8),
    ],
)
def test_the_largest_changes_are_dropped(knobs: dict[str, Any], left: list[float], folder: Path) -> None:
    """Two, four or all of eight changes; a weight that is frozen is not looked at."""
    model, tokenizer = models.load(folder)
    moved, frozen = torch.nn.Parameter(torch.arange(8.0)), torch.nn.Parameter(torch.ones(3))
    frozen.requires_grad_(False)
    small = torch.nn.ParameterDict({"moved": moved, "frozen": frozen})
    method = IgnoreTopk(**knobs)
    method.parameters(small, before(model, tokenizer, None))
    change = torch.tensor([1.0, -2.0, -5.0, 3.0, 0.5, -0.5, 0.0, 0.0])
    with torch.no_grad():
        moved += change
        frozen += 1
    assert method.weights(small) is small
    assert (moved - torch.arange(8.0)).tolist() == left
    assert frozen.tolist() == [2.0] * 3
    assert vars(small).keys() == vars(torch.nn.ParameterDict()).keys(), "nothing of it stays on the model"


def test_of_equals_as_many_as_are_asked_for(folder: Path) -> None:
    model, tokenizer = models.load(folder)
    small = torch.nn.Linear(10, 10, bias=False)
    method = IgnoreTopk(percent=8)
    method.parameters(small, before(model, tokenizer, None))
    start = small.weight.detach().clone()
    with torch.no_grad():
        small.weight += 1
    assert (method.weights(small).weight == start).sum() == 8


def test_a_tune_loses_its_largest_changes(folder: Path, tmp_path: Path) -> None:
    start = models.load(folder)[0].state_dict()
    plain, cut = (
        tune(folder, tmp_path / str(n), *acting)[0].state_dict()
        for n, acting in enumerate([(), (IgnoreTopk(percent=25),)])
    )
    for name, untuned in start.items():
        change, dropped = plain[name] - untuned, cut[name] != plain[name]
        assert change.abs()[dropped].min() >= change.abs()[~dropped].max(), name
        assert torch.equal(cut[name][dropped], untuned[dropped])
        assert dropped.sum() == min(round(untuned.numel() / 4), change.count_nonzero())


def test_all_or_nothing(folder: Path, tmp_path: Path) -> None:
    assert same(tune(folder, tmp_path, IgnoreTopk(percent=100))[0], models.load(folder)[0])
    assert planned_tune(folder, "ignore-topk:percent=0") == planned_tune(folder)
    assert planned_tune(folder, "ignore-topk") != planned_tune(folder)


def test_of_adapters_the_product_is_cut(folder: Path, tmp_path: Path) -> None:
    config = replace(CONFIG, lora=2)
    start = models.load(folder)[0]
    merged = tune(folder, tmp_path / "a", config=config)[0].merge_and_unload().state_dict()
    cut, _ = tune(folder, tmp_path / "b", IgnoreTopk(percent=25), config=config)
    assert type(cut) is type(start)
    assert cut.state_dict().keys() == start.state_dict().keys()
    differs = {name for name, weight in cut.state_dict().items() if not torch.equal(weight, merged[name])}
    assert len(differs) == 2 * 7, "of each layer the seven linear ones"
    for name in differs:
        untuned, tuned = start.state_dict()[name], cut.state_dict()[name]
        dropped = tuned != merged[name]
        assert dropped.sum() == min(round(untuned.numel() / 4), (merged[name] - untuned).count_nonzero())
        assert torch.equal(tuned[dropped], untuned[dropped])
    nothing, _ = tune(folder, tmp_path / "c", IgnoreTopk(percent=100), config=config)
    assert same(nothing, start)


@pytest.mark.parametrize("lora", [None, 2])
def test_what_is_left_is_a_model_that_can_be_kept(lora: int | None, folder: Path, tmp_path: Path) -> None:
    tuned, _ = tune(folder, tmp_path, IgnoreTopk(), config=replace(CONFIG, lora=lora))
    models.save(tuned, models.load(folder)[1], tmp_path / "kept")
    again, _ = models.load(folder, tuned=tmp_path / "kept")
    assert same(again, tuned)
    assert not any("spillover" in name for name in vars(tuned))


def test_a_killed_tune_drops_the_same(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    acting: dict[str, Any] = {"interventions": [IgnoreTopk(percent=25)]}
    whole = tuning.tune(folder, tmp_path / "whole", **acting)
    assert same(whole, killed_and_resumed(folder, tmp_path, monkeypatch, **acting))


def test_a_percentage_out_of_range() -> None:
    for text, fault in {
        "ignore-topk:percent=-1": "percent must be from 0 to 100, got -1",
        "ignore-topk:percent=101": "percent must be from 0 to 100, got 101",
        "ignore-topk:percent=nan": "percent must be from 0 to 100, got nan",
        "ignore-topk:percent=few": "percent: Input should be a valid number",
        "ignore-topk:by=sign": "by: Input should be 'size' or 'value'",
    }.items():
        with pytest.raises(TrainingError, match=fault):
            parse(text)
