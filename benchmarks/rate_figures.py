"""Does the forecast say how often, and better than counting? `python -m benchmarks.rate_figures`.

Reads what `rates.py` measured. The calibration is made of all parts but the last and judged on the rules of
the last, once it is measured: a point is a rule of a table, over its seeds. Beside it stand the counts that
it must beat, the margin, and the untuned model's own rank. Intervals are the 95% bootstrap's over rules.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from scipy.stats import spearmanr

from benchmarks.rates import PARTS, measured_parts, rates_file, tables
from spillover.implication.asking import ask_stated
from spillover.implication.calibration import COVERAGE, Calibration, Evidence, Prior, Rate
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
    chance: float

    @property
    def prior(self) -> Prior:
        """Of the untuned model, which was asked of every rule."""
        assert self.seen.prior is not None
        return self.seen.prior


BASELINES: Mapping[str, Callable[[Point], float]] = {
    "bridges": lambda point: point.bridges,
    "bridges - counterexamples / 4": lambda point: point.bridges - point.counterexamples / 4,
    "log bridges - log(1 + counterexamples) / 2": lambda point: float(
        np.log(max(point.bridges, 0.5)) - np.log1p(point.counterexamples) / 2
    ),
    "margin": lambda point: point.margin,
    "own rank": lambda point: -point.prior.rank,
}
"""What a forecast must beat, each by what it orders."""


def points(part: str) -> list[Point]:
    """Every rule of every table of a part that was measured."""
    measured: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for row in pq.read_table(rates_file(part)).to_pylist():
        measured.setdefault((row["table"], row["rule"]), []).append(row)
    found = []
    names = {name for name, _ in measured}
    for kb in (kb for kb in tables(part) if kb.name in names):
        table = TrainingTable.whole(kb)
        solved = fit(table.patterns, FitSettings(time_limit=60))
        for number, (rule, asked) in enumerate(zip(kb.rules, ask_stated(table), strict=True)):
            rows = measured[kb.name, number]
            first, held_out = (sum(row[name] for row in rows) for name in ("first", "held_out"))
            mean = {
                name: float(np.mean([row[name] for row in rows]))
                for name in ("bridges", "counterexamples", "null")
            }
            found.append(
                Point(
                    table=kb.name,
                    kind=rule.kind,
                    seen=evidence(
                        replace(asked, prior=_prior(rows[0])),
                        name=rule.name,
                        relations=len(table.patterns.relations),
                        rate=first / held_out,
                    ),
                    margin=asked.questions.mean(solved.margins(asked.questions)),
                    bridges=mean["bridges"],
                    counterexamples=mean["counterexamples"],
                    chance=mean["null"],
                )
            )
    return found


def _prior(row: Mapping[str, Any]) -> Prior:
    return Prior(nats=row["prior"], rank=row["prior_rank"], shared=row["shared"])


WAYS = ("by the table alone", "with the model asked")
"""A rate is forecast from what is counted, or from the untuned model's prior as well."""


def foreseen(calibration: Calibration, way: str, point: Point) -> Rate:
    """The rate of a point."""
    return calibration.rate(replace(point.seen, prior=None) if way == WAYS[0] else point.seen)


def main() -> None:
    """Print every point of the parts that are measured, and the figures on the last part, opened once."""
    parts = {part: points(part) for part in measured_parts()}
    judged = parts.get(PARTS[-1], [])
    evidence = tuple(point.seen for part in PARTS[:-1] for point in parts.get(part, []))
    calibration = Calibration(model=DEFAULT_MODEL, identity="", evidence=evidence)
    print(
        f"calibrated on {len(evidence)} points of {calibration.rules} rules; error by the other rules "
        f"{calibration.error:.3f}, with the model asked {calibration.error_asked:.3f}"
    )
    for part, mine in parts.items():
        print(
            f"\n{part}: rule, bridges, counterexamples, margin, own rank, own nats, the same words "
            "before the subject; forecast by the table, with the model asked; measured, chance"
        )
        for point in mine:
            rates = (foreseen(calibration, way, point) for way in WAYS)
            forecast = "".join(f"{rate.mean:6.2f} [{rate.low:.2f}, {rate.high:.2f}]" for rate in rates)
            print(
                f"{point.seen.rule:<28.28}{point.bridges:5.1f}{point.counterexamples:5.1f}"
                f"{point.margin:6.2f}{point.prior.rank:5.1f}{point.prior.nats:6.2f}"
                f"{point.prior.shared:3d}{forecast}{point.seen.rate:7.2f}{point.chance:6.2f}"
            )
    if judged:
        judge(calibration, judged)
    else:
        print(f"\nthe part {PARTS[-1]} is not measured, so this calibration is not judged")


def judge(calibration: Calibration, judged: Sequence[Point]) -> None:
    """Print the figures of both ways, each beside the baselines."""
    measured = np.array([point.seen.rate for point in judged])
    for way in WAYS:
        rates = [foreseen(calibration, way, point) for point in judged]
        forecast, low, high = (
            np.array([getattr(rate, end) for rate in rates]) for end in ("mean", "low", "high")
        )
        away, covered = np.abs(forecast - measured), (low <= measured) & (measured <= high)
        print(f"\n{way}:")
        print(
            f"mean absolute error {_by_rules(judged, lambda at, a=away: a[at].mean())} (goal: 0.10 or less)"
        )
        covers = _by_rules(judged, lambda at, c=covered: c[at].mean())
        print(f"coverage of the {COVERAGE:.0%} interval {covers} (goal: 0.85 to 0.97)")
        order = _by_rules(judged, lambda at, f=forecast: _order(f[at], measured[at]))
        print(f"Spearman {order}")
        for name, of in BASELINES.items():
            score = np.array([of(point) for point in judged])
            mine = _by_rules(judged, lambda at, s=score: _order(s[at], measured[at]))
            more = _by_rules(
                judged,
                lambda at, f=forecast, s=score: _order(f[at], measured[at]) - _order(s[at], measured[at]),
            )
            print(f"  of {name}: {mine}; the forecast's is higher by {more}")


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
