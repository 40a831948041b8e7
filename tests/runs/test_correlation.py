"""Spearman's correlation in blocks, against SciPy, and on made-up runs whose answer is known."""

import numpy as np
import pytest
from scipy import stats

from spillover.runs.correlation import rank_correlation

RNG = np.random.default_rng(4)
X = RNG.normal(size=15)
NOISY = X + RNG.normal(size=15)
BLOCKS = [name for name in "abcde" for _ in range(3)]


def test_without_blocks_it_is_scipys() -> None:
    found = rank_correlation(X, NOISY)
    assert found.value == pytest.approx(stats.spearmanr(X, NOISY).statistic)
    exact = stats.permutation_test(
        (X,),
        lambda x: float(stats.spearmanr(x, NOISY).statistic),
        permutation_type="pairings",
        n_resamples=9_999,
        rng=np.random.default_rng(1),
    )
    assert found.p_value == pytest.approx(exact.pvalue, abs=0.01)
    assert found.low < found.value < found.high
    assert (found.runs, found.blocks) == (15, 1)
    assert rank_correlation(X, NOISY) == found, "repeats bit by bit"
    assert rank_correlation(np.exp(X), NOISY**3) == found, "only ranks count"


def test_one_block_is_none() -> None:
    alone = rank_correlation(X, NOISY)
    assert rank_correlation(X, NOISY, ["a"] * 15) == alone
    assert rank_correlation(X, NOISY, ["a"] * 15, within=True) == alone


def test_what_blocks_explain_is_not_found_within_them() -> None:
    """Both numbers are their block's and noise: correlated over all, not within."""
    place = np.repeat(np.arange(5.0), 3)
    x, y = (10 * place + np.random.default_rng(seed).normal(size=15) for seed in (0, 1))
    over_all, within = (rank_correlation(x, y, BLOCKS, within=only) for only in (False, True))
    assert over_all.value > 0.9
    assert over_all.p_value > 1 / 120, "five blocks have 120 orders, so no p is smaller"
    assert abs(within.value) < 0.6
    assert within.p_value > 0.05


def test_what_blocks_hide_is_found_within_them() -> None:
    place = np.repeat(np.arange(5.0), 3)
    noise = RNG.normal(size=15)
    x, y = 10 * place + noise, -10 * place + noise
    over_all, within = (rank_correlation(x, y, BLOCKS, within=only) for only in (False, True))
    assert over_all.value < -0.5
    assert within.value == pytest.approx(1)
    assert within.p_value < 0.001
    assert (within.low, within.high) == (pytest.approx(1), pytest.approx(1))


def test_block_permutations_keep_their_level() -> None:
    """Blocks that differ for no reason: with free permutations half of these would be called significant."""
    place = np.repeat(np.arange(6), 3)
    found = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        x, y = (rng.normal(size=6)[place] + 0.1 * rng.normal(size=18) for _ in range(2))
        kinds = (place.tolist(), None)
        found.append([rank_correlation(x, y, blocks, permutations=199).p_value < 0.05 for blocks in kinds])
    blocked, free = np.mean(found, axis=0)
    assert blocked <= 0.12
    assert free > 0.25


def test_one_sided() -> None:
    both, greater = (rank_correlation(X, NOISY, alternative=side) for side in ("two-sided", "greater"))
    assert greater.p_value < both.p_value
    assert rank_correlation(X, -NOISY, alternative="greater").p_value > 0.9


@pytest.mark.parametrize(
    ("x", "blocks", "within", "runs"),
    [
        (X[:3], None, False, 3),
        ([], None, False, 0),
        ([], [], True, 0),
        ([1.0] * 15, None, False, 15),
        (X[:5], list("abcde"), True, 0),
        ([np.nan] * 12 + [1.0, 2, 3], None, False, 3),
    ],
)
def test_nothing_is_said_of_too_little(
    x: list[float], blocks: list[str] | None, within: bool, runs: int
) -> None:
    found = rank_correlation(x, NOISY[: len(x)], blocks, within=within)
    assert np.isnan([found.value, found.low, found.high, found.p_value]).all()
    assert found.runs == runs


def test_few_blocks_have_no_interval_and_unknown_runs_do_not_count() -> None:
    two = rank_correlation(X[:6], NOISY[:6], list("aaabbb"))
    assert np.isnan([two.low, two.high]).all()
    assert not np.isnan(two.p_value)
    x = np.append(X, np.nan)
    assert rank_correlation(x, np.append(NOISY, 3.0), [*BLOCKS, "a"]) == rank_correlation(X, NOISY, BLOCKS)
