"""The problem on classes of its columns and of its examples, of which each class is held once.

Columns of a class are equal in W: k of them weigh √k ‖w‖ in every unitarily invariant norm, as one column
√k w does. Its entries in the features are divided by √k in turn, so the logits stay.

Shapes: N examples, D columns, A answers of the problem; n, d of its classes.
"""

from collections.abc import Callable
from concurrent.futures import Executor

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Int

from spillover.margin.normal import normal_solver
from spillover.margin.norms import norm_value, shrink, spectral_norm
from spillover.margin.problem import MarginProblem, Norm
from spillover.margin.solution import Solution


class Quotient:
    """A `Reduction` to classes; the unknown is W transposed, an array (d, A).

    `column_of_D` is the class of each column, `merged_Nd` the features with the columns of each class summed,
    `first_of_N` the first example of each one's class.
    """

    copies_na = np.float64(1.0)
    """Each logit stands for one alternative."""

    def __init__(
        self,
        problem: MarginProblem,
        column_of_D: Int[np.ndarray, " D"],
        merged_Nd: Float[sp.csr_array, "N d"],
        first_of_N: Int[np.ndarray, " N"],
    ) -> None:
        self.norm: Norm = problem.norm
        self.column_of_D = column_of_D
        self.copies_d = np.bincount(column_of_D)
        first, self.row_of_N = np.unique(first_of_N, return_inverse=True)
        self.copies_n = np.bincount(self.row_of_N, weights=problem.copies_N)
        self.features: sp.csr_array = merged_Nd[first] @ sp.diags_array(1 / np.sqrt(self.copies_d))
        self.labels = problem.labels[first]
        self.examples = self.labels.size
        # The metric of the logits: half way between one for each distinct example and one for each example.
        self.weights_n1 = np.sqrt(self.copies_n)[:, None]
        self.shape = (self.features.shape[1], problem.answers)
        self.logit_shape = (self.examples, problem.answers)
        self._transposed = self.features.T.tocsr()

    def logits(self, w: Float[np.ndarray, "d A"]) -> Float[np.ndarray, "n A"]:
        """X w."""
        return self.features @ w

    def adjoint(self, z: Float[np.ndarray, "n A"]) -> Float[np.ndarray, "d A"]:
        """Xᵀ z."""
        return self._transposed @ z

    def normal_solver(self, weights: Float[np.ndarray, "n 1"]) -> Callable[[np.ndarray], np.ndarray]:
        """How to solve (I + Xᵀ diag(weights) X) w = right side."""
        return normal_solver(self.features, weights[:, 0])

    def prox(self, w: Float[np.ndarray, "d A"], step: float, pool: Executor) -> Float[np.ndarray, "d A"]:
        """The proximal step of `step` times the norm."""
        return w / (1 + step) if self.norm == "frobenius" else shrink(w, step, pool)

    def value(self, w: Float[np.ndarray, "d A"]) -> float:
        """‖W‖_* or ½‖W‖_F²."""
        return norm_value(w, self.norm)

    def dual_norm(self, g: Float[np.ndarray, "d A"]) -> float:
        """‖G‖_op or ‖G‖_F."""
        return float(np.linalg.norm(g)) if self.norm == "frobenius" else spectral_norm(g)

    def translate(self, start: Solution) -> tuple[Float[np.ndarray, "d A"], Float[sp.csr_array, "n A"]]:
        """W and the multipliers of a solution of the whole problem: what `restore` undoes."""
        first = np.unique(self.column_of_D, return_index=True)[1]
        w = start.columns[start.column_of[first]] * np.sqrt(self.copies_d)[:, None]
        first = np.unique(self.row_of_N, return_index=True)[1]
        share = start.multipliers[start.multipliers_of[first]]
        return w, sp.csr_array(sp.diags_array(self.copies_n) @ share)

    def restore(self, w: Float[np.ndarray, "d A"]) -> tuple[Float[np.ndarray, "d A"], Int[np.ndarray, " D"]]:
        """The distinct columns of W, and which of them each column is."""
        return w / np.sqrt(self.copies_d)[:, None], self.column_of_D

    def restore_dual(
        self, multipliers: Float[sp.csr_array, "n A"]
    ) -> tuple[Float[sp.csr_array, "n A"], Int[np.ndarray, " N"]]:
        """The distinct rows of the multipliers, and which each example has: its share of the sum."""
        return sp.csr_array(sp.diags_array(1 / self.copies_n) @ multipliers), self.row_of_N


def unreduced(problem: MarginProblem) -> Quotient:
    """The problem as it stands: every column and every example is a class of its own."""
    own = np.arange(problem.columns)
    return Quotient(problem, own, sum_columns(problem.features, own), np.arange(problem.examples))


def sum_columns(
    features: Float[sp.csr_array, "N D"], class_of_D: Int[np.ndarray, " D"]
) -> Float[sp.csr_array, "N d"]:
    """The features with the columns of each class summed."""
    selection = np.ones(class_of_D.size), (np.arange(class_of_D.size), class_of_D)
    return sp.csr_array(features @ sp.csr_array(selection))
