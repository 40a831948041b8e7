"""What a reproduction is: settings in; rows, a chart and checks out."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from spillover.report.charts import Chart
from spillover.runs.files import hash_json
from spillover.runs.progress import Progress
from spillover.symbolic.experiment import Experiment
from spillover.symbolic.task import check_whole
from spillover.symbolic.train import History, train

Row = Mapping[str, Any]
"""A line of a reproduction's table; NaN where undefined."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One expectation of the paper, or one open question, with what was measured."""

    statement: str
    holds: bool
    measured: str
    """The number over all runs, with its spread."""
    kind: Literal["expectation", "question"] = "expectation"

    @property
    def verdict(self) -> str:
        """The answer in words: "holds" or "does not hold", to a question "yes" or "no"."""
        if self.kind == "question":
            return "yes" if self.holds else "no"
        return "holds" if self.holds else "does not hold"


@dataclass(frozen=True, kw_only=True, eq=False)
class Findings:
    """What a reproduction makes of its trained runs."""

    rows: Sequence[Row]
    """Its table, every row with the same names."""
    draw: Callable[[], Chart]
    checks: Sequence[Check]


@dataclass(frozen=True, kw_only=True, eq=False)
class Figure:
    """A reproduction that can be run: its settings' class, what it trains, and what it makes of the runs."""

    name: str
    claim: str
    """What the paper says, in a sentence or two."""
    settings: Callable[[], Any]
    """A frozen dataclass with a default for every field, `seeds` among them: how many runs of each kind."""
    experiments: Callable[[Any], Sequence[Experiment]]
    findings: Callable[[Any, Sequence[History]], Findings]


@dataclass(frozen=True, kw_only=True, eq=False)
class Reproduction:
    """A figure that was run."""

    figure: Figure
    settings: Any
    findings: Findings
    seconds: float
    """Wall time of this call: less than that of the whole where it went on from an earlier one."""

    @property
    def seeds(self) -> list[int]:
        """0 … seeds - 1."""
        return list(range(self.settings.seeds))


def run(
    figure: Figure,
    settings: Any = None,
    *,
    states: Path | None = None,
    progress: Progress | None = None,
) -> Reproduction:
    """Train what the figure asks for, one experiment after the other, and see what holds.

    With a folder `states` every experiment keeps its state there, and a later call with the same settings
    goes on from it. Raises `LabError` for settings that cannot be.
    """
    started = time.perf_counter()
    settings = figure.settings() if settings is None else settings
    check_whole("seeds", settings.seeds, 1)
    experiments = figure.experiments(settings)
    total = sum(experiment.training.steps for experiment in experiments)
    histories: list[History] = []
    behind = 0
    for experiment in experiments:

        def tell(done: int, _: int, behind: int = behind) -> None:
            if progress:
                progress(figure.name, behind + done, total)

        state = states / f"{hash_json(experiment)[:16]}.safetensors" if states else None
        histories.append(train(experiment, checkpoint=state, progress=tell))
        behind += experiment.training.steps
    findings = figure.findings(settings, histories)
    return Reproduction(
        figure=figure, settings=settings, findings=findings, seconds=time.perf_counter() - started
    )


def spread(values: npt.ArrayLike, digits: int = 3) -> str:
    """Mean [least, most] of all values; "undefined" where there is none or one is NaN."""
    values = np.asarray(values, dtype=float)
    if not values.size or np.isnan(values).any():
        return "undefined"
    mean, least, most = np.round([values.mean(), values.min(), values.max()], digits) + 0.0  # never -0
    return f"{mean:.{digits}f} [{least:.{digits}f}, {most:.{digits}f}]"


def over_seeds(values_S: npt.ArrayLike, name: str) -> dict[str, float]:
    """Mean, least and most of one number over the seeds, as entries of a row."""
    values_S = np.asarray(values_S, dtype=float)
    return {
        name: float(values_S.mean()),
        f"{name}_least": float(values_S.min()),
        f"{name}_most": float(values_S.max()),
    }


def along(history: History, setting: int, names: Sequence[str], **labels: Any) -> list[dict[str, Any]]:
    """A row for each recorded step of one setting: the labels, the step, the named measures over seeds."""
    rows = []
    for place, step in enumerate(history.steps.tolist()):
        row = {**labels, "step": step}
        for name in names:
            row |= over_seeds(getattr(history.measures, name)[place, setting], name)
        rows.append(row)
    return rows
