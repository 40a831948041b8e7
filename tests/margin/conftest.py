"""What several tests of this room are given."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.margin.shapes import unchecked
from tests.margin.tables import FIXED


@pytest.fixture(params=FIXED)
def fixed(request):
    """One problem of each kind."""
    return FIXED[request.param]


@pytest.fixture
def pool():
    """Two threads, as the solver has."""
    with ThreadPoolExecutor(2) as executor:
        yield executor


@pytest.fixture
def own_words():
    """What is wrong is left to the room itself to refuse."""
    with unchecked():
        yield
