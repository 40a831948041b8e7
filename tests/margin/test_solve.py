"""The solver against CVXPY, closed forms and Theorem 2; and what must not change its answer.

Every value is the certificate's, never the solver's own. Shapes: N examples, D columns, A answers.
"""

from dataclasses import replace
from math import sqrt

import cvxpy as cp
import numpy as np
import pytest
import scipy.sparse as sp

from spillover.errors import MarginError
from spillover.margin.certificate import certificate
from spillover.margin.closed_form import balanced, balanced_problem
from spillover.margin.problem import MarginProblem, from_patterns, from_triples
from spillover.margin.solve import solve
from tests.margin.proofs import overlap, proven
from tests.margin.tables import FIXED, NORMS, contradictory, random_sparse_problem, random_table

BALANCED = [(3, 1, 1), (3, 1, 2), (3, 2, 1), (4, 1, 3), (5, 1, 4), (3, 2, 0), (2, 4, 1), (10, 1, 3)]


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
    check_against_reference(from_triples(random_table(seed), norm=norm))


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("seed", range(8))
def test_value_equals_cvxpy_on_sparse_features(seed, norm):
    check_against_reference(random_sparse_problem(seed, norm=norm))


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


@pytest.mark.parametrize("norm", NORMS)
def test_renaming_subjects_and_ordering_examples_anew_change_nothing(fixed, norm):
    problem = replace(fixed, norm=norm)
    rng = np.random.default_rng(0)
    rows, columns = rng.permutation(problem.examples), rng.permutation(problem.columns)
    renamed = replace(problem, features=problem.features[rows][:, columns], labels=problem.labels[rows])
    (solution, proof), (again, same) = proven(problem, 1e-6), proven(renamed, 1e-6)
    assert overlap(proof, same)
    if norm == "frobenius":
        np.testing.assert_allclose(again.W, solution.W[:, columns], rtol=0, atol=1e-2)


@pytest.mark.parametrize("norm", NORMS)
def test_permuting_answers_changes_nothing(fixed, norm):
    problem = replace(fixed, norm=norm)
    answer = np.random.default_rng(0).permutation(problem.answers)
    (solution, proof), (again, same) = (
        proven(problem, 1e-6),
        proven(replace(problem, labels=answer[problem.labels]), 1e-6),
    )
    assert overlap(proof, same)
    if norm == "frobenius":
        np.testing.assert_allclose(again.W[answer], solution.W, rtol=0, atol=1e-2)


@pytest.mark.parametrize("norm", NORMS)
def test_subjects_of_whom_the_same_is_said_are_solved_alike_reduced_and_whole(norm):
    triples = random_table(51)
    triples += [((copy, s), r, a) for copy in range(3) for s, r, a in triples if s < 2]
    problem = from_triples(triples, norm=norm)
    (solution, proof), (again, same) = proven(problem, 1e-6), proven(problem, 1e-6, reduce=False)
    assert solution.columns.shape[0] < again.columns.shape[0] == problem.columns
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
    problem = from_triples(random_table(52), norm=norm)
    solution, proof = proven(problem)
    largest = solution.dual.max()
    (_, same), (_, less) = (proven(replace(problem, penalty=factor * largest)) for factor in (1.5, 0.5))
    assert overlap(proof, same)
    assert less.objective < 0.99 * proof.objective


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("penalty", [np.inf, 0.1])
def test_copies_are_examples_said_again(norm, penalty):
    problem = replace(from_triples(random_table(3)), norm=norm, penalty=penalty)
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
    problem = replace(from_triples(random_table(5)), norm=norm, penalty=penalty)
    problem = replace(problem, features=problem.features * stretch)
    solution = solve(problem, 1e-6)
    again, _ = proven(problem, 1e-5, start=solution)
    assert again.iterations <= 20 < solution.iterations


def test_a_start_of_another_shape_is_one_clear_line():
    with pytest.raises(MarginError, match="the solution belongs to another problem"):
        solve(from_triples(random_table(5)), start=solve(balanced_problem(3, 1, 2)))


@pytest.mark.parametrize("norm", NORMS)
def test_where_every_multiplier_is_the_penalty_the_value_is_known(norm):
    problem = from_triples(random_table(53), norm=norm, penalty=1e-3)
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
