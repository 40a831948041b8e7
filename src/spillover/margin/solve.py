"""Solve a max-margin problem: reduce it exactly, iterate until the gap is closed, and restore what was
reduced.
"""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import scipy.sparse as sp

from spillover.errors import MarginError
from spillover.margin.certificate import check_fits
from spillover.margin.collapse import collapse
from spillover.margin.conflict import refuse_conflict, refuse_contradiction
from spillover.margin.problem import MarginProblem
from spillover.margin.quotient import unreduced
from spillover.margin.reduction import Reduction
from spillover.margin.solution import Solution, SolverState, Status
from spillover.margin.splitting import Splitting
from spillover.margin.symmetry import interchangeable
from spillover.margin.threads import one_blas_thread

_DOUBT = 200  # rounds without any W that keeps the margin, after which a conflict is looked for


def solve(
    problem: MarginProblem,
    tol: float = 1e-4,
    *,
    time_limit: float = np.inf,
    iteration_limit: int = 100_000,
    progress: Callable[[SolverState], None] | None = None,
    reduce: bool = True,
    start: Solution | None = None,
) -> Solution:
    """The max-margin solution with a relative gap of at most `tol`.

    `time_limit` is in seconds; at either limit (looked at every ten iterations) the best points so far are
    returned with a status that says so. `progress` is called at every look at the gap. `reduce=False`
    solves the problem as it stands. `start` is a solution of a problem of the same shape that is nearly this
    one: in place of zeros it saves a third of the rounds; it is left aside where components are
    interchangeable (there, rounds cost next to nothing) or logits are streamed. Repeats bit by bit on one
    machine.

    Raises `MarginError` for a tolerance or limit that is not positive, a start of another shape, or numbers
    too far apart for float64, and `InseparableError` for a hard margin that no W can keep; it names examples
    in conflict.
    """
    if not tol > 0:
        raise MarginError(f"the tolerance must be positive, got {tol}")
    if not (time_limit > 0 and iteration_limit > 0):
        raise MarginError(f"limits must be positive, got {time_limit} s and {iteration_limit} iterations")
    if start is not None:
        check_fits(problem, start)
    started = time.perf_counter()
    if problem.hard:
        refuse_contradiction(problem)
    given = problem
    with _float64(given):
        unit, problem = _in_its_own_unit(given)
    if start is not None and unit != 1.0:
        multipliers = start.multipliers * unit**problem.degree
        start = replace(start, columns=start.columns * unit, multipliers=sp.csr_array(multipliers))
    reduced = _reduced(problem) if reduce else unreduced(problem)
    next_doubt: float = _DOUBT
    with ThreadPoolExecutor(2) as pool, one_blas_thread():
        with _float64(given):
            splitting = Splitting(problem, reduced, pool, start)
        while True:
            with _float64(given):
                splitting.advance()
                splitting.repair(tol)
            now = SolverState(
                iterations=splitting.iterations,
                seconds=time.perf_counter() - started,
                objective=splitting.objective / unit**problem.degree,
                lower_bound=splitting.lower_bound / unit**problem.degree,
            )
            if progress is not None:
                progress(now)
            if now.relative_gap <= tol:
                status = Status.OPTIMAL
                break
            doubtful = now.iterations >= next_doubt or np.isinf(now.lower_bound)
            if problem.hard and np.isinf(now.objective) and doubtful:
                separable = refuse_conflict(problem, *reduced.restore_dual(splitting.dual))
                next_doubt = np.inf if separable else 2 * now.iterations
            if now.seconds > time_limit:
                status = Status.TIME_LIMIT
                break
            if now.iterations >= iteration_limit:
                status = Status.ITERATION_LIMIT
                break
    columns, column_of = reduced.restore(splitting.primal)
    multipliers, multipliers_of = reduced.restore_dual(splitting.dual)
    return Solution(
        columns=columns / unit,
        column_of=column_of,
        multipliers=sp.csr_array(multipliers / unit**problem.degree),
        multipliers_of=multipliers_of,
        status=status,
        iterations=splitting.iterations,
        seconds=time.perf_counter() - started,
    )


def _reduced(problem: MarginProblem) -> Reduction:
    """The problem without whatever repeats itself."""
    quotient = collapse(problem)
    return interchangeable(quotient) or quotient


def _in_its_own_unit(problem: MarginProblem) -> tuple[float, MarginProblem]:
    """The problem with features divided by the power of two that makes rows about as long as a triple's."""
    squares = (problem.features**2).sum(axis=1)
    squares = squares[squares > 0]  # the geometric mean: one long row must not decide
    unit = float(np.exp2(np.rint(np.log2(squares / 2).mean() / 2))) if squares.size else 1.0
    if unit == 1.0:
        return unit, problem
    penalty = problem.penalty * unit**problem.degree
    if np.isinf(unit) or not (problem.hard or 0 < penalty < np.inf):
        raise OverflowError("a row of features or the penalty")
    return unit, replace(problem, features=problem.features / unit, penalty=penalty)


@contextmanager
def _float64(problem: MarginProblem) -> Iterator[None]:
    """Within this, numbers that float64 cannot hold warn of nothing and end in one `MarginError`."""
    try:
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            yield
    except (np.linalg.LinAlgError, ArithmeticError) as error:
        features, copies = np.abs(problem.features.data), problem.copies_N
        raise MarginError(
            "the numbers of this problem are too far apart for float64: "
            f"features from {features.min(initial=np.inf):.0e} to {features.max(initial=0.0):.0e}, "
            f"copies from {copies.min():.0e} to {copies.max():.0e}, penalty {problem.penalty:.0e}; "
            "scale them so that they are nearer to 1"
        ) from error
