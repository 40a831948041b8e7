"""`softmax`: does what holds for linear attention carry over to softmax attention? An open question."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import altair as alt
import numpy as np

from spillover.report.charts import Chart
from spillover.reproduce.figure import Check, Figure, Findings, spread
from spillover.reproduce.style import held_out_panels, legend, titled
from spillover.symbolic.experiment import Experiment, reference
from spillover.symbolic.summary import learning_curve
from spillover.symbolic.train import History

_NAMES = ("train_loss", "train_accuracy", "held_out_loss", "held_out_accuracy")
_ATTENTIONS = ("linear", "softmax")
_COLOURS = ("#004d7a", "#5ba3d0", "#009e73", "#d55e00")


@dataclass(frozen=True, kw_only=True)
class SoftmaxSettings:
    """The reference experiment with either attention, everything else alike."""

    seeds: int = 8
    steps: int = 5000
    ranks: tuple[int, ...] = (128, 4, 3)
    """d_h of the factorized models; the merged one is the last."""


def experiments(settings: SoftmaxSettings) -> list[Experiment]:
    """Linear, then softmax attention; the factorized ranks and the merged model side by side."""
    linear = reference(
        ov=("factorized", "merged"), d_h=settings.ranks, seeds=settings.seeds, steps=settings.steps
    )
    softmax = tuple(
        replace(setting, model=replace(setting.model, attention="softmax")) for setting in linear.settings
    )
    return [linear, replace(linear, settings=softmax)]


def findings(settings: SoftmaxSettings, histories: Sequence[History]) -> Findings:
    """The same numbers for both attentions."""
    names = [*(f"d_h = {rank}" for rank in settings.ranks), "merged"]
    rows = [
        row
        for attention, history in zip(_ATTENTIONS, histories, strict=True)
        for place, name in enumerate(names)
        for row in learning_curve(history, place, _NAMES, attention=attention, model=name)
    ]
    linear, softmax = (history.measures for history in histories)
    guess = float(np.log(histories[0].experiment.task.groups))
    checks = []
    for place, rank in enumerate(settings.ranks):
        accuracy_S, linear_S = (measures.held_out_accuracy[-1, place] for measures in (softmax, linear))
        loss_S, linear_loss_S = (measures.held_out_loss[-1, place] for measures in (softmax, linear))
        few = rank <= 3
        checks.append(
            Check(
                statement=f"factorized, d_h = {rank}: does it "
                + (
                    "fail (accuracy below 1.00 for every seed)?"
                    if few
                    else "work (accuracy 1.00 for every seed)?"
                ),
                holds=bool((accuracy_S < 1).all() if few else (accuracy_S == 1).all()),
                measured=f"accuracy {spread(accuracy_S, 2)}, linear {spread(linear_S, 2)}; "
                f"loss {spread(loss_S)}, linear {spread(linear_loss_S)}",
                kind="question",
            )
        )
    # The bound is a symmetric start's; random starts are symmetric on average, so their mean has to keep it.
    merged_KS, linear_KS = softmax.held_out_loss[:, -1], linear.held_out_loss[:, -1]
    checks.append(
        Check(
            statement=f"merged: is the mean held-out loss at least log|A2| = {guess:.3f} at every record?",
            holds=bool((merged_KS.mean(axis=1) >= guess).all()),
            measured=f"least mean {merged_KS.mean(axis=1).min():.3f}, linear "
            f"{linear_KS.mean(axis=1).min():.3f}; last {spread(merged_KS[-1])}, linear "
            f"{spread(linear_KS[-1])}",
            kind="question",
        )
    )
    return Findings(rows=rows, draw=lambda: _chart(rows, names, guess), checks=checks)


def _chart(rows: list[dict], names: list[str], guess: float) -> Chart:
    labels = [name if name == "merged" else f"factorized, {name}" for name in names]
    seen = [{**row, "model": labels[names.index(row["model"])]} for row in rows]
    colour = alt.Color(
        "model:N",
        scale=alt.Scale(domain=labels, range=[*_COLOURS[: len(labels) - 1], _COLOURS[-1]]),
        legend=legend(None),
    )
    titles = {attention: f"{attention} attention" for attention in _ATTENTIONS}
    return titled(
        held_out_panels(seen, field="attention", titles=titles, guess=guess, colour=colour, ticks=5),
        "Linear and softmax attention",
        "Reference setting; lines: mean of the seeds, bands: least to most; dotted: guessing",
    )


FIGURE = Figure(
    name="softmax",
    claim="The theorems are about linear attention. Open question: is it the same with softmax attention?",
    settings=SoftmaxSettings,
    experiments=experiments,
    findings=findings,
)
