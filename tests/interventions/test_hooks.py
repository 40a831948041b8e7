"""Each hook acts where it says, in order, and an intervention that does nothing changes no bit."""

from collections.abc import Sequence
from dataclasses import FrozenInstanceError, dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from spillover.errors import TrainingError
from spillover.interventions.hooks import Before, Intervention
from spillover.interventions.lora import Lora
from spillover.knowledge.prompts import Example
from spillover.llm import models
from spillover.llm.finetune import FineTuneConfig, finetune
from tests.llm.tuning import CONFIG, EXAMPLES, same
from tests.tiny_models import save_tiny_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model") / "llama", "llama")


def tune(
    folder: Path,
    tmp_path: Path,
    *interventions: Intervention,
    config: FineTuneConfig = CONFIG,
    examples: Sequence[Example] = EXAMPLES,
) -> tuple[Any, list[dict[str, Any]]]:
    """The tuned model and the log of its steps."""
    model, tokenizer = models.load(folder)
    log: Sequence[dict[str, Any]] = []

    def keep(history: list[dict[str, Any]]) -> None:
        nonlocal log
        log = history

    tuned = finetune(
        model,
        tokenizer,
        examples,
        config,
        checkpoints=tmp_path / "checkpoints",
        interventions=interventions,
        on_log=keep,
    )
    return tuned, [row for row in log if "losses" in row]


@dataclass(frozen=True, kw_only=True)
class Scale(Intervention):
    factor: float

    def loss(self, loss: Any, model: Any, inputs: dict[str, Any]) -> Any:
        return self.factor * loss


@dataclass(frozen=True, kw_only=True)
class Shift(Intervention):
    by: float

    def loss(self, loss: Any, model: Any, inputs: dict[str, Any]) -> Any:
        return loss + self.by


@dataclass(frozen=True, kw_only=True)
class FreezeEmbeddings(Intervention):
    def parameters(self, model: Any, before: Before) -> Any:
        model.get_input_embeddings().weight.requires_grad_(False)
        return model


@dataclass(frozen=True, kw_only=True)
class HoldGradients(Intervention):
    """Notes the norm of the gradients that it meets and sets them to zero."""

    norms: list[float] = field(default_factory=list)

    def gradients(self, model: Any) -> None:
        gradients = [parameter.grad for parameter in model.parameters()]
        self.norms.append(torch.nn.utils.get_total_norm(gradients).item())
        for gradient in gradients:
            gradient.zero_()


@dataclass(frozen=True, kw_only=True)
class HalveHead(Intervention):
    def weights(self, model: Any) -> Any:
        with torch.no_grad():
            model.lm_head.weight.mul_(0.5)
        return model


@pytest.fixture(scope="module")
def plain(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, list[dict[str, Any]]]:
    return tune(folder, tmp_path_factory.mktemp("plain"))


def test_doing_nothing_changes_no_bit(folder: Path, tmp_path: Path, plain: tuple[Any, Any]) -> None:
    tuned, log = tune(folder, tmp_path, Intervention())
    assert same(tuned, plain[0])
    assert log == plain[1]


def test_an_intervention_is_its_name_and_its_fields() -> None:
    assert Scale(factor=2.0) == Scale(factor=2.0) != Scale(factor=3.0)
    assert Scale(factor=2.0) != Shift(by=2.0)
    with pytest.raises(FrozenInstanceError):
        Scale(factor=2.0).factor = 3.0  # pyright: ignore[reportAttributeAccessIssue]


def test_parameters_say_what_moves(folder: Path, tmp_path: Path) -> None:
    before = models.load(folder)[0].state_dict()
    tuned = tune(folder, tmp_path, FreezeEmbeddings())[0].state_dict()
    still = [name for name in before if torch.equal(before[name], tuned[name])]
    assert still == ["model.embed_tokens.weight"]


def test_the_loss_is_what_is_descended_on(folder: Path, tmp_path: Path, plain: tuple[Any, Any]) -> None:
    """Halved: loss and gradient of the first step are half, and what is said of the answers is the same."""
    _, log = tune(folder, tmp_path, Scale(factor=0.5))
    first, usual = log[0], plain[1][0]
    assert first["loss"] == usual["loss"] / 2
    assert first["grad_norm"] == pytest.approx(usual["grad_norm"] / 2, rel=1e-5)
    assert first["losses"] == usual["losses"]
    assert same(tune(folder, tmp_path, Scale(factor=0.0))[0], models.load(folder)[0])


def test_interventions_act_in_their_order(folder: Path, tmp_path: Path, plain: tuple[Any, Any]) -> None:
    _, log = tune(folder, tmp_path, Shift(by=1.0), Scale(factor=2.0))
    assert log[0]["loss"] == pytest.approx(2 * (plain[1][0]["loss"] + 1), rel=1e-6)


def test_a_loss_that_an_intervention_spoils_stops_the_tune(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="not finite at step 1"):
        tune(folder, tmp_path, Scale(factor=float("inf")))


def test_gradients_are_met_clipped_and_before_the_step(folder: Path, tmp_path: Path) -> None:
    hold = HoldGradients()
    tuned, log = tune(folder, tmp_path, hold, config=replace(CONFIG, clip=1e-2))
    assert same(tuned, models.load(folder)[0])
    assert min(row["grad_norm"] for row in log) > 0.1
    assert hold.norms == pytest.approx([1e-2] * len(log), rel=1e-3)


def test_weights_are_changed_after_the_tune(folder: Path, tmp_path: Path, plain: tuple[Any, Any]) -> None:
    halved, log = tune(folder, tmp_path, HalveHead())
    assert log == plain[1]
    first, second = halved.state_dict(), plain[0].state_dict()
    assert torch.equal(first.pop("lm_head.weight"), second.pop("lm_head.weight") / 2)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_settings_adapters_are_an_intervention(folder: Path, tmp_path: Path) -> None:
    adapted, _ = tune(folder, tmp_path / "a", config=replace(CONFIG, lora=2))
    assert same(adapted, tune(folder, tmp_path / "b", Lora(rank=2))[0])
    assert "lora_A" in "".join(adapted.state_dict())
    with pytest.raises(TrainingError, match="LoRA rank must be positive, got 0"):
        Lora(rank=0)
