"""What a solver returns: points and a status, and on the way how far it has come."""

from dataclasses import dataclass
from enum import Enum

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Int


class Status(Enum):
    """How a solve ended, as a sentence."""

    OPTIMAL = "the relative gap is within the tolerance"
    TIME_LIMIT = "the time limit came first; the certificate says how near this is"
    ITERATION_LIMIT = "the iteration limit came first; the certificate says how near this is"


@dataclass(frozen=True, kw_only=True)
class SolverState:
    """How far a solve has come, at one of its looks at the gap."""

    iterations: int
    seconds: float
    objective: float
    """The best value of a feasible point so far; infinite before there is one."""
    lower_bound: float
    """The best dual value so far."""

    @property
    def relative_gap(self) -> float:
        """(objective − lower bound) / objective; NaN before there is a feasible point."""
        return (self.objective - self.lower_bound) / self.objective if np.isfinite(self.objective) else np.nan


@dataclass(frozen=True, kw_only=True, eq=False)
class Solution:
    """What the solver claims; `certificate` recomputes it from the problem's own data.

    Both points are held without their repetitions, d ≤ D distinct columns and n ≤ N distinct examples.
    """

    columns: Float[np.ndarray, "d A"]
    """The distinct columns of W; on a hard margin scaled so that the smallest margin is 1."""
    column_of: Int[np.ndarray, " D"]
    """Which of them each feature has."""
    multipliers: Float[sp.csr_array, "n A"]
    """The distinct rows of the multipliers λ ≥ 0 of the constraints; zero at the labels."""
    multipliers_of: Int[np.ndarray, " N"]
    """Which of them a copy of each example has."""
    status: Status
    iterations: int
    seconds: float

    @property
    def W(self) -> Float[np.ndarray, "A D"]:
        """Written out."""
        return self.columns[self.column_of].T

    @property
    def dual(self) -> Float[sp.csr_array, "N A"]:
        """Written out."""
        return self.multipliers[self.multipliers_of]
