"""Ranks, intervals and permutation tests; what cannot be scored is NaN, and NaN is never counted as wrong.

Shapes: Q queries, C candidates, U units (subjects, or queries where no subjects are given), K queries of one
unit, G distinct right answers, D distinct values, P permutations. Ranks are 0-based: 0 is best.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import stats

Array = npt.NDArray[np.floating]

_CHUNK = 2_000_000  # random numbers held at once: 16 MB of float64
_TOLERANCE = 1e-12  # two permutations whose means differ by less are tied


def rank_matrix(logprobs_QC: npt.ArrayLike) -> Array:
    """The rank of every candidate for every query, (Q, C): how many are better, plus half of those tied.

    A query with a NaN log-probability is unscored: its whole row is NaN.
    """
    logprobs_QC = _matrix(logprobs_QC)
    return stats.rankdata(-logprobs_QC, method="average", axis=1) - 1.0


def top1_matrix(logprobs_QC: npt.ArrayLike) -> Array:
    """The top-1 credit of every candidate for every query, (Q, C): 1/k for each of the k best, else 0.

    A query with a NaN log-probability is unscored: its whole row is NaN.
    """
    logprobs_QC = _matrix(logprobs_QC)
    if logprobs_QC.size == 0:
        return np.zeros_like(logprobs_QC)
    best_Q1 = logprobs_QC.max(axis=1, keepdims=True)  # NaN where any candidate is
    is_best_QC = logprobs_QC == best_Q1
    return np.where(
        np.isnan(best_Q1), np.nan, is_best_QC / np.maximum(is_best_QC.sum(axis=1, keepdims=True), 1)
    )


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean with its two-sided confidence interval."""

    mean: float
    """NaN where nothing was scored."""
    low: float
    """Lower end; NaN for fewer than two samples."""
    high: float
    """Upper end; NaN for fewer than two samples."""
    samples: int
    """Independent samples behind it: clusters where they are given, else scored values."""
    unscored: int
    """NaN values, left out of all the others."""


def mean_interval(
    values: npt.ArrayLike,
    low: float,
    high: float,
    clusters: Sequence[Any] | np.ndarray | None = None,
    *,
    level: float = 0.95,
    seed: int = 0,
    draws: int = 20_000,
) -> Interval:
    """The mean of values bounded in [low, high] with Gaffke's interval at the given two-sided level.

    Gaffke (2005); Learned-Miller and Thomas (2019), "A new confidence interval for the mean of a bounded
    random variable". The upper end is a quantile of the mean of the sample and the bound `high` under flat
    Dirichlet weights, the lower end likewise with `low`. It is never degenerate: all zeros still have an
    honest upper end. Where every sample is `low` or `high` it is the Clopper-Pearson interval, computed
    exactly; elsewhere its coverage is a conjecture, checked here by simulation only, and the ends are
    Monte-Carlo quantiles, deterministic for a seed.

    `clusters` labels values that are not independent (one subject asked in several seeds): each cluster
    counts once, by the plain mean of its values, so with clusters of unequal size `mean` is not the mean of
    all values. One sample has no interval.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1:
        raise ValueError(f"values must be one-dimensional, got shape {values.shape}")
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}")
    scored = ~np.isnan(values)
    sample = values[scored]
    if sample.size and not (low <= sample.min() and sample.max() <= high):
        raise ValueError(f"values must lie in [{low}, {high}], got [{sample.min()}, {sample.max()}]")
    if clusters is not None:
        code = _codes(clusters, len(values), "clusters")[scored]
        _, code = np.unique(code, return_inverse=True)
        sample = np.clip(np.bincount(code, weights=sample) / np.bincount(code), low, high)

    n, tail = len(sample), (1 - level) / 2
    mean = float(sample.mean()) if n else np.nan
    if n < 2:
        ends = (np.nan, np.nan)
    elif np.all((sample == low) | (sample == high)):
        hits = int(np.count_nonzero(sample == high))
        exact = stats.binomtest(hits, n).proportion_ci(confidence_level=level, method="exact")
        ends = (low + (high - low) * exact.low, low + (high - low) * exact.high)
    else:
        ends = _gaffke(sample, low, high, tail, np.random.default_rng(seed), draws)
    return Interval(
        mean=mean, low=float(ends[0]), high=float(ends[1]), samples=n, unscored=int(np.count_nonzero(~scored))
    )


def unbounded_mean_interval(values: npt.ArrayLike) -> Interval:
    """Mean of independent values of which no bound is known, with its 95% interval (basic bootstrap, seeded).

    NaN values are left out and counted; the ends are NaN for fewer than two others.
    """
    all_N = np.asarray(values, dtype=float)
    values_N = all_N[~np.isnan(all_N)]
    low = high = mean = float("nan")
    if len(values_N):
        mean = float(values_N.mean())
    if len(values_N) > 1:
        drawn = stats.bootstrap((values_N,), np.mean, rng=np.random.default_rng(0), method="basic")
        low, high = map(float, drawn.confidence_interval)
    return Interval(mean=mean, low=low, high=high, samples=len(values_N), unscored=len(all_N) - len(values_N))


def _gaffke(
    sample: Array, low: float, high: float, tail: float, rng: np.random.Generator, draws: int
) -> tuple[Any, Any]:
    """Both ends; the flat Dirichlet weights of equal values are drawn together, as one Gamma variable."""
    value_D, count_D = np.unique(sample, return_counts=True)
    lower, upper = np.empty(draws), np.empty(draws)
    step = max(1, _CHUNK // len(value_D))
    for start in range(0, draws, step):
        part = slice(start, min(start + step, draws))
        weight_PD = rng.standard_gamma(count_D, size=(part.stop - part.start, len(value_D)))
        extra_P = rng.standard_exponential(part.stop - part.start)
        weighted_P, total_P = weight_PD @ value_D, weight_PD.sum(axis=1) + extra_P
        lower[part] = (weighted_P + extra_P * low) / total_P
        upper[part] = (weighted_P + extra_P * high) / total_P
    return np.quantile(lower, tail), np.quantile(upper, 1 - tail)


@dataclass(frozen=True, kw_only=True)
class PermutationTest:
    """How a mean score compares with the same rankings under shuffled right answers."""

    observed: float
    """Mean score of the right answers, each unit counting once by its mean; NaN where nothing is scored."""
    null: float
    """The exact expectation of `observed` under the deals that the p-values count."""
    p_value: float
    """Share of deals at least as good: one-sided, at least 1 / (permutations + 1). NaN where shuffling
    cannot change anything.
    """
    p_worse: float
    """Share of deals at most as good, likewise: small where the scores are worse than chance."""
    queries: int
    """Scored queries."""
    unscored: int
    """Queries left out, with their right answer, because a score was NaN."""


def permutation_test(
    scores_QC: npt.ArrayLike,
    right_Q: npt.ArrayLike,
    strata_Q: Sequence[Any] | np.ndarray | None = None,
    subjects_Q: Sequence[Any] | np.ndarray | None = None,
    *,
    better: Literal["low", "high"] = "low",
    permutations: int = 10_000,
    seed: int = 0,
) -> PermutationTest:
    """Test the null hypothesis that a held-out subject's group does not matter for its ranking.

    `scores_QC` holds the score of every candidate (`rank_matrix` with better="low", `top1_matrix` with
    better="high"), `right_Q` the right candidate's column, `strata_Q` the seed of the run; a column must mean
    the same candidate all through a stratum. Right answers are dealt out anew within each stratum. The
    p-value, (1 + deals at least as good as observed) / (1 + permutations), is one-sided and at least
    1 / (1 + permutations): 1e-4 by default. With few queries the number of distinct deals limits it too.

    Without `subjects_Q` every query is a unit and the strata count as independent. A subject asked in several
    seeds breaks that (the same name keeps its quirks) and makes p too small. With `subjects_Q` a subject is
    the unit: it counts once, as in `mean_interval`, and swaps all its answers at once with one asked in the
    same seeds: still exact, with less power where few subjects share their seeds.
    """
    scores_QC, right_Q = _matrix(scores_QC), np.asarray(right_Q, dtype=np.intp)
    n, c = scores_QC.shape
    if better not in ("low", "high"):
        raise ValueError(f"better must be 'low' or 'high', got {better!r}")
    if right_Q.shape != (n,) or np.any((right_Q < 0) | (right_Q >= c)):
        raise ValueError(f"right_Q must hold {n} columns between 0 and {c - 1}, got shape {right_Q.shape}")
    strata_Q = np.zeros(n, np.intp) if strata_Q is None else _codes(strata_Q, n, "strata_Q")
    subjects_Q = np.arange(n) if subjects_Q is None else _codes(subjects_Q, n, "subjects_Q")

    kept = ~np.isnan(scores_QC).any(axis=1)
    scores_QC, right_Q, strata_Q, subjects_Q = (
        scores_QC[kept],
        right_Q[kept],
        strata_Q[kept],
        subjects_Q[kept],
    )
    queries = len(right_Q)
    if queries == 0:
        return PermutationTest(
            observed=np.nan, null=np.nan, p_value=np.nan, p_worse=np.nan, queries=0, unscored=n
        )

    rng = np.random.default_rng(seed)
    observed, null, units, informative = 0.0, 0.0, 0, False
    totals_P = np.zeros(permutations)
    for rows_UK in _exchangeable(subjects_Q, strata_Q):
        table_UG, code_U = _score_table(scores_QC, right_Q, rows_UK)
        units += len(code_U)
        observed += table_UG[np.arange(len(code_U)), code_U].sum()
        null += (table_UG @ np.bincount(code_U)).sum() / len(code_U)
        informative |= table_UG.shape[1] > 1
        totals_P += _permuted_totals(table_UG, code_U, permutations, rng)
    excess_P = (totals_P - observed) / units
    if better == "high":
        excess_P = -excess_P  # now less is better
    p_value, p_worse = (
        (1 + np.count_nonzero(deals_P)) / (1 + permutations) if informative else np.nan
        for deals_P in (excess_P <= _TOLERANCE, excess_P >= -_TOLERANCE)
    )
    return PermutationTest(
        observed=float(observed / units),
        null=float(null / units),
        p_value=float(p_value),
        p_worse=float(p_worse),
        queries=queries,
        unscored=n - queries,
    )


def holm(p_values: npt.ArrayLike) -> Array:
    """Holm's adjusted p-values (1979), in the order given, (N,): any of them is at most alpha with chance at
    most alpha where nothing is to be found. NaN is no test: it stays NaN and costs the others nothing.
    """
    p_values = np.asarray(p_values, dtype=np.float64)
    tests = np.count_nonzero(~np.isnan(p_values))
    order = np.argsort(p_values)[:tests]  # NaN come last
    steps = np.minimum(1.0, np.arange(tests, 0, -1) * p_values[order])
    adjusted = np.full_like(p_values, np.nan)
    adjusted[order] = np.maximum.accumulate(steps)
    return adjusted


def _rows_of(code_Q: npt.NDArray[np.intp]) -> list[npt.NDArray[np.intp]]:
    """The row numbers of each code, ascending."""
    order = np.argsort(code_Q, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(code_Q[order])) + 1)


def _exchangeable(
    subjects_Q: npt.NDArray[np.intp], strata_Q: npt.NDArray[np.intp]
) -> list[npt.NDArray[np.intp]]:
    """Blocks of row numbers (U, K): units of a block are asked in the same K strata and may swap answers."""
    blocks: dict[tuple[int, ...], list[npt.NDArray[np.intp]]] = defaultdict(list)
    for rows in _rows_of(subjects_Q):
        rows_K = rows[np.argsort(strata_Q[rows], kind="stable")]
        blocks[tuple(strata_Q[rows_K].tolist())].append(rows_K)
    return [np.stack(units) for units in blocks.values()]


def _score_table(
    scores_QC: Array, right_Q: npt.NDArray[np.intp], rows_UK: npt.NDArray[np.intp]
) -> tuple[Array, npt.NDArray[np.intp]]:
    """What each unit would score on average with each distinct answer (U, G), and its own answer (U,)."""
    answers_GK, code_U = np.unique(right_Q[rows_UK], axis=0, return_inverse=True)
    table_UG = np.zeros((len(rows_UK), len(answers_GK)))
    for rows_U, answers_G in zip(rows_UK.T, answers_GK.T, strict=True):
        table_UG += scores_QC[np.ix_(rows_U, answers_G)]
    return table_UG / rows_UK.shape[1], code_U.ravel()


def _permuted_totals(
    table_UG: Array, code_U: npt.NDArray[np.intp], permutations: int, rng: np.random.Generator
) -> Array:
    """The total score of the units under each of P random deals of their answers."""
    units = np.arange(len(code_U))
    if table_UG.shape[1] == 1:
        return np.full(permutations, table_UG.sum())
    totals_P, step = np.empty(permutations), max(1, _CHUNK // len(units))
    for start in range(0, permutations, step):
        stop = min(start + step, permutations)
        dealt_PU = rng.permuted(np.broadcast_to(code_U, (stop - start, len(units))), axis=1)
        totals_P[start:stop] = table_UG[units, dealt_PU].sum(axis=1)
    return totals_P


def _matrix(values: npt.ArrayLike) -> Array:
    matrix = np.asarray(values, dtype=np.float64)
    if matrix.ndim != 2:
        raise ValueError(f"expected a matrix of queries by candidates, got shape {matrix.shape}")
    return matrix


def _codes(labels: Sequence[Any] | np.ndarray, length: int, name: str) -> npt.NDArray[np.intp]:
    """Labels of any hashable kind as integers, in order of first appearance, so that names never matter."""
    codes: dict[Any, int] = {}
    coded = np.array([codes.setdefault(label, len(codes)) for label in labels], dtype=np.intp)
    if len(coded) != length:
        raise ValueError(f"{name} must have one label per value: {length}, got {len(coded)}")
    return coded
