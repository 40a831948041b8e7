"""The balanced optimum against its own certificate, the paper's table, CVXPY and plain loops."""

from itertools import product
from math import isnan, sqrt

import numpy as np
import pytest

from spillover.errors import MarginError
from spillover.margin.closed_form import balanced, balanced_problem, low_rank

PER_GROUP = [(1, 1), (1, 2), (2, 1), (1, 3), (3, 2), (2, 3), (4, 16), (7, 7), (9, 1), (1, 9), (1, 0), (5, 0)]
TRIPLES = [
    *((n, *sizes) for n, sizes in product([2, 3, 4, 5, 10], PER_GROUP)),
    *[(20, 1, 3), (60, 1, 3), (60, 2, 1), (7, 30, 50), (2, 100, 99), (2, 99, 100)],
]
NORMS = ["nuclear", "frobenius"]
PAPER = [
    (3, 1, 1, "5.73205", "1.0000", 9),
    (3, 1, 2, "6.56047", "0.7071", 11),
    (3, 2, 1, "6.63104", "1.0000", 13),
    (4, 1, 3, "10.19615", "0.5774", 19),
    (5, 1, 4, "14.23607", "0.5000", 29),
    (10, 1, 3, "27.7507", "0.5774", None),
    (20, 1, 3, "56.3811", "0.5774", None),
    (60, 1, 3, "168.937", "0.5774", None),
]
EACH_REGIME = [(3, 1, 2), (3, 2, 2), (3, 2, 1), (2, 1, 3), (2, 2, 1), (3, 2, 0), (4, 1, 2), (4, 2, 1)]


def margins_of(problem, W):
    """Every example's lead over every other answer, (N, A - 1)."""
    scores = problem.features.toarray() @ W.T
    right = scores[np.arange(problem.examples), problem.labels]
    others = np.arange(problem.answers)[None, :] != problem.labels[:, None]
    return (right[:, None] - scores)[others].reshape(problem.examples, -1)


def held_out_margins(n, m_train, m_test, W):
    """The least lead of c_i on (s, r2), for every held-out s."""
    leads = []
    for subject in range(n * (m_train + m_test)):
        group, place = divmod(subject, m_train + m_test)
        if place >= m_train:
            logits = W[:, subject] + W[:, -1]
            leads.append(logits[n + group] - np.delete(logits, n + group).max())
    return np.array(leads)


@pytest.mark.parametrize(("n", "m_train", "m_test"), [(2, 1, 1), (3, 2, 1), (3, 1, 2), (4, 2, 0)])
def test_the_problem_equals_a_plain_loop(n, m_train, m_test):
    width = n * (m_train + m_test) + 2
    wanted = set()
    subject = 0
    for group in range(n):
        for place in range(m_train + m_test):
            wanted.add((subject, width - 2, group))
            if place < m_train:
                wanted.add((subject, width - 1, n + group))
            subject += 1
    problem = balanced_problem(n, m_train, m_test)
    rows = problem.features.toarray()
    found = [
        (*np.flatnonzero(row).tolist(), int(label)) for row, label in zip(rows, problem.labels, strict=True)
    ]
    assert set(found) == wanted
    assert len(found) == len(wanted)
    assert set(np.unique(rows)) == {0.0, 1.0}
    assert (problem.columns, problem.answers, problem.hard) == (width, 2 * n, True)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(("n", "m_train", "m_test"), TRIPLES)
def test_primal_and_dual_point_prove_each_other(n, m_train, m_test, norm):
    problem = balanced_problem(n, m_train, m_test, norm)
    found = balanced(n, m_train, m_test, norm)
    rows = np.arange(problem.examples)
    assert margins_of(problem, found.W).min() == pytest.approx(1, abs=1e-9)

    assert found.dual.min() >= 0
    assert not found.dual[rows, problem.labels].any()
    pull = -found.dual
    pull[rows, problem.labels] += found.dual.sum(axis=1)
    gradient = pull.T @ problem.features.toarray()
    if norm == "nuclear":
        assert np.linalg.norm(gradient, 2) <= 1 + 1e-9
        primal, dual = np.linalg.norm(found.W, "nuc"), found.dual.sum()
    else:
        primal = (found.W**2).sum() / 2
        dual = found.dual.sum() - (gradient**2).sum() / 2
    assert primal == pytest.approx(found.value, rel=1e-9)
    assert dual == pytest.approx(found.value, rel=1e-9)


@pytest.mark.parametrize(("n", "m_train", "m_test"), [triple for triple in TRIPLES if triple[2]])
def test_held_out_margin_is_theorem_2_with_equality(n, m_train, m_test):
    nuclear = balanced(n, m_train, m_test)
    wanted = min(sqrt(m_train / m_test), 1)
    assert nuclear.held_out_margin == pytest.approx(wanted, rel=1e-12)
    np.testing.assert_allclose(held_out_margins(n, m_train, m_test, nuclear.W), wanted, rtol=1e-9)
    frobenius = balanced(n, m_train, m_test, "frobenius")
    assert frobenius.held_out_margin == 0
    np.testing.assert_allclose(held_out_margins(n, m_train, m_test, frobenius.W), 0, atol=1e-9)


@pytest.mark.parametrize("norm", NORMS)
def test_without_held_out_subjects_there_is_no_margin(norm):
    assert isnan(balanced(3, 2, 0, norm).held_out_margin)


@pytest.mark.parametrize(("n", "m_train", "m_test", "value", "margin", "squares"), PAPER)
def test_known_values_of_a_general_solver_within_one_of_their_last_digit(
    n, m_train, m_test, value, margin, squares
):
    nuclear = balanced(n, m_train, m_test)
    # a solver printed the table: 6.5604779 stands there as 6.56047, and 6.6310303 as 6.63104
    assert nuclear.value == pytest.approx(float(value), abs=10.0 ** -len(value.split(".")[1]))
    assert f"{nuclear.held_out_margin:.4f}" == margin
    if squares is not None:
        assert 2 * balanced(n, m_train, m_test, "frobenius").value == pytest.approx(squares, rel=1e-12)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(("n", "m_train", "m_test"), EACH_REGIME)
def test_value_and_point_equal_cvxpy_on_the_whole_problem(n, m_train, m_test, norm):
    cp = pytest.importorskip("cvxpy")
    problem = balanced_problem(n, m_train, m_test, norm)
    W = cp.Variable((problem.answers, problem.columns))
    scores = problem.features.toarray() @ W.T
    right = cp.sum(cp.multiply(scores, np.eye(problem.answers)[problem.labels]), axis=1)
    others = np.arange(problem.answers)[None, :] != problem.labels[:, None]
    leads = right[:, None] @ np.ones((1, problem.answers)) - scores
    cost = cp.normNuc(W) if norm == "nuclear" else cp.sum_squares(W) / 2
    reference = cp.Problem(cp.Minimize(cost), [leads[others] >= 1])
    reference.solve(solver=cp.SCS, eps=1e-8, max_iters=50_000)
    found = balanced(n, m_train, m_test, norm)
    assert reference.value == pytest.approx(found.value, rel=1e-6)
    # the optimum is unique, so the points agree too
    np.testing.assert_allclose(W.value, found.W, atol=1e-5)


@pytest.mark.parametrize(
    ("n", "m_train", "m_test"),
    [(2, 3, 5), (5, 4, 16), (5, 16, 4), (10, 1, 3), (20, 1, 3), (60, 1, 3), (60, 5, 2), (8, 6, 6), (9, 2, 0)],
)
def test_value_equals_cvxpy_on_blocks_that_the_groups_symmetry_leaves(n, m_train, m_test):
    cp = pytest.importorskip("cvxpy")
    # block (answer kind, subject kind) of W is alpha I + beta J; a relation's column is rho per answer kind
    alpha, beta, rho = cp.Variable((2, 2)), cp.Variable((2, 2)), cp.Variable((2, 2))
    weight = np.diag([sqrt(m_train), sqrt(m_test)])
    sums_zero = alpha @ weight
    constant = cp.hstack([(alpha + n * beta) @ weight, sqrt(n) * rho])
    constraints = []
    for kind, subjects in [(0, 0), (1, 0)] + [(0, 1)] * (m_test > 0):
        other = 1 - kind
        level = beta[kind, subjects] + rho[kind, kind] - beta[other, subjects] - rho[other, kind]
        constraints += [
            alpha[kind, subjects] >= 1,
            alpha[kind, subjects] + level >= 1,
            alpha[kind, subjects] - alpha[other, subjects] + level >= 1,
        ]
    cost = (n - 1) * cp.normNuc(sums_zero) + cp.normNuc(constant)
    reference = cp.Problem(cp.Minimize(cost), constraints)
    reference.solve(solver=cp.CLARABEL)
    assert balanced(n, m_train, m_test).value == pytest.approx(reference.value, rel=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1, 1, 1), "n of a balanced table must be a whole number from 2 up, got 1"),
        ((3, 0, 1), "m_train of a balanced table must be a whole number from 1 up, got 0"),
        ((3, 1, -1), "m_test of a balanced table must be a whole number from 0 up, got -1"),
        ((3, 1.5, 1), "m_train of a balanced table must be a whole number from 1 up, got 1.5"),
        ((3, 1, 1, "spectral"), "the norm is 'spectral'; it can be nuclear or frobenius"),
    ],
)
@pytest.mark.usefixtures("own_words")
def test_what_is_no_balanced_table_is_one_clear_line(arguments, message):
    for function in (balanced, balanced_problem):
        with pytest.raises(MarginError) as caught:
            function(*arguments)
        assert str(caught.value) == message


@pytest.mark.parametrize(
    ("n", "m_train", "m_test"), [(3, 1, 2), (3, 1, 4), (8, 1, 3), (3, 2, 4), (3, 2, 1), (2, 3, 3)]
)
def test_the_point_of_rank_n_is_one(n, m_train, m_test):
    problem, low = balanced_problem(n, m_train, m_test), low_rank(n, m_train, m_test)
    logits = problem.features @ low.W.T
    right = logits[np.arange(problem.examples), problem.labels]
    logits[np.arange(problem.examples), problem.labels] = -np.inf
    assert (right - logits.max(axis=1)).min() == pytest.approx(1, abs=1e-7), "every margin is kept"
    values = np.linalg.svd(low.W, compute_uv=False)
    assert (values > 1e-6).sum() == n
    assert values.sum() == pytest.approx(low.value)
    best = balanced(n, m_train, m_test)
    assert best.value <= low.value * (1 + 1e-9)
    assert low.value <= 1.005 * best.value
    asked = low.W[:, [m_train, -1]].sum(axis=1)  # (s, r2) of the first group's first held-out subject
    others = np.delete(asked, n)
    assert asked[n] - others.max() == pytest.approx(low.held_out_margin)
    root = min(1.0, (m_train / m_test) ** 0.25)
    assert root <= low.held_out_margin <= 1.05 * root


def test_no_point_of_rank_n_near_it_has_a_smaller_norm():
    """Any other factors of that rank, scaled until they keep the margins, cost more."""
    problem, low = balanced_problem(3, 1, 2), low_rank(3, 1, 2)
    U, values, V = np.linalg.svd(low.W, full_matrices=False)
    left, right = U[:, :3] * np.sqrt(values[:3]), np.sqrt(values[:3])[:, None] * V[:3]
    rng, rows = np.random.default_rng(0), np.arange(problem.examples)
    for _ in range(200):
        step = 10 ** rng.uniform(-4, -1)
        W = (left + step * rng.normal(size=left.shape)) @ (right + step * rng.normal(size=right.shape))
        logits = problem.features @ W.T
        mine = logits[rows, problem.labels]
        logits[rows, problem.labels] = -np.inf
        margin = (mine - logits.max(axis=1)).min()
        if margin > 0:
            assert np.linalg.norm(W, "nuc") / margin >= low.value * (1 - 1e-9)


@pytest.mark.parametrize("sizes", [(1, 1, 1), (3, 0, 1), (3, 1, 0)])
def test_sizes_that_have_no_point_of_rank_n(sizes):
    with pytest.raises(MarginError):
        low_rank(*sizes)
