"""The solver against CVXPY, closed forms and Theorem 2; what must not change its answer; how it ends.

Every value is the certificate's, never the solver's own. Shapes: N examples, D columns, A answers.
"""

import time
from dataclasses import replace
from itertools import pairwise
from math import sqrt

import cvxpy as cp
import numpy as np
import pytest
import scipy.sparse as sp

from spillover.errors import MarginError
from spillover.margin import logits, norms, project, splitting
from spillover.margin.anderson import Anderson
from spillover.margin.certificate import certificate
from spillover.margin.closed_form import balanced, balanced_problem
from spillover.margin.problem import MarginProblem, from_patterns, from_triples
from spillover.margin.solution import Status
from spillover.margin.solve import solve

NORMS = ["nuclear", "frobenius"]
BALANCED = [(3, 1, 1), (3, 1, 2), (3, 2, 1), (4, 1, 3), (5, 1, 4), (3, 2, 0), (2, 4, 1), (10, 1, 3)]


def table(seed):
    """Triples of a few subjects and relations, some missing; every relation has answers of its own."""
    rng = np.random.default_rng(seed)
    triples = []
    subjects = int(rng.integers(3, 11))
    for relation in range(rng.integers(2, 4)):
        answers = int(rng.integers(2, 5))
        triples += [
            (subject, relation, (relation, int(rng.integers(answers))))
            for subject in range(subjects)
            if rng.random() < 0.85
        ]
    return triples


def contradictory(seed):
    """A table of which some cells are said twice, with two answers."""
    triples = table(seed)
    rng = np.random.default_rng(seed)
    for place in rng.choice(len(triples), size=3, replace=False):
        subject, relation, (_, answer) = triples[place]
        triples.append((subject, relation, (relation, answer + 1)))
    return triples


def sparse_problem(seed, **options):
    """Random sparse features and the labels of a random W, so that a hard margin can be kept."""
    rng = np.random.default_rng(seed)
    N, D, A = rng.integers(6, 16), rng.integers(5, 12), rng.integers(2, 6)
    features = rng.normal(size=(N, D)) * (rng.random((N, D)) < 0.4)
    features[np.arange(N), rng.integers(D, size=N)] = 1.0
    labels = np.argmax(features @ rng.normal(size=(D, A)), axis=1)
    return MarginProblem(features=sp.csr_array(features), labels=labels, answers=int(A), **options)


def reference(problem):
    """The optimum's value and W, from a general solver."""
    W = cp.Variable((problem.answers, problem.columns))
    scores = problem.features.toarray() @ W.T
    own = np.eye(problem.answers)[problem.labels]
    right = cp.sum(cp.multiply(own, scores), axis=1, keepdims=True)
    margins = right @ np.ones((1, problem.answers)) - scores
    cost = cp.normNuc(W) if problem.norm == "nuclear" else cp.sum_squares(W) / 2
    if problem.hard:
        whole = cp.Problem(cp.Minimize(cost), [margins[own == 0] >= 1])
    else:
        whole = cp.Problem(cp.Minimize(cost + problem.penalty * cp.sum(cp.pos(1 - margins[own == 0]))))
    whole.solve(solver=cp.SCS, eps=1e-6, max_iters=50_000)
    assert whole.status == cp.OPTIMAL
    assert W.value is not None
    return whole.value, W.value


def proven(problem, tol=1e-5, **options):
    """A solution that says it is optimal, and the certificate that agrees."""
    solution = solve(problem, tol, **options)
    assert solution.status is Status.OPTIMAL
    proof = certificate(problem, solution)
    assert -1e-9 <= proof.relative_gap <= tol + 1e-12
    # the multipliers are feasible as they stand, and already at their best scale
    total, largest = solution.dual.sum(), solution.dual.max()
    assert largest <= problem.penalty * (1 + 1e-9)
    value = total if problem.norm == "nuclear" else total - proof.dual_norm**2 / 2
    assert value == pytest.approx(proof.lower_bound, rel=1e-7)
    if problem.norm == "nuclear":
        assert proof.dual_norm <= 1 + 1e-7
    return solution, proof


def overlap(one, other, factor=1.0):
    """Whether two proofs leave room for optima of which one is `factor` times the other."""
    slack = 1e-9 * one.objective
    low, high = factor * other.lower_bound, factor * other.objective
    return one.lower_bound <= high + slack and low <= one.objective + slack


def check_against_reference(problem):
    value, W = reference(problem)
    solution, proof = proven(problem)
    assert proof.objective == pytest.approx(value, rel=1e-4)
    assert proof.lower_bound == pytest.approx(value, rel=1e-4)
    if problem.norm == "frobenius":  # the optimum is unique
        np.testing.assert_allclose(solution.W, W, rtol=0, atol=1e-2)
    if problem.hard:
        assert proof.smallest_margin == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("seed", range(30))
def test_value_equals_cvxpy_on_random_tables(seed, norm):
    check_against_reference(from_triples(table(seed), norm=norm))


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("seed", range(8))
def test_value_equals_cvxpy_on_sparse_features(seed, norm):
    check_against_reference(sparse_problem(seed, norm=norm))


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("penalty", [0.03, 0.15, 1.0, 5.0])
@pytest.mark.parametrize("seed", [100, 101, 102])
def test_soft_value_equals_cvxpy_on_tables_that_contradict_themselves(seed, penalty, norm):
    check_against_reference(from_triples(contradictory(seed), norm=norm, penalty=penalty))


@pytest.mark.parametrize("reduce", [True, False], ids=["reduced", "whole"])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("sizes", BALANCED)
def test_the_closed_form_is_met_within_the_tolerance(sizes, norm, reduce):
    optimum = balanced(*sizes, norm=norm)
    solution, proof = proven(balanced_problem(*sizes, norm=norm), 1e-6, reduce=reduce)
    assert proof.lower_bound <= optimum.value * (1 + 1e-9)
    assert proof.objective >= optimum.value * (1 - 1e-9)
    np.testing.assert_allclose(solution.W, optimum.W, rtol=0, atol=1e-2)


@pytest.mark.parametrize("reduce", [True, False], ids=["reduced", "whole"])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(("n", "m_train", "m_test"), [(n, k, m) for n, k, m in BALANCED if m])
def test_theorem_2_is_attained(n, m_train, m_test, norm, reduce):
    W = proven(balanced_problem(n, m_train, m_test, norm), 1e-6, reduce=reduce)[0].W
    wanted = min(sqrt(m_train / m_test), 1) if norm == "nuclear" else 0.0
    held_out = np.arange(n * (m_train + m_test)).reshape(n, -1)[:, m_train:]
    for group, subjects in enumerate(held_out):
        scores = W[:, subjects] + W[:, -1:]
        leads = scores[n + group] - np.delete(scores, n + group, axis=0).max(axis=0)
        np.testing.assert_allclose(leads, wanted, rtol=0, atol=1e-2)


# What must not change the answer

FIXED = {
    "table": from_triples(table(50)),
    "two-classes": from_triples(
        [(s, r, (r, s // 3)) for s in range(9) for r in (0, 1) if r == 0 or s % 3 < 1 + (s > 5)]
    ),
    "sparse": sparse_problem(50),
    "contradictory": from_triples(contradictory(50), penalty=0.2),
}


@pytest.fixture(params=FIXED)
def fixed(request):
    return FIXED[request.param]


@pytest.mark.parametrize("norm", NORMS)
def test_renaming_subjects_and_ordering_examples_anew_change_nothing(fixed, norm):
    problem = replace(fixed, norm=norm)
    rng = np.random.default_rng(0)
    rows, columns = rng.permutation(problem.examples), rng.permutation(problem.columns)
    renamed = replace(problem, features=problem.features[rows][:, columns], labels=problem.labels[rows])
    (one, proof), (other, same) = proven(problem, 1e-6), proven(renamed, 1e-6)
    assert overlap(proof, same)
    if norm == "frobenius":
        np.testing.assert_allclose(other.W, one.W[:, columns], rtol=0, atol=1e-2)


@pytest.mark.parametrize("norm", NORMS)
def test_permuting_answers_changes_nothing(fixed, norm):
    problem = replace(fixed, norm=norm)
    answer = np.random.default_rng(0).permutation(problem.answers)
    (one, proof), (other, same) = (
        proven(problem, 1e-6),
        proven(replace(problem, labels=answer[problem.labels]), 1e-6),
    )
    assert overlap(proof, same)
    if norm == "frobenius":
        np.testing.assert_allclose(other.W[answer], one.W, rtol=0, atol=1e-2)


@pytest.mark.parametrize("norm", NORMS)
def test_subjects_of_whom_the_same_is_said_are_solved_alike_reduced_and_whole(norm):
    triples = table(51)
    triples += [((copy, s), r, a) for copy in range(3) for s, r, a in triples if s < 2]
    problem = from_triples(triples, norm=norm)
    (one, proof), (other, same) = proven(problem, 1e-6), proven(problem, 1e-6, reduce=False)
    assert one.columns.shape[0] < other.columns.shape[0] == problem.columns
    assert overlap(proof, same)


@pytest.mark.parametrize("scale", [1e-6, 0.1, 3.0, 1e6])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", ["table", "sparse"])
def test_scaling_the_features_divides_the_value(name, norm, scale):
    problem = replace(FIXED[name], norm=norm)
    scaled = replace(problem, features=scale * problem.features)
    _, proof = proven(problem, 1e-5)
    _, same = proven(scaled, 1e-5, iteration_limit=1000)
    assert overlap(proof, same, factor=scale ** (1 if norm == "nuclear" else 2))


@pytest.mark.parametrize("norm", NORMS)
def test_one_long_row_does_not_hold_up_the_short_ones(norm):
    features = sp.csr_array(np.diag([1.0, 100.0, 0.01]))
    proven(
        MarginProblem(features=features, labels=np.arange(3), answers=3, norm=norm),
        1e-4,
        iteration_limit=2000,
    )


@pytest.mark.parametrize("norm", NORMS)
def test_a_penalty_beyond_every_multiplier_is_a_hard_margin(norm):
    problem = from_triples(table(52), norm=norm)
    solution, proof = proven(problem)
    largest = solution.dual.max()
    (_, same), (_, less) = (proven(replace(problem, penalty=factor * largest)) for factor in (1.5, 0.5))
    assert overlap(proof, same)
    assert less.objective < 0.99 * proof.objective


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("penalty", [np.inf, 0.1])
def test_copies_are_examples_said_again(norm, penalty):
    problem = replace(from_triples(table(3)), norm=norm, penalty=penalty)
    copies = np.random.default_rng(0).integers(1, 4, size=problem.examples)
    again = np.repeat(np.arange(problem.examples), copies)
    written_out = replace(problem, features=problem.features[again], labels=problem.labels[again])
    counted = replace(problem, copies=copies)
    for reduce in (True, False):
        solution = solve(counted, 1e-5, reduce=reduce)
        proof = certificate(counted, solution)
        assert -1e-9 <= proof.relative_gap <= 1e-5
        assert overlap(proof, certificate(written_out, solve(written_out, 1e-5, reduce=reduce)))


@pytest.mark.parametrize("penalty", [np.inf, 0.1])
def test_patterns_are_their_subjects(penalty):
    rng = np.random.default_rng(1)
    pattern, relation = np.divmod(np.arange(12), 2)
    answer, subjects = rng.integers(3, size=12) + 3 * relation, rng.integers(1, 9, size=6)
    counted = from_patterns(
        pattern, relation, answer, subjects=subjects, relations=2, answers=6, penalty=penalty
    )
    each = [
        (f"{p}-{number}", r, a)
        for p, r, a in zip(pattern, relation, answer, strict=True)
        for number in range(subjects[p])
    ]
    whole = from_triples(each, answers=6, penalty=penalty)
    assert overlap(proven(whole, reduce=False)[1], certificate(counted, solve(counted, 1e-5)))


@pytest.mark.parametrize("stretch", [1.0, 100.0])
@pytest.mark.parametrize("penalty", [np.inf, 0.1])
@pytest.mark.parametrize("norm", NORMS)
def test_a_solution_is_a_start_that_is_there_at_once(norm, penalty, stretch):
    problem = replace(from_triples(table(5)), norm=norm, penalty=penalty)
    problem = replace(problem, features=problem.features * stretch)
    solution = solve(problem, 1e-6)
    again, _ = proven(problem, 1e-5, start=solution)
    assert again.iterations <= 20 < solution.iterations


def test_a_start_of_another_shape_is_one_clear_line():
    with pytest.raises(MarginError, match="the solution belongs to another problem"):
        solve(from_triples(table(5)), start=solve(balanced_problem(3, 1, 2)))


@pytest.mark.parametrize("norm", NORMS)
def test_where_every_multiplier_is_the_penalty_the_value_is_known(norm):
    problem = from_triples(table(53), norm=norm, penalty=1e-3)
    pull = problem.answers * np.eye(problem.answers)[problem.labels] - 1.0
    G = 1e-3 * pull.T @ problem.features.toarray()
    everything = 1e-3 * problem.examples * (problem.answers - 1)
    solution, proof = proven(problem, 1e-7)
    if norm == "nuclear":  # a unit of W costs more than it saves
        assert np.linalg.norm(G, 2) < 1
        assert proof.objective == pytest.approx(everything, rel=1e-6)
        np.testing.assert_allclose(solution.W, 0, atol=1e-6)
    else:  # W = G keeps no margin whole
        assert (G**2).sum() > 1e-3
        assert proof.objective == pytest.approx(everything - (G**2).sum() / 2, rel=1e-6)
        np.testing.assert_allclose(solution.W, G, rtol=0, atol=1e-3)
    assert proof.worst_violation > 0


@pytest.mark.parametrize("norm", NORMS)
def test_features_of_nothing_but_zeros_pay_every_penalty(norm):
    problem = MarginProblem(
        features=sp.csr_array((2, 3)), labels=np.array([0, 1]), answers=4, norm=norm, penalty=0.5
    )
    solution, proof = proven(problem)
    assert proof.objective == pytest.approx(3.0, rel=1e-9)
    assert not solution.W.any()


# How it ends


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
    for one, other in zip(parts(solve(problem)), parts(solve(problem)), strict=True):
        np.testing.assert_array_equal(one, other)


def test_repeats_bit_by_bit_on_a_table_large_enough_for_threads():
    rng = np.random.default_rng(0)
    triples = [(s, r, (r, int(rng.integers(10)))) for s in range(250) for r in range(4) if rng.random() < 0.7]
    problem = from_triples(triples)
    assert problem.examples * problem.answers > 25_000
    (one, _), other = proven(problem, 5e-2), solve(problem, 5e-2)
    for left, right in zip(parts(one), parts(other), strict=True):
        np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("norm", NORMS)
def test_threads_share_the_work_and_change_nothing(fixed, norm, monkeypatch):
    problem = replace(fixed, norm=norm)
    _, proof = proven(problem, 1e-4)
    for module, limit in ((project, "_PIECE"), (norms, "_LARGE")):
        monkeypatch.setattr(module, limit, 1)
    (one, same), other = proven(problem, 1e-4), solve(problem, 1e-4)
    assert overlap(proof, same)
    for left, right in zip(parts(one), parts(other), strict=True):
        np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", ["table", "contradictory"])
def test_logits_that_are_made_piece_by_piece_change_nothing(name, norm, monkeypatch):
    problem = replace(FIXED[name], norm=norm)
    _, proof = proven(problem, 1e-4)
    monkeypatch.setattr(splitting, "_STREAM", 0)
    monkeypatch.setattr(logits, "_PIECE", 3 * problem.answers)
    (one, same), other = proven(problem, 1e-2), solve(problem, 1e-2)
    assert overlap(proof, same)
    for left, right in zip(parts(one), parts(other), strict=True):
        np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("stretch", [1.0, 30.0])
def test_leaps_solve_a_linear_map_that_plain_steps_hardly_move(stretch):
    rng = np.random.default_rng(0)
    scale, target = np.linspace(1.0, stretch, 4), rng.normal(size=4)
    q = np.linalg.qr(rng.normal(size=(4, 4)))[0]
    matrix = (q * np.linspace(-0.5, 0.98, 4)) @ q.T * scale / scale[:, None]
    anderson, leaped, plain = Anderson(scale), np.zeros(4), np.zeros(4)
    for _ in range(8):  # four directions, and a few for rounding
        leaped = anderson.leap(leaped, target + matrix @ (leaped - target))
        plain = target + matrix @ (plain - target)
    errors = [np.linalg.norm(scale * (x - target)) / np.linalg.norm(scale * target) for x in (leaped, plain)]
    assert errors[0] < 1e-8
    assert errors[1] > 0.05


def test_a_leap_that_went_wrong_is_taken_back():
    anderson = Anderson(np.ones(2))
    first = anderson.leap(np.zeros(2), np.array([1.0, 0.0])).copy()
    back = anderson.leap(np.array([50.0, 0.0]), np.array([50.0, 7.0]))
    np.testing.assert_array_equal(back, first)


@pytest.mark.parametrize("norm", NORMS)
def test_what_the_acceleration_remembers_is_left_alone(norm, monkeypatch):
    handed = []

    def leap(self, before, image):
        for given, copy in handed[-1:]:
            np.testing.assert_array_equal(given, copy)
        handed.append((image, image.copy()))
        return plain_leap(self, before, image)

    plain_leap = Anderson.leap
    monkeypatch.setattr(Anderson, "leap", leap)
    proven(replace(FIXED["table"], norm=norm), 1e-6)
    assert len(handed) > 5


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
