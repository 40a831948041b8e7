"""Whether two numbers go together: Spearman's rank correlation with interval and permutation p."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

_TOLERANCE = 1e-12


@dataclass(frozen=True, kw_only=True)
class Correlation:
    """Spearman's rho of some pairs; NaN where one of the two is constant or a pair undefined."""

    rho: float
    low: float
    """The 95% interval; NaN for fewer than four pairs."""
    high: float
    p_value: float
    """Share of deals of the second numbers that go along with the first at least as well: one-sided."""
    pairs: int

    def __str__(self) -> str:
        if np.isnan(self.rho):
            return "undefined"
        ends = "" if np.isnan(self.low) else f" [{self.low:.2f}, {self.high:.2f}]"
        return f"{self.rho:.2f}{ends}"


def rank_correlation(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    strata: Sequence[Any] | np.ndarray | None = None,
    *,
    permutations: int = 10_000,
    seed: int = 0,
) -> Correlation:
    """Spearman's rho of (N,) and (N,); ties share their middle rank.

    The interval is Fisher's with the variance of Bonett and Wright (2000); p counts deals of `y` within the
    `strata`, all of it if none are given.
    """
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    n = len(x)
    if x.shape != y.shape or x.ndim != 1:
        raise ValueError(f"expected pairs of numbers, got shapes {x.shape} and {y.shape}")
    if n < 2 or np.isnan(x).any() or np.isnan(y).any() or np.ptp(x) == 0 or np.ptp(y) == 0:
        return Correlation(rho=np.nan, low=np.nan, high=np.nan, p_value=np.nan, pairs=n)
    x, y = (stats.rankdata(values) - (n + 1) / 2 for values in (x, y))
    scale = np.sqrt((x @ x) * (y @ y))
    rho = float(np.clip(x @ y / scale, -1, 1))
    rng, total = np.random.default_rng(seed), np.zeros(permutations)
    strata = np.zeros(n, int) if strata is None else np.unique(strata, return_inverse=True)[1]
    for stratum in range(strata.max() + 1):
        mine = strata == stratum
        total += rng.permuted(np.broadcast_to(y[mine], (permutations, mine.sum())), axis=1) @ x[mine]
    at_least = np.count_nonzero(total / scale >= rho - _TOLERANCE)
    low, high = np.nan, np.nan
    if n > 3:
        with np.errstate(divide="ignore"):  # of 1 it is infinite, and so is its interval's place
            middle = np.arctanh(rho)
        half = stats.norm.ppf(0.975) * np.sqrt((1 + rho**2 / 2) / (n - 3))
        low, high = np.tanh([middle - half, middle + half])
    return Correlation(
        rho=rho,
        low=float(low),
        high=float(high),
        p_value=float((1 + at_least) / (1 + permutations)),
        pairs=n,
    )
