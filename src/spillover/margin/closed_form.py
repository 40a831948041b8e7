"""Balanced groups: the max-margin problem of Theorem 2, solved on paper; docs/design/balanced.md derives it.

There are n groups. Group i has m_train bridges, trained on (s, r1, b_i) and (s, r2, c_i), and m_test held-out
subjects, trained on (s, r1, b_i) alone; the question about those is (s, r2).
Shapes: N = n (2 m_train + m_test) examples, A = 2n answers, S = n (m_train + m_test) subjects, D = S + 2.
"""

from dataclasses import dataclass
from math import nan, sqrt

import numpy as np
import scipy.sparse as sp
from jaxtyping import Bool, Float, Int
from scipy.optimize import minimize_scalar, nnls

from spillover.errors import MarginError
from spillover.margin.problem import MarginProblem, Norm


@dataclass(frozen=True, kw_only=True, eq=False)
class BalancedOptimum:
    """The one optimum of a balanced problem, and the dual point that proves it."""

    value: float
    """The least ‖W‖_* or ½‖W‖_F²: what `MarginProblem` minimizes."""
    W: Float[np.ndarray, "A D"]
    """The minimizer."""
    dual: Float[np.ndarray, "N A"]
    """The multiplier of "the label beats answer a by 1" per example; 0 at the label itself."""
    held_out_margin: float
    """The logit of c_i minus the largest other one, for (s, r2), s held out in group i; NaN if m_test = 0."""


def balanced_problem(n: int, m_train: int, m_test: int, norm: Norm = "nuclear") -> MarginProblem:
    """The balanced table as a margin problem.

    Rows of W are b_1 … b_n, c_1 … c_n; columns are the subjects group by group, bridges before held-out
    ones, then r1 and r2. Examples are the facts of all subjects, then the implications of the bridges.
    Raises `MarginError` for n < 2, m_train < 1, m_test < 0, any of them not whole, or an unknown norm.
    """
    for name, least, got in (("n", 2, n), ("m_train", 1, m_train), ("m_test", 0, m_test)):
        if not isinstance(got, int | np.integer) or got < least:
            raise MarginError(f"{name} of a balanced table must be a whole number from {least} up, got {got}")
    group_S, bridge_S = _subjects(n, m_train, m_test)
    bridges = np.flatnonzero(bridge_S)
    subjects = np.concatenate([np.arange(group_S.size), bridges])
    relations = np.repeat([0, 1], [group_S.size, bridges.size])
    rows = np.arange(subjects.size)
    features = sp.csr_array(
        (
            np.ones(2 * rows.size),
            (np.concatenate([rows, rows]), np.concatenate([subjects, group_S.size + relations])),
        ),
        shape=(rows.size, group_S.size + 2),
    )
    return MarginProblem(
        features=features, labels=group_S[subjects] + n * relations, answers=2 * n, norm=norm
    )


def balanced(n: int, m_train: int, m_test: int, norm: Norm = "nuclear") -> BalancedOptimum:
    """The optimum of `balanced_problem` with the same arguments, in closed form.

    Both norms agree on all of W but the block of the implications' answers by the held-out subjects: the
    nuclear norm fills it with min(√(m_train / m_test), 1) times the block of the facts' answers, the
    Frobenius norm leaves it empty. That factor is the held-out margin: Theorem 2 of arXiv 2506.10887, with
    equality. Raises `MarginError` as `balanced_problem` does.
    """
    problem = balanced_problem(n, m_train, m_test, norm)
    group_S, bridge_S = _subjects(n, m_train, m_test)
    fewer, more = min(m_train, m_test), max(m_train, m_test)
    if norm == "frobenius":
        fill = 0.0
        value = ((n - 1) * (2 * m_train + m_test) + n) / 2
        bridge_fact = implication = held_out_fact = 1 / n
        across = 1 / (2 * m_train)
    else:
        fill = 1.0 if m_train >= m_test else sqrt(m_train / m_test)
        block = sqrt(2 * (m_train + m_test)) if m_train >= m_test else sqrt(m_train) + sqrt(m_test)
        value = (n - 1) * block + sqrt(n)
        bridge_fact = (m_train - fewer) / (n * m_train * sqrt(2 * (m_train + fewer)))
        implication = sqrt((m_train + fewer) / 2) / (n * m_train)
        held_out_fact = sqrt(2 / (m_test + more)) / n
        across = 1 / (2 * m_train * sqrt(n))

    W = np.empty((problem.answers, problem.columns))
    W[:n, :-2] = (np.eye(n) - 1 / n)[:, group_S]
    W[n:, :-2] = np.where(bridge_S, 1.0, fill) * W[:n, :-2]
    W[:n, -2:] = [0.5, -0.5]
    W[n:, -2:] = [-0.5, 0.5]

    same_N = np.concatenate(
        [np.where(bridge_S, bridge_fact, held_out_fact), np.full(n * m_train, implication)]
    )
    across_N = np.concatenate([np.where(bridge_S, across, 0.0), np.full(n * m_train, across)])
    example, label = np.arange(problem.examples), problem.labels
    dual = same_N[:, None] * (np.arange(2 * n) // n == label[:, None] // n)
    dual[example, label] = 0.0
    dual[example, (label + n) % (2 * n)] = across_N
    return BalancedOptimum(value=value, W=W, dual=dual, held_out_margin=fill if m_test else nan)


def _subjects(n: int, m_train: int, m_test: int) -> tuple[Int[np.ndarray, " S"], Bool[np.ndarray, " S"]]:
    """Each subject's group, and whether it is a bridge."""
    subject_S = np.arange(n * (m_train + m_test))
    return subject_S // (m_train + m_test), subject_S % (m_train + m_test) < m_train


@dataclass(frozen=True, kw_only=True, eq=False)
class LowRankPoint:
    """The least nuclear norm among the symmetric W of rank n that keep every margin of a balanced table."""

    value: float
    """Its ‖W‖_*; for m_train < m_test a little above the least one, which has rank 2n − 1."""
    W: Float[np.ndarray, "A D"]
    """Rows and columns as those of `balanced_problem`."""
    held_out_margin: float
    """Near (m_train / m_test)^(1/4), where the optimum's is its square; at most 1."""


def low_rank(n: int, m_train: int, m_test: int) -> LowRankPoint:
    """Where training goes from a small start; docs/design/finite-time.md derives it.

    Arguments and errors as of `balanced_problem`, but m_test must be 1 or more.
    """
    balanced_problem(n, m_train, m_test)  # which refuses what is none
    if m_test < 1:
        raise MarginError("without held-out subjects there is no rank to choose; m_test must be 1 or more")
    group_S, bridge_S = _subjects(n, m_train, m_test)

    def value(p: float) -> float:
        groups = sqrt(m_train * (p**2 + 1) + m_test * (1 + 1 / p**2))
        return (n - 1) * groups + sqrt(2) * float(np.linalg.norm(_constant_part(n, m_train, m_test, p)))

    most = max(1.0, (m_test / m_train) ** 0.25)
    p = minimize_scalar(value, bounds=(1.0, most), options={"xatol": 1e-10}).x if most > 1 else 1.0
    a, h, r1, r2 = _constant_part(n, m_train, m_test, p) / np.sqrt([m_train, m_test, n, n])

    def block(diagonal: float, row_sum: float) -> np.ndarray:
        return diagonal * np.eye(n) + (row_sum - diagonal) / n

    facts = np.where(bridge_S, block(p, a)[:, group_S], block(1, h)[:, group_S])
    implications = np.where(bridge_S, block(1, -a)[:, group_S], block(1 / p, -h)[:, group_S])
    relations = np.tile([r1, r2], (n, 1))
    W = np.block([[facts, relations], [implications, -relations]])
    return LowRankPoint(value=value(p), W=W, held_out_margin=1 / p)


def _constant_part(n: int, m_train: int, m_test: int, p: float) -> Float[np.ndarray, "4"]:
    """The shortest t = (√m a, √k h, √n ρ1, √n ρ2) that keeps the margins between kinds of answers: the row
    sums of the facts' blocks and the relations' columns (Lawson and Hanson's least distance programming).
    """
    share = 1 - 1 / n
    over_t = np.array([[2, 0, 2 * n, 0], [-2, 0, 0, -2 * n], [0, 2, 2 * n, 0]]) / n
    over_t = over_t / np.sqrt([m_train, m_test, n, n])
    least = np.array([1 - share * (p - 1), 1 + share * (p - 1), 1 - share * (1 - 1 / p)])
    multipliers, _ = nnls(np.vstack([over_t.T, least]), np.array([0.0, 0, 0, 0, 1]))
    rest = np.array([*(over_t.T @ multipliers), least @ multipliers - 1])
    return -rest[:4] / rest[4]
