"""What `spillover symbolic` trains, and the numbers it reports at the end."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from spillover.reproduce.figure import over_seeds
from spillover.runs.files import jsonable
from spillover.symbolic.experiment import Experiment, Optimizer, Setting, Training
from spillover.symbolic.measure import MEASURES
from spillover.symbolic.model import OV, Attention, Model
from spillover.symbolic.task import Task, check_whole
from spillover.symbolic.train import History


def experiment(
    *,
    world: Mapping[str, Any],
    ov: Sequence[OV],
    d_h: Sequence[int],
    attention: Attention,
    optimizer: Mapping[str, Any],
    training: Mapping[str, Any],
) -> Experiment:
    """Every d_h of the factorized model and one merged model, as far as named, side by side.

    `world` are the arguments of `Task`, `optimizer` of `Optimizer`, `training` of `Training`, its seeds a
    number. Raises `LabError` for what cannot be.
    """
    check_whole("seeds", training["seeds"], 1)
    moved = Optimizer(**optimizer)
    models = [
        Model(ov=kind, d_h=rank, attention=attention)
        for kind in dict.fromkeys(ov)
        for rank in (dict.fromkeys(d_h) if kind == "factorized" else (1,))
    ]
    return Experiment(
        task=Task(**world),
        settings=tuple(Setting(model=model, optimizer=moved) for model in models),
        training=Training(**{**training, "seeds": tuple(range(training["seeds"]))}),
    )


def summary(history: History) -> dict[str, Any]:
    """The last measures of every setting, mean, least and most over the seeds; plain JSON types."""
    run = history.experiment
    settings = []
    for place, setting in enumerate(run.settings):
        merged = setting.model.ov == "merged"
        numbers = {}
        for name in MEASURES:
            values = over_seeds(getattr(history.measures, name)[-1, place], "mean")
            numbers[name] = dict(zip(("mean", "least", "most"), values.values(), strict=True))
        settings.append(
            {
                "ov": setting.model.ov,
                "d_h": None if merged else setting.model.d_h,
                "attention": setting.model.attention,
                **numbers,
            }
        )
    task, training = run.task, run.training
    return jsonable(
        {
            "task": {
                "groups": task.groups,
                "subjects": task.sizes,
                "bridges": task.bridge_counts,
                "noise": task.noise,
                "length": task.length,
            },
            "optimizer": run.settings[0].optimizer,
            "gradient": training.gradient,
            "seeds": training.seeds,
            "step": int(history.steps[-1]),
            "guess": float(np.log(task.groups)),
            "settings": settings,
        }
    )
