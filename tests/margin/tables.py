"""Small tables and problems of the tests of this room."""

from dataclasses import replace

import numpy as np
import scipy.sparse as sp

from spillover.margin.closed_form import balanced_problem
from spillover.margin.problem import MarginProblem, from_triples

NORMS = ["nuclear", "frobenius"]


def groups(*sizes):
    """Triples of groups of (bridges, held-out) subjects."""
    triples = []
    for group, (bridges, held_out) in enumerate(sizes):
        for place in range(bridges + held_out):
            triples.append(((group, place), "r1", ("b", group)))
            if place < bridges:
                triples.append(((group, place), "r2", ("c", group)))
    return triples


def random_table(seed):
    """Triples of a few subjects and relations, some missing; every relation has answers of its own."""
    rng = np.random.default_rng(seed)
    triples = []
    subjects = int(rng.integers(3, 11))
    for relation in range(rng.integers(2, 4)):
        answers = int(rng.integers(2, 5))
        triples += [
            (subject, relation, (relation, int(rng.integers(answers))))
            for subject in range(subjects)
            if rng.random() < 0.85
        ]
    return triples


def contradictory(seed):
    """A table of which some cells are said twice, with two answers."""
    triples = random_table(seed)
    rng = np.random.default_rng(seed)
    for place in rng.choice(len(triples), size=3, replace=False):
        subject, relation, (_, answer) = triples[place]
        triples.append((subject, relation, (relation, answer + 1)))
    return triples


def random_sparse_problem(seed, **options):
    """Random sparse features and the labels of a random W, so that a hard margin can be kept."""
    rng = np.random.default_rng(seed)
    N, D, A = rng.integers(6, 16), rng.integers(5, 12), rng.integers(2, 6)
    features = rng.normal(size=(N, D)) * (rng.random((N, D)) < 0.4)
    features[np.arange(N), rng.integers(D, size=N)] = 1.0
    labels = np.argmax(features @ rng.normal(size=(D, A)), axis=1)
    return MarginProblem(features=sp.csr_array(features), labels=labels, answers=int(A), **options)


def sparse_problem(seed, **options):
    """Random sparse features and the labels of a random W, so that a hard margin can be kept."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(12, 8)) * (rng.random((12, 8)) < 0.4)
    features[np.arange(12), rng.integers(8, size=12)] = 1.0
    labels = np.argmax(features @ rng.normal(size=(8, 4)), axis=1)
    return MarginProblem(features=sp.csr_array(features), labels=labels, answers=4, **options)


def twins(problem, column, *, value=1.0):
    """The problem with one more column, and each example of `column` again with the new one in its place."""
    features = problem.features.toarray()
    touching = np.flatnonzero(features[:, column])
    copies = features[touching]
    entries = value * copies[:, column]
    copies[:, column] = 0.0
    old = np.hstack([features, np.zeros((len(features), 1))])
    return replace(
        problem,
        features=np.vstack([old, np.hstack([copies, entries[:, None]])]),
        labels=np.r_[problem.labels, problem.labels[touching]],
    )


def repeated(problem, times):
    return replace(
        problem, features=sp.vstack([problem.features] * times), labels=np.tile(problem.labels, times)
    )


def in_place(problem):
    """Two columns become three and four alike ones: also examples that touch both kinds multiply."""
    return twins(twins(twins(problem, 2), 5), 2)


TWO_CLASSES = [(1, 2)] * 3 + [(2, 1)] * 4
PROBLEMS = {
    "balanced": balanced_problem(4, 1, 3),
    "without-held-out": balanced_problem(3, 2, 0),
    "two-classes": from_triples(groups(*TWO_CLASSES)),
    "four-classes": from_triples(groups(*[(1, 0)] * 2, *[(1, 1)] * 2, *[(3, 1)] * 3, (2, 2)), answers=20),
    "all-different": from_triples(groups((1, 0), (1, 1), (2, 1))),
    "distractors": from_triples(groups((1, 0), (1, 1), (2, 1)), answers=9),
    "bare-relation": MarginProblem(
        features=sp.csr_array([[1, 0, 1], [0, 1, 1], [0, 0, 2], [1, 0, 1]]),
        labels=np.array([0, 1, 2, 0]),
        answers=5,
    ),
    "repeated-triples": repeated(balanced_problem(3, 1, 2), 3),
    "one-group-repeated": from_triples(groups((1, 2), (1, 2), (1, 2)) + groups((1, 2))),
    "general": sparse_problem(1),
    "general-twins": in_place(sparse_problem(2)),
    "general-repeated": repeated(in_place(sparse_problem(3)), 2),
    "unused-columns": replace(
        sparse_problem(4), features=sp.hstack([sparse_problem(4).features, sp.csr_array((12, 3))])
    ),
}
SYMMETRIC = ["balanced", "without-held-out", "two-classes", "four-classes", "distractors", "bare-relation"]
SYMMETRIC += ["repeated-triples", "one-group-repeated"]

FIXED = {
    "table": from_triples(random_table(50)),
    "two-classes": from_triples(
        [(s, r, (r, s // 3)) for s in range(9) for r in (0, 1) if r == 0 or s % 3 < 1 + (s > 5)]
    ),
    "sparse": random_sparse_problem(50),
    "contradictory": from_triples(contradictory(50), penalty=0.2),
}


def lift(reduced, w):
    """W (A, D), written out."""
    columns, column_of = reduced.restore(w)
    return columns[column_of].T
