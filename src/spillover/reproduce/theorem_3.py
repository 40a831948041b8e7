"""`theorem-3`: with W_KQ trained too, the merged model still never beats guessing among A2."""

from collections.abc import Sequence
from dataclasses import dataclass

import altair as alt
import numpy as np

from spillover.report.charts import Chart
from spillover.reproduce.figure import Check, Figure, Findings, spread
from spillover.reproduce.style import NULL, curves, data, legend, titled
from spillover.symbolic.experiment import Experiment, Optimizer, Setting, Training
from spillover.symbolic.model import Model
from spillover.symbolic.summary import learning_curve
from spillover.symbolic.task import Task
from spillover.symbolic.train import History

_NAMES = ("train_loss", "train_accuracy", "held_out_loss")
_OPTIMIZERS = (Optimizer(), Optimizer(rule="gd", learning_rate=0.1, weight_decay=0))
_RULES = ("AdamW", "gradient descent")
_ROUNDING = 1e-6  # probabilities of the noise counts are summed in float32


@dataclass(frozen=True, kw_only=True)
class Theorem3Settings:
    """The reference world, and small ones for longer. Nothing is random: one run tells all."""

    seeds: int = 1
    reference_steps: int = 1000
    steps: int = 4000
    starts: tuple[float, ...] = (0.1, 1.0)
    """W_OV starts with every entry this over √d, W_KQ with this score."""


def _worlds() -> dict[str, Task]:
    return {
        "4 groups of 1 + 3": Task(groups=4, noise=2, length=5),
        "3 groups of 3 + 2": Task(groups=3, subjects=5, bridges=3, noise=3, length=8),
        "5 unequal groups": Task(
            groups=5, subjects=(2, 3, 4, 3, 2), bridges=(1, 1, 2, 2, 1), noise=1, length=4
        ),
    }


def experiments(settings: Theorem3Settings) -> list[Experiment]:
    """The reference world with AdamW from the first start; small worlds with every start and rule."""

    def model(start: float) -> Model:
        return Model(ov="merged", start="symmetric", attends="all", attention_scale=start, scale=start)

    large = Experiment(
        task=Task(),
        settings=(Setting(model=model(settings.starts[0])),),
        training=Training(
            steps=settings.reference_steps, seeds=tuple(range(settings.seeds)), gradient="exact", records=25
        ),
    )
    pairs = tuple(
        Setting(model=model(start), optimizer=optimizer)
        for start in settings.starts
        for optimizer in _OPTIMIZERS
    )
    training = Training(
        steps=settings.steps, seeds=tuple(range(settings.seeds)), gradient="exact", dtype="float64"
    )
    return [large, *(Experiment(task=task, settings=pairs, training=training) for task in _worlds().values())]


def findings(settings: Theorem3Settings, histories: Sequence[History]) -> Findings:
    """Held-out losses less log |A2|, at every record of every run."""
    names = [f"{len(histories[0].experiment.task.sizes)} groups of 1 + 3 (reference)", *_worlds()]
    rows, excess, learned = [], [], []
    for world, history in zip(names, histories, strict=True):
        guess = float(np.log(history.experiment.task.groups))
        excess.append((history.measures.held_out_loss - guess).min(axis=(0, 2)))
        learned.append(history.measures.train_accuracy[-1].ravel())
        for place, setting in enumerate(history.experiment.settings):
            labels = {
                "world": world,
                "optimizer": _RULES[_OPTIMIZERS.index(setting.optimizer)],
                "start": setting.model.scale,
                "guess": guess,
            }
            rows += [
                {**row, "excess": row["held_out_loss_least"] - guess}
                for row in learning_curve(history, place, _NAMES, **labels)
            ]
    small, accuracy = np.concatenate(excess[1:]), np.concatenate(learned)
    records = sum(len(history.steps) * len(history.experiment.settings) for history in histories[1:])
    checks = [
        Check(
            statement="reference world: held-out loss at least log 20 at every recorded step",
            holds=bool(excess[0].min() >= 0),
            measured=f"least log 20 + {excess[0].min():.4f}, {len(histories[0].steps)} records, AdamW",
        ),
        Check(
            statement="small worlds: held-out loss at least log|A2| at every recorded step",
            holds=bool(small.min() >= 0),
            measured=f"least above log|A2| of a run {spread(small, 4)}; {len(small)} runs, "
            f"{records:,} records",
        ),
        Check(
            statement="and yet every run learns its training set: accuracy 1.00 at the end",
            holds=bool((accuracy > 1 - _ROUNDING).all()),
            measured=f"training accuracy {spread(accuracy)}, {len(accuracy)} runs",
        ),
    ]
    return Findings(rows=rows, draw=lambda: _chart(rows, settings), checks=checks)


def _chart(rows: list[dict], settings: Theorem3Settings) -> Chart:
    seen = [
        {
            **row,
            **{f"above{end}": row[f"held_out_loss{end}"] - row["guess"] for end in ("", "_least", "_most")},
        }
        for row in rows
        if row["start"] == settings.starts[0]
    ]
    lines = curves(
        seen,
        x=alt.X("step:Q", title="training step", axis=alt.Axis(grid=False)),
        y="above",
        y_title="held-out loss − log|A2| (nats)",
        colour=alt.Color(
            "world:N",
            scale=alt.Scale(range=["#0072b2", "#e69f00", "#009e73", "#cc79a7"]),
            sort=alt.EncodingSortField(field="guess", order="descending"),
            legend=legend("world (bridges + held out)", columns=2),
        ),
        dash=alt.StrokeDash(
            "optimizer:N",
            scale=alt.Scale(domain=list(_RULES), range=[[1, 0], [5, 4]]),
            legend=legend("optimizer"),
        ),
    )
    zero = alt.Chart(data([{"y": 0}])).mark_rule(color=NULL, strokeWidth=1.5).encode(y="y:Q")
    return titled(
        alt.layer(zero, lines).properties(width=640, height=300),
        "The merged model's held-out loss above that of guessing",
        "W_KQ trained, symmetric start, exact gradient; 0 is an even guess among the implication's answers",
    )


FIGURE = Figure(
    name="theorem-3",
    claim="The merged model with W_KQ trained, from a symmetric start, has a held-out loss of at least "
    "log|A2| at every time: it cannot do better than guess among the implication's answers.",
    settings=Theorem3Settings,
    experiments=experiments,
    findings=findings,
)
