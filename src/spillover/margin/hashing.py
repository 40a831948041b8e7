"""64-bit hashes of parts of a problem that do not depend on order: proposals, which their users verify."""

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Int, UInt64


def group_sums(
    values: UInt64[np.ndarray, " n"], groups: Int[np.ndarray, " n"], count: int
) -> UInt64[np.ndarray, " {count}"]:
    """Sums of `values` modulo 2^64 by group."""
    sums = np.zeros(count, dtype=np.uint64)
    np.add.at(sums, groups, values)
    return sums


def mix(values: UInt64[np.ndarray, " n"]) -> UInt64[np.ndarray, " n"]:
    """A hash of each value: the finalizer of SplitMix64 (Steele, Lea and Flood 2014)."""
    x = values + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def hash_rows(
    matrix: Float[sp.csr_array, "n d"],
) -> tuple[UInt64[np.ndarray, " entries"], UInt64[np.ndarray, " n"]]:
    """A hash of each stored entry (its column and value), and their sums by row."""
    entries = mix(mix(matrix.indices.astype(np.uint64)) + matrix.data.view(np.uint64))
    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    return entries, group_sums(entries, rows, matrix.shape[0])


def equal_rows(
    matrix: Float[sp.csr_array, "n d"], labels: Int[np.ndarray, " n"] | None = None
) -> Int[np.ndarray, " n"]:
    """The first row that is equal to each row (and has its label, where labels are given); verified."""
    _, keys = hash_rows(matrix)
    if labels is not None:
        keys = keys + mix(labels.astype(np.uint64) + np.uint64(1))
    _, first, class_of = np.unique(keys, return_index=True, return_inverse=True)
    first = first[class_of]
    difference = matrix - matrix[first]
    equal = not np.any(difference.data) and (labels is None or np.array_equal(labels, labels[first]))
    return first if equal else np.arange(matrix.shape[0])
