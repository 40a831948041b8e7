"""The problem on classes of columns and examples, and as it stands."""

import numpy as np
import pytest

from spillover.margin.collapse import collapse
from spillover.margin.quotient import unreduced
from spillover.margin.solve import solve
from tests.margin.tables import PROBLEMS


@pytest.mark.parametrize("name", PROBLEMS)
def test_unreduced_is_the_problem_as_it_stands(name):
    problem = PROBLEMS[name]
    whole = unreduced(problem)
    assert whole.shape == (problem.columns, problem.answers)
    assert whole.logit_shape == (problem.examples, problem.answers)
    np.testing.assert_array_equal(whole.features.toarray(), problem.features.toarray())
    np.testing.assert_array_equal(whole.labels, problem.labels)
    np.testing.assert_array_equal(whole.copies_n, problem.copies_N)


@pytest.mark.parametrize("reduced_by", [unreduced, collapse])
@pytest.mark.parametrize("name", ["balanced", "general-repeated", "unused-columns"])
def test_a_solution_translated_and_restored_is_the_same(name, reduced_by):
    problem = PROBLEMS[name]
    solution, reduced = solve(problem, 1e-2), reduced_by(problem)
    w, multipliers = reduced.translate(solution)
    assert (w.shape, multipliers.shape) == (reduced.shape, reduced.logit_shape)
    columns, column_of = reduced.restore(w)
    np.testing.assert_allclose(columns[column_of].T, solution.W, rtol=1e-12)
    rows, row_of = reduced.restore_dual(multipliers)
    np.testing.assert_allclose(rows[row_of].toarray(), solution.dual.toarray(), rtol=1e-12)
