"""Adapters that must not score, or not without a word."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PrefixTuningConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from spillover.errors import ModelError
from spillover.jobs.score import score
from spillover.llm import models
from tests.tiny_adapters import LINEAR, edit_adapter, save_tiny_adapter
from tests.tiny_models import save_tiny_model


def test_added_tokens_without_their_weights(adapter: Path, llama_folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(llama_folder)
    tokenizer.add_tokens([f"<place{i}>" for i in range(20)])
    tokenizer.save_pretrained(adapter)
    with pytest.raises(ModelError, match=r"tokenizer of .* has 350 tokens, and .* has weights for 338"):
        models.load(llama_folder, tuned=adapter)


@pytest.mark.parametrize(
    ("settings", "lost"),
    [
        (
            {"target_modules": [*LINEAR, "lm_head", "embed_tokens"]},
            ["lm_head.base_layer.weight", "model.embed_tokens.base_layer.weight"],
        ),
        ({}, ["lm_head.weight"]),  # untied, so that the embeddings' rows are not the head's
        ({"modules_to_save": ["lm_head"]}, ["model.embed_tokens.weight"]),
    ],
)
def test_new_tokens_are_never_random(
    llama_folder: Path, tmp_path: Path, settings: dict[str, Any], lost: list[str]
) -> None:
    save_tiny_adapter(llama_folder, tmp_path / "adapter", tokens=7, **settings)
    edit_adapter(tmp_path / "adapter", lambda w: [w.pop(f"base_model.model.{name}") for name in lost])
    with pytest.raises(ModelError, match=r"tuned with 345 tokens, .* has 338, .* save_embedding_layers"):
        models.load(llama_folder, tuned=tmp_path / "adapter")


def test_a_saved_head_is_no_embedding_of_a_tied_model(tmp_path: Path) -> None:
    base = save_tiny_model(tmp_path / "base", "llama", tie_word_embeddings=True)
    save_tiny_adapter(base, tmp_path / "adapter", tokens=7, modules_to_save=["lm_head"])
    edit_adapter(tmp_path / "adapter", lambda w: w.pop("base_model.model.model.embed_tokens.weight"))
    with pytest.raises(ModelError, match="tuned with 345 tokens"):
        models.load(base, tuned=tmp_path / "adapter")


def rename(weights: dict[str, Any]) -> None:
    for name in list(weights):
        weights[name.replace("self_attn", "attention")] = weights.pop(name)


def halve(weights: dict[str, Any]) -> None:
    for name in list(weights)[::2]:
        del weights[name]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (rename, r"lacks 8 of the weights that its adapter_config\.json promises \(first .*lora_A\.weight\)"),
        (halve, r"lacks 4 of the weights"),
        (dict.clear, r"lacks 8 of the weights"),
        (
            lambda w: w.update(extra=torch.ones(1)),
            r"has 1 weights that have no place in the model \(first ext",
        ),
        (
            lambda w: w.update({name: torch.ones(5, 5) for name in list(w)[:1]}),
            r"does not fit .*size mismatch for .*lora_A.*\[5, 5\].*; it was tuned from",
        ),
    ],
)
def test_every_weight_of_an_adapter_lands(llama_folder: Path, adapter: Path, edit: Any, message: str) -> None:
    edit_adapter(adapter, edit)
    with pytest.raises(ModelError, match=message) as caught:
        models.load(llama_folder, tuned=adapter)
    assert len(str(caught.value).splitlines()) == 1


def test_a_saved_module_that_is_lacking(llama_folder: Path, tmp_path: Path) -> None:
    save_tiny_adapter(llama_folder, tmp_path / "adapter", modules_to_save=["lm_head"])
    edit_adapter(tmp_path / "adapter", lambda w: w.pop("base_model.model.lm_head.weight"))
    with pytest.raises(ModelError, match=r"lacks 1 of the weights .*lm_head\.weight"):
        models.load(llama_folder, tuned=tmp_path / "adapter")


def test_another_base_of_another_shape(adapter: Path, tmp_path: Path) -> None:
    other = save_tiny_model(tmp_path / "other", "llama", hidden_size=64)
    with pytest.raises(
        ModelError, match=r"does not fit .*other: size mismatch .*; it was tuned from .*llama"
    ):
        models.load(other, tuned=adapter)
    other = save_tiny_model(tmp_path / "fewer", "llama", num_hidden_layers=1)
    with pytest.raises(ModelError, match="has 4 weights that have no place in the model"):
        models.load(other, tuned=adapter)


@pytest.mark.parametrize(
    ("named", "told"),
    [
        (None, False),
        ("/home/somebody/tiny-llama/", False),
        ("C:\\models\\Tiny-Llama", False),
        ("owner/tiny-llama", False),
        ("owner/tiny-llama-instruct", True),
        ("/cache/models--owner--other/snapshots/0123", True),
        ("/cache/models--owner--tiny-llama/snapshots/0123", False),
    ],
)
def test_another_base_of_the_same_shape_is_told(
    llama_folder: Path, adapter: Path, named: str | None, told: bool
) -> None:
    file = adapter / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"base_model_name_or_path": named}))
    lines: list[str] = []
    models.load(llama_folder, tuned=adapter, log=lines.append)
    assert len(lines) == told
    if named and told:
        assert re.search(rf"was tuned from {re.escape(named)} and is put on .*tiny-llama", lines[0])


def test_short_names_are_their_hub_names(tmp_path: Path, adapter: Path, llama_folder: Path) -> None:
    shutil.copytree(llama_folder, tmp_path / "smollm2-135m")
    file = adapter / "adapter_config.json"
    named = {"base_model_name_or_path": "HuggingFaceTB/SmolLM2-135M-Instruct"}
    file.write_text(json.dumps(json.loads(file.read_text()) | named))
    models.load(tmp_path / "smollm2-135m", tuned=adapter, log=lambda line: pytest.fail(line))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"peft_type": "NOVEL"}', '{"r": 2}'])
def test_a_broken_adapter_configuration(llama_folder: Path, adapter: Path, text: str) -> None:
    (adapter / "adapter_config.json").write_text(text)
    with pytest.raises(ModelError, match=r"adapter .* cannot be read") as caught:
        models.load(llama_folder, tuned=adapter)
    assert len(str(caught.value).splitlines()) == 1


def test_a_broken_adapter_file(llama_folder: Path, adapter: Path) -> None:
    file = adapter / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(ModelError, match=r"adapter_model\.safetensors is no whole safetensors file"):
        models.load(llama_folder, tuned=adapter)


def test_an_adapter_of_the_prompt(llama_folder: Path, tmp_path: Path) -> None:
    config = PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)
    get_peft_model(AutoModelForCausalLM.from_pretrained(llama_folder), config).save_pretrained(str(tmp_path))
    with pytest.raises(ModelError, match=r"changes the prompt and not the weights; only LoRA"):
        models.load(llama_folder, tuned=tmp_path)


def test_weights_of_both_kinds_in_one_folder(llama_folder: Path, adapter: Path) -> None:
    shutil.copytree(llama_folder, adapter, dirs_exist_ok=True)
    with pytest.raises(ModelError, match="holds the weights of a whole model and of an adapter"):
        models.load(llama_folder, tuned=adapter)


def test_an_audit_is_told_of_another_base(llama_folder: Path, adapter: Path) -> None:
    file = adapter / "adapter_config.json"
    named = {"base_model_name_or_path": "owner/other"}
    file.write_text(json.dumps(json.loads(file.read_text()) | named))
    lines: list[str] = []
    results = score(
        "country-code",
        model=str(llama_folder),
        tuned=str(adapter),
        progress=lambda line, done, steps: lines.append(line) if steps == 0 else None,
    )
    assert [line for line in lines if "was tuned from owner/other" in line]
    assert results["rules"][0]["mean_rank"]["after"] is not None
