"""Solutions with their proofs, and whether two proofs allow one optimum."""

import pytest

from spillover.margin.certificate import certificate
from spillover.margin.solution import Status
from spillover.margin.solve import solve


def proven(problem, tol=1e-5, **options):
    """A solution that says it is optimal, and the certificate that agrees."""
    solution = solve(problem, tol, **options)
    assert solution.status is Status.OPTIMAL
    proof = certificate(problem, solution)
    assert -1e-9 <= proof.relative_gap <= tol + 1e-12
    # the multipliers are feasible as they stand, and already at their best scale
    total, largest = solution.dual.sum(), solution.dual.max()
    assert largest <= problem.penalty * (1 + 1e-9)
    value = total if problem.norm == "nuclear" else total - proof.dual_norm**2 / 2
    assert value == pytest.approx(proof.lower_bound, rel=1e-7)
    if problem.norm == "nuclear":
        assert proof.dual_norm <= 1 + 1e-7
    return solution, proof


def overlap(proof, other, *, factor=1.0):
    """Whether two proofs leave room for optima of which one is `factor` times the other."""
    slack = 1e-9 * proof.objective
    low, high = factor * other.lower_bound, factor * other.objective
    return proof.lower_bound <= high + slack and low <= proof.objective + slack
