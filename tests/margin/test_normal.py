"""The linear system, by every way to solve it, and the hubs that are eliminated last."""

import numpy as np
import pytest

from spillover.margin import normal
from spillover.margin.normal import hub_columns, normal_solver
from spillover.margin.problem import from_triples
from tests.margin.tables import PROBLEMS, TWO_CLASSES, groups


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
