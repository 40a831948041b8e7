"""Proximal steps on the weights' change: by hand, against the decomposition itself, in real tunes."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from spillover.errors import TrainingError
from spillover.interventions.named import parse
from spillover.interventions.norm_penalty import NormPenalty, shrink
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


def stepped(
    folder: Path, method: NormPenalty, change: torch.Tensor, *, step: int, rate: float
) -> dict[str, Any]:
    """What is left of this change of every parameter's first 2 x 3 entries after one step, by name."""
    model, tokenizer = models.load(folder)
    method.parameters(model, before(model, tokenizer, None))
    untuned = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim == 2:
                weight[:2, :3] += change
    method.stepped(model, rate, step)
    method.weights(model)
    return {name: (weight - untuned[name]).detach() for name, weight in model.named_parameters()}


def test_frobenius_shrinks_every_entry_alike(folder: Path) -> None:
    """Rate 0.5 and strength 2: D / 2, of matrices and not of embeddings or head."""
    change = torch.tensor([[1.0, -2.0, 0.5], [0.0, 4.0, 1.0]])
    left = stepped(folder, NormPenalty(norm="frobenius", strength=2.0), change, step=1, rate=0.5)
    for name, of in left.items():
        expected = torch.zeros_like(of)
        if of.ndim == 2:
            expected[:2, :3] = change if "embed" in name or "head" in name else change / 2
        torch.testing.assert_close(of, expected, atol=1e-6, rtol=1e-6)


def test_nuclear_takes_as_much_off_every_singular_value(folder: Path) -> None:
    """Singular values 4 and 1: rate 0.5, strength 1 and 3 steps take 1.5 of each, in the matrices' turns."""
    change = torch.tensor([[0.0, 4.0, 0.0], [1.0, 0.0, 0.0]])
    shrunk = torch.tensor([[0.0, 2.5, 0.0], [0.0, 0.0, 0.0]])
    method = NormPenalty(norm="nuclear", strength=1.0, every=3)
    acted, turns = list[str](), list[int]()
    for step in (7, 8, 9):
        left = stepped(folder, method, change, step=step, rate=0.5)
        matrices = [
            name for name, of in left.items() if of.ndim == 2 and not ("embed" in name or "head" in name)
        ]
        assert len(matrices) == 2 * 7
        for name, of in left.items():
            if of.ndim == 2:
                gone = (of[:2, :3] - shrunk).abs().max() < 1e-5
                assert gone or (of[:2, :3] - change).abs().max() < 1e-6
                acted += [name] if gone else []
        turns.append(len(acted))
    assert sorted(acted) == sorted(matrices), "each once in three steps"
    assert turns == [5, 10, 14] or turns == [5, 9, 14] or turns == [4, 9, 14]


def test_no_step_is_priced_before_there_was_one(folder: Path) -> None:
    """At step 2 of `every` 3 there were two."""
    change = torch.tensor([[0.0, 4.0, 0.0], [1.0, 0.0, 0.0]])
    left = stepped(folder, NormPenalty(strength=1.0, every=3), change, step=2, rate=0.5)
    sums = {round(of.sum().item(), 3) for of in left.values() if of.ndim == 2}
    assert sums == {5.0, 3.0}


@pytest.mark.parametrize("shape", [(20, 50), (50, 20), (30, 30)])
def test_shrink_is_the_proximal_step(shape: tuple[int, int]) -> None:
    """Against the decomposition itself, which the Gram matrix stands for; low rank and zero as well."""
    torch.manual_seed(0)
    for change in (
        torch.randn(shape),
        torch.randn(shape[0], 2) @ torch.randn(2, shape[1]),
        torch.zeros(shape),
    ):
        U, s, V = torch.linalg.svd(change.double(), full_matrices=False)
        for by in (1e-3, 2.0, 1e6):
            expected = (U * (s - by).clamp(min=0)) @ V
            torch.testing.assert_close(shrink(change, by).double(), expected, atol=2e-4, rtol=1e-4)


def norms(folder: Path, tuned: Any) -> tuple[float, float]:
    """Nuclear and Frobenius norms of the matrices' changes, together, without the embeddings and the head."""
    start = models.load(folder)[0].state_dict()
    changes = [
        weight - start[name]
        for name, weight in tuned.state_dict().items()
        if weight.ndim == 2 and "embed" not in name and "head" not in name
    ]
    values = [torch.linalg.svdvals(change) for change in changes]
    return sum(s.sum().item() for s in values), torch.cat(values).norm().item()


@pytest.mark.parametrize(("norm", "strengths"), [("nuclear", (0.5, 5.0)), ("frobenius", (10.0, 100.0))])
def test_a_tune_changes_less(norm: Any, strengths: tuple[float, float], folder: Path, tmp_path: Path) -> None:
    place = ("nuclear", "frobenius").index(norm)
    plain, _ = tune(folder, tmp_path / "plain")
    weak, strong = (
        tune(folder, tmp_path / str(strength), NormPenalty(norm=norm, strength=strength, every=2))[0]
        for strength in strengths
    )
    sizes = [norms(folder, tuned)[place] for tuned in (strong, weak, plain)]
    assert sizes[0] < 0.5 * sizes[2]
    assert sizes == sorted(sizes)
    assert not any("spillover" in name for name in vars(strong))


def test_without_strength_it_is_the_plain_tune(folder: Path) -> None:
    assert planned_tune(folder, "norm-penalty:strength=0").identity == planned_tune(folder).identity
    assert planned_tune(folder, "norm-penalty").identity != planned_tune(folder).identity


@pytest.mark.parametrize("norm", ["nuclear", "frobenius"])
def test_a_killed_tune_goes_on(
    norm: Any, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"interventions": [NormPenalty(norm=norm, strength=1.0, every=3)]}
    whole = tuning.tune(folder, tmp_path / "whole", **options)
    assert same(whole, killed_and_resumed(folder, tmp_path, monkeypatch, **options))


def test_with_merged_products_and_frozen_layers(folder: Path, tmp_path: Path) -> None:
    method = NormPenalty(norm="frobenius", strength=100.0)
    merged, _ = tune(folder, tmp_path / "a", method, parse("merged-ov"))
    plain, _ = tune(folder, tmp_path / "b", parse("merged-ov"))
    start, _ = tune(folder, tmp_path / "c", parse("merged-ov"), parse("ignore-topk:percent=100"))

    def far(tuned: Any) -> float:
        return (
            tuned.model.layers[0].self_attn.o_proj.weight - start.model.layers[0].self_attn.o_proj.weight
        ).norm()

    assert far(merged) < far(plain) / 2
    with pytest.raises(TrainingError, match="no matrix but the embeddings is trained"):
        tune(folder, tmp_path / "d", parse("freeze:layers=0-1"), method)


def test_bad_knobs_and_refusals(folder: Path) -> None:
    for text, fault in {
        "norm-penalty:strength=-1": "strength must be a number from 0 up, got -1",
        "norm-penalty:strength=inf": "strength must be a number from 0 up, got inf",
        "norm-penalty:strength=1,every=0": "every must be at least 1 step, got 0",
        "norm-penalty:norm=spectral": "norm: Input should be 'nuclear' or 'frobenius'",
    }.items():
        with pytest.raises(TrainingError, match=fault):
            parse(text)
    for acting, settings in (((), replace(CONFIG, lora=2)), (("lora:rank=2",), CONFIG)):
        for norm in ("nuclear", "frobenius"):
            with pytest.raises(TrainingError, match="tune without --lora, or ask for lora:weight_decay="):
                planned_tune(folder, f"norm-penalty:norm={norm},strength=1", *acting, settings=settings)
    with pytest.raises(TrainingError, match="needs the whole model in one process"):
        planned_tune(folder, "norm-penalty:strength=1", settings=replace(CONFIG, processes=2))
