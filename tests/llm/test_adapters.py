"""Tuned models as people have them, each against the live model that was saved."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from spillover.llm import models
from tests.tiny_adapters import LINEAR, edit_adapter, save_tiny_adapter
from tests.tiny_gguf import save_tiny_gguf
from tests.tiny_models import save_tiny_model

IDS = torch.arange(3, 23)[None]
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


def assert_scores_as(live: Any, base: Path, folder: Path, ids: torch.Tensor = IDS) -> None:
    loaded, _ = models.load(base, tuned=folder)
    with torch.no_grad():
        torch.testing.assert_close(loaded(ids).logits, live(ids).logits, rtol=0, atol=1e-5)
        untuned = models.load(base)[0](IDS).logits
        assert not torch.allclose(loaded(IDS).logits[..., :300], untuned[..., :300], atol=1e-2)


@pytest.mark.parametrize("settings", ADAPTERS.values(), ids=ADAPTERS.keys())
def test_an_adapter_scores_as_the_live_model(base: Path, tmp_path: Path, settings: dict[str, Any]) -> None:
    """Unmerged: merging is off where head or embeddings are targets of a tied model."""
    live = save_tiny_adapter(base, tmp_path / "adapter", **settings)
    assert_scores_as(live, base, tmp_path / "adapter")


@pytest.mark.parametrize("tokens", [7, -5])
@pytest.mark.parametrize("kind", ["LoRA", "saved head and embeddings", "trained tokens", "LoRA of both"])
def test_an_adapter_with_another_vocabulary(base: Path, tmp_path: Path, kind: str, tokens: int) -> None:
    live = save_tiny_adapter(base, tmp_path / "adapter", tokens=tokens, **ADAPTERS[kind])
    rows = live.get_input_embeddings().weight.shape[0]
    assert_scores_as(
        live, base, tmp_path / "adapter", torch.cat([IDS, torch.arange(rows - 7, rows)[None]], 1)
    )


def test_added_tokens_come_with_the_adapters_own_tokenizer(base: Path, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.add_tokens([f"<place{i}>" for i in range(20)])
    live = save_tiny_adapter(base, tmp_path / "adapter", tokens=20)
    tokenizer.save_pretrained(tmp_path / "adapter")
    model, own = models.load(base, tuned=tmp_path / "adapter")
    ids = own("Mara lives in <place19>", return_tensors="pt").input_ids
    assert ids[0, -1] == len(tokenizer) - 1
    torch.testing.assert_close(model(ids).logits, live(ids).logits)
    assert len(models.load(base)[1]) == len(tokenizer) - 20


def test_a_tokenizer_may_have_more_tokens_than_its_own_base(tmp_path: Path, adapter: Path) -> None:
    """Gemma 3's has: they stand for images and are in no text."""
    base = save_tiny_model(tmp_path / "tiny-llama", "llama")
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.add_tokens([f"<image{i}>" for i in range(20)])
    tokenizer.save_pretrained(base)
    tokenizer.save_pretrained(adapter)
    model, own = models.load(base, tuned=adapter)
    assert len(own) > model.get_input_embeddings().weight.shape[0]


@pytest.mark.parametrize("form", ["whole", "sharded", "bfloat16"])
def test_a_merged_folder_scores_as_the_live_model(base: Path, tmp_path: Path, form: str) -> None:
    live = save_tiny_adapter(base, tmp_path / "adapter")
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
    live = save_tiny_adapter(base, tmp_path)
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


def test_a_whole_model_beside_a_left_over_adapter_configuration(
    llama_folder: Path, tmp_path: Path, adapter: Path
) -> None:
    live = save_tiny_adapter(llama_folder, adapter)
    get_merged(llama_folder, adapter).save_pretrained(tmp_path / "merged")
    shutil.copy(adapter / "adapter_config.json", tmp_path / "merged")
    assert_scores_as(live, llama_folder, tmp_path / "merged")


def test_identity_of_an_adapter(adapter: Path) -> None:
    seen = {models.identity(adapter)}
    (adapter / "README.md").write_text("of no concern")
    assert {models.identity(adapter)} == seen
    edit_adapter(adapter, lambda w: next(iter(w.values())).add_(1))
    seen.add(models.identity(adapter))
    file = adapter / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"lora_alpha": 99}))
    seen.add(models.identity(adapter))
    assert len(seen) == 3


def test_no_bar_and_no_warning_of_a_library(llama_folder: Path, tmp_path: Path) -> None:
    """In a process of its own, where nothing else has silenced them."""
    save_tiny_adapter(
        llama_folder, tmp_path / "adapter", target_modules=["q_proj", "embed_tokens", "lm_head"], tokens=7
    )
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
