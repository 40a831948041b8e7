"""Which relations of a table go together beyond chance; no rule need be given.

A *bridge* of two relations has one answer to each. Where the answers are independent, every way to deal the
bridges' second answers out anew is equally likely. So the p-values here hold for every number of bridges, as
long as subjects are independent: a subject entered twice counts twice.

Shapes: P patterns, D draws, N bridges, C cells that are not empty, R rows, W shares that keep a rule.
`rows` and `columns` are how many bridges have each answer to either relation: the totals of their table.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from math import ceil, exp, factorial, floor, fsum, lgamma, log, nan, prod

import numpy as np
from scipy.special import gammaln
from scipy.stats import random_table

from spillover.errors import DataError
from spillover.implication.questions import NO_ANSWER, answers_to
from spillover.knowledge.patterns import Patterns
from spillover.runs.stats import holm

Totals = tuple[int, ...]

_KEPT_W1 = np.array([[0.1], [0.3], [0.5], [0.7], [0.9], [0.98]])  # shares that keep a rule
_BOUND = 0.05  # of the strictest level: how much of it the bound by evidence may spend
_RESOLUTION = 4  # drawn p-values that can be told apart up to the strictest level
_DRAWS = 2_000  # at least so many before a pair is called associated
_NUMBERS = 1_000_000  # random numbers held at once: 8 MB
_ENUMERATED = 12  # bridges up to which the most extreme tables are counted: milliseconds
_TIE = 1e-9  # two tables whose statistics differ by less are tied


@dataclass(frozen=True, kw_only=True)
class Association:
    """Two relations with bridges, and whether their answers go together."""

    relations: tuple[int, int]
    """Indices in the patterns' relations, ascending."""
    bridges: int
    """Subjects with exactly one answer to each; those who contradict themselves are left out."""
    p_value: float
    """Of Fisher's exact test; NaN where not testable."""
    adjusted: float
    """The p-value corrected for the testable pairs (Holm): associated where at most alpha. NaN like it."""
    testable: bool
    """False: too few bridges to tell. No table with these totals could have been significant."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Table:
    """What the test needs of the bridges of two relations. Names and order of the answers play no role."""

    relations: tuple[int, int]
    bridges: int
    totals: tuple[Totals, Totals]
    """Each descending, the smaller tuple first."""
    least: float
    """No p-value of these totals is smaller."""
    statistic: float
    """Sum of log n! over the cells; NaN where `least` exceeds alpha."""
    evidence: float
    """See `_evidence`; NaN where `least` exceeds alpha."""


def associations(
    patterns: Patterns,
    *,
    alpha: float = 0.05,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> list[Association]:
    """Test every pair of relations that has bridges, sorted by relations, for independent answers.

    The test is Fisher's for tables of any size (Freeman and Halton 1951): the p-value is the chance, given
    the totals, of a table that is at most as likely. Tables are drawn until it is clear that p is not small
    (Besag and Clifford 1991, "Sequential Monte Carlo p-values"). Where a likelihood ratio settles it, the
    p-value is its inverse and nothing is drawn (`_evidence`). What that may spend is added to the drawn
    p-values, so each is valid at every level.

    The chance that any pair without association has an adjusted p-value of at most `alpha` is at most
    `alpha`. Pairs whose totals rule significance out cost the others nothing (Tarone 1990, "A modified
    Bonferroni method for discrete data"). Draws depend on the seed and the totals alone, so renaming or
    reordering relations, answers or subjects changes no number. `progress` is told (done, all) pairs.
    Raises DataError for an alpha outside (0, 1) or a negative seed.
    """
    if not 0 < alpha < 1:
        raise DataError(f"alpha must lie between 0 and 1, got {alpha}; 0.05 is usual")
    if seed < 0:
        raise DataError(f"seed must be a whole number from 0 up, got {seed}")
    tables = list(_tables(patterns, alpha))
    level = _level([table.least for table in tables], alpha)
    tested = [table for table in tables if table.least <= level]
    p_values: dict[tuple[int, int], float] = {}
    for done, table in enumerate(tested):
        if progress:
            progress(done, len(tested))
        p_values[table.relations] = _p_value(table, alpha / len(tested), seed)
    if progress:
        progress(len(tested), len(tested))
    adjusted = dict(zip(p_values, holm(list(p_values.values())).tolist(), strict=True))
    return [
        Association(
            relations=table.relations,
            bridges=table.bridges,
            p_value=p_values.get(table.relations, nan),
            adjusted=adjusted.get(table.relations, nan),
            testable=table.relations in p_values,
        )
        for table in tables
    ]


def _tables(patterns: Patterns, alpha: float) -> Iterator[_Table]:
    known = [_answered(patterns, relation) for relation in range(len(patterns.relations))]
    first_P = np.full(len(patterns.subjects), NO_ANSWER, dtype=np.int64)
    for first, (pattern, answer) in enumerate(known):
        first_P[pattern] = answer
        for second in range(first + 1, len(known)):
            having, seconds = known[second]
            firsts = first_P[having]
            both = firsts != NO_ANSWER
            if both.any():
                subjects = patterns.subjects[having[both]]
                yield _table((first, second), firsts[both], seconds[both], subjects, alpha)
        first_P[pattern] = NO_ANSWER


def _answered(patterns: Patterns, relation: int) -> tuple[np.ndarray, np.ndarray]:
    """The patterns with exactly one answer to the relation, and the answers."""
    answers_P = answers_to(patterns, relation)
    pattern = np.flatnonzero(answers_P != NO_ANSWER)
    return pattern, answers_P[pattern]


def _table(
    relations: tuple[int, int], firsts: np.ndarray, seconds: np.ndarray, subjects: np.ndarray, alpha: float
) -> _Table:
    """One pair's table, from the answers of patterns and their numbers of subjects."""
    width = int(seconds.max()) + 1
    cells, place = np.unique(firsts.astype(np.int64) * width + seconds, return_inverse=True)
    count_C = np.bincount(place, weights=subjects).astype(np.int64)
    _, row_C = np.unique(cells // width, return_inverse=True)
    _, column_C = np.unique(cells % width, return_inverse=True)
    rows = np.bincount(row_C, weights=count_C).astype(np.int64)
    columns = np.bincount(column_C, weights=count_C).astype(np.int64)
    smaller, larger = sorted(tuple(sorted(totals.tolist(), reverse=True)) for totals in (rows, columns))
    least = _least((smaller, larger), alpha)
    statistic = evidence = nan
    if least <= alpha:
        statistic = fsum(gammaln(count_C[count_C > 1] + 1.0))
        sides = (
            _evidence(row_C, column_C, count_C, rows, columns),
            _evidence(column_C, row_C, count_C, columns, rows),
        )
        evidence = float(np.logaddexp.reduce(sorted(sides))) - log(2)
    return _Table(
        relations=relations,
        bridges=int(rows.sum()),
        totals=(smaller, larger),
        least=least,
        statistic=statistic,
        evidence=evidence,
    )


def _evidence(
    row_C: np.ndarray, column_C: np.ndarray, count_C: np.ndarray, rows: np.ndarray, columns: np.ndarray
) -> float:
    """Log of how much likelier the bridges' answers are under a rule than dealt out at random.

    The rule: each row has one answer, drawn by the columns' shares; a bridge keeps to it with chance w, and
    otherwise draws its own by the shares. Averaged over several w, the ratio is on average at most 1 when
    answers are dealt out at random (the likelihoods of all deals add up to at most 1), so it is at least 1/p
    with chance at most p (Markov). The mean of two such ratios is another (Vovk and Wang 2021, "E-values").
    """
    order = np.lexsort((count_C, columns[column_C], row_C))
    row_C, column_C, count_C = row_C[order], column_C[order], count_C[order]
    starts = np.flatnonzero(np.diff(row_C, prepend=-1))
    share = columns / columns.sum()
    share_C = share[column_C]
    gain_WC = count_C * np.log1p(_KEPT_W1 / ((1 - _KEPT_W1) * share_C))
    likely_WC = np.log(share_C) + gain_WC + np.log1p(-np.exp(-gain_WC))
    likely_WR = np.logaddexp(0.0, np.logaddexp.reduceat(likely_WC, starts, axis=1))
    ratio_W = np.sort(likely_WR + rows * np.log1p(-_KEPT_W1), axis=1).sum(axis=1)
    dealt = fsum(gammaln(columns + 1.0)) - lgamma(columns.sum() + 1)
    return float(np.logaddexp.reduce(ratio_W)) - log(len(ratio_W)) + fsum(columns * np.log(share)) - dealt


def _least(totals: tuple[Totals, Totals], alpha: float) -> float:
    """The smallest p-value that these totals allow, or a bound below it; exact for few bridges.

    Dealing anew yields each way to part the bridges into groups of these sizes with the same chance, and a
    test that does not look at names cannot tell more apart than there are.
    """
    bridges = sum(totals[0])
    bound = 0.0
    for side in totals:
        alike = fsum(lgamma(groups + 1) for groups in Counter(side).values())
        bound = max(bound, exp(min(0.0, fsum(lgamma(n + 1) for n in side) + alike - lgamma(bridges + 1))))
    if bound > alpha or bridges > _ENUMERATED:
        return bound
    product, tables = _extreme(*totals)
    ways = prod(factorial(n) for side in totals for n in side)
    return tables * ways / (factorial(bridges) * product)


@cache
def _extreme(rows: Totals, columns: Totals) -> tuple[int, int]:
    """The largest product of n! over the cells of any table with these totals, and how many have it."""
    if not rows:
        return 1, 1
    found: Counter[int] = Counter()
    for filled in _fillings(rows[0], columns):
        left = tuple(sorted(free - n for free, n in zip(columns, filled, strict=True) if free > n))
        product, tables = _extreme(rows[1:], left)
        found[product * prod(map(factorial, filled))] += tables
    return max(found.items())


def _fillings(total: int, free: Totals) -> Iterator[Totals]:
    """All ways to put `total` bridges into columns that have room for so many."""
    if not free:
        if total == 0:
            yield ()
        return
    for n in range(max(0, total - sum(free[1:])), min(total, free[0]) + 1):
        for rest in _fillings(total - n, free[1:]):
            yield (n, *rest)


def _level(least: list[float], alpha: float) -> float:
    """The strictest level of Holm's procedure over the pairs that can reach it (Tarone 1990)."""
    ascending = np.sort(least)
    tests = 1
    while np.searchsorted(ascending, alpha / tests, side="right") > tests:
        tests += 1
    return alpha / tests


def _p_value(table: _Table, level: float, seed: int) -> float:
    """Valid at every level and as fine as `level` asks for; draws stop once p is sure to exceed it."""
    spent = _BOUND * level
    if table.evidence >= -log(spent):
        return max(exp(-table.evidence), np.finfo(float).tiny)
    draws = max(_DRAWS, ceil(_RESOLUTION / (level - spent)))
    enough = floor((level - spent) * (draws + 1))
    rows, columns = table.totals
    rng = np.random.default_rng([seed, len(rows), *rows, *columns])
    done = extreme = 0
    size = 2 * enough
    while done < draws:
        size = min(size, draws - done, max(1, _NUMBERS // min(table.bridges, len(rows) * len(columns))))
        as_extreme_D = _draw(rows, columns, size, rng) >= table.statistic - _TIE
        hits = np.flatnonzero(as_extreme_D)
        if extreme + len(hits) >= enough:
            return min(1.0, spent + enough / (done + int(hits[enough - extreme - 1]) + 1))
        extreme += len(hits)
        done += size
        size *= 2
    return spent + (extreme + 1) / (draws + 1)


def _draw(rows: Totals, columns: Totals, size: int, rng: np.random.Generator) -> np.ndarray:
    """The statistic of `size` random tables with these totals, (D,).

    Answers of one bridge never repeat and add nothing: the tables leave them together in a last row and
    column. Where there are more cells than bridges, the bridges are dealt out one by one.
    """
    bridges = sum(rows)
    large_rows = [n for n in rows if n > 1]
    large_columns = [n for n in columns if n > 1]
    if (len(large_rows) + 1) * (len(large_columns) + 1) <= bridges:
        totals = [[*large, bridges - sum(large)] for large in (large_rows, large_columns)]
        tables = np.asarray(random_table.rvs(*totals, size=size, random_state=rng), dtype=np.intp)
        counts = tables[:, :-1, :-1].reshape(size, -1)
        return np.take(gammaln(np.arange(1.0, rows[0] + 2)), counts).sum(axis=1)
    row_N = np.repeat(np.arange(len(large_rows)), large_rows)
    column_N = np.repeat(np.arange(len(columns)), columns)
    dealt_DN = rng.permuted(np.broadcast_to(column_N, (size, bridges)), axis=1)[:, : len(row_N)]
    cell_DN = np.sort(row_N * len(columns) + dealt_DN, axis=1)
    place_N = np.arange(len(row_N))
    begins_DN = np.diff(cell_DN, axis=1, prepend=-1) != 0
    begin_DN = np.maximum.accumulate(np.where(begins_DN, place_N, 0), axis=1)
    return np.log1p(np.arange(rows[0]))[place_N - begin_DN].sum(axis=1)
