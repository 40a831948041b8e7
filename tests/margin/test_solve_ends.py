"""How a solve ends: at the tolerance or a limit, the same bit by bit, and what cannot be asked is refused."""

import time
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import scipy.sparse as sp

from spillover.errors import MarginError
from spillover.margin import norms, project, splitting, streamed_logits
from spillover.margin.certificate import certificate
from spillover.margin.closed_form import balanced_problem
from spillover.margin.problem import from_triples
from spillover.margin.solution import Status
from spillover.margin.solve import solve
from tests.margin.proofs import overlap, proven
from tests.margin.tables import FIXED, NORMS


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", ["table", "sparse", "contradictory"])
def test_the_tolerance_is_the_relative_gap(name, norm):
    problem = replace(FIXED[name], norm=norm)
    work = []
    for tol in (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6):
        solution, proof = proven(problem, tol)
        work.append(solution.iterations)
        assert proof.relative_gap <= tol
    assert work == sorted(work)
    assert work[0] < work[-1]


def parts(solution):
    """Every array of a solution, and its counts."""
    multipliers = solution.multipliers
    arrays = (multipliers.data, multipliers.indices, multipliers.indptr, solution.multipliers_of)
    return solution.columns, solution.column_of, *arrays, solution.iterations


@pytest.mark.parametrize("norm", NORMS)
def test_repeats_bit_by_bit(fixed, norm):
    problem = replace(fixed, norm=norm)
    for left, right in zip(parts(solve(problem)), parts(solve(problem)), strict=True):
        np.testing.assert_array_equal(left, right)


def test_repeats_bit_by_bit_on_a_table_large_enough_for_threads():
    rng = np.random.default_rng(0)
    triples = [(s, r, (r, int(rng.integers(10)))) for s in range(250) for r in range(4) if rng.random() < 0.7]
    problem = from_triples(triples)
    assert problem.examples * problem.answers > 25_000
    (solution, _), again = proven(problem, 5e-2), solve(problem, 5e-2)
    for left, right in zip(parts(solution), parts(again), strict=True):
        np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("norm", NORMS)
def test_threads_share_the_work_and_change_nothing(fixed, norm, monkeypatch):
    problem = replace(fixed, norm=norm)
    _, proof = proven(problem, 1e-4)
    for module, limit in ((project, "_PIECE"), (norms, "_LARGE")):
        monkeypatch.setattr(module, limit, 1)
    (solution, same), again = proven(problem, 1e-4), solve(problem, 1e-4)
    assert overlap(proof, same)
    for left, right in zip(parts(solution), parts(again), strict=True):
        np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", ["table", "contradictory"])
def test_logits_that_are_made_piece_by_piece_change_nothing(name, norm, monkeypatch):
    problem = replace(FIXED[name], norm=norm)
    _, proof = proven(problem, 1e-4)
    monkeypatch.setattr(splitting, "_STREAM", 0)
    monkeypatch.setattr(streamed_logits, "_PIECE", 3 * problem.answers)
    (solution, same), again = proven(problem, 1e-2), solve(problem, 1e-2)
    assert overlap(proof, same)
    for left, right in zip(parts(solution), parts(again), strict=True):
        np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("norm", NORMS)
def test_progress_tells_bounds_that_only_get_better(fixed, norm):
    problem = replace(fixed, norm=norm)
    seen = []
    solution, proof = proven(problem, 1e-6, progress=seen.append)
    assert len(seen) > 2
    for before, after in pairwise(seen):
        assert before.iterations < after.iterations
        assert before.seconds <= after.seconds
        assert before.objective >= after.objective
        assert before.lower_bound <= after.lower_bound
        assert not before.relative_gap <= 1e-6
    assert seen[-1].iterations == solution.iterations
    assert seen[-1].seconds <= solution.seconds
    # what the last one claims is what the certificate finds
    assert seen[-1].objective == pytest.approx(proof.objective, rel=1e-6)
    assert seen[-1].lower_bound == pytest.approx(proof.lower_bound, rel=1e-6)


@pytest.mark.parametrize(
    ("limits", "status"),
    [
        ({"iteration_limit": 1}, Status.ITERATION_LIMIT),
        ({"iteration_limit": 20}, Status.ITERATION_LIMIT),
        ({"iteration_limit": 45}, Status.ITERATION_LIMIT),
        ({"time_limit": 1e-9}, Status.TIME_LIMIT),
        ({"time_limit": 0.02, "progress": lambda _: time.sleep(0.03)}, Status.TIME_LIMIT),
    ],
)
@pytest.mark.parametrize("norm", NORMS)
def test_at_a_limit_the_best_points_so_far_are_proven(fixed, norm, limits, status):
    problem = replace(fixed, norm=norm)
    _, truth = proven(problem, 1e-4)
    solution = solve(problem, 1e-15, **limits)
    assert solution.status is status
    proof = certificate(problem, solution)
    assert proof.lower_bound <= truth.objective * (1 + 1e-9)
    assert proof.objective >= truth.lower_bound * (1 - 1e-9)
    if "iteration_limit" in limits:  # looked at every ten
        assert limits["iteration_limit"] <= solution.iterations < limits["iteration_limit"] + 10
    else:
        assert limits["time_limit"] < solution.seconds
        assert solution.iterations <= 20


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("limit", [10, 30, 60])
def test_at_a_limit_progress_and_certificate_agree(fixed, norm, limit):
    problem = replace(fixed, norm=norm)
    seen = []
    proof = certificate(problem, solve(problem, 1e-15, iteration_limit=limit, progress=seen.append))
    assert seen[-1].iterations == limit
    assert proof.objective == pytest.approx(seen[-1].objective, rel=1e-6)
    assert proof.lower_bound == pytest.approx(seen[-1].lower_bound, rel=1e-6)


def test_a_solution_holds_repeated_columns_and_examples_once():
    problem = balanced_problem(4, 1, 3)
    solution = solve(problem)
    assert solution.columns.shape == (10, 8)  # 4 bridges, 4 held out, r1, r2
    assert solution.multipliers.shape == (12, 8)
    assert (solution.W.shape, solution.dual.shape) == ((8, 18), (20, 8))
    assert sp.issparse(solution.dual)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tol": 0}, "the tolerance must be positive, got 0"),
        ({"tol": -1e-4}, "the tolerance must be positive, got -0.0001"),
        ({"tol": float("nan")}, "the tolerance must be positive, got nan"),
        ({"time_limit": 0}, "limits must be positive, got 0 s and 100000 iterations"),
        ({"time_limit": -1.5}, "limits must be positive, got -1.5 s and 100000 iterations"),
        ({"time_limit": float("nan")}, "limits must be positive, got nan s and 100000 iterations"),
        ({"iteration_limit": 0}, "limits must be positive, got inf s and 0 iterations"),
        ({"iteration_limit": -3}, "limits must be positive, got inf s and -3 iterations"),
    ],
)
def test_what_cannot_be_asked_is_one_clear_line(options, message):
    with pytest.raises(MarginError) as caught:
        solve(FIXED["table"], **options)
    assert str(caught.value) == message
