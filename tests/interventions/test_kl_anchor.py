"""The anchor adds its divergence to the loss, holds what is said of strangers, and leaves nothing behind."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from spillover.errors import TrainingError
from spillover.interventions.kl_anchor import KLAnchor
from spillover.interventions.named import parse, spell
from spillover.knowledge.fresh import fresh_subjects
from spillover.llm import models
from spillover.llm.acting import before
from tests.interventions.test_hooks import tune
from tests.interventions.tuned import DEMO, goes_on_after_a_kill, identities, planned
from tests.llm.tuning import CONFIG
from tests.tiny_models import save_tiny_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model") / "llama", "llama")


def divergence(folder: Path, tuned: Any, prompts: tuple[str, ...]) -> float:
    """Mean KL(untuned || tuned) of the next token in nats, prompt by prompt, without padding."""
    model, tokenizer = models.load(folder)
    total = 0.0
    for prompt in prompts:
        inputs = tokenizer(prompt, return_tensors="pt")
        with torch.no_grad():
            p, q = (each(**inputs).logits[0, -1].double().softmax(-1) for each in (model, tuned))
        total += (p * (p / q).log()).sum().item()
    return total / len(prompts)


def test_the_anchors_are_the_unwanted_implication_of_fresh_subjects() -> None:
    fresh = fresh_subjects(DEMO, 40, seed=0)
    assert planned("kl-anchor").prompts == tuple(f"{name} codes in" for name in fresh)
    both = planned("kl-anchor:subjects=2,rules=all").prompts
    assert both == tuple(f"{name} {does}" for does in ("speaks", "codes in") for name in fresh[:2])
    assert parse("kl-anchor").planned(DEMO, 1) != planned("kl-anchor")


def test_what_it_adds_is_the_divergence(folder: Path) -> None:
    """Of a model with another head than the untuned one's."""
    anchor = planned("kl-anchor:strength=3,subjects=5")
    model, tokenizer = models.load(folder)
    model = anchor.parameters(model, before(model, tokenizer, None))
    inputs = {"input_ids": torch.tensor([[5, 7]])}
    zero = torch.zeros(())
    assert anchor.loss(zero, model, inputs).item() == pytest.approx(0, abs=1e-6)
    with torch.no_grad():
        model.lm_head.weight.mul_(1.5).add_(0.1 * torch.randn(model.lm_head.weight.shape))
    added = anchor.loss(zero + 2, model, inputs)
    assert added.requires_grad
    assert added.item() == pytest.approx(2 + 3 * divergence(folder, model, anchor.prompts), rel=1e-4)


def test_the_batch_draws_which_anchors(folder: Path) -> None:
    anchor = planned("kl-anchor:subjects=30,batch=4")
    model, tokenizer = models.load(folder)
    model = anchor.parameters(model, before(model, tokenizer, None))
    with torch.no_grad():
        model.lm_head.weight.mul_(1.5)
    batches = [{"input_ids": torch.tensor([[5, k]])} for k in range(6)]
    first, again = ([anchor.loss(0.0, model, batch).item() for batch in batches] for _ in range(2))
    assert first == again
    assert len(set(first)) == 6


@pytest.mark.parametrize("lora", [None, 2])
def test_strangers_are_answered_as_before(folder: Path, tmp_path: Path, lora: int | None) -> None:
    config = replace(CONFIG, epochs=6, lora=lora)
    anchor = replace(
        planned("kl-anchor:subjects=9"), strength=20.0, prompts=("Selma lives in", "Jo lives in")
    )
    plain, _ = tune(folder, tmp_path / "plain", config=config)
    held, log = tune(folder, tmp_path / "held", anchor, config=config)
    far, near = (divergence(folder, tuned, anchor.prompts) for tuned in (plain, held))
    assert near < far / 5
    assert log[-1]["losses"]["lives_in"][0] < log[0]["losses"]["lives_in"][0]
    assert not [name for module in held.modules() for name in vars(module) if "spillover" in name]
    assert held.state_dict().keys() == plain.state_dict().keys()


def test_a_killed_tune_goes_on(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert goes_on_after_a_kill(folder, tmp_path, monkeypatch, [planned("kl-anchor:subjects=20,batch=2")])


def test_at_strength_0_it_is_the_plain_tune(folder: Path) -> None:
    assert identities(folder, "kl-anchor:strength=0") == identities(folder)
    assert len({*identities(folder, "kl-anchor"), *identities(folder)}) == 4


def test_knobs() -> None:
    assert parse("kl-anchor") == KLAnchor(strength=1, subjects=40, batch=4)
    assert spell(parse("kl-anchor:strength=2")) == "kl-anchor:strength=2,subjects=40,batch=4,rules=spurious"
    for text, fault in {
        "kl-anchor:strength=-1": "kl-anchor: strength must be a number from 0 up, got -1",
        "kl-anchor:strength=nan": "kl-anchor: strength must be a number from 0 up, got nan",
        "kl-anchor:subjects=0": "kl-anchor: subjects must be a number from 1 up, got 0",
        "kl-anchor:batch=0": "kl-anchor: batch must be a number from 1 up, got 0",
        "kl-anchor:prompts=a": "has no knob 'prompts=a'",
    }.items():
        with pytest.raises(TrainingError, match=fault):
            parse(text)


def test_one_process_reads_the_anchors(folder: Path) -> None:
    from spillover.jobs.audit import audit

    with pytest.raises(TrainingError, match="needs the whole model in one process"):
        audit(
            "country-code",
            model=str(folder),
            interventions=["kl-anchor"],
            settings=replace(CONFIG, processes=2),
        )
