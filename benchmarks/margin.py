"""The max-margin solver against CVXPY with SCS, on random tables and on balanced groups.

Theirs is the time that SCS reports for itself, without CVXPY's modelling; ours is the whole call, and its
gap is the certificate's. The certificate's own time is printed beside it.
"""

import time
from statistics import median

import cvxpy as cp
import numpy as np

from benchmarks.tables import random_table
from spillover.margin.certificate import certificate
from spillover.margin.closed_form import balanced_problem
from spillover.margin.problem import MarginProblem
from spillover.margin.solve import solve

_GAP = 1e-4


def scs(problem: MarginProblem, eps: float) -> tuple[float, float]:
    """Seconds and value of SCS on the problem as it stands."""
    weights = cp.Variable((problem.answers, problem.columns))
    logits = problem.features @ weights.T
    right = np.eye(problem.answers)[problem.labels]
    label = cp.sum(cp.multiply(logits, right), axis=1, keepdims=True)
    margins = label @ np.ones((1, problem.answers)) - logits
    program = cp.Problem(cp.Minimize(cp.normNuc(weights)), [margins >= 1 - right])
    value = program.solve(solver=cp.SCS, eps=eps)
    return float(program.solver_stats.solve_time), float(value)  # pyright: ignore[reportArgumentType,reportOptionalMemberAccess]


def ours(problem: MarginProblem, *, reduce: bool) -> tuple[float, float, float]:
    """Seconds, certified value and seconds of the certificate."""
    started = time.perf_counter()
    solution = solve(problem, _GAP, reduce=reduce)
    solved = time.perf_counter()
    proof = certificate(problem, solution)
    assert proof.relative_gap <= _GAP
    return solved - started, proof.objective, time.perf_counter() - solved


def compare(name: str, problems: list[MarginProblem], eps: float, goal: str, *, reduce: bool = True) -> None:
    """Print both sides over some problems, in turn, and the ratio."""
    print(f"{name}: {problems[0].examples} triples, {problems[0].answers} answers (goal: {goal})", flush=True)
    ratios = []
    for problem in problems:
        theirs, value = scs(problem, eps)
        mine = sorted(ours(problem, reduce=reduce) for _ in range(3))[1]
        ratios.append(theirs / mine[0])
        print(
            f"  SCS {theirs:7.2f} s, value {value:.4f}; ours {1e3 * mine[0]:8.1f} ms, value {mine[1]:.4f}, "
            f"certificate {1e3 * mine[2]:.0f} ms; ratio {ratios[-1]:.0f}x",
            flush=True,
        )
    print(f"  ratio {median(ratios):.0f}x ({min(ratios):.0f} to {max(ratios):.0f})")


def main() -> None:
    """Print every comparison."""
    ours(balanced_problem(3, 1, 1), reduce=True)  # imports and the first call's costs
    compare("nuclear, 100 x 4 x 10", [random_table(100, 4, 10, seed) for seed in range(5)], 1e-5, "20x")
    compare("nuclear, 200 x 5 x 15", [random_table(200, 5, 15, seed) for seed in range(5)], 1e-5, "50x")
    balanced = [balanced_problem(60, 1, 3)]
    compare("nuclear, 60 groups of 1 + 3, reduced", balanced, 1e-4, "50 ms")
    compare("nuclear, 60 groups of 1 + 3, as it stands", balanced, 1e-4, "10x", reduce=False)


if __name__ == "__main__":
    main()
