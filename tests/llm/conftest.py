"""The tiny models as fixtures."""

from pathlib import Path

import pytest

from spillover.llm import client
from tests.tiny_adapters import save_tiny_adapter
from tests.tiny_models import ARCHITECTURES, save_tiny_model


@pytest.fixture(scope="session", params=ARCHITECTURES)
def tiny_folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model") / request.param, request.param)


@pytest.fixture(scope="session")
def llama_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model") / "tiny-llama", "llama")


@pytest.fixture
def adapter(llama_folder: Path, tmp_path: Path) -> Path:
    """A LoRA adapter of the tiny Llama, to be spoilt."""
    save_tiny_adapter(llama_folder, tmp_path / "adapter")
    return tmp_path / "adapter"


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that an endpoint would have been waited for; without a key and a proxy."""
    waited: list[float] = []
    monkeypatch.setattr(
        client.Client, "_is_closed_within", lambda self, seconds: bool(waited.append(seconds))
    )
    monkeypatch.delenv(client.KEY, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return waited
