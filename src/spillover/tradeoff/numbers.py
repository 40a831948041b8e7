"""An arm's audit -> its row: what was learned, kept, left over, harmed, and what it cost."""

import math
from collections.abc import Mapping
from statistics import fmean
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from spillover.reproduce.figure import Row
from spillover.reproduce.measured import by_seed, measured, measures
from spillover.reproduce.study import Audited
from spillover.runs.stats import Interval, mean_interval, unbounded_mean_interval

_NAN = float("nan")
_MARGIN = "forecast_margin"


def row_of(audited: Audited) -> Row:
    """The row of an arm, of all seeds.

    `wanted_` are of the causal rule and `spurious_` of the spurious one; of several of a kind, of the one
    that is worst: the least share that comes first, or the largest in excess of chance. `_margin` is the
    forecast of the table as the arm trains it; `bridges` is of the rule of which fewest were learned.
    Intervals are over the held-out subjects (`top1`, `rank`), the facts (`facts`, `known`), or the texts
    (`kl`, `perplexity`).
    """
    return {
        "model": audited.point.model,
        "data": audited.kb,
        **audited.point.varied,
        "interventions": "+".join(audited.point.varied["interventions"]),
        "seeds": len(audited.point.seeds),
        **_facts(audited),
        **_wanted(audited),
        **_spurious(audited),
        **_harm(audited),
        **_cost(audited),
    }


def _facts(audited: Audited) -> dict[str, Any]:
    facts = _share(audited.scores, kind="fact", phase="after")
    bridges = [rule["bridges"]["top1"] for rule in audited.rules]
    return {
        **_named("facts", facts),
        "facts_least": audited.facts["least"],
        "bridges": float(np.min(bridges)),
    }


def _wanted(audited: Audited) -> dict[str, Any]:
    rules = [rule for rule in audited.rules if rule["kind"] == "causal"]
    if not rules:
        return {"wanted": "", **_measures("wanted", None), "wanted_margin": _NAN}
    worst = min(rules, key=lambda rule: _known(rule["top1"]["after"], -1.0))
    return {"wanted": _name(worst), **_measures("wanted", worst), "wanted_margin": worst[_MARGIN]}


def _spurious(audited: Audited) -> dict[str, Any]:
    numbers = [n for n, rule in enumerate(audited.rules) if rule["kind"] == "spurious"]
    if not numbers:
        return {
            "spurious": "",
            **_measures("spurious", None),
            "spurious_p_seeds": _NAN,
            "spurious_margin": _NAN,
            **_measures("paraphrase", None),
            **_measures("reworded", None),
        }
    number = max(numbers, key=lambda n: _known(excess(audited.rules[n]), 2.0))
    rule = audited.rules[number]
    alone = [rules[number]["p_value"] for _, rules in by_seed(audited)]
    return {
        "spurious": _name(rule),
        **_measures("spurious", rule),
        "spurious_p_seeds": float(np.min(alone)),  # NaN where one is
        "spurious_margin": rule[_MARGIN],
        **_measures("paraphrase", rule.get("other_words")),
        **_measures("reworded", _reworded(audited, number)),
    }


def _reworded(audited: Audited, number: int) -> Mapping[str, Any] | None:
    """The rule asked as the method words its examples; None where it words none."""
    scores = audited.scores
    asked = scores.filter(pc.field("kind") == "reworded")
    if not asked.filter(pc.field("rule") == number).num_rows:
        return None
    rest = scores.filter(~pc.field("kind").isin(["held_out", "reworded"]))
    place = asked.schema.get_field_index("kind")
    as_held_out = asked.set_column(place, "kind", pa.array(["held_out"] * len(asked)))
    return measured(pa.concat_tables([rest, as_held_out]), audited)[number]


def _harm(audited: Audited) -> dict[str, Any]:
    drifts = [row["drift"] for row in audited.log if "drift" in row]
    kl = np.array([[text["kl"] for text in drift] for drift in drifts], dtype=float)
    growth = np.array([[text["after"] - text["before"] for text in drift] for drift in drifts], dtype=float)
    before, after = (_share(audited.scores, kind="known", phase=phase) for phase in ("before", "after"))
    return {
        **_over_texts("kl", kl),
        **{name: float(np.exp(value)) for name, value in _over_texts("perplexity", growth).items()},
        **_named("known", after),
        "known_before": before.mean,
    }


def _over_texts(name: str, values_ST: np.ndarray) -> dict[str, float]:
    """Mean of all seeds and texts with its 95% interval over the texts."""
    return _named(name, unbounded_mean_interval(values_ST.mean(axis=0)) if values_ST.size else None)


def _cost(audited: Audited) -> dict[str, float]:
    """Of a seed's tune, the mean: wall seconds, and the examples of an epoch."""
    found = {}
    for name, mark in (("seconds", "drift"), ("examples", "train_loss")):
        of_seeds = [row[name] for row in audited.log if mark in row]
        found[name] = fmean(of_seeds) if of_seeds else _NAN
    return found


def _share(scores: pa.Table, *, kind: str, phase: str) -> Interval:
    """Of the queries of a kind, how many have the right answer alone in the first place."""
    asked = (pc.field("kind") == kind) & (pc.field("phase") == phase) & pc.field("right")
    rows = scores.filter(asked).select(["rank", "subject", "prompt"]).to_pydict()
    firsts = [np.nan if rank is None else float(rank == 0) for rank in rows["rank"]]
    return mean_interval(firsts, 0.0, 1.0, rows["prompt"] if kind == "known" else rows["subject"])


def _measures(name: str, rule: Mapping[str, Any] | None) -> dict[str, float]:
    """Both held-out measures of a rule after the tune, with interval, chance and p; all NaN without one."""
    found = {key.removesuffix("_after"): value for key, value in measures(rule).items()}
    return {f"{name}_{key}": value for key, value in found.items() if not key.endswith("_before")}


def _named(name: str, interval: Interval | None) -> dict[str, float]:
    if interval is None:
        return {name: _NAN, f"{name}_low": _NAN, f"{name}_high": _NAN}
    return {name: interval.mean, f"{name}_low": interval.low, f"{name}_high": interval.high}


def _name(rule: Mapping[str, Any]) -> str:
    return f"{rule['fact']} -> {rule['implication']}"


def excess(rule: Mapping[str, Any]) -> float:
    """By how much the rule's answers come first more often than chance."""
    return rule["top1"]["after"] - rule["top1"]["null"]


def _known(value: float, otherwise: float) -> float:
    return otherwise if math.isnan(value) else value
