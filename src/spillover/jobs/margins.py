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


def forecast_split(
    split: Split, progress: Progress, norm: Norm = "nuclear", *, model: str | None = None
) -> dict[str, Any]:
    """The forecast of what a split trains; of a calibrated model, which is asked what it associates, with
    rates. Only why where there is none.
    """
    try:
        return forecast(split, model=model, norm=norm, time_limit=_SECONDS, ask_model=True, progress=progress)
    except (DataError, MarginError) as error:
        none = {"margin": {"mean": nan}, "rate": None}
        return {"rules": [none for _ in split.kb.rules], "notes": [str(error)]}


def is_forecasts(value: Any, *, seeds: int, rules: int) -> bool:
    """Whether a JSON document holds such forecasts, a margin (or null) for each seed and rule."""
    margin = {"margin": {"mean": (float, int, type(None))}}
    return (
        fault(value, [{"rules": [margin]}]) is None
        and len(value) == seeds
        and all(len(forecast["rules"]) == rules for forecast in value)
    )


def add_forecasts(measured: Mapping[str, Any], forecasts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The outcome with each rule's forecast, as a mean over the seeds: its margin, NaN where one is
    undefined, and its rate with the interval, None where one has none.
    """
    rules: list[dict[str, Any]] = []
    for number, rule in enumerate(measured["rules"]):
        mine = [forecast["rules"][number] for forecast in forecasts]
        margins = [nan if each["margin"]["mean"] is None else each["margin"]["mean"] for each in mine]
        rates = [rate for each in mine if (rate := each.get("rate"))]
        mean = {part: fmean(each[part] for each in rates) for part in ("mean", "low", "high") if rates}
        rate = mean if len(rates) == len(mine) else None
        rules.append({**rule, "forecast_margin": fmean(margins), "rate": rate})
    return {**measured, "rules": rules}
