"""A tiny model, and a user's folder with a small knowledge base."""

from pathlib import Path

import pytest

from tests.jobs.people import CITIES, PEOPLE
from tests.tiny_models import save_tiny_model


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_tiny_model(tmp_path_factory.mktemp("model") / "tiny", "llama"))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the user is in, with people.yaml."""
    rows = [f"{city} {number},lives_in,{city}" for city in CITIES for number in range(5)]
    (tmp_path / "people.csv").write_text("\n".join(["subject,relation,answer", *rows]), encoding="utf-8")
    (tmp_path / "people.yaml").write_text(PEOPLE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path
