"""The certificate: what a solution is worth, computed again in float64 from the problem's own data.

It shares nothing with the solver but the solution. Weak duality needs no trust: any W scaled until every
margin is 1 bounds the optimum from above, any λ ≥ 0 scaled until ‖Σ λ A‖_op ≤ 1 bounds it from below.

Shapes: N examples, D columns, A answers; d distinct columns and n distinct multiplier rows of the solution.
"""

from dataclasses import dataclass

import numpy as np
import scipy.linalg
import scipy.sparse as sp
from jaxtyping import Float, Int

from spillover.errors import MarginError
from spillover.margin.problem import MarginProblem
from spillover.margin.solution import Solution
from spillover.margin.threads import one_blas_thread

_CHUNK = 4_000_000  # float64 entries held at once: 32 MB


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """Two bounds on the optimum of a problem, and how far the unscaled points were from their constraints."""

    objective: float
    """Upper bound: the value at W (hard margin: W over its smallest margin; infinite if that is not > 0)."""
    lower_bound: float
    """The dual value at λ scaled until it is feasible."""
    smallest_margin: float
    """min over examples and alternatives of ⟨w_y − w_a, x⟩, before scaling."""
    worst_violation: float
    """max(0, 1 − smallest margin): how far W itself misses a constraint."""
    dual_norm: float
    """‖Σ λ A‖_op (nuclear) or ‖Σ λ A‖_F (Frobenius), before scaling."""

    @property
    def relative_gap(self) -> float:
        """(objective − lower bound) / objective, with its sign; NaN where there is no feasible point."""
        return (self.objective - self.lower_bound) / self.objective if np.isfinite(self.objective) else np.nan


def certificate(problem: MarginProblem, solution: Solution) -> Certificate:
    """The bounds that `solution` proves about `problem`.

    With A_{i,a} = (e_y − e_a) x_iᵀ, the dual of min ‖W‖_* is max Σ λ with ‖Σ λ A‖_op ≤ 1, λ ≥ 0, and of
    min ½‖W‖_F² it is max Σ λ − ½‖Σ λ A‖_F²; on a soft margin also λ ≤ penalty. Raises `MarginError` where the
    solution does not fit the problem, or holds a number that is not finite or a negative multiplier.
    """
    check_fits(problem, solution)
    with one_blas_thread():
        smallest, missed = _margins(problem, solution)
        norm = _norm(problem, solution)
        total, dual_norm = _dual(problem, solution)
    if problem.hard:
        objective = norm / smallest**problem.degree if smallest > 0 else np.inf
    else:
        objective = norm + problem.penalty * missed
    return Certificate(
        objective=float(objective),
        lower_bound=dual_value(total, dual_norm, problem)[0],
        smallest_margin=smallest,
        worst_violation=max(0.0, 1.0 - smallest),
        dual_norm=dual_norm,
    )


def dual_value(total: float, dual_norm: float, problem: MarginProblem) -> tuple[float, float]:
    """The dual value of λ with Σ λ = `total`, at the best scale that keeps it feasible, and that scale.

    A soft margin does not allow scaling up, for λ might then exceed the penalty.
    """
    if dual_norm == 0:
        return (np.inf if problem.hard and total > 0 else total), 1.0
    largest = np.inf if problem.hard else 1.0
    if problem.norm == "nuclear":
        scale = min(1 / dual_norm, largest)
        return float(scale * total), scale
    scale = min(total / dual_norm**2, largest)
    return float(scale * total - 0.5 * (scale * dual_norm) ** 2), scale


def check_fits(problem: MarginProblem, solution: Solution) -> None:
    """Raise `MarginError` for a solution of another problem, or one with numbers that none can have."""
    columns, multipliers = solution.columns, solution.multipliers
    for name, got, wanted in (
        ("columns", columns.shape, (len(columns), problem.answers)),
        ("column_of", solution.column_of.shape, (problem.columns,)),
        ("multipliers", multipliers.shape, (multipliers.shape[0], problem.answers)),
        ("multipliers_of", solution.multipliers_of.shape, (problem.examples,)),
    ):
        if got != wanted:
            raise MarginError(
                f"the solution belongs to another problem: {name} is {got}, here it would be {wanted}"
            )
    for name, classes, count in (
        ("column_of", solution.column_of, len(columns)),
        ("multipliers_of", solution.multipliers_of, multipliers.shape[0]),
    ):
        if classes.min() < 0 or classes.max() >= count:
            raise MarginError(
                f"the solution belongs to another problem: {name} points beyond its {count} rows"
            )
    if not (np.isfinite(columns).all() and np.isfinite(multipliers.data).all()):
        raise MarginError("the solution holds numbers that are not finite")
    if multipliers.nnz and multipliers.data.min() < 0:
        raise MarginError("the solution holds a negative multiplier")


def _margins(problem: MarginProblem, solution: Solution) -> tuple[float, float]:
    """The smallest margin, and Σ max(0, 1 − margin) over all constraints of all copies."""
    smallest, missed = np.inf, 0.0
    merge = _selection(solution.column_of, len(solution.columns))
    for start in range(0, problem.examples, step := max(1, _CHUNK // problem.answers)):
        part = slice(start, start + step)
        labels = problem.labels[part]
        margins = -((problem.features[part] @ merge) @ solution.columns)
        row = np.arange(labels.size)
        margins -= margins[row, labels][:, None]
        margins[row, labels] = np.inf
        smallest = min(smallest, float(margins.min()))
        missed += float(problem.copies_N[part] @ np.maximum(1 - margins, 0).sum(axis=1))
    return smallest, missed


def _norm(problem: MarginProblem, solution: Solution) -> float:
    """‖W‖_* or ½‖W‖_F²: repeated columns weigh as one, scaled by the root of their number."""
    w, copies = solution.columns, np.bincount(solution.column_of, minlength=len(solution.columns))
    if problem.norm == "frobenius":
        return float(0.5 * (copies @ np.einsum("da,da->d", w, w)))
    roots = np.broadcast_to(np.sqrt(copies)[:, None], w.shape)
    if w.shape[0] < w.shape[1]:
        w, roots = w.T, roots.T
    rows, side = w.shape
    triangle = np.zeros((0, side))
    for start in range(0, rows, step := max(side, _CHUNK // side)):
        part = slice(start, start + step)
        triangle = np.linalg.qr(np.concatenate([triangle, w[part] * roots[part]]), mode="r")
    return float(np.linalg.svd(triangle, compute_uv=False).sum())


def _dual(problem: MarginProblem, solution: Solution) -> tuple[float, float]:
    """Σ λ and the norm of G = Σ λ A (columns of W by answers), of which a piece is held at a time, and its
    smaller Gram matrix; λ is cut off at the penalty.
    """
    multipliers, row_of = solution.multipliers.copy(), solution.multipliers_of
    multipliers.sum_duplicates()
    np.minimum(multipliers.data, problem.penalty, out=multipliers.data)
    if multipliers[row_of, problem.labels].any():
        raise MarginError(
            "the solution holds a multiplier at an example's own label, where there is no constraint"
        )
    total_N = problem.copies_N * multipliers.sum(axis=1)[row_of]
    at_labels = sp.csr_array(
        (total_N, (np.arange(problem.examples), problem.labels)), shape=(problem.examples, problem.answers)
    )
    copied = sp.diags_array(problem.copies_N) @ _selection(row_of, multipliers.shape[0])
    transposed = problem.features.T.tocsr()
    plus, minus = _distinct(solution.column_of, transposed @ at_labels, transposed @ copied)
    if plus.shape[0] < plus.shape[1]:  # then by its transpose
        plus, minus, multipliers = (part.T.tocsr() for part in (plus, multipliers, minus))
    rows, side = plus.shape
    nuclear = problem.norm == "nuclear"
    squares, gram = 0.0, np.zeros((side, side) if nuclear else 0)
    for start in range(0, rows, step := max(1, _CHUNK // side)):
        part = slice(start, start + step)
        g = plus[part].toarray() - (minus[part] @ multipliers).toarray()
        if nuclear:
            gram += g.T @ g
        else:
            squares += float(np.vdot(g, g))
    if nuclear:
        squares = scipy.linalg.eigvalsh(gram, overwrite_a=True)[-1]  # LAPACK may fail to tell one of equals
    return float(total_N.sum()), float(np.sqrt(max(squares, 0.0)))


def _distinct(
    column_of: Int[np.ndarray, " D"], *parts: Float[sp.csr_array, "D _"]
) -> list[Float[sp.csr_array, "kept _"]]:
    """The rows of some matrices, those once that the solution holds to be alike and that are, scaled
    by the root of their number: no singular value changes.
    """
    whole = sp.csr_array(sp.hstack(parts))
    _, first, class_of = np.unique(column_of, return_index=True, return_inverse=True)
    leader = first[class_of]
    difference = sp.csr_array(whole - whole[leader])
    difference.eliminate_zeros()
    own = np.diff(difference.indptr) > 0
    kept, copies = np.unique(np.where(own, np.arange(own.size), leader), return_counts=True)
    scaled = sp.diags_array(np.sqrt(copies))
    return [sp.csr_array(scaled @ part[kept]) for part in parts]


def _selection(class_of: Int[np.ndarray, " members"], classes: int) -> Float[sp.csr_array, "members classes"]:
    """A one where a member belongs to a class."""
    return sp.csr_array(
        (np.ones(class_of.size), (np.arange(class_of.size), class_of)), shape=(class_of.size, classes)
    )
