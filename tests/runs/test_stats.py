"""Ranks, intervals and permutation tests against plain loops, closed forms, enumeration and simulation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from spillover.runs.stats import (
    Interval,
    mean_interval,
    rank_matrix,
    top1_matrix,
)

NAN = float("nan")


def plain_rank(logprobs, right):
    others = [value for index, value in enumerate(logprobs) if index != right]
    return (
        sum(value > logprobs[right] for value in others)
        + sum(value == logprobs[right] for value in others) / 2
    )


def plain_top1(logprobs, right):
    return (logprobs[right] == max(logprobs)) / list(logprobs).count(max(logprobs))


@given(st.lists(st.sampled_from([-3.0, -2.0, -1.0, -np.inf]), min_size=1, max_size=6))
def test_ranks_equal_a_plain_loop(logprobs):
    rights = range(len(logprobs))
    assert rank_matrix([logprobs])[0].tolist() == [plain_rank(logprobs, right) for right in rights]
    assert top1_matrix([logprobs])[0].tolist() == [plain_top1(logprobs, right) for right in rights]


@pytest.mark.parametrize(
    ("logprobs", "right", "wanted_rank", "credit"),
    [
        ([-1, -2, -3], 0, 0, 1),
        ([-1, -2, -3], 2, 2, 0),
        ([-1, -1, -3], 1, 0.5, 0.5),
        ([-2, -2, -2], 0, 1, 1 / 3),
    ],
)
def test_ties_are_explicit(logprobs, right, wanted_rank, credit):
    assert rank_matrix([logprobs])[0, right] == wanted_rank
    assert top1_matrix([logprobs])[0, right] == credit


def test_a_nan_candidate_makes_the_query_unscored():
    logprobs = [[-1.0, NAN], [-1.0, -2.0]]
    assert np.isnan(rank_matrix(logprobs)[0]).all()
    assert np.isnan(top1_matrix(logprobs)[0]).all()
    assert rank_matrix(logprobs)[1].tolist() == [0, 1]


def test_no_queries():
    assert rank_matrix(np.empty((0, 3))).shape == (0, 3)
    assert top1_matrix(np.empty((0, 3))).shape == (0, 3)


# Intervals


@pytest.mark.parametrize(("hits", "n"), [(0, 16), (16, 16), (3, 16), (1, 2), (50, 200)])
def test_binary_values_get_the_clopper_pearson_interval(hits, n):
    exact = stats.binomtest(hits, n).proportion_ci(0.95, "exact")
    got = mean_interval([1.0] * hits + [0.0] * (n - hits), 0, 1)
    assert (got.mean, got.low, got.high) == pytest.approx((hits / n, exact.low, exact.high))
    assert got.low <= got.mean <= got.high


def test_the_sampled_ends_agree_with_clopper_pearson():
    """Widening the bounds by nothing much leaves the exact branch and must barely move the ends."""
    values = [1.0] * 12 + [0.0] * 28
    exact, sampled = mean_interval(values, 0, 1), mean_interval(values, -1e-9, 1 + 1e-9, draws=200_000)
    assert (sampled.low, sampled.high) == pytest.approx((exact.low, exact.high), abs=3e-3)


def test_the_grouped_draw_equals_the_textbook_draw():
    values = np.array([0.0, 0.0, 1.0, 2.5, 2.5, 9.0])
    weights = np.random.default_rng(5).dirichlet(np.ones(7), size=400_000)
    got = mean_interval(values, 0, 9, draws=400_000)
    assert got.high == pytest.approx(np.quantile(weights @ np.append(values, 9), 0.975), abs=0.02)
    assert got.low == pytest.approx(np.quantile(weights @ np.append(values, 0), 0.025), abs=0.02)


def test_no_ranks_at_all_above_zero_still_have_an_upper_end():
    got = mean_interval([0.0] * 32, 0, 9)
    assert got.low == got.mean == 0
    assert got.high == pytest.approx(9 * (1 - 0.025 ** (1 / 32)))


def test_few_samples_and_nan():
    assert np.isnan([(none := mean_interval([], 0, 1)).mean, none.low, none.high]).all()
    one = mean_interval([NAN, 0.5], 0, 1)
    assert (one.mean, one.samples, one.unscored) == (0.5, 1, 1)
    assert np.isnan([one.low, one.high]).all()
    all_nan = mean_interval([NAN, NAN], 0, 1)
    assert (all_nan.samples, all_nan.unscored) == (0, 2)


def test_nan_values_change_nothing_but_their_count():
    with_nan = mean_interval([0.2, NAN, 0.4, 0.9], 0, 1, ["a", "b", "a", "c"])
    without = mean_interval([0.2, 0.4, 0.9], 0, 1, ["a", "a", "c"])
    assert with_nan == Interval(mean=without.mean, low=without.low, high=without.high, samples=2, unscored=1)


def test_clusters_count_once():
    values = [0.0, 2.0, 1.0, 4.0, 4.0]
    assert mean_interval(values, 0, 9, ["x", "x", "y", "z", "z"]) == mean_interval([1.0, 1.0, 4.0], 0, 9)
    repeated = mean_interval(values * 3, 0, 9, list("abcde") * 3)
    assert repeated == mean_interval(values, 0, 9)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(0, 9), min_size=2, max_size=12), st.randoms())
def test_the_order_of_values_does_not_matter_and_the_result_repeats(values, random):
    shuffled = random.sample(values, len(values))
    got = mean_interval(values, 0, 9, draws=500)
    again = mean_interval(shuffled, 0, 9, draws=500)
    assert (got.low, got.high) == (again.low, again.high)
    assert mean_interval(values, 0, 9, draws=500) == got


@pytest.mark.parametrize("population", ["rare", "skewed", "uniform", "halves"])
def test_coverage(population):
    """At level 0.9 the interval holds the true mean at least that often, up to three standard errors."""
    rng, trials, n = np.random.default_rng(11), 400, 12
    draw, truth = {
        "rare": (lambda: 9.0 * (rng.random(n) < 0.05), 0.45),
        "skewed": (lambda: rng.choice([0.0, 0.0, 0.0, 1.0, 9.0], n), 2.0),
        "uniform": (lambda: rng.uniform(0, 9, n), 4.5),
        "halves": (lambda: rng.integers(0, 19, n) / 2, 4.5),
    }[population]
    intervals = [mean_interval(draw(), 0, 9, level=0.9, seed=t, draws=2_000) for t in range(trials)]
    covered = sum(interval.low <= truth <= interval.high for interval in intervals)
    assert covered / trials >= 0.9 - 3 * np.sqrt(0.9 * 0.1 / trials)


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        ([2.0], {}, r"values must lie in \[0, 1\], got \[2.0, 2.0\]"),
        ([[0.0]], {}, "one-dimensional"),
        ([0.0], {"level": 1.0}, "level must lie between 0 and 1, got 1.0"),
        ([0.0, 1.0], {"clusters": ["a"]}, "clusters must have one label per value: 2, got 1"),
    ],
)
def test_wrong_calls_of_the_interval(values, options, message):
    with pytest.raises(ValueError, match=message):
        mean_interval(values, 0, 1, **options)
