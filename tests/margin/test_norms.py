"""The nuclear norm's proximal step in two halves."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from spillover.margin import norms
from spillover.margin.norms import shrink, spectral_norm


@pytest.mark.parametrize("shape", [(7, 3), (3, 7), (1, 5), (5, 1)])
def test_a_large_matrix_shrinks_in_halves_as_it_does_whole(shape, monkeypatch):
    w = np.random.default_rng(0).normal(size=shape)
    whole = shrink(w, 0.7)
    monkeypatch.setattr(norms, "_LARGE", 0)
    with ThreadPoolExecutor(2) as pool:
        halves = shrink(w, 0.7, pool)
    np.testing.assert_allclose(halves, whole, rtol=0, atol=1e-12)


@pytest.mark.parametrize("side", [2, 3, 4, 8, 16, 32])
def test_the_largest_of_equal_singular_values_is_found(side):
    """All but one are 1: LAPACK's search for a single eigenvalue fails on some of these."""
    assert spectral_norm(np.eye(side) - np.full((side, side), 1 / side)) == pytest.approx(1.0)
    assert spectral_norm(np.eye(side)) == pytest.approx(1.0)
