"""Exact reduction 1: identical columns become one, and so do the examples that then coincide.

Two columns are identical when the examples that touch the one are those that touch the other, with the one
put in the other's place: two subjects of whom the same is said. Swapping them changes nothing, so by
convexity some optimum gives them equal columns. Both kinds of classes are proposed by hashes and verified.

Shapes: N examples, D columns of the problem.
"""

import numpy as np
import scipy.sparse as sp
from jaxtyping import Int

from spillover.margin.hashing import equal_rows, group_sums, hash_rows, mix
from spillover.margin.problem import MarginProblem
from spillover.margin.quotient import Quotient, sum_columns


def collapse(problem: MarginProblem) -> Quotient:
    """The problem on its distinct columns and examples."""
    column_of_D = _identical_columns(problem)
    merged = sum_columns(problem.features, column_of_D)
    return Quotient(problem, column_of_D, merged, equal_rows(merged, problem.labels))


def _identical_columns(problem: MarginProblem) -> Int[np.ndarray, " D"]:
    """The class of every column: same class, same examples around it. Found by hash, then verified."""
    x = problem.features
    rows = np.repeat(np.arange(problem.examples), np.diff(x.indptr))
    entries, whole = hash_rows(x)
    whole = whole + mix(problem.labels.astype(np.uint64) + np.uint64(1))
    whole = whole + mix(mix(problem.copies_N.view(np.uint64)))
    around = mix(mix(whole[rows] - entries) + x.data.view(np.uint64))
    keys = group_sums(mix(around), x.indices, problem.columns)
    _, first, class_of = np.unique(keys, return_index=True, return_inverse=True)
    leader = first[class_of]
    if not _same_surroundings(problem, leader, rows, around):
        return np.arange(problem.columns)
    return np.unique(leader, return_inverse=True)[1]


def _same_surroundings(
    problem: MarginProblem, leader: np.ndarray, rows: np.ndarray, around: np.ndarray
) -> bool:
    """Whether each column's examples are its leader's, itself in the leader's place: no trust in the hash."""
    x = problem.features
    used = np.bincount(x.indices, minlength=problem.columns)
    if not np.array_equal(used, used[leader]):
        return False
    order = np.lexsort((around, x.indices))  # the entries column by column, alike ones in the same order
    start = np.cumsum(used) - used
    columns = x.indices[order]
    twin = order[start[leader[columns]] + np.arange(x.nnz) - start[columns]]
    if not np.array_equal(x.data[order], x.data[twin]):
        return False
    for of_example in (problem.labels, problem.copies_N):
        if not np.array_equal(of_example[rows[order]], of_example[rows[twin]]):
            return False
    moved = order != twin
    difference = _without(x, rows, order[moved]) - _without(x, rows, twin[moved])
    return not np.any(difference.data)


def _without(x: sp.csr_array, rows: np.ndarray, entries: np.ndarray) -> sp.csr_array:
    """For each of some stored entries, its row of X without it."""
    own = x.data[entries], (np.arange(entries.size), x.indices[entries])
    return x[rows[entries]] - sp.csr_array(own, shape=(entries.size, x.shape[1]))
