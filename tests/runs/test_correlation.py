"""Spearman's correlation: as SciPy has it, by hand, and what its interval and p promise."""

from itertools import permutations

import numpy as np
import pytest
from scipy import stats

from spillover.runs.correlation import Correlation, rank_correlation


def test_rho_is_scipys_with_ties() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(5, size=20), rng.integers(4, size=20)
    assert rank_correlation(x, y).rho == pytest.approx(stats.spearmanr(x, y).statistic)


def test_p_is_the_share_of_all_orders_that_do_as_well() -> None:
    x, y = np.arange(5), np.array([0, 2, 1, 4, 3])
    found = rank_correlation(x, y, permutations=40_000)
    exact = np.mean([x @ np.array(order) >= x @ y for order in permutations(range(5))])
    assert found.p_value == pytest.approx(exact, abs=0.005)
    assert rank_correlation(x, -y).p_value > 0.9, "one-sided"


def test_deals_stay_within_strata() -> None:
    """Two seeds of which one lies higher: within each nothing rises, and all of it would."""
    x, y = [1, 2, 1, 2, 11, 12, 11, 12], [1, 1, 2, 2, 21, 21, 22, 22]
    seeds = [0, 0, 0, 0, 1, 1, 1, 1]
    assert rank_correlation(x, y).p_value < 0.05
    assert rank_correlation(x, y, seeds).p_value > 0.3


def test_the_interval_has_rho_19_times_of_20() -> None:
    rng = np.random.default_rng(1)
    true = 6 / np.pi * np.arcsin(0.6 / 2)  # Spearman's of a normal pair whose Pearson's is 0.6
    hits = 0
    for _ in range(300):
        x, noise = rng.normal(size=(2, 30))
        found = rank_correlation(x, 0.6 * x + 0.8 * noise, permutations=1)
        hits += found.low <= true <= found.high
    assert 0.91 <= hits / 300 <= 0.99


def test_ends_of_the_scale() -> None:
    assert str(rank_correlation([1, 2, 3, 4, 5], [1, 4, 9, 16, 25])) == "1.00", "no interval of no spread"
    assert rank_correlation([1, 2, 3, 4, 5], [5, 4, 3, 2, 1]).rho == pytest.approx(-1)
    assert str(rank_correlation([1, 2, 3], [1, 2, 3])) == "1.00", "three pairs have no interval"
    undefined = [
        rank_correlation([1, 1, 1], [1, 2, 3]),
        rank_correlation([1, 2], [1, np.nan]),
        rank_correlation([], []),
    ]
    assert [str(found) for found in undefined] == ["undefined"] * 3
    assert all(np.isnan(found.p_value) for found in undefined)
    assert isinstance(undefined[0], Correlation)
    with pytest.raises(ValueError, match="expected pairs of numbers"):
        rank_correlation([1, 2], [1])
