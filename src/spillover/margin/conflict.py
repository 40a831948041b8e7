"""Examples that no W can tell apart: found, reduced until none can be left out, and named.

A hard margin cannot be kept exactly when some multipliers λ ≥ 0, not all zero, have Σ λ A = 0 (Farkas). A
vertex of the polyhedron {λ ≥ 0, Σ λ = 1, Σ λ A = 0} is a conflict of which no constraint can be left out
(Gleeson and Ryan 1990, "Identifying minimally infeasible subsystems of inequalities"); the one in which a
given constraint weighs most is short.
"""

from typing import Any

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Int
from scipy.optimize import linprog

from spillover.errors import InseparableError
from spillover.margin.hashing import equal_rows
from spillover.margin.problem import MarginProblem

_CONSTRAINTS = 20_000  # in one linear program, at most
_ZERO = 1e-9  # ‖Σ λ A‖ that counts as 0, for Σ λ = 1


def refuse_contradiction(problem: MarginProblem) -> None:
    """Raise `InseparableError` where two examples have the same features and different labels."""
    first = equal_rows(problem.features)
    other = np.flatnonzero(problem.labels != problem.labels[first])
    if other.size:
        raise InseparableError([int(first[other[0]]), int(other[0])])


def refuse_conflict(
    problem: MarginProblem, multipliers: Float[sp.csr_array, "n A"], multipliers_of: Int[np.ndarray, " N"]
) -> bool:
    """Raise `InseparableError` where the constraints with the largest multipliers cannot all be kept.

    `multipliers` are distinct rows, `multipliers_of` says which each example has. Returns False
    if there is no conflict among the constraints looked at, True if all were looked at: the margin can be
    kept.
    """
    everything = problem.examples * (problem.answers - 1) <= _CONSTRAINTS
    if everything:
        example, alternative = np.divmod(np.arange(problem.examples * problem.answers), problem.answers)
        weight = multipliers[multipliers_of].toarray().ravel()
    else:
        entries = multipliers.tocoo()
        largest = np.argsort(-entries.data, kind="stable")[:_CONSTRAINTS]
        first = np.unique(multipliers_of, return_index=True)[1]
        example, alternative = first[entries.coords[0][largest]], entries.coords[1][largest]
        weight = entries.data[largest]
    label = problem.labels[example]
    kept = alternative != label
    example, alternative, label, weight = example[kept], alternative[kept], label[kept], weight[kept]
    count = example.size
    matrix = _matrix(problem, example, alternative, label)
    # linprog's stubs know dense matrices only
    sum_to_one: Any = sp.vstack([matrix, sp.csr_array(np.ones((1, count)))])
    heaviest = np.zeros(count)
    heaviest[np.argmax(weight)] = -1.0
    found = linprog(
        heaviest,
        A_eq=sum_to_one,
        b_eq=np.r_[np.zeros(matrix.shape[0]), 1.0],
        bounds=(0, None),
        method="highs-ds",
    )
    if found.x is None or np.linalg.norm(matrix @ found.x) > _ZERO:
        return everything
    raise InseparableError(np.unique(example[found.x > _ZERO]).tolist())


def _matrix(
    problem: MarginProblem,
    example: Int[np.ndarray, " constraints"],
    alternative: Int[np.ndarray, " constraints"],
    label: Int[np.ndarray, " constraints"],
) -> Float[sp.csr_array, "cells constraints"]:
    """Σ λ A as a matrix times λ: a row for each (column, answer) touched, a column for each constraint."""
    x = problem.features[example]
    constraint = np.repeat(np.arange(example.size), np.diff(x.indptr))
    cells = np.r_[
        x.indices * problem.answers + label[constraint],
        x.indices * problem.answers + alternative[constraint],
    ]
    _, row = np.unique(cells, return_inverse=True)
    return sp.csr_array(
        (np.r_[x.data, -x.data], (row, np.r_[constraint, constraint])),
        shape=(row.max(initial=-1) + 1, example.size),
    )
