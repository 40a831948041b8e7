"""What the one-layer factorized model says early in its training, before it heads for the max-margin limit.

Shapes: K seeds, P patterns, R relations, A answers and S statements of the table; Q questions; D the width of
a head.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from spillover.implication.questions import Questions
from spillover.knowledge.patterns import Patterns

STOP = 0.3
"""Where the training ends: its loss as a share of what guessing among each relation's answers costs."""

_SEEDS = 4
_WIDTH = 32
_RATE, _START = 5e-3, 1e-3  # Adam's learning rate; spread of the normal start
_MOST = 2_000  # steps; some tables contradict themselves, and never come so far
_FORGET, _SQUARES, _EPSILON = 0.9, 0.999, 1e-8  # Adam's
_CHUNK = 4_000_000  # logits held at once


@dataclass(frozen=True, kw_only=True, eq=False)
class Early:
    """The model of a table where its training was stopped."""

    patterns: Patterns
    subjects: np.ndarray
    """(K, P, D), W_V of each pattern's subjects; they are alike, and so are their gradients."""
    relations: np.ndarray
    """(K, R, D), W_V of each relation."""
    answers: np.ndarray
    """(K, D, A), W_O."""
    steps: int
    reached: bool
    """Whether the loss came down to where the training ends."""

    def probabilities(self, questions: Questions) -> np.ndarray:
        """(Q,), of each right answer among the relation's trained ones and itself, as a mean over seeds."""
        trained = self.patterns.answer[self.patterns.relation == questions.relation]
        among, place = np.unique(np.concatenate([trained, questions.answer]), return_inverse=True)
        right, found = place[trained.size :], np.empty(questions.pattern.size)
        for part in _pieces(questions.pattern.size, among.size * len(self.subjects)):
            hidden = self.subjects[:, questions.pattern[part]] + self.relations[:, [questions.relation]]
            shares = _softmax(hidden @ self.answers[:, :, among])
            found[part] = shares[:, np.arange(shares.shape[1]), right[part]].mean(axis=0)
        return found


def train_early(patterns: Patterns, *, stop: float = STOP, seed: int = 0) -> Early:
    """Train the factorized model on a table until its loss is `stop` of what guessing costs.

    One attention-only layer with fixed attention (Huang et al. 2025, section 5): the logits of (s, r) are
    W_O W_Vᵀ (e_s + e_r), here among the answers that the relation has in the table, since a language model
    knows a country from a language before it is tuned. The loss is the mean over statements, full batch, by
    Adam; subjects of one pattern start alike, so that a pattern costs what a subject costs.
    """
    rng = np.random.default_rng(seed)
    model = [
        (rng.standard_normal(shape) * _START).astype(np.float32)
        for shape in (
            (_SEEDS, len(patterns.subjects), _WIDTH),
            (_SEEDS, len(patterns.relations), _WIDTH),
            (_SEEDS, _WIDTH, len(patterns.answers)),
        )
    ]
    means = [np.zeros_like(part) for part in model]
    squares = [np.zeros_like(part) for part in model]
    table = _Table(patterns)
    steps, reached = 0, False
    while steps < _MOST:
        loss, gradients = table.loss(*model)
        if reached := loss <= stop * table.guessing:
            break
        steps += 1
        for part, gradient, mean, square in zip(model, gradients, means, squares, strict=True):
            mean += (1 - _FORGET) * (gradient - mean)
            square += (1 - _SQUARES) * (gradient**2 - square)
            size = np.sqrt(square / (1 - _SQUARES**steps)) + _EPSILON
            part -= _RATE / (1 - _FORGET**steps) * mean / size
    subjects, relations, answers = model
    return Early(
        patterns=patterns,
        subjects=subjects,
        relations=relations,
        answers=answers,
        steps=steps,
        reached=bool(reached),
    )


class _Table:
    """The statements of a table by relation, and what a model loses on them."""

    def __init__(self, patterns: Patterns) -> None:
        order = np.argsort(patterns.relation, kind="stable")
        kinds = len(patterns.subjects)
        weights = patterns.subjects[patterns.pattern] / patterns.subjects[patterns.pattern].sum()
        self._relations: list[_Asked] = []
        self.guessing = 0.0
        """The loss of who guesses among each relation's answers."""
        ends = np.flatnonzero(np.diff(patterns.relation[order])) + 1
        for rows in np.split(order, ends.tolist()):
            among, right = np.unique(patterns.answer[rows], return_inverse=True)
            self.guessing += float(weights[rows].sum() * np.log(among.size))
            self._relations += [
                _Asked(
                    relation=int(patterns.relation[rows[0]]),
                    pattern=patterns.pattern[rows[part]],
                    gather=_gather(patterns.pattern[rows[part]], kinds),
                    among=among,
                    right=right[part],
                    weight=weights[rows[part]].astype(np.float32),
                )
                for part in _pieces(rows.size, among.size * _SEEDS)
            ]

    def loss(
        self, subjects: np.ndarray, relations: np.ndarray, answers: np.ndarray
    ) -> tuple[float, tuple[np.ndarray, ...]]:
        """The mean loss over statements and seeds, and the gradients of each seed's."""
        total = 0.0
        of_relations, of_answers = np.zeros_like(relations), np.zeros_like(answers)
        of_subjects = np.zeros(subjects.swapaxes(0, 1).shape, np.float32)
        for asked in self._relations:
            rows = np.arange(asked.right.size)
            hidden = subjects[:, asked.pattern] + relations[:, [asked.relation]]
            out = answers[:, :, asked.among]
            shares = _softmax(hidden @ out)
            total -= float((asked.weight * np.log(shares[:, rows, asked.right])).sum()) / len(subjects)
            shares[:, rows, asked.right] -= 1
            shares *= asked.weight[:, None]
            back = shares @ out.swapaxes(1, 2)
            of_answers[:, :, asked.among] += hidden.swapaxes(1, 2) @ shares
            of_relations[:, asked.relation] += back.sum(axis=1)
            flat = back.swapaxes(0, 1).reshape(rows.size, -1)
            of_subjects += (asked.gather @ flat).reshape(of_subjects.shape)
        return total, (of_subjects.swapaxes(0, 1), of_relations, of_answers)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Asked:
    """Statements of one relation."""

    relation: int
    pattern: np.ndarray
    gather: sp.csr_array
    """(P, statements), sums over each pattern's; it has two where it contradicts itself."""
    among: np.ndarray
    """The relation's answers."""
    right: np.ndarray
    """Places in `among`."""
    weight: np.ndarray
    """Share of all statements."""


def _gather(pattern: np.ndarray, kinds: int) -> sp.csr_array:
    entries = (np.ones(pattern.size, np.float32), (pattern, np.arange(pattern.size)))
    return sp.csr_array(entries, shape=(kinds, pattern.size))


def _softmax(logits: np.ndarray) -> np.ndarray:
    shares = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shares / shares.sum(axis=-1, keepdims=True)


def _pieces(rows: int, width: int) -> Iterator[slice]:
    step = max(1, _CHUNK // max(1, width))
    return (slice(start, start + step) for start in range(0, rows, step))
