"""A tiny model, and a user's folder with a small knowledge base."""

from pathlib import Path

import pytest

from tests.jobs.people import write_people
from tests.tiny_models import save_tiny_model


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One that reads every text that an intervention trains."""
    folder = tmp_path_factory.mktemp("model") / "tiny"
    return str(save_tiny_model(folder, "llama", max_position_embeddings=256))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the user is in, with people.yaml."""
    write_people(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path
