"""What a tune changed, against plain NumPy on whole models: full tunes and adapters, heads, files."""

import json
import math
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from spillover.errors import ModelError
from spillover.spectrum import singular
from spillover.spectrum.measure import kind_of, measure
from tests.spectrum.conftest import save_tuned
from tests.tiny_adapters import edit_adapter, save_tiny_adapter
from tests.tiny_models import ARCHITECTURES, save_tiny_model


def weights_of(model: Any) -> dict[str, np.ndarray]:
    """Each weight once, less `model.`, in float64."""
    return {
        name.removeprefix("model."): parameter.detach().double().numpy()
        for name, parameter in model.named_parameters()
    }


def compare(rows: list[dict[str, Any]], before: dict[str, np.ndarray], after: dict[str, np.ndarray]) -> None:
    """Every row against the plain SVD of its weight, every head against its product."""
    changes = {name: after[name] - before[name] for name in before if (after[name] != before[name]).any()}
    weights = {row["module"]: row for row in rows if row["head"] is None}
    assert weights.keys() == changes.keys()
    total = sum(np.square(change).sum() for change in changes.values())
    for name, change in changes.items():
        row = weights[name]
        assert row["frobenius"] == pytest.approx(np.linalg.norm(change), rel=1e-6)
        assert row["share"] == pytest.approx(np.square(change).sum() / total, rel=1e-6)
        assert row["shape"] == list(change.shape)
        if change.ndim == 2:
            check(row, np.linalg.svd(change, compute_uv=False))
        else:
            assert row["nuclear"] is row["spectral"] is row["effective_rank"] is row["rank_limit"] is None
    heads = [row for row in rows if row["head"] is not None]
    assert sum(row["share"] for row in weights.values()) == pytest.approx(1)
    assert sum(row["share"] for row in heads) == pytest.approx(1)
    assert Counter(row["layer"] for row in heads) == {0: 4, 1: 4}
    for row in heads:
        products = [_product(side, row) for side in (before, after)]
        check(row, np.linalg.svd(products[1] - products[0], compute_uv=False)[: row["rank_limit"]])
        assert row["rank_limit"] == 16  # two heads' width of 8


def _product(weights: dict[str, np.ndarray], row: dict[str, Any]) -> np.ndarray:
    """W_O W_V of one of four heads of width 8, of which two share a W_V."""
    head, name = row["head"], row["module"]
    o, v = weights[f"{name}.o_proj.weight"], weights[f"{name}.v_proj.weight"]
    return o[:, 8 * head : 8 * head + 8] @ v[8 * (head // 2) : 8 * (head // 2) + 8]


def check(row: dict[str, Any], values: np.ndarray) -> None:
    share = values[values > 1e-9] / values.sum()
    assert row["nuclear"] == pytest.approx(values.sum(), rel=1e-5)
    assert row["spectral"] == pytest.approx(values.max(), rel=1e-6)
    assert row["frobenius"] == pytest.approx(np.sqrt(np.square(values).sum()), rel=1e-6)
    assert row["effective_rank"] == pytest.approx(np.exp(-(share * np.log(share)).sum()), rel=1e-4)


@pytest.mark.parametrize("piece", [1 << 22, 700])
@pytest.mark.parametrize("architecture", [name for name in ARCHITECTURES if name != "olmo"])
def test_a_full_tune(architecture: str, piece: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(singular, "PIECE", piece)
    base = save_tiny_model(tmp_path / "base", architecture)
    tuned = save_tuned(base, tmp_path / "tuned")
    sides = [weights_of(AutoModelForCausalLM.from_pretrained(folder)) for folder in (base, tuned)]
    compare(measure(base, tuned), *sides)


def test_heads_of_another_width_than_the_models(tmp_path: Path) -> None:
    base = save_tiny_model(tmp_path / "base", "llama", hidden_size=24, head_dim=8)
    tuned = save_tuned(base, tmp_path / "tuned")
    sides = [weights_of(AutoModelForCausalLM.from_pretrained(folder)) for folder in (base, tuned)]
    compare(measure(base, tuned), *sides)


def test_tied_embeddings_count_once(tmp_path: Path) -> None:
    base = save_tiny_model(tmp_path / "base", "llama", tie_word_embeddings=True)
    tuned = save_tuned(base, tmp_path / "tuned")
    rows = measure(base, tuned)
    tensors = load_file(base / "model.safetensors")
    save_file(
        {**tensors, "lm_head.weight": tensors["model.embed_tokens.weight"].clone()},
        base / "model.safetensors",
        metadata={"format": "pt"},
    )
    assert measure(base, tuned) == rows
    assert Counter(row["kind"] for row in rows) >= Counter({"embedding": 1, "norm": 5, "q": 2, "ov": 8})
    assert not any(row["kind"] == "head" for row in rows)


def test_shards_and_bfloat16(llama: Path, tmp_path: Path) -> None:
    whole = save_tuned(llama, tmp_path / "whole")
    shards = save_tuned(llama, tmp_path / "shards", max_shard_size="30KB")
    assert len(list(shards.glob("*.safetensors"))) > 2
    assert measure(llama, shards) == measure(llama, whole)
    AutoModelForCausalLM.from_pretrained(whole, dtype=torch.bfloat16).save_pretrained(tmp_path / "short")
    before = weights_of(AutoModelForCausalLM.from_pretrained(llama))
    after = weights_of(AutoModelForCausalLM.from_pretrained(tmp_path / "short", dtype=torch.bfloat16).float())
    compare(measure(llama, tmp_path / "short"), before, after)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"use_rslora": True, "lora_alpha": 3},
        {"rank_pattern": {"q_proj": 5}, "alpha_pattern": {"v_proj": 7}},
        {"target_modules": ["o_proj", "down_proj"]},
        {"target_modules": ["v_proj"], "modules_to_save": ["lm_head"]},
    ],
)
def test_an_adapter_is_its_merged_model(llama: Path, tmp_path: Path, settings: dict[str, Any]) -> None:
    live = save_tiny_adapter(llama, tmp_path / "adapter", **settings)
    before = weights_of(AutoModelForCausalLM.from_pretrained(llama))
    after = weights_of(live.double().merge_and_unload())
    rows = measure(llama, tmp_path / "adapter")
    compare(rows, before, after)
    ranks = {row["rank_limit"] for row in rows if row["kind"] in "qvo"}
    assert ranks == ({2, 5} if "rank_pattern" in settings else {2})


@pytest.mark.parametrize(
    "settings",
    [
        {"use_dora": True},
        {"target_modules": ["embed_tokens"]},
        {"lora_bias": True},
    ],
)
def test_what_is_more_than_lora_is_one_line(llama: Path, tmp_path: Path, settings: dict[str, Any]) -> None:
    save_tiny_adapter(llama, tmp_path / "adapter", **settings)
    with pytest.raises(ModelError, match=r"no plain LoRA of a linear layer; only those"):
        measure(llama, tmp_path / "adapter")


def test_another_naming_has_no_heads(tmp_path: Path) -> None:
    base = save_tiny_model(tmp_path / "base", "gpt2", n_embd=32, n_layer=2, n_head=4)
    rows = measure(base, save_tuned(base, tmp_path / "tuned"))
    assert {row["kind"] for row in rows} == {"other", "bias", "norm"}
    assert {row["layer"] for row in rows} == {None, 0, 1}


def test_what_did_not_change_has_no_row(llama: Path, tmp_path: Path) -> None:
    assert measure(llama, llama) == []
    shutil.copytree(llama, tmp_path / "tuned")
    tensors = load_file(llama / "model.safetensors")
    name = "model.layers.1.mlp.up_proj.weight"
    save_file(tensors | {name: 2 * tensors[name]}, tmp_path / "tuned" / "model.safetensors")
    (row,) = measure(llama, tmp_path / "tuned")
    assert (row["layer"], row["kind"], row["share"]) == (1, "up", 1.0)
    assert row["frobenius"] == pytest.approx(tensors[name].norm().item(), rel=1e-6)


def test_steps_are_told_to_the_end(llama: Path, tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    rows = measure(llama, save_tuned(llama, tmp_path / "tuned"), on_step=lambda *step: steps.append(step))
    assert steps == [(done, len(rows)) for done in range(1, 1 + len(rows))]


def edit(folder: Path, change: Any) -> None:
    tensors = load_file(folder / "model.safetensors")
    save_file(change(tensors), folder / "model.safetensors")


def cut(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-9])


NORM = "model.norm.weight"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut, "no whole safetensors file"),
        (lambda f: edit(f, lambda t: t | {NORM: t[NORM] * math.nan}), "norm.weight holds NaN"),
        (lambda f: edit(f, lambda t: t | {NORM: torch.ones(3)}), r"shape \[3\], and its base has one of"),
        (
            lambda f: edit(f, lambda t: t | {"model.new.weight": torch.ones(3)}),
            "its base has none in its place",
        ),
        (lambda f: edit(f, lambda t: {n: x for n, x in t.items() if n != NORM}), r"lacks 1 .*norm\.weight"),
        (lambda f: edit(f, lambda t: t | {NORM: t[NORM].to(torch.int8)}), "must be floating-point"),
        (lambda f: (f / "model.safetensors").unlink(), "no .safetensors weights"),
        (lambda f: (f / "config.json").write_text("{"), "cannot be loaded"),
    ],
)
def test_damaged_weights_are_one_line(llama: Path, tmp_path: Path, damage: Any, message: str) -> None:
    tuned = save_tuned(llama, tmp_path / "tuned")
    damage(tuned)
    with pytest.raises(ModelError, match=message):
        measure(llama, tuned)


def test_a_damaged_adapter_is_one_line(llama: Path, tmp_path: Path) -> None:
    save_tiny_adapter(llama, tmp_path / "adapter")
    edit_adapter(tmp_path / "adapter", lambda weights: weights.pop(next(iter(weights))))
    with pytest.raises(ModelError, match="lacks 1 of the weights that its adapter_config"):
        measure(llama, tmp_path / "adapter")
    config = tmp_path / "adapter" / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"peft_type": "IA3"}))
    with pytest.raises(ModelError):
        measure(llama, tmp_path / "adapter")


@pytest.mark.parametrize(
    ("name", "shape", "kind"),
    [
        ("layers.0.self_attn.q_proj.weight", (4, 4), "q"),
        ("layers.0.self_attn.q_proj.bias", (4,), "bias"),
        ("layers.0.self_attn.q_norm.weight", (4,), "norm"),
        ("layers.0.mlp.gate_proj.weight", (4, 4), "gate"),
        ("embed_tokens.weight", (9, 4), "embedding"),
        ("lm_head.weight", (9, 4), "head"),
        ("transformer.h.3.attn.c_attn.weight", (4, 12), "other"),
        ("x", (2,), "other"),
    ],
)
def test_kinds(name: str, shape: tuple[int, ...], kind: str) -> None:
    assert kind_of(name, shape) == kind
