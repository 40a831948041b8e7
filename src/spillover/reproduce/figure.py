"""What a reproduction is: settings in; rows, a chart and checks out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from spillover.report.charts import Chart
from spillover.runs.files import hash_json
from spillover.runs.progress import Progress, silent
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
    advice: Sequence[str] = ()
    """What to do about it, in a sentence, and then the evidence, sentence by sentence."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Figure:
    """A reproduction that can be run: its settings' class, what it trains, and what it makes of the runs."""

    name: str
    claim: str
    """What the paper says, in a sentence or two."""
    settings: Callable[[], Any]
    """A frozen dataclass with a default for every field; where anything is trained, with `seeds`: how many
    runs of each kind."""
    experiments: Callable[[Any], Sequence[Experiment]]
    findings: Callable[[Any, Sequence[History]], Findings]

    def seeds(self, settings: Any) -> range:
        """Those of its runs; none where nothing is trained."""
        return range(getattr(settings, "seeds", 0))

    def plan(self, settings: Any) -> Sequence[Experiment]:
        """What is to be trained; raises `LabError` for settings that cannot be."""
        if hasattr(settings, "seeds"):
            check_whole("seeds", settings.seeds, 1)
        return self.experiments(settings)


def train_all(
    experiments: Sequence[Experiment], *, stage: str, states: Path, progress: Progress = silent
) -> list[History]:
    """Train one experiment after the other, with one progress bar `stage` for all.

    Every experiment keeps its state in the folder `states`, and a later call goes on from it.
    """
    steps = sum(experiment.training.steps for experiment in experiments)
    histories: list[History] = []
    behind = 0
    for experiment in experiments:

        def tell(done: int, _: int, behind: int = behind) -> None:
            progress(stage, behind + done, steps)

        state = states / f"{hash_json(experiment)[:16]}.safetensors"
        histories.append(train(experiment, checkpoint=state, progress=tell))
        behind += experiment.training.steps
    return histories


def spread(values: npt.ArrayLike, digits: int = 3) -> str:
    """Mean [least, most] of all values; "undefined" where there is none or one is NaN."""
    values = np.asarray(values, dtype=float)
    if not values.size or np.isnan(values).any():
        return "undefined"
    mean, least, most = np.round([values.mean(), values.min(), values.max()], digits) + 0.0  # never -0
    return f"{mean:.{digits}f} [{least:.{digits}f}, {most:.{digits}f}]"
