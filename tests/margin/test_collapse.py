"""Identical columns become one, and only what is truly alike does."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp

from spillover.margin import collapse as collapse_module
from spillover.margin import components, hashing
from spillover.margin.certificate import certificate
from spillover.margin.collapse import collapse
from spillover.margin.problem import MarginProblem, from_triples
from spillover.margin.solve import solve
from tests.margin.proofs import overlap
from tests.margin.tables import NORMS, PROBLEMS, in_place, lift, repeated, sparse_problem, twins

TOL = 1e-4


@pytest.mark.parametrize("k", [1, 2, 3, 7])
def test_k_subjects_of_whom_the_same_is_said_are_one_column_of_weight_root_k(k):
    once = [("Al", "lives in", "Rome"), ("Al", "speaks", "Italian"), ("Bo", "lives in", "Paris")]
    triples = once + [(f"{s} {copy}", r, a) for copy in range(1, k) for s, r, a in once if s == "Al"]
    reduced = collapse(from_triples(triples))
    assert reduced.shape == (4, 3)  # Al, Bo, lives in, speaks
    assert reduced.copies_n.tolist() == [k, k, 1]
    wanted = np.array([[1 / np.sqrt(k), 0, 1, 0], [1 / np.sqrt(k), 0, 0, 1], [0, 1, 1, 0]])
    rows = {tuple(row) for row in reduced.features.toarray().round(12)}
    assert rows == {tuple(row) for row in wanted.round(12)}
    w = np.random.default_rng(0).normal(size=(4, 3))
    W = lift(reduced, w)
    alike = [i for i, (s, _, _) in enumerate(dict.fromkeys((s, 0, 0) for s, _, _ in triples)) if s != "Bo"]
    assert len(alike) == k
    assert (W[:, alike] == W[:, alike[:1]]).all()
    assert np.linalg.norm(W[:, alike]) == pytest.approx(np.linalg.norm(w[0]), rel=1e-12)


def test_columns_in_each_others_place_collapse_whatever_the_features():
    problem = sparse_problem(2)
    assert collapse(problem).shape == (8, 4)
    reduced = collapse(in_place(problem))
    assert reduced.shape == (8, 4)
    assert sorted(reduced.copies_d.tolist()) == [1] * 6 + [2, 3]
    assert reduced.column_of_D[[2, 8, 10]].tolist() == [2] * 3
    assert reduced.column_of_D[[5, 9]].tolist() == [5] * 2
    assert reduced.labels.size == problem.examples


@pytest.mark.parametrize(
    "changed",
    [
        "another-label",
        "another-value",
        "one-example-less",
        "one-example-twice",
        "another-neighbor",
    ],
)
def test_columns_that_are_nearly_alike_stay_apart(changed):
    problem = twins(sparse_problem(2), 2, value=1 + 1e-15 if changed == "another-value" else 1.0)
    features, labels = problem.features.toarray(), problem.labels.copy()
    if changed == "another-label":
        labels[-1] = (labels[-1] + 1) % 4
    elif changed == "one-example-less":
        features, labels = features[:-1], labels[:-1]
    elif changed == "one-example-twice":
        features, labels = np.vstack([features, features[-1]]), np.r_[labels, labels[-1]]
    elif changed == "another-neighbor":
        features[-1, 3] += 0.5
    assert collapse(replace(problem, features=features, labels=labels)).shape == (9, 4)


def test_unused_columns_collapse_and_stay_empty():
    problem = PROBLEMS["unused-columns"]
    assert collapse(problem).shape == (9, 4)
    for reduce in (True, False):
        W = solve(problem, 1e-3, reduce=reduce).W
        assert W.shape == (4, 11)
        assert not W[:, 8:].any()


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("penalty", [np.inf, 0.05], ids=["hard", "soft"])
def test_what_is_said_twice_counts_double_on_a_soft_margin_alone(norm, penalty):
    once = sparse_problem(6, norm=norm, penalty=2 * penalty)
    twice = replace(repeated(once, 2), penalty=penalty)
    assert collapse(twice).copies_n.tolist() == [2.0] * once.examples
    found = [certificate(problem, solve(problem, TOL)) for problem in (once, twice)]
    assert all(proof.relative_gap <= TOL for proof in found)
    assert overlap(*found)


@pytest.mark.parametrize("norm", NORMS)
def test_columns_that_always_come_together_have_the_same_optimum(norm):
    problem = sparse_problem(7, norm=norm)
    features = problem.features.toarray()
    together = replace(problem, features=np.hstack([features, features[:, :2]]))
    found = [certificate(together, solve(together, TOL, reduce=reduce)) for reduce in (True, False)]
    assert all(proof.relative_gap <= TOL for proof in found)
    assert overlap(*found)


def test_hashes_that_collide_merge_nothing(monkeypatch):
    assert collapse(PROBLEMS["balanced"]).shape[0] < PROBLEMS["balanced"].columns
    for module in (collapse_module, hashing, components):
        monkeypatch.setattr(module, "mix", lambda values: 0 * values)
    for problem in PROBLEMS.values():
        reduced = collapse(problem)
        assert reduced.shape[0] == problem.columns
        assert reduced.labels.size == problem.examples
        assert certificate(problem, solve(problem, 1e-2)).relative_gap <= 1e-2


@pytest.mark.parametrize(
    ("features", "labels"),
    [
        ([[1, 0], [0, 1], [0, 1]], [0, 0, 0]),
        ([[1, 0], [0, 2]], [0, 0]),
        ([[1, 0], [0, 1]], [0, 1]),
        ([[1, 1]], [0]),
    ],
    ids=["number", "value", "label", "rest"],
)
def test_one_difference_keeps_columns_apart_whose_hashes_collide(features, labels, monkeypatch):
    problem = MarginProblem(features=sp.csr_array(features), labels=np.array(labels), answers=2)
    for module in (collapse_module, hashing):
        monkeypatch.setattr(module, "mix", lambda values: 0 * values)
    assert collapse(problem).shape == (2, 2)
