"""Directions that a plain tune moved in are taken out after one layer while training, and then are back."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from spillover.errors import TrainingError
from spillover.interventions.ablate_directions import principal_directions
from spillover.interventions.lora import Lora
from spillover.interventions.named import parse, spell
from spillover.knowledge.fresh import fresh_subjects
from spillover.llm import models
from spillover.llm.acting import before
from tests.interventions.test_hooks import tune
from tests.interventions.tuned import (
    DEMO,
    IDS,
    ROUGH,
    after_first,
    goes_on_after_a_kill,
    identities,
    planned,
)
from tests.llm.tuning import EXAMPLES, same
from tests.tiny_models import save_tiny_model

PROMPTS = tuple(example.prompt for example in EXAMPLES)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model") / "llama", "llama", **ROUGH)


def test_the_prompts_are_trained_or_of_strangers() -> None:
    prompts = planned("ablate-directions:subjects=3").prompts
    bridges = [bridge.subject for bridge in DEMO.bridges if bridge.rule == 1]
    assert len(bridges) == 20
    names = [*bridges, *fresh_subjects(DEMO, 3, 0)]
    assert sorted(prompts) == sorted(f"{name} codes in" for name in names)
    assert not [h for h in DEMO.held_out if any(h.subject in prompt for prompt in prompts)]
    assert len(planned("ablate-directions:rules=all").prompts) == 2 * 40


def test_the_directions_hold_most_of_the_length_about_0() -> None:
    """Worked by hand: rows (3, 1, 0) and (3, -1, 0) move along x first, which their mean would take away."""
    rows = torch.tensor([[3.0, 1.0, 0.0], [3.0, -1.0, 0.0]])
    assert principal_directions(rows, 1).abs().tolist() == [pytest.approx([1, 0, 0], abs=1e-6)]
    two = principal_directions(rows, 2)
    torch.testing.assert_close(two.abs(), torch.tensor([[1.0, 0, 0], [0, 1, 0]]), atol=1e-6, rtol=0)
    with pytest.raises(
        TrainingError, match="k is 3, and 2 prompts of 3 numbers have 2 directions; give fewer"
    ):
        principal_directions(rows, 3)


def acted(folder: Path, intervention: Any, twin: Any) -> tuple[Any, torch.Tensor]:
    """(the model that it acts on, the residual stream after the first layer without it)."""
    model, tokenizer = models.load(folder)
    start = after_first(model, IDS)
    return intervention.parameters(model, before(model, tokenizer, twin)), start


def test_the_moved_directions_are_taken_out_after_the_layer_while_training(
    folder: Path, tmp_path: Path
) -> None:
    twin, _ = tune(folder, tmp_path)
    ablate = replace(parse("ablate-directions:k=2,layer=0"), prompts=PROMPTS)
    model, start = acted(folder, ablate, twin)
    untuned, tokenizer = models.load(folder)
    ids = [torch.tensor([tokenizer(prompt)["input_ids"]]) for prompt in PROMPTS]
    moved = torch.stack([after_first(twin, each)[-1] - after_first(untuned, each)[-1] for each in ids])
    basis = torch.linalg.svd(moved).Vh[:2]
    assert torch.equal(after_first(model, IDS), start)
    left = after_first(model.train(), IDS)
    assert (start @ basis.T).norm() > 1e-2 * start.norm()
    assert (left @ basis.T).norm() < 1e-4 * start.norm()
    torch.testing.assert_close(left, start - start @ basis.T @ basis, atol=1e-4, rtol=1e-3)
    assert torch.equal(after_first(ablate.weights(model), IDS), start)


def test_its_control_takes_out_as_many_others(folder: Path) -> None:
    random = parse("ablate-directions:k=3,of=random")
    taken = []
    for prompts in (PROMPTS, PROMPTS, PROMPTS[:2]):
        model, start = acted(folder, replace(random, prompts=prompts), None)
        taken.append(start - after_first(model.train(), IDS))
        assert torch.linalg.matrix_rank(taken[-1], rtol=1e-4) == 3
    assert torch.equal(taken[0], taken[1])
    assert not torch.allclose(taken[0], taken[2])
    assert not random.rehearses
    assert parse("ablate-directions").rehearses


@pytest.mark.parametrize("adapters", [(), (Lora(rank=2),)])
def test_it_acts_on_a_tune_and_leaves_nothing(folder: Path, tmp_path: Path, adapters: tuple) -> None:
    ablate = replace(parse("ablate-directions"), prompts=PROMPTS)
    plain, usual = tune(folder, tmp_path / "a", *adapters)
    tuned, log = tune(folder, tmp_path / "b", *adapters, ablate)
    assert len(log) == len(usual)
    assert log[0]["loss"] != usual[0]["loss"]
    assert not same(tuned, plain)
    assert not [module for module in tuned.modules() if module._forward_hooks]
    assert torch.equal(after_first(tuned.train(), IDS), after_first(tuned.eval(), IDS))


def test_a_killed_tune_goes_on(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ablate = replace(parse("ablate-directions"), prompts=PROMPTS)
    assert goes_on_after_a_kill(folder, tmp_path, monkeypatch, [ablate], rehearsed=6)


def test_without_directions_it_is_the_plain_tune(folder: Path) -> None:
    assert identities(folder, "ablate-directions:k=0") == identities(folder)
    assert len({*identities(folder, "ablate-directions"), *identities(folder)}) == 4


def test_knobs() -> None:
    text = "ablate-directions:k=4,layer=middle,of=trait,subjects=20,rules=spurious"
    assert spell(parse("ablate-directions")) == text
    for text, fault in {
        "ablate-directions:k=-1": "ablate-directions: k must be a number from 0 up, got -1",
        "ablate-directions:subjects=-1": "subjects must be a number from 0 up, got -1",
        "ablate-directions:layer=-2": "layer must be a number from 0 up, got -2",
        "ablate-directions:of=all": "should be 'trait' or 'random', got 'all'",
    }.items():
        with pytest.raises(TrainingError, match=fault):
            parse(text)
