"""The one linear system of the iteration: I + Xᵀ diag(weights) X, factored once and solved every round."""

from collections.abc import Callable

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg
from jaxtyping import Bool, Float

_DENSE_COLUMNS = 256  # up to here one dense inverse is the fastest
_DENSE_HUBS = 2_000  # beyond it everything is factored sparsely


def normal_solver(
    features: Float[sp.csr_array, "n d"], weights: Float[np.ndarray, " n"]
) -> Callable[[np.ndarray], np.ndarray]:
    """How to solve (I + Xᵀ diag(weights) X) w = right side, (d, anything).

    Columns of which every example has at most one are eliminated first (in a table of facts, the
    subjects); what is left, the hubs (the relations), is one small dense system. Raises
    `np.linalg.LinAlgError` where rounding makes it singular.
    """
    gram = sp.eye_array(features.shape[1]) + features.T @ sp.diags_array(weights) @ features
    if features.shape[1] <= _DENSE_COLUMNS:
        whole = np.linalg.inv(gram.toarray())
        return lambda right: whole @ right
    hub = hub_columns(features)
    if hub.sum() > _DENSE_HUBS:
        try:
            return scipy.sparse.linalg.splu(gram.tocsc()).solve
        except RuntimeError as error:  # SciPy's word for singular
            raise np.linalg.LinAlgError(str(error)) from error
    hubs = np.flatnonzero(hub)
    gram = gram.tocsr()
    scale = np.where(hub, 1.0, 1 / gram.diagonal())  # a private column's rows of the Gram matrix are its own
    border = sp.csr_array(sp.diags_array((~hub).astype(float)) @ gram[:, hubs])
    scaled, transposed = sp.csr_array(sp.diags_array(scale) @ border), border.T.tocsr()
    inverse = np.linalg.inv(gram[hubs][:, hubs].toarray() - (transposed @ scaled).toarray())

    def solve(right: Float[np.ndarray, "d A"]) -> Float[np.ndarray, "d A"]:
        w = right * scale[:, None]
        own = inverse @ (right[hubs] - transposed @ w)
        w -= scaled @ own
        w[hubs] = own
        return w

    return solve


def hub_columns(features: Float[sp.csr_array, "n d"]) -> Bool[np.ndarray, " d"]:
    """A mask over the columns such that every example has at most one column outside it.

    Outside are the columns that in all their examples are the least used one.
    """
    hub = np.zeros(features.shape[1], dtype=bool)
    if not features.nnz:
        return hub
    used = np.bincount(features.indices, minlength=features.shape[1])
    rows = np.repeat(np.arange(features.shape[0]), np.diff(features.indptr))
    order = np.lexsort((features.indices, used[features.indices], rows))
    least = np.zeros(features.nnz, dtype=bool)
    sorted_rows = rows[order]
    least[order[np.r_[True, sorted_rows[1:] != sorted_rows[:-1]]]] = True
    hub[features.indices[~least]] = True
    return hub
