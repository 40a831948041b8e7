"""`dynamics`: the factorized model answers what it was never taught, the merged one never does."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import altair as alt
import numpy as np

from spillover.report.charts import Chart
from spillover.reproduce.figure import Check, Figure, Findings, spread
from spillover.reproduce.style import NULL, SCALE, curves, data, legend, titled
from spillover.symbolic.experiment import Experiment, reference
from spillover.symbolic.summary import learning_curve
from spillover.symbolic.train import History

_NAMES = ("train_loss", "held_out_loss", "held_out_accuracy")
_SMALL = 0.1  # nats: the right answer has a probability above 0.9


@dataclass(frozen=True, kw_only=True)
class DynamicsSettings:
    """The reference experiment; the exact gradient costs ten times a sampled one, so it has its own size."""

    seeds: int = 8
    steps: int = 2000
    exact_seeds: int = 2
    exact_steps: int = 1000
    d_h: int = 128


def experiments(settings: DynamicsSettings) -> list[Experiment]:
    """Both models on sampled batches, and the merged one on the exact gradient."""
    sampled = reference(
        ov=("factorized", "merged"), d_h=settings.d_h, seeds=settings.seeds, steps=settings.steps
    )
    exact = reference(ov="merged", seeds=settings.exact_seeds, steps=settings.exact_steps)
    return [sampled, replace(exact, training=replace(exact.training, gradient="exact", records=25))]


def findings(settings: DynamicsSettings, histories: Sequence[History]) -> Findings:
    """Held-out losses and accuracies, last and along the way."""
    sampled, exact = histories
    rows = [
        *learning_curve(sampled, 0, _NAMES, model="factorized", gradient="sampled"),
        *learning_curve(sampled, 1, _NAMES, model="merged", gradient="sampled"),
        *learning_curve(exact, 0, _NAMES, model="merged", gradient="exact"),
    ]
    loss_KS, accuracy_S = (
        sampled.measures.held_out_loss[:, 0],
        sampled.measures.held_out_accuracy[-1, 0],
    )
    half_S = loss_KS[len(loss_KS) // 2]
    guess = np.log(sampled.experiment.task.groups)
    name = f"log {sampled.experiment.task.groups} = {guess:.3f}"
    exact_KS, merged_KS = exact.measures.held_out_loss[:, 0], sampled.measures.held_out_loss[:, 1]
    checks = [
        Check(
            statement="factorized: held-out accuracy 1.00 for every seed",
            holds=bool((accuracy_S == 1).all()),
            measured=f"accuracy {spread(accuracy_S, 2)} after {settings.steps:,} steps",
        ),
        Check(
            statement=f"factorized: held-out loss goes to 0 (ends below {_SMALL}, below half-time's)",
            holds=bool((loss_KS[-1] < _SMALL).all() and (loss_KS[-1] < half_S).all()),
            measured=f"loss {spread(loss_KS[-1])}, at half-time {spread(half_S)}",
        ),
        Check(
            statement=f"merged, exact gradient: held-out loss at least {name} at every recorded step",
            holds=bool((exact_KS >= guess).all()),
            measured=f"least {exact_KS.min():.3f} over {len(exact.steps)} records, "
            f"{exact_KS.shape[1]} seeds; last {spread(exact_KS[-1])}",
        ),
        Check(
            statement=f"merged, sampled batches: the same bound, {name}",
            holds=bool((merged_KS >= guess).all()),
            measured=f"least {merged_KS.min():.3f} over {len(sampled.steps)} records, "
            f"{merged_KS.shape[1]} seeds; last {spread(merged_KS[-1])}",
        ),
    ]
    return Findings(rows=rows, draw=lambda: _chart(rows, float(guess), name), checks=checks)


def _chart(rows: list[dict], guess: float, name: str) -> Chart:
    long = [
        {
            "model": row["model"],
            "step": row["step"],
            "asked": asked,
            **{f"loss{end}": row[f"{field}_loss{end}"] for end in ("", "_least", "_most")},
        }
        for row in rows
        if row["gradient"] == "sampled"
        for field, asked in (("held_out", "held-out implications"), ("train", "training set"))
    ]
    lines = curves(
        long,
        x=alt.X("step:Q", title="training step", axis=alt.Axis(grid=False)),
        y="loss",
        y_title="loss (nats, log scale)",
        log=True,
        colour=alt.Color("model:N", scale=SCALE, legend=legend("model")),
        dash=alt.StrokeDash(
            "asked:N",
            scale=alt.Scale(
                domain=["held-out implications", "training set", f"guessing: {name}"],
                range=[[1, 0], [5, 4], [1, 3]],
            ),
            legend=legend("loss on"),
        ),
    )
    rule = (
        alt.Chart(data([{"guess": guess, "asked": f"guessing: {name}"}]))
        .mark_rule(color=NULL, strokeWidth=1.5)
        .encode(y="guess:Q", strokeDash="asked:N")
    )
    chart = alt.layer(lines, rule).properties(width=640, height=300)
    return titled(
        chart,
        "Losses on what is trained and on what is held out",
        "Reference setting, sampled batches; lines: mean of the seeds, bands: least to most",
    )


FIGURE = Figure(
    name="dynamics",
    claim="Trained on the same facts and the bridges' implications, the factorized model answers the "
    "held-out implications; the merged one learns its training set as well and never does.",
    settings=DynamicsSettings,
    experiments=experiments,
    findings=findings,
)
