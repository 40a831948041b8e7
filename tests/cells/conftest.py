"""Cells of a tiny model."""

from dataclasses import replace
from pathlib import Path

import pytest

from spillover.cells.cell import Cell, Weights
from spillover.cells.compute import locate
from spillover.knowledge.load import load
from spillover.knowledge.prompts import examples, queries
from spillover.knowledge.split import split
from spillover.llm.settings import FineTuneConfig
from tests.tiny_models import save_tiny_model

SETTINGS = FineTuneConfig(epochs=1, learning_rate=1e-3, batch_size=24)


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Weights:
    return locate(str(save_tiny_model(tmp_path_factory.mktemp("model") / "tiny", "llama")))


@pytest.fixture(scope="session")
def untuned(weights: Weights) -> Cell:
    asked = queries(split(load("country-code"), 0))
    return Cell(weights=weights, questions=tuple(query.question for query in asked[:12]))


@pytest.fixture(scope="session")
def tuned(untuned: Cell) -> Cell:
    """Forty-eight examples, two steps."""
    return replace(untuned, taught=tuple(examples(split(load("country-code"), 0))[:48]), settings=SETTINGS)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "cells"
