"""The max-margin problem: the least norm of W that tells every example's label from all other answers.

Shapes: N examples, D features (columns of W), A answers (rows of W). Knows neither text nor attention.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Int

from spillover.errors import MarginError

Norm = Literal["nuclear", "frobenius"]


@dataclass(frozen=True, kw_only=True, eq=False)
class MarginProblem:
    """min ‖W‖_* or min ½‖W‖_F² over W (A, D), subject to ⟨w_y − w_a, x⟩ ≥ 1 for every example (x, y) and a
    ≠ y.

    The problem of Theorem 1 (arXiv 2506.10887, the implicit bias of the factorized and of the merged
    model), for any features and labels. With a finite `penalty` c it is the soft margin: each constraint
    may be missed by max(0, 1 − margin) at the cost of c times that.

    Raises `MarginError` for no examples, fewer than two answers, features that are not finite, a label out
    of range, an unknown norm, or a penalty that is not positive.
    """

    features: Float[sp.csr_array, "N D"]
    """Any sparse or dense matrix; held as float64 CSR."""
    labels: Int[np.ndarray, " N"]
    """The right answer of each example, in 0 … A − 1."""
    answers: int
    """A: every answer is an alternative of every example, also one that is no example's label."""
    norm: Norm = "nuclear"
    penalty: float = np.inf
    """Cost of missing one constraint by one; infinite is the hard margin."""
    copies: Float[np.ndarray, " N"] | Float[np.ndarray, ""] | float = 1.0
    """How many examples each one stands for, one number for all or each: a soft margin is paid so often."""

    def __post_init__(self) -> None:
        features = sp.csr_array(self.features)
        if not (np.issubdtype(features.dtype, np.number) or features.dtype == bool) or np.iscomplexobj(
            features
        ):
            raise MarginError(f"features must be real numbers, got {features.dtype}")
        features = features.astype(np.float64)
        features.sum_duplicates()
        features.eliminate_zeros()
        labels = np.asarray(self.labels)
        if self.norm not in get_args(Norm):
            raise MarginError(f"the norm is {self.norm!r}; it can be {' or '.join(get_args(Norm))}")
        if features.shape[0] == 0:
            raise MarginError("the margin problem has no examples; give at least one")
        if labels.shape != (features.shape[0],):
            raise MarginError(
                f"there are {features.shape[0]} rows of features and labels of shape {labels.shape}; "
                "give one label for each row"
            )
        if not np.isfinite(features.data).all():
            row = np.searchsorted(features.indptr, np.argmin(np.isfinite(features.data)), side="right") - 1
            raise MarginError(f"the features of example {row} are not finite; every feature must be a number")
        if features.shape[1] == 0:
            raise MarginError("the features have no columns; give at least one")
        if not isinstance(self.answers, int | np.integer):
            raise MarginError(f"the number of answers must be whole, got {self.answers}")
        if self.answers < 2:
            raise MarginError(f"a margin needs at least two answers, got {self.answers}")
        if not np.issubdtype(labels.dtype, np.integer):
            raise MarginError(f"labels must be whole numbers, got {labels.dtype}")
        wrong = np.flatnonzero((labels < 0) | (labels >= self.answers))
        if wrong.size:
            raise MarginError(
                f"example {wrong[0]} has label {labels[wrong[0]]}; labels go from 0 to {self.answers - 1}"
            )
        if not self.penalty > 0:
            raise MarginError(
                f"the penalty must be positive (infinite for a hard margin), got {self.penalty}"
            )
        copies = np.asarray(self.copies, dtype=np.float64)
        if copies.shape not in ((), labels.shape) or not (np.isfinite(copies) & (copies > 0)).all():
            raise MarginError(
                f"the copies of examples must be positive, one for all or {labels.size}, got {self.copies}"
            )
        object.__setattr__(self, "features", features)
        object.__setattr__(self, "labels", labels.astype(np.intp))
        object.__setattr__(self, "copies", copies)

    @property
    def examples(self) -> int:
        """N."""
        return int(self.labels.size)

    @property
    def copies_N(self) -> Float[np.ndarray, " N"]:
        """The copies of each example."""
        return np.broadcast_to(self.copies, self.labels.shape)

    @property
    def columns(self) -> int:
        """D."""
        return int(self.features.shape[1])

    @property
    def degree(self) -> int:
        """By which power of W the minimized norm grows: 1 for ‖W‖_*, 2 for ½‖W‖_F²."""
        return 1 if self.norm == "nuclear" else 2

    @property
    def hard(self) -> bool:
        """Whether every constraint must hold."""
        return bool(np.isinf(self.penalty))


def from_triples(triples: Sequence[tuple[Any, Any, Any]], **options: Any) -> "MarginProblem":
    """The problem of a table: triple (subject s, relation r, answer a) has features e_s + e_r and label a.

    Columns are the subjects, then the relations, and rows the answers, each in the order of first
    appearance. `options` are those of `MarginProblem` besides its arrays.
    """
    if not triples:
        raise MarginError("the margin problem has no examples; give at least one")
    subjects, relations, answers = (
        {name: i for i, name in enumerate(dict.fromkeys(column))} for column in zip(*triples, strict=True)
    )
    columns = np.array([[subjects[s], len(subjects) + relations[r]] for s, r, _ in triples])
    rows = np.repeat(np.arange(len(triples)), 2)
    features = sp.csr_array(
        (np.ones(columns.size), (rows, columns.ravel())),
        shape=(len(triples), len(subjects) + len(relations)),
    )
    labels = np.array([answers[a] for _, _, a in triples])
    return MarginProblem(features=features, labels=labels, **{"answers": len(answers), **options})


def from_patterns(
    pattern: Int[np.ndarray, " N"],
    relation: Int[np.ndarray, " N"],
    answer: Int[np.ndarray, " N"],
    *,
    subjects: Int[np.ndarray, " patterns"],
    relations: int,
    answers: int,
    **options: Any,
) -> "MarginProblem":
    """The problem of a table whose subjects come in patterns; `subjects` says how many have each.

    Statement i (in three arrays of indices) says that subjects of `pattern[i]` have `answer[i]` as
    their `relation[i]`. This is `from_triples` with the columns of k like subjects already one (see
    `quotient.py`): column p of W is √k times the column of one subject; the relations' columns follow.
    """
    kinds = len(subjects)
    columns = np.stack([pattern, kinds + relation], axis=1)
    values = np.stack([1 / np.sqrt(subjects[pattern]), np.ones(len(pattern))], axis=1)
    features = sp.csr_array(
        (values.ravel(), columns.ravel(), 2 * np.arange(len(pattern) + 1)),
        shape=(len(pattern), kinds + relations),
    )
    copies = subjects[pattern].astype(np.float64)
    return MarginProblem(features=features, labels=answer, answers=answers, copies=copies, **options)
