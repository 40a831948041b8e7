"""The two norms, their duals and the nuclear norm's proximal step, each by the smaller Gram matrix.

Shapes: W is (A, D) or its transpose (D, A); all of these are the same for both.
"""

from concurrent.futures import Executor
from functools import reduce
from operator import add

import numpy as np
import scipy.linalg
from jaxtyping import Float

from spillover.margin.problem import Norm
from spillover.margin.threads import LARGE, in_halves

_LARGE = LARGE


def shrink(
    w: Float[np.ndarray, "rows columns"], step: float, pool: Executor | None = None
) -> Float[np.ndarray, "rows columns"]:
    """The singular values of W lowered by `step`, none below 0: the nuclear norm's proximal step.

    By the smaller Gram matrix: what its square root loses, 1e-8 of the largest singular value, is far below
    `step`. A large W is done in halves by the threads of `pool`.
    """
    if w.shape[0] < w.shape[1]:
        return shrink(w.T, step, pool).T
    parts, each = in_halves(len(w), pool if w.size > _LARGE else None)
    squares, q = np.linalg.eigh(reduce(add, each(lambda part: w[part].T @ w[part], parts)))
    sigma = np.sqrt(np.maximum(squares, 0.0))
    kept = sigma > step
    q = q[:, kept]
    factor = (q * (1 - step / sigma[kept])) @ q.T
    shrunk = np.empty_like(w)
    list(each(lambda part: np.matmul(w[part], factor, out=shrunk[part]), parts))
    return shrunk


def norm_value(w: Float[np.ndarray, "..."], norm: Norm) -> float:
    """‖W‖_* or ½‖W‖_F², by the smaller Gram matrix: singular values below 1e-8 of the largest may be lost."""
    if norm == "frobenius":
        return float(0.5 * np.vdot(w, w))
    return float(np.sqrt(np.maximum(scipy.linalg.eigvalsh(_smaller_gram(w), check_finite=False), 0.0)).sum())


def unheld(
    w: Float[np.ndarray, "rows columns"], g: Float[np.ndarray, "rows columns"], below: float
) -> Float[np.ndarray, "rows columns"]:
    """The part of W along the singular vectors of G (on its smaller side) whose values are under `below`."""
    if w.shape[0] < w.shape[1]:
        return unheld(w.T, g.T, below).T
    squares, q = np.linalg.eigh(g.T @ g)
    q = q[:, squares < below**2]
    return (w @ q) @ q.T


def spectral_norm(w: Float[np.ndarray, "rows columns"]) -> float:
    """‖W‖_op, by the smaller Gram matrix (exact to rounding for the largest singular value)."""
    largest = scipy.linalg.eigvalsh(_smaller_gram(w), check_finite=False)[-1]
    return float(np.sqrt(max(largest, 0.0)))


def _smaller_gram(w: Float[np.ndarray, "rows columns"]) -> Float[np.ndarray, "side side"]:
    gram = w.T @ w if w.shape[0] >= w.shape[1] else w @ w.T
    if not np.isfinite(gram).all():  # as NumPy's `eigh` does; SciPy's raises a ValueError
        raise np.linalg.LinAlgError("a Gram matrix is not finite")
    return gram
