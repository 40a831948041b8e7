"""Exact reduction 2: interchangeable components of the table become one component and its multiplicity.

Components that are alike can be permuted without changing the problem, so by convexity some optimum is
invariant. Which are alike is proposed by hashes (`components.py`) and verified here, entry by entry; the
problem that is left is in `invariant.py`.

Shapes: n examples of the quotient, e kinds of examples.
"""

import numpy as np
import scipy.sparse as sp
from jaxtyping import Int

from spillover.margin.components import Components, propose_components
from spillover.margin.invariant import InvariantMatrices
from spillover.margin.quotient import Quotient

_UNKNOWNS = 400  # of the reduced problem, at most; beyond it the plain iteration is the faster one


def interchangeable(quotient: Quotient) -> InvariantMatrices | None:
    """The problem on its invariant matrices, or None where the table has no such symmetry worth using."""
    components = propose_components(quotient) if quotient.features.nnz else None
    if components is None:
        return None
    kinds = components.column_class.size * components.answer_class.size
    if components.sizes.max(initial=1) < 2 or kinds > _UNKNOWNS:
        return None
    kind_of_n = _example_kinds(quotient, components)
    return None if kind_of_n is None else InvariantMatrices(quotient, components, kind_of_n)


def _example_kinds(quotient: Quotient, c: Components) -> Int[np.ndarray, " n"] | None:
    """The kind of every example; None where the classes are not a true symmetry.

    True means: for every kind of example, each component of its class has exactly one, with the same
    features at the same kinds, the same label kind and the same copies.
    """
    x = quotient.features
    rows = np.repeat(np.arange(quotient.examples), np.diff(x.indptr))
    of_label = c.answer_member[quotient.labels]
    is_hub = c.column_class[c.column_kind[x.indices]] < 0
    if (~is_hub & (c.column_member[x.indices] != of_label[rows])).any():
        return None
    shape = (quotient.examples, c.column_class.size)
    features = sp.csr_array((x.data, (rows, c.column_kind[x.indices])), shape=shape)
    features.sort_indices()
    label_kind = c.answer_kind[quotient.labels]
    kinds: dict[tuple, list[int]] = {}
    for i in range(quotient.examples):
        part = slice(features.indptr[i], features.indptr[i + 1])
        key = (label_kind[i], quotient.copies_n[i], *features.indices[part], *features.data[part])
        kinds.setdefault(key, []).append(i)
    kind_of_n = np.empty(quotient.examples, dtype=np.intp)
    for number, (key, examples) in enumerate(kinds.items()):
        n = c.sizes[c.answer_class[key[0]]]
        if len(examples) != n or len(set(of_label[examples])) != n:
            return None
        kind_of_n[examples] = number
    return kind_of_n
