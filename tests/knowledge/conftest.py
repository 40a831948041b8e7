"""What the reading tests share."""

from collections.abc import Callable
from pathlib import Path

import pytest

from spillover.errors import DataError
from spillover.knowledge.read import read_knowledge_base


@pytest.fixture
def complaint() -> Callable[[Path], str]:
    """Reads a faulty file; its one-line message, without the folder."""

    def of(path: Path) -> str:
        with pytest.raises(DataError) as caught:
            read_knowledge_base(path)
        message = str(caught.value)
        assert "\n" not in message
        return message.replace(f"{path.parent}/", "")

    return of
