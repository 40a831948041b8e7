"""Interchangeable components become one, and only where the table is truly symmetric."""

import numpy as np
import pytest

from spillover.margin.certificate import certificate
from spillover.margin.closed_form import balanced, balanced_problem
from spillover.margin.collapse import collapse
from spillover.margin.problem import from_triples
from spillover.margin.solve import solve
from spillover.margin.symmetry import interchangeable
from tests.margin.proofs import overlap
from tests.margin.tables import NORMS, groups, lift

TOL = 1e-4


@pytest.mark.parametrize("n", [2, 3, 60])
@pytest.mark.parametrize(("sizes", "unknowns"), [((1, 3), 12), ((3, 3), 12), ((2, 0), 8)])
def test_equal_groups_leave_as_many_unknowns_however_many_they_are(sizes, unknowns, n):
    # T has a row for each kind of subject and for r1 and r2, M one for each kind of subject; 2 answer kinds
    reduced = interchangeable(collapse(balanced_problem(n, *sizes)))
    assert reduced is not None
    assert reduced.shape == (unknowns,)
    assert reduced.labels.size == 1 + 2 * (sizes[1] > 0) + (sizes[1] == 0)


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
    assert interchangeable(collapse(from_triples(triples))) is None


def test_beyond_a_number_of_unknowns_the_plain_iteration_goes_on():
    sizes = [(bridges, held_out) for bridges in (1, 2, 3, 4) for held_out in (1, 2, 3)] * 2
    assert interchangeable(collapse(from_triples(groups(*sizes[:6], *sizes[12:18])))) is not None
    assert interchangeable(collapse(from_triples(groups(*sizes)))) is None


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
    reduced = interchangeable(collapse(problem))
    assert reduced is not None
    basis = np.array([lift(reduced, unit).ravel() for unit in np.eye(reduced.shape[0])])
    w = basis @ optimum.W.ravel()
    np.testing.assert_allclose(lift(reduced, w), optimum.W, rtol=0, atol=1e-12)
    assert reduced.value(w) == pytest.approx(optimum.value, rel=1e-9)
