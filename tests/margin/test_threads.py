"""What is large is done in halves by two threads, and comes to the same."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.tables import random_table, rule_table
from spillover.margin import anderson, norms, splitting, whole_logits
from spillover.margin.anderson import Anderson
from spillover.margin.certificate import certificate
from spillover.margin.collapse import collapse
from spillover.margin.solve import solve
from spillover.margin.threads import in_halves
from spillover.margin.whole_logits import WholeLogits


def call_all_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is solved is large enough for two threads."""
    for module in (anderson, splitting, whole_logits):
        monkeypatch.setattr(module, "LARGE", 0)
    monkeypatch.setattr(norms, "_LARGE", 0)


@pytest.mark.parametrize("rows", [1, 2, 7])
def test_halves_are_all_rows_once(rows: int, pool) -> None:
    for threads, parts in ((pool, 2), (None, 1)):
        slices, each = in_halves(rows, threads)
        assert len(slices) == parts
        assert [row for found in each(range(rows).__getitem__, slices) for row in found] == list(range(rows))


@pytest.mark.parametrize("penalty", [np.inf, 0.05])
def test_logits_in_halves_are_those_of_one_thread(penalty: float, pool, monkeypatch) -> None:
    call_all_large(monkeypatch)
    problem = replace(rule_table(40, 3, 4, 0.2, seed=0), penalty=penalty)
    reduced = collapse(problem)
    alone, halved = WholeLogits(problem, reduced), WholeLogits(problem, reduced, pool)
    rng = np.random.default_rng(1)
    a = np.zeros(reduced.shape)
    for _ in range(4):
        w = rng.normal(size=reduced.shape)
        for logits in (alone, halved):
            logits.remember(a)
        np.testing.assert_allclose(halved.project(0.3), alone.project(0.3), atol=1e-9)
        for logits in (alone, halved):
            logits.follow(w)
        assert halved.smallest_margin() == pytest.approx(alone.smallest_margin())
        assert halved.missed() == pytest.approx(alone.missed())
        found, expected = (logits.multipliers(0.3).toarray() for logits in (halved, alone))
        np.testing.assert_allclose(found, expected, atol=1e-9)
        assert halved.sink(0.1 * w, 1.0, 0.3) == alone.sink(0.1 * w, 1.0, 0.3)
        np.testing.assert_allclose(halved.leap(a), alone.leap(a), atol=1e-9)
        np.testing.assert_allclose(halved.b, alone.b, atol=1e-9)


def test_leaps_in_halves_are_those_of_one_thread(pool, monkeypatch) -> None:
    call_all_large(monkeypatch)
    rng = np.random.default_rng(0)
    target, q = rng.normal(size=5), np.linalg.qr(rng.normal(size=(5, 5)))[0]
    matrix = (q * np.linspace(-0.5, 0.98, 5)) @ q.T
    ends = []
    for threads in (None, pool):
        leaps, x = Anderson(np.ones(5), 3, threads), np.zeros(5)
        for _ in range(7):
            x = leaps.leap(x, target + matrix @ (x - target))
        ends.append(x)
    np.testing.assert_allclose(ends[1], ends[0], rtol=1e-7)


def test_a_table_solved_by_two_threads_is_proven_and_repeats_bit_by_bit(monkeypatch) -> None:
    problem = random_table(60, 3, 6, 0)
    alone = solve(problem, 1e-4)
    call_all_large(monkeypatch)
    first, second = solve(problem, 1e-4), solve(problem, 1e-4)
    proof = certificate(problem, first)
    assert -1e-9 <= proof.relative_gap <= 1e-4
    assert proof.objective == pytest.approx(certificate(problem, alone).objective, rel=1e-4)
    np.testing.assert_array_equal(first.columns, second.columns)
    np.testing.assert_array_equal(first.multipliers.data, second.multipliers.data)
