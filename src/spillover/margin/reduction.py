"""What the iteration asks of a problem that was reduced exactly, in whichever way.

Shapes: N examples, D columns and `answers` of the whole problem; n examples and A alternatives of the reduced
one, of which an alternative may stand for several answers. The unknown w has a shape of the reduction's own.
"""

from collections.abc import Callable
from concurrent.futures import Executor
from typing import Protocol, runtime_checkable

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Int

from spillover.margin.solution import Solution


@runtime_checkable
class Reduction(Protocol):
    """A margin problem on fewer unknowns and examples whose every optimum is one of the whole problem.

    Its unknown keeps lengths and angles of W, so the norm, its dual and its proximal step carry over.
    """

    @property
    def examples(self) -> int:
        """Distinct examples of the table, from which the first ρ follows."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the unknown w."""
        ...

    @property
    def logit_shape(self) -> tuple[int, int]:
        """(n, A)."""
        ...

    @property
    def features(self) -> Float[sp.csr_array, "n d"] | None:
        """X where the logits are X w, so that some rows of them can be made alone; else None."""
        ...

    @property
    def labels(self) -> Int[np.ndarray, " n"]:
        """The right alternative of each example."""
        ...

    @property
    def copies_n(self) -> Float[np.ndarray, " n"]:
        """How many examples of the whole problem each one stands for."""
        ...

    @property
    def copies_na(self) -> Float[np.ndarray, "n A"] | np.float64:
        """How many answers each logit stands for: one number for each, or one for all."""
        ...

    @property
    def weights_n1(self) -> Float[np.ndarray, "n 1"]:
        """The metric of an example's logits, each of which counts `copies_na` times."""
        ...

    def logits(self, w: Float[np.ndarray, "*w"]) -> Float[np.ndarray, "n A"]:
        """The linear map from the unknown to the logits."""
        ...

    def adjoint(self, z: Float[np.ndarray, "n A"]) -> Float[np.ndarray, "*w"]:
        """The adjoint of `logits`."""
        ...

    def normal_solver(self, weights: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        """How to solve (I + Lᵀ diag(weights) L) w = right side, L the map to the logits."""
        ...

    def prox(self, w: Float[np.ndarray, "*w"], step: float, pool: Executor) -> Float[np.ndarray, "*w"]:
        """The proximal step of `step` times the norm."""
        ...

    def value(self, w: Float[np.ndarray, "*w"]) -> float:
        """‖W‖_* or ½‖W‖_F²."""
        ...

    def dual_norm(self, g: Float[np.ndarray, "*w"]) -> float:
        """‖G‖_op or ‖G‖_F."""
        ...

    def translate(self, start: Solution) -> tuple[Float[np.ndarray, "*w"], Float[sp.csr_array, "n A"]] | None:
        """w and the multipliers of a solution of the whole problem, summed over the copies of each example;
        None where a start would save nothing.
        """
        ...

    def restore(
        self, w: Float[np.ndarray, "*w"]
    ) -> tuple[Float[np.ndarray, "d answers"], Int[np.ndarray, " D"]]:
        """The distinct columns of W, and which of them each column is."""
        ...

    def restore_dual(
        self, multipliers: Float[sp.csr_array, "n A"]
    ) -> tuple[Float[sp.csr_array, "rows answers"], Int[np.ndarray, " N"]]:
        """The distinct rows of the multipliers, and which each example has: its share of the sum."""
        ...
