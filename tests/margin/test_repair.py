"""Repaired points: worked by hand, never worse, and worth half of the rounds."""

import numpy as np
import pytest
import scipy.sparse as sp

from benchmarks.tables import random_table
from spillover.margin.certificate import certificate
from spillover.margin.problem import MarginProblem
from spillover.margin.repair import Repair
from spillover.margin.solve import solve
from spillover.margin.splitting import Splitting


@pytest.fixture
def one() -> Repair:
    """One example of one feature, which is 1, and the first of two answers as its label."""
    return Repair(sp.csr_array(np.ones((1, 1))), np.array([0]))


def test_a_margin_that_is_short_is_raised_by_the_least_change(one: Repair) -> None:
    raised = list(one.raise_margins(np.array([[0.35, -0.15]])))  # its margin is half of what it should be
    w, smallest = raised[-1]
    np.testing.assert_allclose(w, [[0.6, -0.4]], atol=1e-6)
    assert smallest == pytest.approx(1, abs=1e-6)
    assert [margin for _, margin in raised] == sorted(margin for _, margin in raised)


def test_margins_that_are_kept_are_left_alone(one: Repair) -> None:
    assert list(one.raise_margins(np.array([[0.5, -0.5]]))) == []


def test_multipliers_that_pull_too_hard_are_lowered_to_what_is_allowed(one: Repair) -> None:
    *_, (multipliers, pull) = one.lower_norm(sp.csr_array([[0.0, 2.0]]))
    assert multipliers.toarray() == pytest.approx(np.array([[0, np.sqrt(0.5)]]))  # ‖λ (1, −1)‖ = λ √2 is 1
    np.testing.assert_allclose(pull, [[np.sqrt(0.5), -np.sqrt(0.5)]], atol=1e-9)


def test_multipliers_that_are_allowed_are_left_alone(one: Repair) -> None:
    *_, (multipliers, _) = one.lower_norm(sp.csr_array([[0.0, 0.5]]))
    assert multipliers.toarray() == pytest.approx(np.array([[0, 0.5]]))


def stopped(problem: MarginProblem, rounds: int, monkeypatch: pytest.MonkeyPatch) -> Splitting:
    """The iteration of a problem after that many rounds."""
    seen: list[Splitting] = []
    monkeypatch.setattr(Splitting, "repair", lambda self, tol: seen.append(self))
    solve(problem, iteration_limit=rounds)
    monkeypatch.undo()
    return seen[-1]


@pytest.mark.parametrize("seed", range(3))
def test_what_is_repaired_is_proven_and_several_times_nearer(seed: int, monkeypatch) -> None:
    problem = random_table(60, 3, 6, seed)
    splitting = stopped(problem, 100, monkeypatch)
    before = splitting.relative_gap
    objective, bound = splitting.objective, splitting.lower_bound
    splitting.repair(before / 5)
    assert splitting.objective <= objective
    assert splitting.lower_bound >= bound
    assert splitting.relative_gap < before / 3
    proof = certificate(problem, solve(problem, 1e-6))
    assert splitting.lower_bound <= proof.objective
    assert splitting.objective >= proof.lower_bound


def test_a_repair_out_of_reach_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    splitting = stopped(random_table(60, 3, 6, 0), 50, monkeypatch)
    before = splitting.objective, splitting.lower_bound
    splitting.repair(splitting.relative_gap / 1000)
    assert (splitting.objective, splitting.lower_bound) == before


def test_it_saves_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = random_table(100, 4, 10, 1)
    repaired = solve(problem).iterations
    monkeypatch.setattr(Splitting, "repair", lambda self, tol: None)
    assert solve(problem).iterations > 1.5 * repaired
