"""The singular values of a change, without ever holding a large matrix, and what they say of size and rank.

Legend of shapes: M and N a weight's rows and columns, S the smaller of the two, R columns of two factors.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]

_NUMBERS = 1 << 22  # of a block that is held at once, in float64: 32 MB


@dataclass(frozen=True, kw_only=True)
class Norms:
    """What the singular values of a matrix say; of one without any change the rank is NaN."""

    nuclear: float
    """Their sum."""
    frobenius: float
    """The root of the sum of their squares."""
    spectral: float
    """The largest."""
    effective_rank: float
    """exp of the entropy of their shares in the sum: S where all are equal, 1 where there is one. Roy and
    Vetterli (2007), The effective rank."""


def norms(values_S: Values) -> Norms:
    """The norms of a matrix with these singular values."""
    total = float(values_S.sum())
    share_S = values_S[values_S > 0] / total if total > 0 else np.empty(0)
    return Norms(
        nuclear=total,
        frobenius=float(np.sqrt((values_S**2).sum())),
        spectral=float(values_S.max(initial=0.0)),
        effective_rank=float(np.exp(-(share_S * np.log(share_S)).sum())) if total > 0 else float("nan"),
    )


def of_difference(before_MN: Any, after_MN: Any) -> Values:
    """(S,) The singular values of `after - before`, of two tensors or safetensors slices of one shape.

    They are the roots of the eigenvalues of the smaller Gram matrix, which is summed up block by block in
    float64: some times S² numbers and 2²² are held. A value is off by up to 2e-8 of the largest, and the
    nuclear norm so by less than S times that. A vector is a matrix of one column.
    """
    import torch

    shape = tuple(before_MN.get_shape() if hasattr(before_MN, "get_shape") else before_MN.shape)
    if len(shape) < 2:
        change = after_MN[:].double() - before_MN[:].double()
        return np.array([float(torch.linalg.vector_norm(change))])
    wide = shape[0] < shape[1]  # then columns are what is summed over
    smaller, larger = min(shape), max(shape)
    gram_SS = torch.zeros(smaller, smaller, dtype=torch.float64)
    step = max(1, _NUMBERS // smaller)
    for start in range(0, larger, step):
        part = slice(start, start + step)
        block = (slice(None), part) if wide else part
        change = after_MN[block].double()
        change -= before_MN[block]
        change_bS = change.T if wide else change
        gram_SS.addmm_(change_bS.T, change_bS)
    return np.sqrt(np.clip(torch.linalg.eigvalsh(gram_SS).numpy(), 0.0, None))


def of_product(left_MR: Any, right_NR: Any) -> Values:
    """The singular values of `left rightᵀ` in float64, as many as the factors have columns, or the product's
    smaller side; the product itself, M × N, is never made.
    """
    import torch

    upper_left = torch.linalg.qr(left_MR.double(), mode="r").R
    upper_right = torch.linalg.qr(right_NR.double(), mode="r").R
    return torch.linalg.svdvals(upper_left @ upper_right.T).numpy()
