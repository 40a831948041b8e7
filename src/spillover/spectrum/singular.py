"""The singular values of a change of weights, and what they say; a large matrix is never held whole.

Shapes: m, n a matrix's rows and columns, k the smaller of them, r the columns of factors.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

PIECE = 1 << 22
"""Numbers of a matrix that are held at once: 32 MB of float64."""


class Matrix(Protocol):
    """A matrix that is read piece by piece."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(m, n)"""
        ...

    def piece(self, rows: slice, columns: slice, /) -> np.ndarray:
        """That part of it, float64."""
        ...


@dataclass(frozen=True, kw_only=True)
class Spectrum:
    """What singular values say of their matrix."""

    nuclear: float
    """Their sum."""
    frobenius: float
    """The root of the sum of their squares."""
    spectral: float
    """The largest."""
    effective_rank: float
    """exp of the entropy of the singular values divided by their sum (Roy and Vetterli, "The effective rank",
    2007): between 1 and the rank. NaN for zero."""


def spectrum(values: np.ndarray) -> Spectrum:
    """The numbers of singular values, (k,)."""
    total = float(values.sum())
    share = values[values > 0] / total if total > 0 else np.array([np.nan])
    return Spectrum(
        nuclear=total,
        frobenius=float(np.sqrt(np.square(values).sum())),
        spectral=float(values.max(initial=0.0)),
        effective_rank=float(np.exp(-(share * np.log(share)).sum())),
    )


def singular_values(matrix: Matrix) -> np.ndarray:
    """Singular values, (k,), in no order.

    A matrix of one `PIECE` goes through a plain SVD in float64. A larger one goes through its Gram matrix on
    the smaller side, summed over pieces in float64: it takes memory for about three k x k matrices. Squares
    lose the small values: each is right to about 1e-16 σ_max²/σ, at worst 1e-7 σ_max, so that the nuclear
    norm's relative error is below 1e-6 for a change of full rank, and below 1e-4 where most values are zero.
    """
    rows, columns = matrix.shape
    if rows * columns <= PIECE:
        return np.linalg.svd(matrix.piece(slice(0, rows), slice(0, columns)), compute_uv=False)
    gram = np.zeros((min(rows, columns),) * 2)
    for piece in _pieces(matrix):
        gram += piece.T @ piece
    return np.sqrt(np.clip(np.linalg.eigvalsh(gram), 0.0, None))


def _pieces(matrix: Matrix) -> Iterator[np.ndarray]:
    """Parts of the longer side by the whole of the shorter one, (·, k)."""
    rows, columns = matrix.shape
    step = max(1, PIECE // min(rows, columns))
    if rows >= columns:
        for start in range(0, rows, step):
            yield matrix.piece(slice(start, min(start + step, rows)), slice(0, columns))
    else:
        for start in range(0, columns, step):
            yield matrix.piece(slice(0, rows), slice(start, min(start + step, columns))).T


def values_of_product(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Singular values of `left` (m, r) times `right` (r, n), by QR of both: the m x n product is never made.

    There are r of them, or m or n where that is less; the product has no others that are not zero.
    """
    left_r = np.asarray(np.linalg.qr(left, mode="r"))
    right_r = np.asarray(np.linalg.qr(right.T, mode="r"))
    return np.linalg.svd(left_r @ right_r.T, compute_uv=False)
