"""Spearman's correlation over runs that come in blocks, with a bootstrap interval and a permutation test.

Shapes: N runs, B blocks, P permutations.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import stats

LEAST = 4
"""Runs, below which nothing is said; and blocks (of one block, runs), below which there is no interval."""

_TOLERANCE = 1e-12
_BOOTSTRAPS = 2_000


@dataclass(frozen=True, kw_only=True)
class Correlation:
    """A rank correlation; NaN where undefined."""

    value: float
    low: float
    """Lower end of the 95% bootstrap interval."""
    high: float
    p_value: float
    """Share of permutations at least as far from zero (or as high)."""
    runs: int
    """How many count: those whose numbers are both known and, within blocks, that are not alone there."""
    blocks: int

    def __str__(self) -> str:
        if np.isnan(self.value):
            return "undefined"
        ends = "" if np.isnan(self.low) else f" [{self.low:.2f}, {self.high:.2f}]"
        return f"{self.value:.2f}{ends}"


def rank_correlation(
    x_N: npt.ArrayLike,
    y_N: npt.ArrayLike,
    blocks_N: Sequence[Any] | None = None,
    *,
    within: bool = False,
    alternative: Literal["two-sided", "greater"] = "two-sided",
    permutations: int = 9_999,
    seed: int = 0,
) -> Correlation:
    """Spearman's correlation of two numbers over runs, over all of them or `within` blocks.

    Runs of a block (a data set, say) are alike, so blocks are what is drawn and dealt: the percentile
    bootstrap draws whole blocks, and the permutations deal whole blocks out among those of their size, and
    then a block's runs among themselves. `within` ranks both numbers inside each block and less its mean, so
    that what tells blocks apart counts nothing, and deals inside blocks only. Without blocks, or with one,
    runs are drawn and dealt. With few blocks the interval is rough.
    """
    x_N, y_N = np.asarray(x_N, float), np.asarray(y_N, float)
    codes_N = np.unique([str(b) for b in blocks_N], return_inverse=True)[1] if blocks_N is not None else None
    codes_N = np.zeros(len(x_N), int) if codes_N is None else codes_N
    kept_N = np.isfinite(x_N) & np.isfinite(y_N)
    if within:
        kept_N &= np.bincount(codes_N[kept_N], minlength=codes_N.max(initial=0) + 1)[codes_N] > 1
    x_N, y_N, codes_N = x_N[kept_N], y_N[kept_N], codes_N[kept_N]
    rows_B = [np.flatnonzero(codes_N == code) for code in np.unique(codes_N)]
    x_rank_N, y_rank_N = _ranks(x_N, codes_N, within), _ranks(y_N, codes_N, within)
    value = _pearson(x_rank_N, y_rank_N)
    counts = {"runs": len(x_N), "blocks": len(rows_B)}
    if len(x_N) < LEAST or np.isnan(value):
        return Correlation(value=np.nan, low=np.nan, high=np.nan, p_value=np.nan, **counts)

    rng = np.random.default_rng(seed)
    dealt_P = y_rank_N[_deals(rows_B, permutations, rng, whole=not within)] @ x_rank_N
    norm = np.sqrt(np.square(x_rank_N).sum() * np.square(y_rank_N).sum())
    excess_P = dealt_P / norm - value if alternative == "greater" else np.abs(dealt_P / norm) - abs(value)
    p_value = (1 + np.count_nonzero(excess_P >= -_TOLERANCE)) / (1 + permutations)
    units = rows_B if len(rows_B) > 1 else [np.array([row]) for row in range(len(x_N))]
    low, high = np.nan, np.nan
    if len(units) >= LEAST:
        drawn_PU = rng.integers(len(units), size=(_BOOTSTRAPS, len(units)))
        times_PN = _times(drawn_PU, units)
        if within and len(rows_B) > 1:  # then a draw changes no rank
            found_P = _redrawn(x_rank_N, y_rank_N, times_PN)
        else:
            found_P = _redrawn(_redrawn_ranks(x_N, times_PN), _redrawn_ranks(y_N, times_PN), times_PN)
        low, high = np.nanquantile(found_P, [0.025, 0.975])
    return Correlation(value=value, low=float(low), high=float(high), p_value=float(p_value), **counts)


def _times(drawn_PU: np.ndarray, units: list[np.ndarray]) -> np.ndarray:
    """How often each run is there, (P, N), where units were drawn with replacement."""
    times_PN = np.zeros((len(drawn_PU), sum(map(len, units))))
    for place, rows in enumerate(units):
        times_PN[:, rows] = (drawn_PU == place).sum(axis=1, keepdims=True)
    return times_PN


def _redrawn_ranks(values_N: np.ndarray, times_PN: np.ndarray) -> np.ndarray:
    """Each run's rank less the mean in every draw, (P, N), the runs being there so often."""
    _, kind_N = np.unique(values_N, return_inverse=True)
    times_PK = times_PN @ np.eye(kind_N.max() + 1)[kind_N]
    through_PK = times_PK.cumsum(axis=1)
    return (through_PK - (times_PK + through_PK[:, -1:]) / 2)[:, kind_N]


def _redrawn(x_PN: np.ndarray, y_PN: np.ndarray, times_PN: np.ndarray) -> np.ndarray:
    """The correlation of centred numbers in every draw, (P,); NaN where either does not vary."""
    norm_P = np.sqrt((times_PN * x_PN**2).sum(axis=1) * (times_PN * y_PN**2).sum(axis=1))
    with np.errstate(invalid="ignore"):
        return (times_PN * x_PN * y_PN).sum(axis=1) / np.where(norm_P > 0, norm_P, np.nan)


def _ranks(values_N: np.ndarray, codes_N: np.ndarray, within: bool) -> np.ndarray:
    """Ranks less their mean, over all or inside each block."""
    if not within:
        return _centred(values_N)
    ranks_N = np.empty(len(values_N))
    for code in np.unique(codes_N):
        ranks_N[codes_N == code] = _centred(values_N[codes_N == code])
    return ranks_N


def _centred(values_N: np.ndarray) -> np.ndarray:
    """Ranks less their mean."""
    return stats.rankdata(values_N) - (len(values_N) + 1) / 2


def _pearson(x_N: np.ndarray, y_N: np.ndarray) -> float:
    """Of centred numbers; NaN where either does not vary."""
    norm = np.sqrt(np.square(x_N).sum() * np.square(y_N).sum())
    return float(x_N @ y_N / norm) if norm > 0 else np.nan


def _deals(rows_B: list[np.ndarray], count: int, rng: np.random.Generator, *, whole: bool) -> np.ndarray:
    """Which run's number each run is given, (P, N)."""
    dealt_PN = np.tile(np.arange(sum(map(len, rows_B))), (count, 1))
    for rows in rows_B:
        dealt_PN[:, rows] = rng.permuted(dealt_PN[:, rows], axis=1)
    if not whole:
        return dealt_PN
    swapped_PN = dealt_PN.copy()
    for size in {len(rows) for rows in rows_B}:
        alike = np.stack([rows for rows in rows_B if len(rows) == size])
        order_PB = rng.permuted(np.tile(np.arange(len(alike)), (count, 1)), axis=1)
        swapped_PN[:, alike.ravel()] = np.take_along_axis(
            dealt_PN, alike[order_PB].reshape(count, -1), axis=1
        )
    return swapped_PN
