"""Exact reduction 1: identical columns become one, and so do the examples that then coincide.

Two columns are identical when the examples that touch the one are those that touch the other, with the one
put in the other's place: two subjects of whom the same is said. Swapping them changes nothing, so by
convexity some optimum gives them equal columns w; k of them weigh √k ‖w‖ in every unitarily invariant norm,
as one column √k w does. Its entries in the features are divided by √k in turn, so the logits stay.

Shapes: N examples, D columns, A answers of the problem; n, d after the reduction.
"""

from collections.abc import Callable
from concurrent.futures import Executor

import numpy as np
import scipy.sparse as sp

from spillover.margin.hashing import equal_rows, group_sums, hash_rows, mix
from spillover.margin.normal import normal_solver
from spillover.margin.norms import norm_value, shrink, spectral_norm
from spillover.margin.problem import MarginProblem, Norm
from spillover.margin.solution import Solution


class Collapsed:
    """The problem on its distinct columns and examples; the unknown is W transposed, an array (d, A)."""

    copies_na = np.float64(1.0)
    """Each logit stands for one alternative."""

    def __init__(self, problem: MarginProblem, *, reduce: bool = True) -> None:
        self.norm: Norm = problem.norm
        self.column_of_D = _identical_columns(problem) if reduce else np.arange(problem.columns)
        self.copies_d = np.bincount(self.column_of_D)
        selection = np.ones(problem.columns), (np.arange(problem.columns), self.column_of_D)
        merged = sp.csr_array(problem.features @ sp.csr_array(selection))
        first_of_N = equal_rows(merged, problem.labels) if reduce else np.arange(problem.examples)
        first, self.row_of_N = np.unique(first_of_N, return_inverse=True)
        self.copies_n = np.bincount(self.row_of_N, weights=problem.copies_N)
        self.features: sp.csr_array = merged[first] @ sp.diags_array(1 / np.sqrt(self.copies_d))
        self.labels = problem.labels[first]
        self.rows = self.labels.size
        # The metric of the logits: half way between one for each distinct example and one for each example.
        self.weights_n1 = np.sqrt(self.copies_n)[:, None]
        self.shape = (self.features.shape[1], problem.answers)
        self.transposed = self.features.T.tocsr()

    def logits(self, w_dA: np.ndarray) -> np.ndarray:
        """(n, A)."""
        return self.features @ w_dA

    def adjoint(self, z_nA: np.ndarray) -> np.ndarray:
        """(d, A)."""
        return self.transposed @ z_nA

    def normal_solver(self, weights_n1: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        """How to solve (I + Xᵀ diag(weights) X) w = right side."""
        return normal_solver(self.features, weights_n1[:, 0])

    def prox(self, w_dA: np.ndarray, step: float, pool: Executor) -> np.ndarray:
        """The proximal step of `step` times the norm."""
        return w_dA / (1 + step) if self.norm == "frobenius" else shrink(w_dA, step, pool)

    def value(self, w_dA: np.ndarray) -> float:
        """‖W‖_* or ½‖W‖_F²."""
        return norm_value(w_dA, self.norm)

    def dual_norm(self, g_dA: np.ndarray) -> float:
        """‖G‖_op or ‖G‖_F."""
        return float(np.linalg.norm(g_dA)) if self.norm == "frobenius" else spectral_norm(g_dA)

    def reduced(self, solution: Solution) -> tuple[np.ndarray, sp.csr_array]:
        """W (d, A) and the multipliers (n, A) of a solution of the whole problem: what `restore` undoes."""
        first = np.unique(self.column_of_D, return_index=True)[1]
        w_dA = solution.columns[solution.column_of[first]] * np.sqrt(self.copies_d)[:, None]
        first = np.unique(self.row_of_N, return_index=True)[1]
        share = solution.multipliers[solution.multipliers_of[first]]
        return w_dA, sp.csr_array(sp.diags_array(self.copies_n) @ share)

    def restore(self, w_dA: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The distinct columns of W (d, A), and which of them each of the D columns is."""
        return w_dA / np.sqrt(self.copies_d)[:, None], self.column_of_D

    def restore_dual(self, lambda_nA: sp.csr_array) -> tuple[sp.csr_array, np.ndarray]:
        """The distinct rows of the multipliers (n, A), and which a copy of each of the N examples has: its
        share of the sum.
        """
        return sp.csr_array(sp.diags_array(1 / self.copies_n) @ lambda_nA), self.row_of_N


def _identical_columns(problem: MarginProblem) -> np.ndarray:
    """The class of every column (D,): same class, same examples around it. Found by hash, then verified."""
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
