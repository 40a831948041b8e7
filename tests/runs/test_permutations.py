"""The permutation test against enumeration, its level, and the correction for several rules."""

from itertools import permutations, product

import numpy as np
import pytest
from scipy import stats

from spillover.runs.stats import (
    holm,
    mean_interval,
    permutation_test,
    rank_matrix,
    top1_matrix,
)

NAN = float("nan")


def enumerate_all(scores, right, strata, better):
    """Mean score under every deal of the right answers within strata: both p-values and the expectation."""
    rows = [np.flatnonzero(np.asarray(strata) == s) for s in dict.fromkeys(strata)]
    means = []
    for deal in product(*(permutations(r) for r in rows)):
        dealt = np.empty(len(right), int)
        for r, source in zip(rows, deal, strict=True):
            dealt[r] = np.asarray(right)[list(source)]
        means.append(scores[np.arange(len(right)), dealt].mean())
    means = np.array(means)
    observed = scores[np.arange(len(right)), right].mean()
    low, high = (means <= observed + 1e-12).mean(), (means >= observed - 1e-12).mean()
    return (low, high, means.mean()) if better == "low" else (high, low, means.mean())


@pytest.mark.parametrize("better", ["low", "high"])
@pytest.mark.parametrize(
    ("right", "strata"),
    [
        ([0, 1, 2, 0, 1, 2], [0] * 6),
        ([0, 1, 2, 0, 1, 1, 0], [0, 0, 0, 0, 1, 1, 1]),
        ([3, 3, 0, 1, 2], ["b", "b", "b", "a", "a"]),
    ],
)
def test_against_all_permutations(right, strata, better):
    rng = np.random.default_rng(len(right))
    matrix = rank_matrix if better == "low" else top1_matrix
    scores = matrix(rng.integers(0, 3, (len(right), 4)) + 1.5 * np.eye(4)[right])
    p, worse, null = enumerate_all(scores, right, strata, better)
    got = permutation_test(scores, right, strata, better=better, permutations=20_000)
    assert got.null == pytest.approx(null, abs=1e-12)
    assert got.p_value == pytest.approx(p, abs=0.015)
    assert got.p_worse == pytest.approx(worse, abs=0.015)
    assert got.observed == scores[np.arange(len(right)), right].mean()


def test_subjects_swap_all_their_answers_at_once():
    """Two seeds that ask the same subjects are one deal, not two: the p-value is that of one seed."""
    rng = np.random.default_rng(3)
    right = np.array([0, 0, 1, 1, 2, 2])
    scores = rank_matrix(rng.normal(size=(6, 4)) + np.eye(4)[right])
    p, worse, null = enumerate_all(scores, right, [0] * 6, "low")
    got = permutation_test(
        np.tile(scores, (2, 1)),
        np.tile(right, 2),
        np.repeat([0, 1], 6),
        list("abcdef") * 2,
        permutations=20_000,
    )
    assert got.p_value == pytest.approx(p, abs=0.015)
    assert got.p_worse == pytest.approx(worse, abs=0.015)
    assert got.null == pytest.approx(null, abs=1e-12)


@pytest.mark.parametrize("better", ["low", "high"])
def test_observed_null_and_p_are_of_the_same_deals_where_seeds_ask_different_subjects(better):
    """Each seed holds out others: a and b are asked twice, c and d by seed 0, e, f and g by seed 1."""
    matrix = rank_matrix if better == "low" else top1_matrix
    asked = [(0, name) for name in "abcd"] + [(1, name) for name in "abefg"]
    answer = {"a": 0, "b": 1, "c": 1, "d": 2, "e": 2, "f": 2, "g": 0}
    right = np.array([answer[name] for _, name in asked])
    scores = matrix(np.random.default_rng(5).normal(size=(9, 4)) + np.eye(4)[right])
    means = []
    for swapped in product(*(permutations(block) for block in ("ab", "cd", "efg"))):
        dealt = dict(zip("abcdefg", (answer[name] for block in swapped for name in block), strict=True))
        told = [[] for _ in answer]
        for row, (_, name) in enumerate(asked):
            told["abcdefg".index(name)].append(scores[row, dealt[name]])
        means.append(np.mean([np.mean(one) for one in told]))
    observed, means = means[0], np.array(means)  # the first deal leaves everyone with their own
    got = permutation_test(
        scores,
        right,
        [seed for seed, _ in asked],
        [name for _, name in asked],
        better=better,
        permutations=20_000,
    )
    assert got.observed == pytest.approx(observed, abs=1e-12)
    worst = 3.0 if better == "low" else 1.0
    names = [name for _, name in asked]
    assert mean_interval(scores[np.arange(9), right], 0, worst, names).mean == pytest.approx(got.observed)
    assert got.null == pytest.approx(means.mean(), abs=1e-12)
    low, high = (means <= observed + 1e-12).mean(), (means >= observed - 1e-12).mean()
    wanted = (low, high) if better == "low" else (high, low)
    assert (got.p_value, got.p_worse) == pytest.approx(wanted, abs=0.015)


def test_a_model_that_answers_everyone_alike_is_neither_better_nor_worse_than_chance():
    right = np.repeat(np.arange(5), 4)
    got = permutation_test(top1_matrix(np.tile([0.0, -1, -1, -1, -1], (20, 1))), right, better="high")
    assert (got.observed, got.null) == pytest.approx((0.2, 0.2))
    assert (got.p_value, got.p_worse) == (1, 1)


def test_a_model_that_avoids_the_right_answer_is_worse_than_chance():
    right = np.repeat(np.arange(5), 8)
    got = permutation_test(top1_matrix(np.eye(5)[(right + 1) % 5]), right, better="high")
    assert (got.observed, got.p_value) == (0, 1)
    assert got.p_worse < 0.001


@pytest.mark.parametrize(
    ("p_values", "adjusted"),
    [
        ([0.01, 0.04, 0.03], [0.03, 0.06, 0.06]),
        ([0.5, 0.9, 0.6], [1, 1, 1]),
        ([0.02, NAN, 0.03], [0.04, NAN, 0.04]),
        ([0.2], [0.2]),
        ([NAN], [NAN]),
        ([], []),
    ],
)
def test_holm_by_hand(p_values, adjusted):
    assert holm(p_values).tolist() == pytest.approx(adjusted, nan_ok=True)


@pytest.mark.parametrize("with_subjects", [False, True])
def test_p_is_uniform_under_the_null(with_subjects):
    """With quirks of names that repeat in each seed, this holds only when the subjects are named."""
    rng, trials, subjects, seeds = np.random.default_rng(8), 300, 20, 3
    right = np.tile(np.repeat(np.arange(5), 4), seeds)
    names, strata = np.tile(np.arange(subjects), seeds), np.repeat(np.arange(seeds), subjects)
    p = []
    for trial in range(trials):
        quirks = np.tile(rng.normal(size=(subjects, 10)), (seeds, 1))
        logprobs = quirks if with_subjects else rng.normal(size=quirks.shape)
        p.append(
            permutation_test(
                rank_matrix(logprobs),
                right,
                strata,
                names if with_subjects else None,
                permutations=199,
                seed=trial,
            ).p_value
        )
    assert stats.kstest(p, "uniform").pvalue > 0.01


def test_repeated_quirks_without_subjects_are_too_sure():
    """Why `subjects_Q` exists: the same rankings three times over look like three times the evidence."""
    right = np.repeat(np.arange(5), 4)
    scores = rank_matrix(np.random.default_rng(0).normal(size=(20, 10)) + 0.5 * np.eye(10)[right])
    strata, names = np.repeat(np.arange(3), 20), np.tile(np.arange(20), 3)
    tripled, rights = np.tile(scores, (3, 1)), np.tile(right, 3)
    naive, fair = (permutation_test(tripled, rights, strata, s) for s in (None, names))
    assert naive.p_value < fair.p_value / 2
    assert naive.null == fair.null


def test_a_perfect_ranking_has_the_smallest_p():
    right = np.repeat(np.arange(5), 16)
    logprobs = np.eye(10)[right]
    got = permutation_test(rank_matrix(logprobs), right)
    assert (got.observed, got.p_value) == (0, 1 / 10_001)
    assert got.null == pytest.approx(5 * 0.8)
    top1 = permutation_test(top1_matrix(logprobs), right, better="high")
    assert (top1.observed, top1.p_value) == (1, 1 / 10_001)
    assert top1.null == pytest.approx(0.2)


def test_one_right_answer_everywhere_has_no_p_but_a_null():
    got = permutation_test(rank_matrix([[0, -1], [-1, 0], [-1, 0.0]]), [0, 1, 1], ["a", "b", "b"])
    assert np.isnan([got.p_value, got.p_worse]).all()
    assert got.null == got.observed == 0


def test_unscored_queries_leave_with_their_answer():
    rng = np.random.default_rng(2)
    logprobs, right = rng.normal(size=(9, 4)), rng.integers(0, 4, 9)
    logprobs[4, 1] = NAN
    kept = np.arange(9) != 4
    got = permutation_test(rank_matrix(logprobs), right, ["s"] * 9, list("abcdefghi"))
    want = permutation_test(rank_matrix(logprobs[kept]), right[kept])
    assert (got.observed, got.null, got.p_value) == (want.observed, want.null, want.p_value)
    assert (got.queries, got.unscored) == (8, 1)
    nothing = permutation_test([[NAN, NAN]], [0])
    assert np.isnan([nothing.observed, nothing.null, nothing.p_value, nothing.p_worse]).all()
    assert permutation_test(np.empty((0, 4)), []).queries == 0


def test_renaming_changes_nothing_and_the_result_repeats():
    rng = np.random.default_rng(4)
    ranks, right = rank_matrix(rng.normal(size=(24, 5))), rng.integers(0, 5, 24)
    strata, names = np.repeat([0, 1], 12), np.tile(np.arange(12), 2)
    got = permutation_test(ranks, right, strata, names)
    assert permutation_test(ranks, right, strata, names) == got
    renamed = [f"Name {11 - name}" for name in names]
    assert permutation_test(ranks, right, ["b" if s == 0 else "a" for s in strata], renamed) == got
    order = rng.permutation(5)
    moved = permutation_test(ranks[:, order], np.argsort(order)[right], strata, names)
    assert (moved.observed, moved.null) == pytest.approx((got.observed, got.null), abs=1e-12)
    assert moved.p_value == got.p_value


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([1.0], [0]), {}, r"matrix of queries by candidates, got shape \(1,\)"),
        (([[1.0]], [1]), {}, "right_Q must hold 1 columns between 0 and 0"),
        (([[1.0]], [0], ["a", "b"]), {}, "strata_Q must have one label per value: 1, got 2"),
        (([[1.0]], [0]), {"better": "higher"}, "better must be 'low' or 'high', got 'higher'"),
    ],
)
def test_wrong_calls_of_the_test(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        permutation_test(*arguments, **options)
