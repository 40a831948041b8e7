"""Merged products answer as the model does, and are trained alone or with the rest; so are their factors."""

from pathlib import Path
from typing import Any

import pytest
import torch

from spillover.errors import TrainingError
from spillover.interventions.hooks import Intervention
from spillover.interventions.named import parse, spell
from spillover.interventions.output_value import FactorizedOV, MergedOV
from spillover.jobs.audit import audit
from spillover.llm import finetune, models
from spillover.llm.acting import before
from spillover.llm.settings import FineTuneConfig
from tests.interventions.test_hooks import tune
from tests.llm import tuning
from tests.llm.tuning import CONFIG
from tests.tiny_models import ARCHITECTURES, save_tiny_model

_IDS = torch.tensor([[0, 0, 5, 9, 12, 30, 7], [3, 8, 1, 40, 22, 6, 90]])
_MASK = torch.tensor([[0, 0, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1, 1]])


def logits(model) -> torch.Tensor:
    with torch.inference_mode():
        return model(input_ids=_IDS, attention_mask=_MASK).logits[:, 2:]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_merged_model_answers_as_before(architecture: str, tmp_path: Path) -> None:
    model, tokenizer = models.load(save_tiny_model(tmp_path / "model", architecture))
    with torch.no_grad():  # biases start at zero
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_()
    untuned = logits(model)
    merged = MergedOV().parameters(model, before(model, tokenizer, None))
    torch.testing.assert_close(logits(merged), untuned, atol=1e-5, rtol=1e-4)
    shapes = {tuple(p.shape) for p in merged.parameters() if p.requires_grad}
    assert shapes == {(32, 4 * 32)}, "four heads' 32 x 32 matrices, side by side"


def test_a_head_learns_of_the_whole_hidden_state(tmp_path: Path) -> None:
    """A merged product leaves the span of its values' eight columns, which factors cannot."""
    folder = save_tiny_model(tmp_path / "model", "llama")
    base, tokenizer = models.load(folder)
    merged = MergedOV().parameters(base, before(base, tokenizer, None))
    start = merged.model.layers[0].self_attn.o_proj.weight.detach().clone()
    tuned, _ = tune(folder, tmp_path, MergedOV())
    product = tuned.model.layers[0].self_attn.o_proj.weight.detach()
    heads_before, heads_after = (w.unflatten(1, (4, 32)).transpose(0, 1) for w in (start, product))
    assert torch.linalg.matrix_rank(heads_before).tolist() == [8] * 4
    assert min(torch.linalg.matrix_rank(heads_after).tolist()) > 8


@pytest.mark.parametrize(
    ("intervention", "moving"),
    [
        (MergedOV(), {"o_proj"}),
        (FactorizedOV(), {"o_proj", "v_proj"}),
        (
            MergedOV(rest="trained"),
            {"o_proj", "q_proj", "k_proj", "gate_proj", "up_proj", "down_proj", "embed_tokens", "lm_head"}
            | {"input_layernorm", "post_attention_layernorm", "norm"},
        ),
    ],
)
def test_what_is_frozen_stays(intervention: Intervention, moving: set[str], tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "model", "llama")
    model, tokenizer = models.load(folder)
    base = intervention.parameters(model, before(model, tokenizer, None)).state_dict()
    tuned, log = tune(folder, tmp_path, intervention)
    changed = {
        name.split(".")[-2] for name, w in tuned.state_dict().items() if not torch.equal(w, base[name])
    }
    assert changed == moving
    assert log[-1]["loss"] < log[0]["loss"]


def test_merged_with_the_rest_is_not_the_plain_tune(tmp_path: Path) -> None:
    """Otherwise nothing would be compared; at the start they are the same model."""
    folder = save_tiny_model(tmp_path / "model", "llama")
    plain, plain_log = tune(folder, tmp_path / "plain")
    merged, merged_log = tune(folder, tmp_path / "merged", MergedOV(rest="trained"))
    assert merged_log[0]["loss"] == pytest.approx(plain_log[0]["loss"], rel=1e-5)
    assert (logits(plain) - logits(merged)).abs().max() > 1e-3


def test_a_killed_tune_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save_tiny_model(tmp_path / "model", "llama")
    acting: dict[str, Any] = {"interventions": [MergedOV(rest="trained")]}
    whole = tuning.tune(folder, tmp_path / "whole", **acting)
    monkeypatch.setattr(finetune, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)

    def kill(step: int, steps: int) -> None:
        if step == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tuning.tune(folder, tmp_path, on_step=kill, **acting)
    assert tuning.same(whole, tuning.tune(folder, tmp_path, **acting))


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"keep_model": True}, "merged-ov:rest=frozen leaves .* tune it without --keep-model"),
        ({"settings": FineTuneConfig(processes=2)}, "tune it without --processes"),
    ],
)
def test_its_weights_are_no_file(options: dict, fault: str) -> None:
    with pytest.raises(TrainingError, match=fault):
        audit("country-code", model="nowhere", interventions=["merged-ov"], **options)


@pytest.mark.parametrize(
    ("names", "lora", "fault"),
    [
        (["merged-ov", "factorized-ov"], None, "merged-ov and factorized-ov train the same products, each"),
        (["factorized-ov", "lora"], None, "factorized-ov trains the model's own matrices, LoRA adapters"),
        (["merged-ov"], 2, "merged-ov trains the model's own matrices, LoRA adapters beside them; take"),
    ],
)
def test_what_they_do_not_go_with(names: list[str], lora: int | None, fault: str) -> None:
    with pytest.raises(TrainingError, match=fault):
        audit("country-code", model="nowhere", interventions=names, settings=FineTuneConfig(lora=lora))


def test_where_there_are_no_products(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "model", "llama")
    with pytest.raises(TrainingError, match="without --lora"):
        tune(folder, tmp_path, MergedOV(), config=CONFIG.__class__(lora=2, epochs=1))
    odd = save_tiny_model(tmp_path / "odd", "llama", head_dim=12)
    with pytest.raises(TrainingError, match=r"hidden size \(32\) that is a multiple of a head's \(12\)"):
        tune(odd, tmp_path, MergedOV())


def test_names() -> None:
    for text in ("merged-ov:rest=frozen", "merged-ov:rest=trained", "factorized-ov"):
        assert spell(parse(text)) == text
    assert parse("merged-ov") == MergedOV()
    for text, fault in {
        "merged": "there is no intervention 'merged'; it can be .*factorized-ov.*, merged-ov",
        "merged-ov:rest": "has no knob 'rest'; it has rest=",
        "merged-ov:depth=2": "has no knob 'depth=2'; it has rest=",
        "merged-ov:rest=some": "rest: Input should be 'frozen' or 'trained', got 'some'",
        "factorized-ov:rest=trained": "it has no knobs",
    }.items():
        with pytest.raises(TrainingError, match=fault):
            parse(text)
