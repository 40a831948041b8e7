"""`spillover tradeoff`: every intervention tuned and asked on the same data, and which one to take."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from spillover.cells.plan import Executor
from spillover.errors import LabError
from spillover.jobs.language_models import carry_out_study
from spillover.llm.names import DEFAULT_MODEL
from spillover.llm.settings import FineTuneConfig
from spillover.reproduce.study import Request
from spillover.runs.progress import Progress, silent
from spillover.tradeoff.arms import DEFAULT, QUICK, read_arms
from spillover.tradeoff.study import NAME, study


def tradeoff(
    kb: str = "demo",
    *,
    model: str = DEFAULT_MODEL,
    interventions: Sequence[str] = (),
    seeds: Sequence[int] | None = None,
    settings: FineTuneConfig = FineTuneConfig(),  # noqa: B008 - frozen
    quick: bool = False,
    confirm: Sequence[str] = (),
    executor: Executor | None = None,
    out: str | Path | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Tune with each intervention and without; what does each keep, remove, harm and cost?

    `interventions` are spelled as `interventions.named.parse` reads them, several that act together joined by
    "+"; by default one strength of every method, with `quick` five methods. `seeds` are 0, 1, 2 (quick: 0).
    The one that does best is tuned once more, unchanged, on the knowledge bases `confirm`. Returns the
    document of `spillover tradeoff --json`; its folder `out` (by default `runs/tradeoff`) is that of a
    study (`jobs.language_models`): what was stopped goes on there, cells are shared with all runs beside it.

    Raises LabError, TrainingError, DataError, ModelError or RunError, each one clear line.
    """
    if quick and interventions:
        raise LabError("--quick names its own interventions; leave out one of the two")
    arms = read_arms(interventions or (QUICK if quick else DEFAULT))
    seeds = tuple(seeds) if seeds is not None else (0,) if quick else (0, 1, 2)
    return carry_out_study(
        study(arms, confirm),
        Request(models=(model,), data=(kb,), seeds=seeds, settings=settings),
        command=NAME,
        settings={
            "data": kb,
            "model": model,
            "interventions": [arm.name for arm in arms],
            "confirm": list(confirm) or None,
        },
        executor=executor,
        out=out,
        progress=progress,
    )
