"""The forecast beside a measurement: what the margins of the same split say."""

from collections.abc import Mapping, Sequence
from math import nan
from statistics import fmean
from typing import Any

from spillover.errors import DataError, MarginError
from spillover.jobs.forecast import forecast
from spillover.knowledge.split import Split
from spillover.margin.problem import Norm
from spillover.runs.progress import Progress
from spillover.runs.shapes import fault

FORECAST = "forecast.json"
"""The file of a run folder with a forecast for each seed."""

_SECONDS = 60.0  # for a forecast that only stands beside something else


def forecast_split(split: Split, progress: Progress, norm: Norm = "nuclear") -> dict[str, Any]:
    """The forecast of what a split trains; of a table that has none, only why."""
    try:
        return forecast(split, norm=norm, time_limit=_SECONDS, progress=progress)
    except (DataError, MarginError) as error:
        return {"rules": [{"margin": {"mean": nan}} for _ in split.kb.rules], "notes": [str(error)]}


def is_forecasts(value: Any, *, seeds: int, rules: int) -> bool:
    """Whether a JSON document holds such forecasts, a margin (or null) for each seed and rule."""
    margin = {"margin": {"mean": (float, int, type(None))}}
    return (
        fault(value, [{"rules": [margin]}]) is None
        and len(value) == seeds
        and all(len(forecast["rules"]) == rules for forecast in value)
    )


def add_margins(measured: Mapping[str, Any], forecasts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The outcome with each rule's mean forecast margin over the seeds, NaN where one is undefined."""
    rules: list[dict[str, Any]] = []
    for number, rule in enumerate(measured["rules"]):
        margins = [forecast["rules"][number]["margin"]["mean"] for forecast in forecasts]
        mean = fmean(nan if margin is None else margin for margin in margins)
        rules.append({**rule, "forecast_margin": mean})
    return {**measured, "rules": rules}
