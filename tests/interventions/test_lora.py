"""Adapters by name are the settings'; their factors decay, and so does their product's nuclear norm."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from spillover.cells.tune import tune as tune_cell
from spillover.errors import TrainingError
from spillover.interventions.freeze import Freeze
from spillover.interventions.lora import Lora
from spillover.interventions.named import parse
from spillover.jobs.audit import audit
from spillover.llm import models
from spillover.llm.acting import before
from spillover.llm.settings import LORA_RATE
from spillover.runs.record import read_run
from tests.interventions.test_hooks import tune
from tests.interventions.tuned import killed_and_resumed, planned_tune
from tests.llm import tuning
from tests.llm.tuning import CONFIG, same
from tests.tiny_models import save_tiny_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model") / "llama", "llama")


def nuclear(model: Any) -> float:
    """The nuclear norms of all products, together."""
    layers = [module for module in model.modules() if hasattr(module, "lora_A")]
    assert len(layers) == 2 * 7
    products = [layer.lora_B["default"].weight @ layer.lora_A["default"].weight for layer in layers]
    return sum(torch.linalg.svdvals(product.detach()).sum().item() for product in products)


def test_trained_factors_decay_after_a_step_and_nothing_else(folder: Path) -> None:
    """1 - 0.5 · 0.1 = 0.95."""
    model, tokenizer = models.load(folder)
    method, seen = Lora(rank=2, weight_decay=0.1), before(model, tokenizer, None)
    model = Freeze(layers="0").parameters(method.parameters(model, seen), seen)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(2.0)
    method.stepped(model, 0.5, 1)
    for name, parameter in model.named_parameters():
        decayed = ".layers.1." in name and "lora_" in name
        assert torch.equal(parameter, torch.full_like(parameter, 1.9 if decayed else 2.0)), name


def test_decay_of_the_factors_is_a_price_on_the_nuclear_norm() -> None:
    """What the docstring says: no factors of a product cost less than balanced ones, and those its norm."""
    torch.manual_seed(0)
    B, A = torch.randn(6, 3, dtype=torch.float64), torch.randn(3, 5, dtype=torch.float64)
    U, s, V = torch.linalg.svd(B @ A, full_matrices=False)
    U, s, V = U[:, :3], s[:3], V[:3]
    for B_, A_ in [(B, A), (B * 3, A / 3), (U * s, V), (U * s.sqrt(), s.sqrt()[:, None] * V)]:
        torch.testing.assert_close(B_ @ A_, B @ A)
        cost = (B_.square().sum() + A_.square().sum()) / 2
        assert cost >= s.sum() - 1e-9
    torch.testing.assert_close(cost, s.sum())


def test_decay_leaves_products_of_smaller_nuclear_norm(folder: Path, tmp_path: Path) -> None:
    config = replace(CONFIG, lora=4)
    plain, _ = tune(folder, tmp_path / "a", config=config)
    weak, strong = (
        tune(folder, tmp_path / f"{decay}", Lora(rank=4, weight_decay=decay), config=config)[0]
        for decay in (1.0, 20.0)
    )
    assert nuclear(strong) < 0.7 * nuclear(plain)
    assert nuclear(strong) < nuclear(weak) < nuclear(plain)
    assert sum("lora_A" in name for name in strong.state_dict()) == 2 * 7, "the adapters are there once"


def test_without_decay_it_is_the_settings_adapters(folder: Path) -> None:
    adapters = planned_tune(folder, settings=replace(CONFIG, lora=2))
    assert planned_tune(folder, "lora:rank=2").identity == adapters.identity
    assert planned_tune(folder, "lora:rank=2,weight_decay=0", settings=replace(CONFIG, lora=2)) == adapters
    decaying = planned_tune(folder, "lora:rank=2,weight_decay=0.1")
    assert decaying.interventions == (Lora(rank=2, weight_decay=0.1),)
    assert decaying.settings == adapters.settings
    by_default = planned_tune(folder, "lora", settings=replace(CONFIG, learning_rate=None)).settings
    assert by_default is not None
    assert (by_default.lora, by_default.rate) == (8, LORA_RATE)


def test_the_memory_forecast_knows_the_adapters(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int | None] = []

    class Enough(Exception):
        pass

    def note(folder: Path, settings: Any, **options: Any) -> None:
        seen.append(settings.lora)
        raise Enough

    monkeypatch.setattr("spillover.cells.tune.check_memory", note)
    with pytest.raises(Enough):
        tune_cell(planned_tune(folder, "lora:rank=2,weight_decay=1"), tmp_path, lambda history: None)
    assert seen == [2]


def test_the_record_has_the_rate_that_was_tuned_with(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = replace(CONFIG, learning_rate=None, epochs=1, batch_size=64)
    audit("demo", model=str(folder), settings=settings, interventions=["lora:weight_decay=1"], out="mine")
    recorded = read_run("mine").manifest["arguments"]
    assert recorded["learning_rate"] == LORA_RATE
    assert recorded["interventions"] == ["lora:rank=8,weight_decay=1"]


def test_a_killed_tune_goes_on(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options: dict[str, Any] = {"interventions": [Lora(rank=2, weight_decay=1)]}
    whole = tuning.tune(folder, tmp_path / "whole", **options)
    assert same(whole, killed_and_resumed(folder, tmp_path, monkeypatch, **options))


def test_bad_knobs_and_other_adapters(folder: Path) -> None:
    for text, fault in {
        "lora:rank=0": "LoRA rank must be positive, got 0",
        "lora:weight_decay=-1": "weight_decay must be a number from 0 up, got -1",
        "lora:weight_decay=inf": "weight_decay must be a number from 0 up, got inf",
        "lora:weight_decay=nan": "weight_decay must be a number from 0 up, got nan",
        "lora:rank=two": "rank: Input should be a valid integer",
    }.items():
        with pytest.raises(TrainingError, match=fault):
            parse(text)
    with pytest.raises(TrainingError, match="the settings have adapters of rank 4, this has 2; give one"):
        planned_tune(folder, "lora:rank=2,weight_decay=1", settings=replace(CONFIG, lora=4))
