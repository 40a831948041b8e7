"""What the reading tests share."""

from collections.abc import Callable
from pathlib import Path

import pytest

from spillover.errors import DataError
from spillover.knowledge import patterns
from spillover.knowledge.load import load


@pytest.fixture
def complaint() -> Callable[[Path], str]:
    """Reads a faulty file; its one-line message, without the folder."""

    def of(path: Path) -> str:
        with pytest.raises(DataError) as caught:
            load(path)
        message = str(caught.value)
        assert "\n" not in message
        return message.replace(f"{path.parent}/", "")

    return of


@pytest.fixture
def plainly(monkeypatch) -> list[bool]:
    """Whether each table was read the fast way."""
    ways: list[bool] = []
    fill_if_plain = patterns.fill_if_plain

    def spy(*arguments) -> bool:
        ways.append(fill_if_plain(*arguments))
        return ways[-1]

    monkeypatch.setattr(patterns, "fill_if_plain", spy)
    return ways
