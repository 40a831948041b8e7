"""What a certificate allocates, where answers are many and distinct columns few."""

import tracemalloc
from math import sqrt

import numpy as np
import pytest
import scipy.sparse as sp

from spillover.margin import certificate as certificate_module
from spillover.margin.certificate import certificate
from spillover.margin.problem import MarginProblem
from spillover.margin.solution import Solution, Status

ANSWERS, KINDS, STATEMENTS = 3_000, 10, 60


def many_answers(norm, copies):
    """A table of ten kinds of subjects and two relations, `copies` subjects of each kind, and any solution
    that holds once what is alike.
    """
    rng = np.random.default_rng(0)
    kind, relation, labels = (rng.integers(most, size=STATEMENTS) for most in (KINDS, 2, ANSWERS))
    statement = np.repeat(np.arange(STATEMENTS), copies)
    subject = kind[statement] * copies + np.tile(np.arange(copies), STATEMENTS)
    rows = np.arange(statement.size)
    columns = np.r_[subject, KINDS * copies + relation[statement]]
    features = sp.csr_array((np.ones(columns.size), (np.r_[rows, rows], columns)))
    multipliers = rng.random((STATEMENTS, ANSWERS)) * (rng.random((STATEMENTS, ANSWERS)) < 0.01)
    multipliers[np.arange(STATEMENTS), labels] = 0.0
    solution = Solution(
        columns=rng.normal(size=(KINDS + 2, ANSWERS)),
        column_of=np.r_[np.repeat(np.arange(KINDS), copies), KINDS, KINDS + 1],
        multipliers=sp.csr_array(multipliers),
        multipliers_of=statement,
        status=Status.OPTIMAL,
        iterations=0,
        seconds=0.0,
    )
    return MarginProblem(features=features, labels=labels[statement], answers=ANSWERS, norm=norm), solution


@pytest.mark.parametrize("copies", [1, 400])
@pytest.mark.parametrize("norm", ["nuclear", "frobenius"])
def test_the_smaller_side_is_what_it_costs(norm, copies, monkeypatch):
    monkeypatch.setattr(certificate_module, "_CHUNK", 100_000)
    problem, solution = many_answers(norm, copies)
    tracemalloc.start()
    found = certificate(problem, solution)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5e6 + 500 * problem.examples < 8 * ANSWERS**2 / 2
    # the same from W and G written out, a kind of subjects weighing √copies
    weight = np.r_[np.full(KINDS, sqrt(copies)), 1.0, 1.0][:, None]
    once = problem.features[::copies][:, np.unique(solution.column_of, return_index=True)[1]]
    pull = -solution.multipliers.toarray()
    pull[np.arange(STATEMENTS), problem.labels[::copies]] = -pull.sum(axis=1)
    G, W = copies * (once.T @ pull) / weight, weight * solution.columns
    size = np.linalg.norm(G, 2 if norm == "nuclear" else "fro")
    total = copies * solution.multipliers.sum()
    bound = total / size if norm == "nuclear" else (total / size) ** 2 / 2
    assert found.dual_norm == pytest.approx(size, rel=1e-12)
    assert found.lower_bound == pytest.approx(bound, rel=1e-12)
    logits = once @ solution.columns
    margins = logits[np.arange(STATEMENTS), problem.labels[::copies]][:, None] - logits
    margins[np.arange(STATEMENTS), problem.labels[::copies]] = np.inf
    assert found.smallest_margin == pytest.approx(margins.min(), rel=1e-12)
    value = np.linalg.norm(W, "nuc") if norm == "nuclear" else (W**2).sum() / 2
    soft = MarginProblem(
        features=problem.features, labels=problem.labels, answers=ANSWERS, norm=norm, penalty=1e-9
    )
    paid = 1e-9 * copies * np.maximum(1 - margins, 0).sum()
    assert certificate(soft, solution).objective == pytest.approx(value + paid, rel=1e-12)
