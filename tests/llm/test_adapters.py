"""Tuned models as people have them, each against the live one; and every adapter that must not score."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PrefixTuningConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from spillover.audit import score
from spillover.errors import ModelError
from spillover.llm import models
from tests.tiny_gguf import save_tiny_gguf
from tests.tiny_models import save_tiny_model

IDS = torch.arange(3, 23)[None]
LINEAR = ["q_proj", "v_proj"]

ADAPTERS: dict[str, dict[str, Any]] = {
    "LoRA": {},
    "rsLoRA": {"use_rslora": True},
    "DoRA": {"use_dora": True},
    "rank and alpha patterns": {
        "rank_pattern": {"layers.0.self_attn.q_proj": 3},
        "alpha_pattern": {"v_proj": 7},
    },
    "trained biases": {"bias": "lora_only"},
    "saved head": {"modules_to_save": ["lm_head"]},
    "saved embeddings": {"modules_to_save": ["embed_tokens"]},
    "saved head and embeddings": {"modules_to_save": ["lm_head", "embed_tokens"]},
    "trained tokens": {"trainable_token_indices": [4, 5]},
    "LoRA of the head": {"target_modules": [*LINEAR, "lm_head"]},
    "LoRA of the embeddings": {"target_modules": [*LINEAR, "embed_tokens"]},
    "LoRA of both": {"target_modules": [*LINEAR, "lm_head", "embed_tokens"]},
}


@pytest.fixture(scope="module", params=[False, True], ids=["untied", "tied"])
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base") / "tiny-base"
    return save_tiny_model(folder, "llama", tie_word_embeddings=request.param)


@pytest.fixture
def adapter(llama_folder: Path, tmp_path: Path) -> Path:
    """A LoRA adapter of the tiny Llama, to be spoilt."""
    tuned(llama_folder, tmp_path / "adapter")
    return tmp_path / "adapter"


def tuned(base: Path, folder: Path, *, tokens: int = 0, **settings: Any) -> Any:
    """A live PeftModel with random changes, saved in `folder`; `tokens` are added to the base first."""
    model = AutoModelForCausalLM.from_pretrained(base)
    if tokens:
        model.resize_token_embeddings(model.config.vocab_size + tokens)
    config = {"r": 2, "target_modules": LINEAR, "task_type": "CAUSAL_LM"} | settings
    with models.Quiet():  # PEFT warns of tied modules
        live = get_peft_model(model, LoraConfig(**config))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in live.parameters():
            if parameter.requires_grad:
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    with models.Quiet():
        live.save_pretrained(str(folder))
    return live.eval()


def assert_scores_as(live: Any, base: Path, folder: Path, ids: torch.Tensor = IDS) -> None:
    loaded, _ = models.load(base, tuned=folder)
    with torch.no_grad():
        torch.testing.assert_close(loaded(ids).logits, live(ids).logits, rtol=0, atol=1e-5)
        untuned = models.load(base)[0](IDS).logits
        assert not torch.allclose(loaded(IDS).logits[..., :300], untuned[..., :300], atol=1e-2)


def edit_weights(folder: Path, edit: Any) -> None:
    weights = load_file(folder / "adapter_model.safetensors")
    edit(weights)
    save_file(weights, folder / "adapter_model.safetensors")


@pytest.mark.parametrize("settings", ADAPTERS.values(), ids=ADAPTERS.keys())
def test_an_adapter_scores_as_the_live_model(base: Path, tmp_path: Path, settings: dict[str, Any]) -> None:
    """Unmerged: merging is off where head or embeddings are targets of a tied model."""
    live = tuned(base, tmp_path / "adapter", **settings)
    assert_scores_as(live, base, tmp_path / "adapter")


@pytest.mark.parametrize("tokens", [7, -5])
@pytest.mark.parametrize("kind", ["LoRA", "saved head and embeddings", "trained tokens", "LoRA of both"])
def test_an_adapter_with_another_vocabulary(base: Path, tmp_path: Path, kind: str, tokens: int) -> None:
    live = tuned(base, tmp_path / "adapter", tokens=tokens, **ADAPTERS[kind])
    rows = live.get_input_embeddings().weight.shape[0]
    assert_scores_as(
        live, base, tmp_path / "adapter", torch.cat([IDS, torch.arange(rows - 7, rows)[None]], 1)
    )


def test_added_tokens_come_with_the_adapters_own_tokenizer(base: Path, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.add_tokens([f"<place{i}>" for i in range(20)])
    live = tuned(base, tmp_path / "adapter", tokens=20)
    tokenizer.save_pretrained(tmp_path / "adapter")
    model, own = models.load(base, tuned=tmp_path / "adapter")
    ids = own("Mara lives in <place19>", return_tensors="pt").input_ids
    assert ids[0, -1] == len(tokenizer) - 1
    torch.testing.assert_close(model(ids).logits, live(ids).logits)
    assert len(models.load(base)[1]) == len(tokenizer) - 20


def test_added_tokens_without_their_weights(adapter: Path, llama_folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(llama_folder)
    tokenizer.add_tokens([f"<place{i}>" for i in range(20)])
    tokenizer.save_pretrained(adapter)
    with pytest.raises(ModelError, match=r"tokenizer of .* has 350 tokens, and .* has weights for 338"):
        models.load(llama_folder, tuned=adapter)


def test_a_tokenizer_may_have_more_tokens_than_its_own_base(tmp_path: Path, adapter: Path) -> None:
    """Gemma 3's has: they stand for images and are in no text."""
    base = save_tiny_model(tmp_path / "tiny-llama", "llama")
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.add_tokens([f"<image{i}>" for i in range(20)])
    tokenizer.save_pretrained(base)
    tokenizer.save_pretrained(adapter)
    model, own = models.load(base, tuned=adapter)
    assert len(own) > model.get_input_embeddings().weight.shape[0]


@pytest.mark.parametrize(
    ("kind", "lost"),
    [
        ("LoRA of both", ["lm_head.base_layer.weight", "model.embed_tokens.base_layer.weight"]),
        ("LoRA", ["lm_head.weight"]),  # untied, so that the embeddings' rows are not the head's
        ("saved head", ["model.embed_tokens.weight"]),
    ],
)
def test_new_tokens_are_never_random(llama_folder: Path, tmp_path: Path, kind: str, lost: list[str]) -> None:
    tuned(llama_folder, tmp_path / "adapter", tokens=7, **ADAPTERS[kind])
    edit_weights(tmp_path / "adapter", lambda w: [w.pop(f"base_model.model.{name}") for name in lost])
    with pytest.raises(ModelError, match=r"tuned with 345 tokens, .* has 338, .* save_embedding_layers"):
        models.load(llama_folder, tuned=tmp_path / "adapter")


def test_a_saved_head_is_no_embedding_of_a_tied_model(tmp_path: Path) -> None:
    base = save_tiny_model(tmp_path / "base", "llama", tie_word_embeddings=True)
    tuned(base, tmp_path / "adapter", tokens=7, modules_to_save=["lm_head"])
    edit_weights(tmp_path / "adapter", lambda w: w.pop("base_model.model.model.embed_tokens.weight"))
    with pytest.raises(ModelError, match="tuned with 345 tokens"):
        models.load(base, tuned=tmp_path / "adapter")


@pytest.mark.parametrize("form", ["whole", "sharded", "bfloat16"])
def test_a_merged_folder_scores_as_the_live_model(base: Path, tmp_path: Path, form: str) -> None:
    live = tuned(base, tmp_path / "adapter")
    merged = get_merged(base, tmp_path / "adapter")
    if form == "bfloat16":
        cast_parameters(merged, torch.bfloat16)
    settings = {"max_shard_size": "20KB"} if form == "sharded" else {}
    merged.save_pretrained(tmp_path / "merged", **settings)  # without a tokenizer
    assert len(list((tmp_path / "merged").glob("*.safetensors"))) > 1 or form != "sharded"
    if form == "bfloat16":
        live = cast_parameters(merged, torch.float32)
    assert_scores_as(live, base, tmp_path / "merged")


def test_a_gguf_file_as_the_tuned_model(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside an adapter_config.json, which has nothing to do with it."""
    monkeypatch.setenv("SPILLOVER_CACHE", str(tmp_path / "cache"))
    live = tuned(base, tmp_path)
    get_merged(base, tmp_path).save_pretrained(tmp_path / "merged")
    shutil.copy(base / "tokenizer.json", tmp_path / "merged")
    file = save_tiny_gguf(tmp_path / "merged", tmp_path / "tuned.gguf")
    assert_scores_as(live, base, models.locate(str(file)))


def cast_parameters(model: Any, dtype: torch.dtype) -> Any:
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
    return model


def get_merged(base: Path, adapter: Path) -> Any:
    from peft import PeftModel

    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), str(adapter))
    return model.merge_and_unload()


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
    edit_weights(adapter, edit)
    with pytest.raises(ModelError, match=message) as caught:
        models.load(llama_folder, tuned=adapter)
    assert len(str(caught.value).splitlines()) == 1


def test_a_saved_module_that_is_lacking(llama_folder: Path, tmp_path: Path) -> None:
    tuned(llama_folder, tmp_path / "adapter", modules_to_save=["lm_head"])
    edit_weights(tmp_path / "adapter", lambda w: w.pop("base_model.model.lm_head.weight"))
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


def test_a_whole_model_beside_a_left_over_adapter_configuration(
    llama_folder: Path, tmp_path: Path, adapter: Path
) -> None:
    live = tuned(llama_folder, adapter)
    get_merged(llama_folder, adapter).save_pretrained(tmp_path / "merged")
    shutil.copy(adapter / "adapter_config.json", tmp_path / "merged")
    assert_scores_as(live, llama_folder, tmp_path / "merged")


def test_identity_of_an_adapter(adapter: Path) -> None:
    seen = {models.identity(adapter)}
    (adapter / "README.md").write_text("of no concern")
    assert {models.identity(adapter)} == seen
    edit_weights(adapter, lambda w: next(iter(w.values())).add_(1))
    seen.add(models.identity(adapter))
    file = adapter / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"lora_alpha": 99}))
    seen.add(models.identity(adapter))
    assert len(seen) == 3


def test_no_bar_and_no_warning_of_a_library(llama_folder: Path, tmp_path: Path) -> None:
    """In a process of its own, where nothing else has silenced them."""
    tuned(llama_folder, tmp_path / "adapter", target_modules=["q_proj", "embed_tokens", "lm_head"], tokens=7)
    file = save_tiny_gguf(llama_folder, tmp_path / "tiny.gguf")
    code = (
        "import sys; from pathlib import Path; from spillover.llm import models\n"
        f"base = models.locate({str(file)!r})\n"
        "model, tokenizer = models.load(base)\n"
        f"model, tokenizer = models.load(base, tuned=Path({str(tmp_path / 'adapter')!r}))\n"
        f"models.save(model, tokenizer, Path({str(tmp_path / 'saved')!r}))\n"
    )
    environment = {"SPILLOVER_CACHE": str(tmp_path / "cache"), "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_silence_ends_with_its_block(capfd: pytest.CaptureFixture[str]) -> None:
    from tqdm.auto import tqdm

    with models.Quiet():
        list(tqdm(range(3), desc="within"))
    list(tqdm(range(3), desc="after"))
    shown = capfd.readouterr().err
    assert "within" not in shown
    assert "after" in shown


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
