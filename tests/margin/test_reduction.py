"""Both exact reductions: whatever the iteration asks of a reduced problem is the whole problem's own.

Shapes: N examples, D columns, A answers of a problem; n examples and A alternatives of a reduced one.
"""

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp

from spillover.margin.certificate import certificate
from spillover.margin.collapse import collapse
from spillover.margin.invariant import InvariantMatrices
from spillover.margin.quotient import unreduced
from spillover.margin.reduction import Reduction
from spillover.margin.solve import solve
from spillover.margin.symmetry import interchangeable
from tests.margin.proofs import overlap
from tests.margin.tables import NORMS, PROBLEMS, SYMMETRIC, lift

TOL = 1e-4


def reductions(name, norm):
    """The whole problem, collapsed, and on its invariant matrices where it has any."""
    problem = replace(PROBLEMS[name], norm=norm)
    collapsed = collapse(problem)
    found = [unreduced(problem), collapsed, interchangeable(collapsed)]
    return problem, [reduced for reduced in found if reduced is not None]


def copies(reduced):
    """(n, A), the constraints' alternatives that each logit of the reduced problem stands for."""
    return np.broadcast_to(reduced.copies_na, reduced.logits(np.zeros(reduced.shape)).shape)


def place_of(reduced):
    """(N, A), the reduced logit that stands for each example's answer: found by sending numbers along."""
    count = copies(reduced)
    numbers = np.arange(1.0, count.size + 1).reshape(count.shape)
    multipliers, of = reduced.restore_dual(sp.csr_array(numbers * reduced.copies_n[:, None]))
    return np.rint(multipliers[of].toarray()).astype(int) - 1


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", PROBLEMS)
def test_every_operation_is_the_whole_problems_own(name, norm, pool):
    problem, found = reductions(name, norm)
    assert isinstance(found[-1], InvariantMatrices) == (name in SYMMETRIC)
    rng = np.random.default_rng(0)
    for reduced in found:
        assert isinstance(reduced, Reduction)
        w, other = rng.normal(size=reduced.shape), rng.normal(size=reduced.shape)
        W = lift(reduced, w)
        assert reduced.logits(w).shape == reduced.logit_shape
        if reduced.features is not None:
            np.testing.assert_array_equal(reduced.features @ w, reduced.logits(w))
        assert W.shape == (problem.answers, problem.columns)

        # the logits are those of the lifted W, each where it belongs, as often as it is counted
        place = place_of(reduced)
        np.testing.assert_allclose(
            problem.features @ W.T, reduced.logits(w).ravel()[place], rtol=0, atol=1e-12
        )
        counted = np.bincount(place.ravel(), minlength=copies(reduced).size).reshape(copies(reduced).shape)
        np.testing.assert_array_equal(counted, copies(reduced) * reduced.copies_n[:, None])
        own = np.arange(problem.examples), problem.labels
        row, answer = np.divmod(place[own], len(copies(reduced)[0]))
        np.testing.assert_array_equal(answer, reduced.labels[row])

        # lifting keeps angles and lengths, so norm, dual norm and proximal step carry over
        assert np.vdot(W, lift(reduced, other)) == pytest.approx(np.vdot(w, other), rel=1e-9)
        sigma = np.linalg.svd(W, compute_uv=False)
        nuclear = norm == "nuclear"
        assert reduced.value(w) == pytest.approx(sigma.sum() if nuclear else (sigma**2).sum() / 2, rel=1e-6)
        assert reduced.dual_norm(w) == pytest.approx(sigma[0] if nuclear else np.linalg.norm(W), rel=1e-9)
        for step in (0.5 * np.median(sigma) + 1e-3, 2.0, 100.0):
            if nuclear:
                left, _, right = np.linalg.svd(W, full_matrices=False)
                wanted = (left * np.maximum(sigma - step, 0)) @ right
            else:
                wanted = W / (1 + step)
            np.testing.assert_allclose(lift(reduced, reduced.prox(w, step, pool)), wanted, rtol=0, atol=1e-7)

        # the adjoint is the adjoint
        z = rng.normal(size=reduced.logits(w).shape)
        assert np.vdot(reduced.logits(w), z) == pytest.approx(np.vdot(w, reduced.adjoint(z)), rel=1e-9)

        # the linear system is the one it is said to be
        weights = reduced.weights_n1 * reduced.copies_na
        solved = reduced.normal_solver(weights)(w)
        left = solved + reduced.adjoint(weights * reduced.logits(solved))
        np.testing.assert_allclose(left, w, rtol=0, atol=1e-10)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", PROBLEMS)
def test_restored_multipliers_pull_as_the_reduced_ones_do(name, norm):
    problem, found = reductions(name, norm)
    rng = np.random.default_rng(1)
    for reduced in found:
        count, row = copies(reduced), np.arange(reduced.labels.size)
        multipliers = rng.random(count.shape) * (count > 0)
        multipliers[row, reduced.labels] = 0.0
        restored, of = reduced.restore_dual(sp.csr_array(multipliers))
        dual = restored[of].toarray()
        assert dual.shape == (problem.examples, problem.answers)
        assert dual.min() >= 0
        assert not dual[np.arange(problem.examples), problem.labels].any()

        pull = -multipliers * count
        pull[row, reduced.labels] = (multipliers * count).sum(axis=1)
        assert dual.sum() == pytest.approx((multipliers * count).sum(), rel=1e-12)
        dual = -dual
        dual[np.arange(problem.examples), problem.labels] = -dual.sum(axis=1)
        np.testing.assert_allclose(
            lift(reduced, reduced.adjoint(pull)), dual.T @ problem.features.toarray(), rtol=0, atol=1e-10
        )


@pytest.mark.parametrize("penalty", [np.inf, 0.1], ids=["hard", "soft"])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", PROBLEMS)
def test_the_optimum_is_the_same_with_and_without(name, norm, penalty):
    problem = replace(PROBLEMS[name], norm=norm, penalty=penalty)
    found = [certificate(problem, solve(problem, TOL, reduce=reduce)) for reduce in (True, False)]
    assert all(-1e-9 <= proof.relative_gap <= TOL for proof in found)
    assert overlap(*found)
