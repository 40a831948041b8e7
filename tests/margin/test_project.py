"""The projection of rows of logits against a sort, a general minimizer, and each row alone.

Shapes: N rows, A alternatives (the label among them).
"""

from typing import Any

import cvxpy as cp
import numpy as np
import pytest

from spillover.margin import project
from spillover.margin.project import LogitProjection

INF = float("inf")
ATOL = 2e-6  # what is left for the next call, 1e-6 of the threshold, and rounding


def rows(seed, *, N=60, A=12, heavy=False, counted=True):
    """Logits, labels and copies; among the copies also 0, an alternative that is none."""
    rng = np.random.default_rng(seed)
    v = 3 * (rng.standard_cauchy((N, A)) if heavy else rng.normal(size=(N, A)))
    m = rng.choice([0.0, 1.0, 1.0, 2.5, 60.0], (N, A)) if counted else np.ones((N, A))
    return v, rng.integers(A, size=N), m


def sorted_projection(v, y, m, c):
    """v − z of one row: between two of its kinks the equation for τ is a straight line."""
    others = np.arange(v.size) != y
    kinks = np.unique(np.concatenate([v[others], v[others] - c])) if c < INF else np.unique(v[others])
    kinks = np.concatenate([[kinks[0] - 1], kinks, [kinks[-1] + 1]])

    def excess(tau):
        return tau - (v[y] - 1) - (m[others] * np.clip(v[others] - tau, 0, c)).sum()

    values = np.array([excess(tau) for tau in kinks])
    after = int(np.clip(np.searchsorted(values, 0), 1, kinks.size - 1))
    slope = (values[after] - values[after - 1]) / (kinks[after] - kinks[after - 1])
    d = np.clip(v - (kinks[after] - values[after] / slope), 0, c)
    d[y] = 0.0
    d[y] = -(m * d).sum()
    return d


def minimized(v, y, m, c):
    """v − z of all rows, from the definition: a quadratic program in z."""
    own = np.eye(v.shape[1])[y]
    z = cp.Variable(v.shape)
    label = cp.sum(cp.multiply(own, z), axis=1, keepdims=True)
    margins = label @ np.ones((1, v.shape[1])) - z
    cost = cp.sum(cp.multiply(np.where(own > 0, 1.0, m), cp.square(z - v))) / 2
    if c < INF:
        cost += c * cp.sum(cp.multiply(m * (1 - own), cp.pos(1 - margins)))
    keep: list[Any] = [margins[own == 0] >= 1] if c == INF else []
    cp.Problem(cp.Minimize(cost), keep).solve(solver=cp.CLARABEL)
    return v - z.value


def projected(projection, v, c):
    """v − z of all rows, by one call; c is one cap or each row's own."""
    cap = None if np.all(np.isinf(c)) else np.broadcast_to(c, (len(v), 1))
    return projection(v, slice(0, len(v)), cap)


@pytest.mark.parametrize("c", [INF, 5.0, 0.5, 0.02])
@pytest.mark.parametrize("counted", [False, True], ids=["plain", "copies"])
def test_the_sort_solves_the_problem_as_it_is_stated(c, counted):
    v, y, m = rows(0, N=12, A=5, counted=counted)
    m = np.clip(m, 0.5, 5.0)  # an alternative without weight may lie anywhere
    found = [sorted_projection(*row, c) for row in zip(v, y, m, strict=True)]
    np.testing.assert_allclose(found, minimized(v, y, m, c), rtol=0, atol=1e-4)


@pytest.mark.parametrize("c", [INF, 10.0, 1.0, 0.1, 1e-3])
@pytest.mark.parametrize("heavy", [False, True], ids=["normal", "heavy"])
@pytest.mark.parametrize("counted", [False, True], ids=["plain", "copies"])
def test_a_row_alone_equals_the_sort_at_the_first_call(c, heavy, counted):
    v, y, m = rows(1, heavy=heavy, counted=counted)
    for i in range(len(v)):
        row = slice(i, i + 1)
        found = projected(LogitProjection(y[row], m[row]), v[row], c)[0]
        np.testing.assert_allclose(found, sorted_projection(v[i], y[i], m[i], c), rtol=1e-9, atol=ATOL)


@pytest.mark.parametrize("c", [INF, 10.0, 1.0, 0.1, 1e-3])
@pytest.mark.parametrize("counted", [False, True], ids=["plain", "copies"])
def test_rows_together_equal_each_alone_at_the_first_call(c, counted):
    v, y, m = rows(2, N=300, A=20, counted=counted)
    found = projected(LogitProjection(y, m), v, c)
    for i in range(300):
        row = slice(i, i + 1)
        alone = projected(LogitProjection(y[row], m[row]), v[row], c)[0]
        np.testing.assert_allclose(found[i], alone, rtol=1e-9, atol=ATOL)


@pytest.mark.parametrize("c", [INF, 10.0, 1.0, 0.1])
def test_rows_that_are_done_wait_for_the_slowest(c, monkeypatch):
    passes, plain_excess = [], project._excess

    def counted(*arguments):
        passes[-1] += 1
        return plain_excess(*arguments)

    monkeypatch.setattr(project, "_excess", counted)
    v, y, m = rows(2, N=300, A=20)
    for i in range(300):
        passes.append(0)
        projected(LogitProjection(y[i : i + 1], m[i : i + 1]), v[i : i + 1], c)
    slowest = max(passes)
    passes.append(0)
    projected(LogitProjection(y, m), v, c)
    assert 1 < passes[-1] <= slowest


@pytest.mark.parametrize("c", [INF, 10.0, 1.0, 0.1])
def test_the_few_rows_that_are_left_go_on_alone(c, monkeypatch):
    together, plain_excess = [], project._excess

    def counted(*arguments):
        together.append(len(arguments[-1]))
        return plain_excess(*arguments)

    v, y, m = rows(2, N=300, A=20, heavy=True)
    whole = projected(LogitProjection(y, m), v, c)
    monkeypatch.setattr(project, "_excess", counted)
    monkeypatch.setattr(project, "_SMALL", 0)
    alone = projected(LogitProjection(y, m), v, c)
    np.testing.assert_allclose(alone, whole, rtol=1e-9, atol=ATOL)
    assert together[0] == 300
    assert together[-1] < 150
    assert together == sorted(together, reverse=True)


@pytest.mark.parametrize("heavy", [False, True], ids=["normal", "heavy"])
@pytest.mark.parametrize("c", [INF, 10.0, 1.0, 0.1])
def test_calls_on_the_same_logits_come_to_rest_at_the_projection(c, heavy):
    v, y, m = rows(3, N=200, heavy=heavy)
    projection = LogitProjection(y, m)
    for _ in range(6):
        projected(projection, v, c)
    found = projected(projection, v, c)
    wanted = np.array([sorted_projection(*row, c) for row in zip(v, y, m, strict=True)])
    np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=ATOL)
    np.testing.assert_array_equal(projected(projection, v, c), found)


def test_a_call_cut_short_goes_on_where_the_last_one_stopped(monkeypatch):
    v, y, m = rows(4)
    wanted = np.array([sorted_projection(*row, INF) for row in zip(v, y, m, strict=True)])
    monkeypatch.setattr(project, "_PASSES", 1)
    projection = LogitProjection(y, m)
    errors = [np.abs(projected(projection, v, INF) - wanted).max() for _ in range(15)]
    assert errors[0] > 1
    assert errors[-1] < ATOL
    # from the left Newton's method never overshoots a concave equation
    assert (np.diff(errors[1:]) <= 1e-9).all()


@pytest.mark.parametrize("passes", [1, 2, 30])
@pytest.mark.parametrize("c", [INF, 0.5])
def test_however_rough_the_threshold_is_no_multiplier_is_negative_or_above_the_cap(c, passes, monkeypatch):
    monkeypatch.setattr(project, "_PASSES", passes)
    rng = np.random.default_rng(0)
    v, y, m = rows(5, heavy=True)
    projection, own = LogitProjection(y, m), (np.arange(60), y)
    for _ in range(10):
        found = projected(projection, v, c)
        multipliers = found.copy()
        multipliers[own] = 0.0
        assert multipliers.min() >= 0
        assert multipliers.max() <= c
        np.testing.assert_allclose(found[own], -(m * multipliers).sum(axis=1), rtol=1e-12)
        v = v + rng.normal(size=v.shape)


@pytest.mark.parametrize("c", [INF, 0.5])
def test_a_warm_start_changes_nothing_but_the_work(c):
    v, y, m = rows(6)
    warm = LogitProjection(y, m)
    for step in range(5):
        moved = v + 0.3 * np.random.default_rng(step).normal(size=v.shape)
        found = projected(warm, moved, c)
        wanted = [sorted_projection(*row, c) for row in zip(moved, y, m, strict=True)]
        np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=ATOL)


def test_hard_margins_are_kept_by_what_remains():
    v, y, m = rows(7, counted=False)
    z = v - projected(LogitProjection(y, m), v, INF)
    margins = z[np.arange(60), y][:, None] - z
    margins[np.arange(60), y] = INF
    assert margins.min() > 1 - ATOL


def test_logits_that_keep_their_margins_stay():
    v, y, m = rows(8)
    v[np.arange(60), y] = v.max(axis=1) + 1.0
    v[np.arange(60), y] += 1e-9
    for c in (INF, 0.5):
        np.testing.assert_array_equal(projected(LogitProjection(y, m), v, c), np.zeros_like(v))


def test_one_count_for_all_is_a_count_of_one_each():
    v, y, m = rows(9, counted=False)
    for c in (INF, 0.5):
        each = projected(LogitProjection(y, m), v, c)
        together = projected(LogitProjection(y, np.float64(1.0)), v, c)
        np.testing.assert_allclose(together, each, rtol=0, atol=1e-12)


def test_each_row_has_its_own_cap():
    v, y, m = rows(10)
    caps = np.random.default_rng(0).choice([0.01, 0.3, 4.0], (60, 1))
    projection = LogitProjection(y, m)
    projected(projection, v, caps)
    found = projected(projection, v, caps)
    wanted = [sorted_projection(*row) for row in zip(v, y, m, caps[:, 0], strict=True)]
    np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=ATOL)


@pytest.mark.parametrize("c", [INF, 0.5])
def test_pieces_give_the_same_as_the_whole(c, monkeypatch):
    v, y, m = rows(11, N=61)
    wanted = [sorted_projection(*row, c) for row in zip(v, y, m, strict=True)]
    monkeypatch.setattr(project, "_PIECE", 5 * v.shape[1])  # five rows, and one that remains
    projection = LogitProjection(y, m)
    projected(projection, v, c)
    np.testing.assert_allclose(projected(projection, v, c), wanted, rtol=1e-9, atol=ATOL)


@pytest.mark.parametrize("c", [INF, 0.5])
def test_some_rows_of_all_are_projected_with_their_own_labels_copies_and_thresholds(c):
    v, y, m = rows(12)
    projection = LogitProjection(y, m)
    wanted = [sorted_projection(*row, c) for row in zip(v, y, m, strict=True)]
    for _ in range(2):
        for some in (slice(40, 60), slice(0, 7), slice(7, 40)):
            cap = None if c == INF else np.full((some.stop - some.start, 1), c)
            found = projection(v[some], some, cap)
            np.testing.assert_allclose(found, wanted[some], rtol=1e-9, atol=1e-3)
    np.testing.assert_allclose(projected(projection, v, c), wanted, rtol=1e-9, atol=ATOL)
