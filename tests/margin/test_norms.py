"""The nuclear norm's proximal step in two halves."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from spillover.margin import norms
from spillover.margin.norms import shrink


@pytest.mark.parametrize("shape", [(7, 3), (3, 7), (1, 5), (5, 1)])
def test_a_large_matrix_shrinks_in_halves_as_it_does_whole(shape, monkeypatch):
    w = np.random.default_rng(0).normal(size=shape)
    whole = shrink(w, 0.7)
    monkeypatch.setattr(norms, "_LARGE", 0)
    with ThreadPoolExecutor(2) as pool:
        halves = shrink(w, 0.7, pool)
    np.testing.assert_allclose(halves, whole, rtol=0, atol=1e-12)
