"""The one-layer lab: plan an experiment -> train it, with a folder as a run -> report the last measures."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from spillover.runs.files import jsonable
from spillover.runs.progress import Progress, silent
from spillover.runs.record import Run
from spillover.symbolic.experiment import Experiment, Optimizer, Setting, Training
from spillover.symbolic.measure import MEASURES
from spillover.symbolic.model import OV, Attention, Model
from spillover.symbolic.summary import learning_curve, mean_least_most
from spillover.symbolic.task import Task, check_whole
from spillover.symbolic.train import History, train


def symbolic(
    *,
    world: Mapping[str, Any],
    ov: Sequence[OV],
    d_h: Sequence[int],
    attention: Attention,
    optimizer: Mapping[str, Any],
    seeds: int,
    training: Mapping[str, Any],
    out: Path | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Train every d_h of the factorized model and one merged model, as far as named, side by side.

    `world` are the arguments of `Task`, `optimizer` of `Optimizer`, `training` of `Training` less its seeds,
    which are 0 … seeds - 1. Returns the document of `spillover symbolic --json`. The run folder `out` keeps
    it with the numbers along the way and the weights; an unfinished run in it goes on, a finished one is
    read. Raises `LabError` for what cannot be, and `RunError` for a folder of anything else.
    """
    experiment = _plan(world, ov, d_h, attention, optimizer, seeds, training)

    def tell(done: int, steps: int) -> None:
        progress("training", done, steps)

    if out is None:
        started = time.perf_counter()
        history = train(experiment, progress=tell)
        return {"run": None, "seconds": time.perf_counter() - started, **_last_measures(history)}

    arguments = {**world, "ov": ov, "d_h": d_h, "attention": attention, "optimizer": optimizer, **training}
    with Run.start(
        out,
        command="symbolic",
        arguments=arguments,
        passed=arguments,
        seeds=experiment.training.seeds,
        hashes={},
    ) as run:
        if not run.complete:
            history = train(experiment, checkpoint=run.path("state.safetensors"), progress=tell)
            run.write_csv("table.csv", _learning_curves(history))
            seconds = run.seconds
            run.finish({"seconds": seconds, **_last_measures(history)}, seconds)
        return {"run": str(out), **run.results}


def _plan(
    world: Mapping[str, Any],
    ov: Sequence[OV],
    d_h: Sequence[int],
    attention: Attention,
    optimizer: Mapping[str, Any],
    seeds: int,
    training: Mapping[str, Any],
) -> Experiment:
    check_whole("seeds", seeds, 1)
    shared = Optimizer(**optimizer)
    models = [
        Model(ov=kind, d_h=columns, attention=attention)
        for kind in dict.fromkeys(ov)
        for columns in (dict.fromkeys(d_h) if kind == "factorized" else (1,))
    ]
    return Experiment(
        task=Task(**world),
        settings=tuple(Setting(model=model, optimizer=shared) for model in models),
        training=Training(**training, seeds=tuple(range(seeds))),
    )


def _learning_curves(history: History) -> list[dict[str, Any]]:
    return [
        row
        for place, setting in enumerate(history.experiment.settings)
        for row in learning_curve(history, place, MEASURES, ov=setting.model.ov, d_h=setting.model.d_h)
    ]


def _last_measures(history: History) -> dict[str, Any]:
    """What was trained, and every setting's measures at the end; plain JSON types."""
    experiment = history.experiment
    settings = []
    for place, setting in enumerate(experiment.settings):
        measures = {}
        for name in MEASURES:
            values = mean_least_most(getattr(history.measures, name)[-1, place], "mean")
            measures[name] = dict(zip(("mean", "least", "most"), values.values(), strict=True))
        settings.append(
            {
                "ov": setting.model.ov,
                "d_h": None if setting.model.ov == "merged" else setting.model.d_h,
                "attention": setting.model.attention,
                **measures,
            }
        )
    task, training = experiment.task, experiment.training
    return jsonable(
        {
            "task": {
                "groups": task.groups,
                "subjects": task.sizes,
                "bridges": task.bridge_counts,
                "noise": task.noise,
                "length": task.length,
            },
            "optimizer": experiment.settings[0].optimizer,
            "gradient": training.gradient,
            "seeds": training.seeds,
            "step": int(history.steps[-1]),
            "guess": float(np.log(task.groups)),
            "settings": settings,
        }
    )
