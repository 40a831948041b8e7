"""The logits streamed piece by piece are those held whole, but for what needs them whole."""

import numpy as np
import pytest
import scipy.sparse as sp

from spillover.margin import splitting, streamed_logits, whole_logits
from spillover.margin.certificate import certificate
from spillover.margin.closed_form import balanced_problem
from spillover.margin.collapse import collapse
from spillover.margin.logits import Logits
from spillover.margin.problem import MarginProblem, Norm
from spillover.margin.solve import solve
from spillover.margin.streamed_logits import StreamedLogits
from spillover.margin.whole_logits import WholeLogits


@pytest.fixture
def small_pieces(monkeypatch):
    """Pieces of five examples, and everything streamed."""
    monkeypatch.setattr(streamed_logits, "_PIECE", 5 * 12)
    monkeypatch.setattr(splitting, "_STREAM", 1)


def table(norm: Norm = "nuclear", penalty: float = np.inf) -> MarginProblem:
    rng = np.random.default_rng(0)
    subject, relation = np.nonzero(rng.random((30, 3)) < 0.7)
    answer = 4 * relation + rng.integers(4, size=subject.size)
    row = np.repeat(np.arange(subject.size), 2)
    features = sp.csr_array(
        (np.ones(row.size), (row, np.stack([subject, 30 + relation], 1).ravel())), shape=(subject.size, 33)
    )
    return MarginProblem(features=features, labels=answer, answers=12, norm=norm, penalty=penalty)


@pytest.mark.parametrize("penalty", [np.inf, 0.05])
def test_one_step_streamed_is_the_step_held_whole(penalty, pool, small_pieces):
    problem = table(penalty=penalty)
    reduced = collapse(problem)
    whole, streamed = WholeLogits(problem, reduced), StreamedLogits(problem, reduced, reduced.features, pool)
    whole.relaxation = streamed.relaxation
    rng = np.random.default_rng(1)
    for _ in range(4):
        w = rng.normal(size=reduced.shape)
        np.testing.assert_allclose(streamed.project(0.3), whole.project(0.3), atol=1e-7)
        for ours, theirs in zip(streamed.pull(0.3), whole.pull(0.3), strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-7)
        np.testing.assert_allclose(
            streamed.multipliers(0.3).toarray(), whole.multipliers(0.3).toarray(), atol=1e-7
        )
        whole.follow(w)
        streamed.follow(w)
        assert streamed.smallest_margin() == pytest.approx(whole.smallest_margin())
        assert streamed.missed() == pytest.approx(whole.missed(), abs=1e-6)
    assert whole.pull(0.3)[0] > 1


@pytest.mark.parametrize("norm", ["nuclear", "frobenius"])
@pytest.mark.parametrize("penalty", [np.inf, 0.3])
def test_a_streamed_solve_is_certified_and_has_the_same_value(norm, penalty, monkeypatch):
    problem = table(norm, penalty)
    value = certificate(problem, solve(problem, 1e-5)).objective
    monkeypatch.setattr(streamed_logits, "_PIECE", 5 * 12)
    monkeypatch.setattr(splitting, "_STREAM", 1)
    proof = certificate(problem, solve(problem, 1e-4, iteration_limit=20_000))
    assert -1e-9 <= proof.relative_gap <= 1e-4
    assert proof.objective == pytest.approx(value, rel=2e-4)


def test_the_entries_of_a_piece_are_those_that_are_not_zero():
    u = np.zeros((4, 3))
    u[0, 2], u[2, 0], u[2, 1] = 0.5, -0.25, 0.125
    for piece in (u, u[:0], np.zeros((2, 3))):
        found, expected = streamed_logits.sparse(piece), sp.csr_array(piece)
        for part in ("data", "indices", "indptr"):
            np.testing.assert_array_equal(getattr(found, part), getattr(expected, part))
        assert found.shape == expected.shape


def test_streamed_there_is_no_state_to_start_or_leap_from(pool):
    problem = table()
    reduced = collapse(problem)
    whole, streamed = WholeLogits(problem, reduced), StreamedLogits(problem, reduced, reduced.features, pool)
    assert isinstance(whole, Logits)
    assert isinstance(streamed, Logits)
    start = reduced.translate(solve(problem))
    assert whole.begin(*start, 0.3).any()
    assert not streamed.begin(*start, 0.3).any()
    a = np.random.default_rng(0).normal(size=reduced.shape)
    streamed.remember(a)
    assert streamed.leap(a) is a


def test_beyond_a_number_of_logits_no_leap_is_made(monkeypatch):
    problem = table()
    reduced = collapse(problem)
    a = np.random.default_rng(0).normal(size=reduced.shape)
    for limit, leaps in ((a.size + reduced.labels.size * problem.answers, True), (a.size, False)):
        monkeypatch.setattr(whole_logits, "_REMEMBERED", limit)
        logits = WholeLogits(problem, reduced)
        logits.remember(a)
        assert (logits.leap(a) is not a) == leaps


def test_invariant_matrices_are_held_whole_and_have_no_use_for_a_start(monkeypatch):
    problem = balanced_problem(4, 1, 3)
    solution = solve(problem)
    monkeypatch.setattr(splitting, "_STREAM", 0)
    again = solve(problem, start=solution)
    assert again.iterations == solution.iterations
    np.testing.assert_array_equal(again.columns, solution.columns)
