"""`bridges`: how many bridges it takes, and how long."""

from collections.abc import Sequence
from dataclasses import dataclass

import altair as alt
import numpy as np

from spillover.report.charts import Chart
from spillover.reproduce.figure import Check, Figure, Findings, spread
from spillover.reproduce.style import held_out_panels, legend, titled
from spillover.symbolic.experiment import Experiment, Setting, Training
from spillover.symbolic.model import Model
from spillover.symbolic.summary import learning_curve
from spillover.symbolic.task import Task
from spillover.symbolic.train import History

_NAMES = ("train_loss", "held_out_loss", "held_out_accuracy")
_MODELS = ("factorized", "merged")
_COLOURS = ("#c7ccd1", "#9cc8e3", "#5ba3d0", "#0072b2", "#004d7a", "#00283f")


@dataclass(frozen=True, kw_only=True)
class BridgesSettings:
    """The paper's 80 subjects in fewer groups, so that a group has more to share out."""

    seeds: int = 8
    steps: int = 2000
    groups: int = 10
    subjects: int = 8
    bridges: tuple[int, ...] = (0, 1, 2, 4, 6, 7)
    """Of a group's subjects; with 0 the implication is never taught, which is the null."""


def experiments(settings: BridgesSettings) -> list[Experiment]:
    """One for each number of bridges, both models side by side, else as the reference."""
    return [
        Experiment(
            task=Task(groups=settings.groups, subjects=settings.subjects, bridges=bridges),
            settings=(Setting(model=Model()), Setting(model=Model(ov="merged"))),
            training=Training(steps=settings.steps, seeds=tuple(range(settings.seeds))),
        )
        for bridges in settings.bridges
    ]


def findings(settings: BridgesSettings, histories: Sequence[History]) -> Findings:
    """Held-out losses for every number of bridges."""
    rows = [
        row
        for bridges, history in zip(settings.bridges, histories, strict=True)
        for place, model in enumerate(_MODELS)
        for row in learning_curve(history, place, _NAMES, bridges=bridges, model=model)
    ]
    last_NGS = np.stack([history.measures.held_out_loss[-1] for history in histories])
    accuracy_NS = np.stack([history.measures.held_out_accuracy[-1, 0] for history in histories])
    taught = np.array(settings.bridges) > 0
    guess = float(np.log(settings.groups))
    means = last_NGS[taught, 0].mean(axis=1)
    some_bridges = np.array(settings.bridges)[taught].tolist()
    # The bound is a symmetric start's; random starts are symmetric on average, so their mean has to keep it.
    checks = [
        Check(
            statement="factorized: any bridge suffices, held-out accuracy 1.00 for every number and seed",
            holds=bool((accuracy_NS[taught] == 1).all()),
            measured="; ".join(
                f"{few}: {spread(accuracy_S, 2)}"
                for few, accuracy_S in zip(some_bridges, accuracy_NS[taught], strict=True)
            ),
        ),
        Check(
            statement="factorized: more bridges, less held-out loss at the end",
            holds=bool((np.diff(means) < 0).all()),
            measured="; ".join(
                f"{few}: {spread(loss_S)}"
                for few, loss_S in zip(some_bridges, last_NGS[taught, 0], strict=True)
            ),
        ),
        Check(
            statement=f"merged: mean held-out loss at least log {settings.groups} = {guess:.3f}, each number",
            holds=bool((last_NGS[:, 1].mean(axis=1) >= guess).all()),
            measured="; ".join(
                f"{few}: {spread(loss_S)}"
                for few, loss_S in zip(settings.bridges, last_NGS[:, 1], strict=True)
            ),
        ),
    ]
    if (~taught).any():
        null = last_NGS[~taught, 0]
        checks.append(
            Check(
                statement="the null, no bridge: the factorized model does no better than guessing",
                holds=bool((null >= guess).all()),
                measured=f"held-out loss {spread(null)}, guessing {guess:.3f}",
            )
        )
    return Findings(rows=rows, draw=lambda: _chart(rows, guess), checks=checks)


def _chart(rows: list[dict], guess: float) -> Chart:
    many = sorted({row["bridges"] for row in rows})
    colour = alt.Color(
        "bridges:O",
        scale=alt.Scale(domain=many, range=[_COLOURS[i % 6] for i in range(len(many))]),
        legend=legend("bridges of a group"),
    )
    titles = {model: model for model in _MODELS}
    return titled(
        held_out_panels(rows, field="model", titles=titles, guess=guess, colour=colour, ticks=4),
        "Held-out loss by the number of bridges",
        "Lines: mean of the seeds, bands: least to most; dotted: guessing among the implication's answers",
    )


FIGURE = Figure(
    name="bridges",
    claim="Any number of bridges makes the factorized model answer the held-out implications; more of them "
    "do it sooner. No number helps the merged model.",
    settings=BridgesSettings,
    experiments=experiments,
    findings=findings,
)
