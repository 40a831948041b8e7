"""Both exact reductions: the reduced problem is the whole one, and only what is truly alike becomes one.

Shapes: N examples, D columns, A answers of a problem; n examples and A alternatives of a reduced one.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp

from spillover.margin import collapse, hashing, normal, norms, symmetry
from spillover.margin.certificate import certificate
from spillover.margin.closed_form import balanced, balanced_problem
from spillover.margin.collapse import Collapsed
from spillover.margin.normal import hub_columns, normal_solver
from spillover.margin.norms import shrink
from spillover.margin.problem import MarginProblem, from_triples
from spillover.margin.solve import solve
from spillover.margin.symmetry import Symmetric, interchangeable

NORMS = ["nuclear", "frobenius"]
TOL = 1e-4


def groups(*sizes):
    """Triples of groups of (bridges, held-out) subjects."""
    triples = []
    for group, (bridges, held_out) in enumerate(sizes):
        for place in range(bridges + held_out):
            triples.append(((group, place), "r1", ("b", group)))
            if place < bridges:
                triples.append(((group, place), "r2", ("c", group)))
    return triples


def twins(problem, column, *, value=1.0):
    """The problem with one more column, and each example of `column` again with the new one in its place."""
    features = problem.features.toarray()
    touching = np.flatnonzero(features[:, column])
    copies = features[touching]
    entries = value * copies[:, column]
    copies[:, column] = 0.0
    old = np.hstack([features, np.zeros((len(features), 1))])
    return replace(
        problem,
        features=np.vstack([old, np.hstack([copies, entries[:, None]])]),
        labels=np.r_[problem.labels, problem.labels[touching]],
    )


def sparse_problem(seed, **options):
    """Random sparse features and the labels of a random W, so that a hard margin can be kept."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(12, 8)) * (rng.random((12, 8)) < 0.4)
    features[np.arange(12), rng.integers(8, size=12)] = 1.0
    labels = np.argmax(features @ rng.normal(size=(8, 4)), axis=1)
    return MarginProblem(features=sp.csr_array(features), labels=labels, answers=4, **options)


def repeated(problem, times):
    return replace(
        problem, features=sp.vstack([problem.features] * times), labels=np.tile(problem.labels, times)
    )


def in_place(problem):
    """Two columns become three and four alike ones: also examples that touch both kinds multiply."""
    return twins(twins(twins(problem, 2), 5), 2)


TWO_CLASSES = [(1, 2)] * 3 + [(2, 1)] * 4
PROBLEMS = {
    "balanced": balanced_problem(4, 1, 3),
    "without-held-out": balanced_problem(3, 2, 0),
    "two-classes": from_triples(groups(*TWO_CLASSES)),
    "four-classes": from_triples(groups(*[(1, 0)] * 2, *[(1, 1)] * 2, *[(3, 1)] * 3, (2, 2)), answers=20),
    "all-different": from_triples(groups((1, 0), (1, 1), (2, 1))),
    "distractors": from_triples(groups((1, 0), (1, 1), (2, 1)), answers=9),
    "bare-relation": MarginProblem(
        features=sp.csr_array([[1, 0, 1], [0, 1, 1], [0, 0, 2], [1, 0, 1]]),
        labels=np.array([0, 1, 2, 0]),
        answers=5,
    ),
    "repeated-triples": repeated(balanced_problem(3, 1, 2), 3),
    "one-group-repeated": from_triples(groups((1, 2), (1, 2), (1, 2)) + groups((1, 2))),
    "general": sparse_problem(1),
    "general-twins": in_place(sparse_problem(2)),
    "general-repeated": repeated(in_place(sparse_problem(3)), 2),
    "unused-columns": replace(
        sparse_problem(4), features=sp.hstack([sparse_problem(4).features, sp.csr_array((12, 3))])
    ),
}
SYMMETRIC = ["balanced", "without-held-out", "two-classes", "four-classes", "distractors", "bare-relation"]
SYMMETRIC += ["repeated-triples", "one-group-repeated"]


def reductions(name, norm):
    """The whole problem, collapsed, and on its invariant matrices where it has any."""
    problem = replace(PROBLEMS[name], norm=norm)
    collapsed = Collapsed(problem)
    found = [Collapsed(problem, reduce=False), collapsed, interchangeable(collapsed)]
    return problem, [reduced for reduced in found if reduced is not None]


def lift(reduced, w):
    """W (A, D), written out."""
    columns, column_of = reduced.restore(w)
    return columns[column_of].T


@pytest.fixture(scope="module")
def pool():
    with ThreadPoolExecutor(2) as executor:
        yield executor


def copies(reduced):
    """(n, A), the constraints' alternatives that each logit of the reduced problem stands for."""
    return np.broadcast_to(reduced.copies_na, reduced.logits(np.zeros(reduced.shape)).shape)


def place_of(reduced):
    """(N, A), the reduced logit that stands for each example's answer: found by sending numbers along."""
    count = copies(reduced)
    numbers = np.arange(1.0, count.size + 1).reshape(count.shape)
    multipliers, of = reduced.restore_dual(sp.csr_array(numbers * reduced.copies_n[:, None]))
    return np.rint(multipliers[of].toarray()).astype(int) - 1


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", PROBLEMS)
def test_every_operation_is_the_whole_problems_own(name, norm, pool):
    problem, found = reductions(name, norm)
    assert isinstance(found[-1], Symmetric) == (name in SYMMETRIC)
    rng = np.random.default_rng(0)
    for reduced in found:
        w, other = rng.normal(size=reduced.shape), rng.normal(size=reduced.shape)
        W = lift(reduced, w)
        assert W.shape == (problem.answers, problem.columns)

        # the logits are those of the lifted W, each where it belongs, as often as it is counted
        place = place_of(reduced)
        np.testing.assert_allclose(
            problem.features @ W.T, reduced.logits(w).ravel()[place], rtol=0, atol=1e-12
        )
        counted = np.bincount(place.ravel(), minlength=copies(reduced).size).reshape(copies(reduced).shape)
        np.testing.assert_array_equal(counted, copies(reduced) * reduced.copies_n[:, None])
        own = np.arange(problem.examples), problem.labels
        row, answer = np.divmod(place[own], len(copies(reduced)[0]))
        np.testing.assert_array_equal(answer, reduced.labels[row])

        # lifting keeps angles and lengths, so norm, dual norm and proximal step carry over
        assert np.vdot(W, lift(reduced, other)) == pytest.approx(np.vdot(w, other), rel=1e-9)
        sigma = np.linalg.svd(W, compute_uv=False)
        nuclear = norm == "nuclear"
        assert reduced.value(w) == pytest.approx(sigma.sum() if nuclear else (sigma**2).sum() / 2, rel=1e-6)
        assert reduced.dual_norm(w) == pytest.approx(sigma[0] if nuclear else np.linalg.norm(W), rel=1e-9)
        for step in (0.5 * np.median(sigma) + 1e-3, 2.0, 100.0):
            if nuclear:
                left, _, right = np.linalg.svd(W, full_matrices=False)
                wanted = (left * np.maximum(sigma - step, 0)) @ right
            else:
                wanted = W / (1 + step)
            np.testing.assert_allclose(lift(reduced, reduced.prox(w, step, pool)), wanted, rtol=0, atol=1e-7)

        # the adjoint is the adjoint
        z = rng.normal(size=reduced.logits(w).shape)
        assert np.vdot(reduced.logits(w), z) == pytest.approx(np.vdot(w, reduced.adjoint(z)), rel=1e-9)

        # the linear system is the one it is said to be
        weights = reduced.weights_n1 * reduced.copies_na
        solved = reduced.normal_solver(weights)(w)
        left = solved + reduced.adjoint(weights * reduced.logits(solved))
        np.testing.assert_allclose(left, w, rtol=0, atol=1e-10)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", PROBLEMS)
def test_restored_multipliers_pull_as_the_reduced_ones_do(name, norm):
    problem, found = reductions(name, norm)
    rng = np.random.default_rng(1)
    for reduced in found:
        count, row = copies(reduced), np.arange(reduced.labels.size)
        multipliers = rng.random(count.shape) * (count > 0)
        multipliers[row, reduced.labels] = 0.0
        restored, of = reduced.restore_dual(sp.csr_array(multipliers))
        dual = restored[of].toarray()
        assert dual.shape == (problem.examples, problem.answers)
        assert dual.min() >= 0
        assert not dual[np.arange(problem.examples), problem.labels].any()

        pull = -multipliers * count
        pull[row, reduced.labels] = (multipliers * count).sum(axis=1)
        assert dual.sum() == pytest.approx((multipliers * count).sum(), rel=1e-12)
        dual = -dual
        dual[np.arange(problem.examples), problem.labels] = -dual.sum(axis=1)
        np.testing.assert_allclose(
            lift(reduced, reduced.adjoint(pull)), dual.T @ problem.features.toarray(), rtol=0, atol=1e-10
        )


def overlap(one, other):
    """Whether two certificates leave room for one and the same optimum."""
    slack = 1e-9 * one.objective
    return one.lower_bound <= other.objective + slack and other.lower_bound <= one.objective + slack


@pytest.mark.parametrize("penalty", [np.inf, 0.1], ids=["hard", "soft"])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", PROBLEMS)
def test_the_optimum_is_the_same_with_and_without(name, norm, penalty):
    problem = replace(PROBLEMS[name], norm=norm, penalty=penalty)
    found = [certificate(problem, solve(problem, TOL, reduce=reduce)) for reduce in (True, False)]
    assert all(-1e-9 <= proof.relative_gap <= TOL for proof in found)
    assert overlap(*found)


# Identical columns


@pytest.mark.parametrize("k", [1, 2, 3, 7])
def test_k_subjects_of_whom_the_same_is_said_are_one_column_of_weight_root_k(k):
    once = [("Al", "lives in", "Rome"), ("Al", "speaks", "Italian"), ("Bo", "lives in", "Paris")]
    triples = once + [(f"{s} {copy}", r, a) for copy in range(1, k) for s, r, a in once if s == "Al"]
    reduced = Collapsed(from_triples(triples))
    assert reduced.shape == (4, 3)  # Al, Bo, lives in, speaks
    assert reduced.copies_n.tolist() == [k, k, 1]
    wanted = np.array([[1 / np.sqrt(k), 0, 1, 0], [1 / np.sqrt(k), 0, 0, 1], [0, 1, 1, 0]])
    rows = {tuple(row) for row in reduced.features.toarray().round(12)}
    assert rows == {tuple(row) for row in wanted.round(12)}
    w = np.random.default_rng(0).normal(size=(4, 3))
    W = lift(reduced, w)
    alike = [i for i, (s, _, _) in enumerate(dict.fromkeys((s, 0, 0) for s, _, _ in triples)) if s != "Bo"]
    assert len(alike) == k
    assert (W[:, alike] == W[:, alike[:1]]).all()
    assert np.linalg.norm(W[:, alike]) == pytest.approx(np.linalg.norm(w[0]), rel=1e-12)


def test_columns_in_each_others_place_collapse_whatever_the_features():
    problem = sparse_problem(2)
    assert Collapsed(problem).shape == (8, 4)
    reduced = Collapsed(in_place(problem))
    assert reduced.shape == (8, 4)
    assert sorted(reduced.copies_d.tolist()) == [1] * 6 + [2, 3]
    assert reduced.column_of_D[[2, 8, 10]].tolist() == [2] * 3
    assert reduced.column_of_D[[5, 9]].tolist() == [5] * 2
    assert reduced.labels.size == problem.examples


@pytest.mark.parametrize(
    "changed",
    [
        "another-label",
        "another-value",
        "one-example-less",
        "one-example-twice",
        "another-neighbor",
    ],
)
def test_columns_that_are_nearly_alike_stay_apart(changed):
    problem = twins(sparse_problem(2), 2, value=1 + 1e-15 if changed == "another-value" else 1.0)
    features, labels = problem.features.toarray(), problem.labels.copy()
    if changed == "another-label":
        labels[-1] = (labels[-1] + 1) % 4
    elif changed == "one-example-less":
        features, labels = features[:-1], labels[:-1]
    elif changed == "one-example-twice":
        features, labels = np.vstack([features, features[-1]]), np.r_[labels, labels[-1]]
    elif changed == "another-neighbor":
        features[-1, 3] += 0.5
    assert Collapsed(replace(problem, features=features, labels=labels)).shape == (9, 4)


def test_unused_columns_collapse_and_stay_empty():
    problem = PROBLEMS["unused-columns"]
    assert Collapsed(problem).shape == (9, 4)
    for reduce in (True, False):
        W = solve(problem, 1e-3, reduce=reduce).W
        assert W.shape == (4, 11)
        assert not W[:, 8:].any()


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("penalty", [np.inf, 0.05], ids=["hard", "soft"])
def test_what_is_said_twice_counts_double_on_a_soft_margin_alone(norm, penalty):
    once = sparse_problem(6, norm=norm, penalty=2 * penalty)
    twice = replace(repeated(once, 2), penalty=penalty)
    assert Collapsed(twice).copies_n.tolist() == [2.0] * once.examples
    found = [certificate(problem, solve(problem, TOL)) for problem in (once, twice)]
    assert all(proof.relative_gap <= TOL for proof in found)
    assert overlap(*found)


@pytest.mark.parametrize("norm", NORMS)
def test_columns_that_always_come_together_have_the_same_optimum(norm):
    problem = sparse_problem(7, norm=norm)
    features = problem.features.toarray()
    together = replace(problem, features=np.hstack([features, features[:, :2]]))
    found = [certificate(together, solve(together, TOL, reduce=reduce)) for reduce in (True, False)]
    assert all(proof.relative_gap <= TOL for proof in found)
    assert overlap(*found)


def test_hashes_that_collide_merge_nothing(monkeypatch):
    assert Collapsed(PROBLEMS["balanced"]).shape[0] < PROBLEMS["balanced"].columns
    for module in (collapse, hashing, symmetry):
        monkeypatch.setattr(module, "mix", lambda values: 0 * values)
    for problem in PROBLEMS.values():
        reduced = Collapsed(problem)
        assert reduced.shape[0] == problem.columns
        assert reduced.labels.size == problem.examples
        assert certificate(problem, solve(problem, 1e-2)).relative_gap <= 1e-2


@pytest.mark.parametrize(
    ("features", "labels"),
    [
        ([[1, 0], [0, 1], [0, 1]], [0, 0, 0]),
        ([[1, 0], [0, 2]], [0, 0]),
        ([[1, 0], [0, 1]], [0, 1]),
        ([[1, 1]], [0]),
    ],
    ids=["number", "value", "label", "rest"],
)
def test_one_difference_keeps_columns_apart_whose_hashes_collide(features, labels, monkeypatch):
    problem = MarginProblem(features=sp.csr_array(features), labels=np.array(labels), answers=2)
    for module in (collapse, hashing):
        monkeypatch.setattr(module, "mix", lambda values: 0 * values)
    assert Collapsed(problem).shape == (2, 2)


# Interchangeable components


@pytest.mark.parametrize("n", [2, 3, 60])
@pytest.mark.parametrize(("sizes", "unknowns"), [((1, 3), 12), ((3, 3), 12), ((2, 0), 8)])
def test_equal_groups_leave_as_many_unknowns_however_many_they_are(sizes, unknowns, n):
    # T has a row for each kind of subject and for r1 and r2, M one for each kind of subject; 2 answer kinds
    reduced = interchangeable(Collapsed(balanced_problem(n, *sizes)))
    assert reduced is not None
    assert reduced.shape == (unknowns,)
    assert reduced.labels.size == 1 + 2 * (sizes[1] > 0) + (sizes[1] == 0)


@pytest.mark.parametrize(
    ("sizes", "answers", "classes"),
    [
        ([(1, 2)] * 5, 10, [5]),
        (TWO_CLASSES, 14, [3, 4]),
        ([(1, 2), (2, 1), (1, 2), (1, 2), (2, 1)], 10, [2, 3]),
        ([(1, 2)] * 4 + [(2, 2)], 10, [1, 4]),
        ([(1, 2)] * 3, 10, [3, 4]),  # four answers of which nothing is said
        ([(1, 0), (1, 1), (2, 1)], 8, [1, 1, 1, 2]),
    ],
)
def test_classes_of_groups_are_found(sizes, answers, classes):
    found = interchangeable(Collapsed(from_triples(groups(*sizes), answers=answers)))
    assert found is not None
    assert sorted(found._classes.sizes.tolist()) == classes


def test_components_that_are_symmetric_inside_leave_the_other_classes():
    # two rings: of two facts and two implications, every pair by one subject; they are told in two orders
    triples = groups((1, 2), (1, 2), (1, 2))
    for ring, pairs in (("x", ["00", "01", "10", "11"]), ("y", ["00", "11", "01", "10"])):
        for b, c in pairs:
            triples += [((ring, b, c), "r1", (ring, "b", b)), ((ring, b, c), "r2", (ring, "c", c))]
    found = interchangeable(Collapsed(from_triples(triples)))
    assert found is not None
    assert sorted(found._classes.sizes.tolist()) == [1, 1, 3]


@pytest.mark.parametrize(
    "triples",
    [
        groups((1, 0), (1, 1), (2, 1)),
        groups((1, 2), (1, 2))[:-1],  # one of two equal groups lacks a triple
        [*groups((1, 2), (1, 2)), ((0, 1), "r3", "d"), ((1, 1), "r4", "d2")],  # other relations
        groups((1, 2), (1, 2)) + groups((1, 2))[:1],  # one says a triple twice
        [*groups((1, 2), (1, 2)), ("x", "r1", ("b", 0)), ("x", "r2", ("c", 1))],  # one component
        [(subject, "r1", subject % 2) for subject in range(4)] + [(0, "r2", 1), (1, "r2", 0)],
    ],
    ids=["shapes", "less", "relations", "twice", "crossed", "swapped"],
)
def test_groups_that_differ_are_not_interchangeable(triples):
    assert interchangeable(Collapsed(from_triples(triples))) is None


def test_beyond_a_number_of_unknowns_the_plain_iteration_goes_on():
    sizes = [(bridges, held_out) for bridges in (1, 2, 3, 4) for held_out in (1, 2, 3)] * 2
    assert interchangeable(Collapsed(from_triples(groups(*sizes[:6], *sizes[12:18])))) is not None
    assert interchangeable(Collapsed(from_triples(groups(*sizes)))) is None


@pytest.mark.parametrize("seed", range(12))
def test_whatever_symmetry_is_found_in_a_random_table_is_a_true_one(seed):
    rng = np.random.default_rng(seed)
    shapes = [tuple(rng.integers(1, 3, size=2).tolist()) for _ in range(2)]
    triples = groups(*[shapes[i] for i in rng.integers(2, size=rng.integers(3, 6))])
    for _ in range(rng.integers(3)):  # a few triples go, come twice, or are said of a third relation
        place = rng.integers(len(triples))
        subject, _, answer = triples[place]
        change = rng.integers(3)
        if change == 0:
            triples.pop(place)
        else:
            triples.append(triples[place] if change == 1 else (subject, "r3", ("d", answer)))
    problem = from_triples(triples, answers=12)
    found = [certificate(problem, solve(problem, TOL, reduce=reduce)) for reduce in (True, False)]
    assert all(proof.relative_gap <= TOL for proof in found)
    assert overlap(*found)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("sizes", [(3, 1, 2), (4, 2, 1), (3, 2, 0)])
def test_the_known_optimum_is_invariant_and_survives_the_reduction(sizes, norm):
    # the least-squares preimage of W lifts to W itself exactly where W is invariant
    optimum, problem = balanced(*sizes, norm=norm), balanced_problem(*sizes, norm=norm)
    reduced = interchangeable(Collapsed(problem))
    assert reduced is not None
    basis = np.array([lift(reduced, unit).ravel() for unit in np.eye(reduced.shape[0])])
    w = basis @ optimum.W.ravel()
    np.testing.assert_allclose(lift(reduced, w), optimum.W, rtol=0, atol=1e-12)
    assert reduced.value(w) == pytest.approx(optimum.value, rel=1e-9)


# The parts


@pytest.mark.parametrize("shape", [(7, 3), (3, 7), (1, 5), (5, 1)])
def test_a_large_matrix_shrinks_in_halves_as_it_does_whole(shape, pool, monkeypatch):
    w = np.random.default_rng(0).normal(size=shape)
    whole = shrink(w, 0.7)
    monkeypatch.setattr(norms, "_LARGE", 0)
    np.testing.assert_allclose(shrink(w, 0.7, pool), whole, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("dense", "hubs"), [(256, 2000), (0, 2000), (0, 0)], ids=["dense", "hubs", "sparse"])
@pytest.mark.parametrize("name", ["two-classes", "general-twins", "unused-columns", "bare-relation"])
def test_every_way_to_solve_the_system_solves_it(name, dense, hubs, monkeypatch):
    monkeypatch.setattr(normal, "_DENSE_COLUMNS", dense)
    monkeypatch.setattr(normal, "_DENSE_HUBS", hubs)
    features = PROBLEMS[name].features
    rng = np.random.default_rng(0)
    weights, right = rng.random(features.shape[0]) + 0.1, rng.normal(size=(features.shape[1], 3))
    given = right.copy()
    found = normal_solver(features, weights)(right)
    x = features.toarray()
    wanted = np.linalg.solve(np.eye(x.shape[1]) + x.T @ (weights[:, None] * x), given)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-10)
    np.testing.assert_array_equal(right, given)


@pytest.mark.parametrize("name", PROBLEMS)
def test_outside_the_hubs_every_example_has_at_most_one_column(name):
    features = PROBLEMS[name].features
    hub = hub_columns(features)
    assert (np.count_nonzero(features.toarray()[:, ~hub], axis=1) <= 1).all()
    assert (~hub).any()


def test_the_hubs_of_a_table_are_its_relations():
    problem = from_triples(groups(*TWO_CLASSES))
    assert np.flatnonzero(hub_columns(problem.features)).tolist() == [
        problem.columns - 2,
        problem.columns - 1,
    ]
