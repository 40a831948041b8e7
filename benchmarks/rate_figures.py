"""Does the forecast say how often, and better than counting? `python -m benchmarks.rate_figures`.

Reads what `rates.py` measured. The calibration is made of the part `build` alone and judged on the rules of
`opened`: a point is a rule of a table, over its seeds. Beside it stand the counts that it must beat, the
margin, and the untuned model's own association. Intervals are the 95% bootstrap's over rules.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from scipy.stats import spearmanr

from benchmarks.rates import PARTS, rates_file, tables
from spillover.implication.asking import ask_stated
from spillover.implication.calibration import COVERAGE, Calibration, Evidence
from spillover.implication.early import train_early
from spillover.implication.margins import FitSettings, fit
from spillover.implication.rates import evidence
from spillover.knowledge.training import TrainingTable
from spillover.llm.names import DEFAULT_MODEL

_BOOTSTRAPS = 2_000


@dataclass(frozen=True, kw_only=True)
class Point:
    """A rule of a table: what could be known before, and what was measured."""

    table: str
    kind: str
    seen: Evidence
    margin: float
    bridges: float
    """Per group, as a mean."""
    counterexamples: float
    associated: float
    """Mean rank of the rule's answer in the untuned model that is told the fact."""
    chance: float


BASELINES: Mapping[str, Callable[[Point], float]] = {
    "bridges": lambda point: point.bridges,
    "bridges - counterexamples / 4": lambda point: point.bridges - point.counterexamples / 4,
    "log bridges - log(1 + counterexamples) / 2": lambda point: float(
        np.log(max(point.bridges, 0.5)) - np.log1p(point.counterexamples) / 2
    ),
    "margin": lambda point: point.margin,
    "own association": lambda point: -point.associated,
}
"""What a forecast must beat, each by what it orders."""

COUNTING = tuple(BASELINES)[:3]


def points(part: str) -> list[Point]:
    """Every rule of every table of a part that was measured."""
    measured: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for row in pq.read_table(rates_file(part)).to_pylist():
        measured.setdefault((row["table"], row["rule"]), []).append(row)
    found = []
    names = {name for name, _ in measured}
    for kb in (kb for kb in tables(part) if kb.name in names):
        table = TrainingTable.whole(kb)
        early, solved = train_early(table.patterns), fit(table.patterns, FitSettings(time_limit=60))
        for number, (rule, asked) in enumerate(zip(kb.rules, ask_stated(table), strict=True)):
            rows = measured[kb.name, number]
            first, held_out = (sum(row[name] for row in rows) for name in ("first", "held_out"))
            mean = {
                name: float(np.mean([row[name] for row in rows]))
                for name in ("bridges", "counterexamples", "associated", "association", "null")
            }
            found.append(
                Point(
                    table=kb.name,
                    kind=rule.kind,
                    seen=evidence(
                        early, asked, name=rule.name, rate=first / held_out, association=mean["association"]
                    ),
                    margin=asked.questions.mean(solved.margins(asked.questions)),
                    bridges=mean["bridges"],
                    counterexamples=mean["counterexamples"],
                    associated=mean["associated"],
                    chance=mean["null"],
                )
            )
    return found


def main() -> None:
    """Print every point of both parts, and the figures on the part that is opened once."""
    build, opened = (points(part) for part in PARTS)
    calibration = Calibration(model=DEFAULT_MODEL, identity="", evidence=tuple(point.seen for point in build))
    print(f"calibrated on {calibration.rules} rules; error by the other rules {calibration.error:.3f}")
    for part, mine in zip(PARTS, (build, opened), strict=True):
        print(f"\n{part}: rule, bridges, counterexamples, margin, rank, early, forecast, measured, chance")
        for point in mine:
            rate = calibration.rate(point.seen.early)
            print(
                f"{point.seen.rule:<32.32}{point.bridges:6.1f}{point.counterexamples:6.1f}{point.margin:7.2f}"
                f"{point.associated:6.1f}{point.seen.early:7.2f}{rate.mean:7.2f} [{rate.low:.2f}, "
                f"{rate.high:.2f}]{point.seen.rate:7.2f}{point.chance:6.2f}"
            )
    print()
    rates = [calibration.rate(point.seen.early) for point in opened]
    measured = np.array([point.seen.rate for point in opened])
    away = np.abs(np.array([rate.mean for rate in rates]) - measured)
    low, high = (np.array([getattr(rate, end) for rate in rates]) for end in ("low", "high"))
    covered = (low <= measured) & (measured <= high)
    print(f"mean absolute error {_by_rules(opened, lambda at: away[at].mean())} (goal: 0.10 or less)")
    print(f"coverage of the {COVERAGE:.0%} interval {_by_rules(opened, lambda at: covered[at].mean())}")
    scores = {name: np.array([of(point) for point in opened]) for name, of in BASELINES.items()}
    forecast = np.array([rate.mean for rate in rates])
    print(f"Spearman, forecast: {_by_rules(opened, lambda at: _order(forecast[at], measured[at]))}")
    for name, score in scores.items():
        mine = _by_rules(opened, lambda at, score=score: _order(score[at], measured[at]))
        more = _by_rules(
            opened,
            lambda at, score=score: _order(forecast[at], measured[at]) - _order(score[at], measured[at]),
        )
        print(f"Spearman, {name}: {mine}; the forecast's is higher by {more}")


def _order(score: np.ndarray, measured: np.ndarray) -> float:
    return float(spearmanr(score, measured).statistic)


def _by_rules(found: Sequence[Point], number: Callable[[np.ndarray], float]) -> str:
    """A number over all points, with its interval over rules drawn with replacement."""
    rules = [point.seen.rule for point in found]
    of_rule = [np.flatnonzero(np.array(rules) == rule) for rule in sorted(set(rules))]
    rng = np.random.default_rng(0)
    drawn = [
        number(np.concatenate([of_rule[place] for place in rng.integers(len(of_rule), size=len(of_rule))]))
        for _ in range(_BOOTSTRAPS)
    ]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return f"{number(np.arange(len(found))):.3f} [{low:.3f}, {high:.3f}]"


if __name__ == "__main__":
    main()
