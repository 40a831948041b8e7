"""Tables of facts, fully random ones and rules with and without noise; also as margin problems."""

import numpy as np

from spillover.margin.problem import MarginProblem, Norm, from_triples


def random_table(
    subjects: int, relations: int, answers: int, seed: int, norm: Norm = "nuclear"
) -> MarginProblem:
    """Every cell is known with probability 0.7; its answer is one of its relation's own, at random."""
    rng = np.random.default_rng(seed)
    known = rng.random((subjects, relations)) < 0.7
    return _problem(np.where(known, rng.integers(answers, size=known.shape), -1), answers, norm)


def ruled(subjects: int, relations: int, answers: int, noise: float, seed: int) -> np.ndarray:
    """(subjects, relations): the first answer decides the others, but for a share of `noise`; 30% are -1,
    unknown.
    """
    rng = np.random.default_rng(seed)
    rules = np.stack([rng.permutation(answers) for _ in range(relations)])
    table = rules[:, rng.integers(answers, size=subjects)].T
    noisy = rng.random(table.shape) < noise
    noisy[:, 0] = False
    table[noisy] = rng.integers(answers, size=noisy.sum())
    return np.where(rng.random(table.shape) < 0.7, table, -1)


def rule_table(subjects: int, relations: int, answers: int, noise: float, seed: int) -> MarginProblem:
    """The problem of a ruled table."""
    return _problem(ruled(subjects, relations, answers, noise, seed), answers)


def _problem(table: np.ndarray, answers: int, norm: Norm = "nuclear") -> MarginProblem:
    subject, relation = np.nonzero(table >= 0)
    answer = table[subject, relation] + answers * relation
    triples = zip(subject.tolist(), relation.tolist(), answer.tolist(), strict=True)
    return from_triples(list(triples), answers=answers * table.shape[1], norm=norm)
