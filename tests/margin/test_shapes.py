"""The checker is on: a wrong shape raises, in every module, before a solve and after one."""

import importlib
import inspect
import pkgutil
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from jaxtyping import TypeCheckError

import spillover.margin
from spillover.margin.anderson import Anderson
from spillover.margin.closed_form import balanced_problem
from spillover.margin.collapse import collapse
from spillover.margin.conflict import refuse_conflict
from spillover.margin.problem import from_patterns
from spillover.margin.project import LogitProjection
from spillover.margin.quotient import Quotient
from spillover.margin.solution import Solution, Status
from spillover.margin.solve import solve
from spillover.margin.symmetry import interchangeable
from tests.margin.shapes import unchecked

PROBLEM = balanced_problem(3, 1, 2)
QUOTIENT: Any = collapse(PROBLEM)
INVARIANT: Any = interchangeable(QUOTIENT)
INDICES = np.arange(3)


def solution(**changed):
    """Two columns, three answers, three examples."""
    parts = {"columns": np.ones((2, 3)), "column_of": np.array([0, 1]), "multipliers": sp.csr_array((3, 3))}
    ends = {"status": Status.OPTIMAL, "iterations": 0, "seconds": 0.0}
    return Solution(**{**parts, "multipliers_of": INDICES, **ends, **changed})


WRONG = {
    "dimensions": lambda: QUOTIENT.logits(np.ones(QUOTIENT.shape[0])),
    "answers": lambda: solution(multipliers=sp.csr_array((3, 4))),
    "kind": lambda: solution(column_of=np.array([0.0, 1.0])),
    "dense": lambda: solution(multipliers=np.zeros((3, 3))),
    "statements": lambda: from_patterns(
        INDICES, INDICES, INDICES[:2], subjects=INDICES, relations=3, answers=3
    ),
    "examples": lambda: Quotient(PROBLEM, QUOTIENT.column_of_D, PROBLEM.features, INDICES),
    "unknowns": lambda: INVARIANT.value(np.ones((2, 2))),
    "labels": lambda: LogitProjection(INDICES, np.ones((4, 2))),
    "cap": lambda: LogitProjection(INDICES, np.float64(1))(np.ones((3, 2)), slice(0, 3), np.ones((2, 1))),
    "state": lambda: Anderson(np.ones(2)).leap(np.ones(2), np.ones(3)),
    "rows": lambda: refuse_conflict(PROBLEM, sp.csr_array((3, 6)), INDICES[:, None]),
    "start": lambda: solve(PROBLEM, start=QUOTIENT),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_shape_raises(wrong):
    with pytest.raises(TypeCheckError):
        WRONG[wrong]()


def test_what_is_right_does_not_raise():
    assert solution().W.shape == (3, 2)


def test_every_function_of_every_module_is_seen_by_the_checker():
    for module in pkgutil.iter_modules(spillover.margin.__path__, "spillover.margin."):
        own = inspect.getmembers(importlib.import_module(module.name), inspect.isfunction)
        for name, function in own:
            if function.__module__ == module.name:
                assert hasattr(function, "__wrapped__"), f"{module.name}.{name}"


def test_checks_are_on_again_after_a_solve_and_after_one_that_failed():
    solve(PROBLEM, 1e-6)
    test_a_wrong_shape_raises("dimensions")
    with pytest.raises(ZeroDivisionError), unchecked():
        _ = 1 / 0
    test_a_wrong_shape_raises("dimensions")
