"""The certificate against plain loops, against known optima, and against solutions that were tampered with.

Shapes: N examples, D columns, A answers.
"""

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp

from spillover.errors import MarginError
from spillover.margin import certificate as certificate_module
from spillover.margin.certificate import Certificate, certificate
from spillover.margin.closed_form import balanced, balanced_problem
from spillover.margin.problem import MarginProblem, from_triples
from spillover.margin.solution import Solution, Status

NORMS = ["nuclear", "frobenius"]
INF = float("inf")
BALANCED = [(2, 1, 1), (3, 1, 2), (3, 2, 1), (4, 1, 3), (3, 2, 0)]


def solution_of(W, dual):
    """A solution that holds these points as they are, nothing repeated."""
    return Solution(
        columns=W.T.copy(),
        column_of=np.arange(W.shape[1]),
        multipliers=sp.csr_array(dual),
        multipliers_of=np.arange(dual.shape[0]),
        status=Status.OPTIMAL,
        iterations=0,
        seconds=0.0,
    )


def random_case(seed, norm, penalty, *, kept):
    """A problem, a W that keeps all its margins positive (or any W), and multipliers of which half are 0."""
    rng = np.random.default_rng(seed)
    N, D, A = rng.integers(3, 9), rng.integers(2, 9), rng.integers(2, 6)
    features, W = rng.normal(size=(N, D)) * (rng.random((N, D)) < 0.7), rng.normal(size=(A, D))
    features[:, 0] = 1.0
    labels = np.argmax(features @ W.T, axis=1) if kept else rng.integers(A, size=N)
    dual = rng.random((N, A)) * (rng.random((N, A)) < 0.5)
    dual[0] = 0.3
    dual[np.arange(N), labels] = 0.0
    problem = MarginProblem(
        features=sp.csr_array(features), labels=labels, answers=int(A), norm=norm, penalty=penalty
    )
    return problem, W, dual


def plainly(problem, W, dual):
    """(objective, lower bound, smallest margin, dual norm), one constraint after the other."""
    nuclear, c = problem.norm == "nuclear", problem.penalty
    x, smallest, missed, total = problem.features.toarray(), INF, 0.0, 0.0
    G = np.zeros_like(W)
    for i, y in enumerate(problem.labels):
        for a in range(problem.answers):
            if a == y:
                continue
            margin = (W[y] - W[a]) @ x[i]
            smallest, missed = min(smallest, margin), missed + max(0.0, 1 - margin)
            multiplier = min(dual[i, a], c)
            total += multiplier
            G[y] += multiplier * x[i]
            G[a] -= multiplier * x[i]
    norm = np.linalg.svd(W, compute_uv=False).sum() if nuclear else (W**2).sum() / 2
    size = np.linalg.norm(G, 2) if nuclear else np.linalg.norm(G)
    if not problem.hard:
        objective = norm + c * missed
    else:
        objective = norm / smallest ** (1 if nuclear else 2) if smallest > 0 else INF
    # the best t in t Σλ with t‖G‖ ≤ 1, or t Σλ − t²‖G‖²/2; a soft margin has t ≤ 1 besides
    t = 1 / size if nuclear else total / size**2
    t = t if problem.hard else min(t, 1.0)
    return objective, t * total - (0 if nuclear else (t * size) ** 2 / 2), smallest, size


@pytest.mark.parametrize("chunk", [None, 1], ids=["whole", "piecewise"])
@pytest.mark.parametrize("kept", [True, False], ids=["margins-kept", "any-W"])
@pytest.mark.parametrize("penalty", [INF, 0.4, 0.02])
@pytest.mark.parametrize("norm", NORMS)
def test_equals_plain_loops(norm, penalty, kept, chunk, monkeypatch):
    if chunk:
        monkeypatch.setattr(certificate_module, "_CHUNK", chunk)
    for seed in range(8):
        problem, W, dual = random_case(seed, norm, penalty, kept=kept)
        found = certificate(problem, solution_of(W, dual))
        objective, bound, smallest, size = plainly(problem, W, dual)
        assert found.objective == pytest.approx(objective, rel=1e-9)
        assert found.lower_bound == pytest.approx(bound, rel=1e-9)
        assert found.smallest_margin == pytest.approx(smallest, rel=1e-9, abs=1e-12)
        assert found.worst_violation == pytest.approx(max(0.0, 1 - smallest), rel=1e-9)
        assert found.dual_norm == pytest.approx(size, rel=1e-7)
        if np.isfinite(objective):
            assert found.relative_gap == pytest.approx((objective - bound) / objective, rel=1e-9)


@pytest.mark.parametrize("penalty", [INF, 0.3])
@pytest.mark.parametrize("norm", NORMS)
def test_points_held_once_weigh_as_often_as_they_occur(norm, penalty):
    rng = np.random.default_rng(5)
    columns, column_of = rng.normal(size=(3, 4)), np.array([2, 0, 0, 1, 0])
    labels, multipliers_of = np.array([1, 3, 1, 1, 3, 0]), np.array([0, 1, 0, 0, 1, 2])
    multipliers = rng.random((3, 4))
    multipliers[[0, 1, 2], [1, 3, 0]] = 0.0
    problem = MarginProblem(
        features=sp.csr_array(rng.normal(size=(6, 5))), labels=labels, answers=4, norm=norm, penalty=penalty
    )
    short = Solution(
        columns=columns,
        column_of=column_of,
        multipliers=sp.csr_array(multipliers),
        multipliers_of=multipliers_of,
        status=Status.OPTIMAL,
        iterations=0,
        seconds=0.0,
    )
    W, dual = columns[column_of].T, multipliers[multipliers_of]
    np.testing.assert_array_equal(short.W, W)
    np.testing.assert_array_equal(short.dual.toarray(), dual)
    found = certificate(problem, short)
    objective, bound, smallest, size = plainly(problem, W, dual)
    wanted = pytest.approx((objective, bound, smallest, size), rel=1e-9)
    assert (found.objective, found.lower_bound, found.smallest_margin, found.dual_norm) == wanted


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("sizes", BALANCED)
def test_a_known_optimum_has_no_gap(sizes, norm):
    optimum = balanced(*sizes, norm=norm)
    found = certificate(balanced_problem(*sizes, norm=norm), solution_of(optimum.W, optimum.dual))
    assert found.objective == pytest.approx(optimum.value, rel=1e-12)
    assert found.lower_bound == pytest.approx(optimum.value, rel=1e-12)
    assert abs(found.relative_gap) < 1e-12
    assert found.worst_violation < 1e-12


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("sizes", BALANCED)
def test_no_point_near_or_far_crosses_a_known_optimum(sizes, norm):
    optimum, problem = balanced(*sizes, norm=norm), balanced_problem(*sizes, norm=norm)
    rng = np.random.default_rng(0)
    finite = 0
    for size in [1e-3, 1e-2, 0.1, 0.3, 1.0] * 4:
        W = optimum.W + size * rng.normal(size=optimum.W.shape)
        dual = np.abs(optimum.dual + size * rng.normal(size=optimum.dual.shape))
        dual[np.arange(problem.examples), problem.labels] = 0.0
        found = certificate(problem, solution_of(W, dual))
        finite += np.isfinite(found.objective)
        assert found.objective > optimum.value > found.lower_bound > 0
    assert finite >= 8  # else the first half of that says nothing


@pytest.mark.parametrize("penalty", [0.01, 0.1, 1.0])
@pytest.mark.parametrize("norm", NORMS)
def test_any_two_points_of_a_soft_margin_keep_their_order(norm, penalty):
    for seed in range(8):
        problem, W, dual = random_case(seed, norm, penalty, kept=False)
        for scale in (0.0, 0.01, 0.3):
            found = certificate(problem, solution_of(scale * W, 10 * scale * dual))
            assert found.lower_bound <= found.objective


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("factor", [0.99, 0.1, 1.1, 1000.0])
def test_scaling_either_point_proves_the_same(factor, norm):
    optimum, problem = balanced(3, 1, 2, norm), balanced_problem(3, 1, 2, norm)
    found = certificate(problem, solution_of(factor * optimum.W, factor * optimum.dual))
    assert found.objective == pytest.approx(optimum.value, rel=1e-12)
    assert found.lower_bound == pytest.approx(optimum.value, rel=1e-12)
    # what was scaled shows where the points themselves are looked at
    assert found.smallest_margin == pytest.approx(factor, rel=1e-12)
    assert found.worst_violation == pytest.approx(max(0, 1 - factor), abs=1e-12)
    truth = certificate(problem, solution_of(optimum.W, optimum.dual))
    assert found.dual_norm == pytest.approx(factor * truth.dual_norm, rel=1e-9)


@pytest.mark.parametrize("norm", NORMS)
def test_a_soft_margin_does_not_scale_multipliers_beyond_the_penalty(norm):
    # all features 0 but one: λ may grow only to the penalty, though ‖Σ λ A‖ stays far below 1
    problem = MarginProblem(
        features=sp.csr_array([[1e-6]]), labels=np.zeros(1, int), answers=2, norm=norm, penalty=0.5
    )
    for multiplier, bound in [(0.25, 0.25), (0.5, 0.5), (40.0, 0.5)]:
        found = certificate(problem, solution_of(np.zeros((2, 1)), np.array([[0.0, multiplier]])))
        assert found.lower_bound == pytest.approx(bound, rel=1e-9)
        assert found.objective == 0.5


@pytest.mark.parametrize(("norm", "power"), [("nuclear", 1), ("frobenius", 2)])
def test_one_missed_constraint_costs_the_scale_that_mends_it(norm, power):
    optimum, problem = balanced(3, 1, 2, norm), balanced_problem(3, 1, 2, norm)
    W = optimum.W.copy()
    subject = problem.features.indices[problem.features.indptr[0]]
    W[problem.labels[0], subject] -= 0.2
    found = certificate(problem, solution_of(W, optimum.dual))
    assert found.worst_violation == pytest.approx(0.2, rel=1e-9)
    norm_value = np.linalg.norm(W, "nuc") if norm == "nuclear" else (W**2).sum() / 2
    assert found.objective == pytest.approx(norm_value / 0.8**power, rel=1e-9)
    assert found.objective > 1.05 * optimum.value


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("factor", [0.0, -1.0])
def test_without_a_positive_margin_there_is_no_objective_and_no_gap(factor, norm):
    optimum, problem = balanced(3, 1, 2, norm), balanced_problem(3, 1, 2, norm)
    found = certificate(problem, solution_of(factor * optimum.W, optimum.dual))
    assert found.objective == INF
    assert np.isnan(found.relative_gap)
    assert found.smallest_margin <= 0
    assert found.lower_bound == pytest.approx(optimum.value, rel=1e-12)


@pytest.mark.parametrize("norm", NORMS)
def test_no_multipliers_prove_nothing(norm):
    optimum, problem = balanced(3, 1, 2, norm), balanced_problem(3, 1, 2, norm)
    for soft in (problem, replace(problem, penalty=2.0)):
        found = certificate(soft, solution_of(optimum.W, 0 * optimum.dual))
        assert (found.lower_bound, found.dual_norm, found.relative_gap) == (0, 0, 1)


@pytest.mark.parametrize("norm", NORMS)
def test_multipliers_that_cancel_prove_that_there_is_no_solution(norm):
    problem = from_triples([("s", "r", "a"), ("s", "r", "b")], norm=norm)
    found = certificate(problem, solution_of(np.eye(2), np.array([[0.0, 2.0], [2.0, 0.0]])))
    assert found.lower_bound == INF
    assert np.isnan(found.relative_gap)


@pytest.mark.parametrize("norm", NORMS)
def test_multipliers_that_cancel_prove_what_a_soft_margin_must_pay(norm):
    problem = from_triples([("s", "r", "a"), ("s", "r", "b")], norm=norm, penalty=0.5)
    for multiplier, bound in [(0.2, 0.4), (0.5, 1.0), (2.0, 1.0)]:
        found = certificate(problem, solution_of(np.zeros((2, 2)), multiplier * (1 - np.eye(2))))
        assert (found.lower_bound, found.objective) == (pytest.approx(bound), 1.0)


@pytest.mark.parametrize("norm", NORMS)
def test_a_multiplier_stored_in_two_parts_is_held_to_the_penalty_as_one(norm):
    problem = MarginProblem(
        features=sp.csr_array([[1e-6]]), labels=np.zeros(1, int), answers=2, norm=norm, penalty=0.5
    )
    parts = sp.csr_array((np.array([0.5, 0.5]), np.array([1, 1]), np.array([0, 2])), shape=(1, 2))
    whole = solution_of(np.zeros((2, 1)), np.array([[0.0, 1.0]]))
    assert parts.toarray().tolist() == [[0.0, 1.0]]
    found = certificate(problem, replace(whole, multipliers=parts))
    assert found.lower_bound == pytest.approx(0.5, rel=1e-9)
    assert found.lower_bound <= found.objective


def test_a_gap_keeps_its_sign():
    crossed = Certificate(
        objective=2.0, lower_bound=2.5, smallest_margin=1.0, worst_violation=0.0, dual_norm=1.0
    )
    assert crossed.relative_gap == -0.25


LABELS = np.array([0, 1, 2, 3, 3])


def tampered(**changed):
    """A solution with three columns, four answers and five examples, of which something is changed."""
    whole = solution_of(np.ones((4, 3)), 1 - np.eye(4)[LABELS])
    return replace(whole, **{name: change(getattr(whole, name)) for name, change in changed.items()})


def entry(row, column, value):
    """A change of one number."""

    def change(matrix):
        sparse = isinstance(matrix, sp.csr_array)
        changed = matrix.toarray() if sparse else matrix.copy()
        changed[row, column] = value
        return sp.csr_array(changed) if sparse else changed

    return change


OTHER = "the solution belongs to another problem"


@pytest.mark.parametrize("penalty", [INF, 1.0], ids=["hard", "soft"])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"multipliers": entry(1, 2, -1e-300)}, "the solution holds a negative multiplier"),
        ({"multipliers": entry(2, 2, 1e-300)}, "the solution holds a multiplier at an example's own label"),
        ({"multipliers": entry(0, 3, np.nan)}, "the solution holds numbers that are not finite"),
        ({"multipliers": entry(0, 3, np.inf)}, "the solution holds numbers that are not finite"),
        ({"columns": entry(0, 3, np.nan)}, "the solution holds numbers that are not finite"),
        ({"columns": entry(2, 0, -np.inf)}, "the solution holds numbers that are not finite"),
        ({"columns": lambda w: w[:, :-1]}, OTHER),
        ({"column_of": lambda of: of[:-1]}, OTHER),
        ({"multipliers": lambda dual: dual[:, :-1]}, OTHER),
        ({"multipliers_of": lambda of: of[:-1]}, OTHER),
        ({"column_of": lambda of: of + 1}, OTHER),
        ({"column_of": lambda of: of - 1}, OTHER),
        ({"columns": lambda w: w[:-1]}, OTHER),
        ({"multipliers_of": lambda of: of + 1}, OTHER),
        ({"multipliers_of": lambda of: of - 1}, OTHER),
        ({"multipliers": lambda dual: dual[:-1]}, OTHER),
    ],
    ids=[
        *("negative", "at-label", "nan-multiplier", "infinite-multiplier", "nan-W", "infinite-W"),
        *("answers-of-W", "columns-of-W", "answers-of-multipliers", "examples-of-multipliers"),
        *("column-beyond", "column-below", "column-gone", "row-beyond", "row-below", "row-gone"),
    ],
)
@pytest.mark.usefixtures("own_words")
def test_a_tampered_solution_is_refused(changed, message, norm, penalty):
    problem = MarginProblem(
        features=sp.csr_array(np.ones((5, 3))), labels=LABELS, answers=4, norm=norm, penalty=penalty
    )
    certificate(problem, tampered())  # nothing changed, nothing refused
    with pytest.raises(MarginError, match=message):
        certificate(problem, tampered(**changed))
