"""`weight-decay`: what decay does to the implicit bias, and what stays of it when it is switched off."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import altair as alt
import numpy as np
from scipy.special import log_softmax, softmax

from spillover.report.charts import Chart
from spillover.reproduce.figure import Check, Figure, Findings, spread
from spillover.reproduce.late import NORMS, world
from spillover.reproduce.style import INK, curves, data, legend, titled
from spillover.symbolic.experiment import Experiment, Optimizer, Setting, Training
from spillover.symbolic.model import OV, Model
from spillover.symbolic.summary import mean_least_most
from spillover.symbolic.task import Task
from spillover.symbolic.train import History

_DECAYS = ("none", "first half", "all along")
_KINDS = tuple(product(NORMS, _DECAYS))
_RATE = 1.0
_WITHIN = 0.05  # of a margin
_GAP = 0.01  # of the least penalized loss


@dataclass(frozen=True, kw_only=True)
class WeightDecaySettings:
    """Balanced worlds, each from several starts, with decay, without, and with decay in the first half."""

    seeds: int = 2
    steps: int = 10_000
    decay: float = 0.01
    worlds: tuple[tuple[int, int, int], ...] = ((3, 1, 2), (4, 1, 3))
    """(groups, bridges, held-out subjects)"""
    starts: tuple[float, ...] = (0.01, 1.0, 6.0)
    """Spreads of the normal start, from small to large."""


def experiments(settings: WeightDecaySettings) -> list[Experiment]:
    """For each world and start one: both models, by plain gradient descent, with each decay."""
    return [
        _experiment(world(*sizes), start, settings) for sizes in settings.worlds for start in settings.starts
    ]


def _experiment(task: Task, start: float, settings: WeightDecaySettings) -> Experiment:
    until = {"none": 0, "first half": settings.steps // 2, "all along": None}
    each = tuple(
        Setting(
            model=Model(ov=ov, d_h=task.answers + 2, key_query="fixed", attends="content", scale=start),
            optimizer=Optimizer(
                rule="gd", learning_rate=_RATE, weight_decay=settings.decay, decay_steps=until[decay]
            ),
        )
        for ov, decay in _KINDS
    )
    training = Training(
        steps=settings.steps,
        seeds=tuple(range(settings.seeds)),
        gradient="exact",
        mix="triples",
        dtype="float64",
        records=50,
    )
    return Experiment(task=task, settings=each, training=training)


def findings(settings: WeightDecaySettings, histories: Sequence[History]) -> Findings:
    """Held-out margins along the steps, and how near the decayed models are to the least penalized loss."""
    rows, ends = [], []
    cases = product(settings.worlds, settings.starts)
    for (sizes, start), history in zip(cases, histories, strict=True):
        named = f"{sizes[0]} groups of {sizes[1]} + {sizes[2]}"
        train_KGS = history.measures.train_margin
        share_KGS = history.measures.held_out_margin / np.where(train_KGS > 0, train_KGS, np.nan)
        ends.append((share_KGS[-1], train_KGS[-1], _excesses(history, settings.decay)))
        for (place, (ov, decay)), (at, step) in product(enumerate(_KINDS), enumerate(history.steps.tolist())):
            rows.append(
                {
                    "world": named,
                    "model": ov,
                    "start": start,
                    "decay": decay,
                    "step": step,
                    **mean_least_most(share_KGS[at, place], "held_out"),
                    **mean_least_most(train_KGS[at, place], "train"),
                }
            )
    shape = (len(settings.worlds), len(settings.starts), len(NORMS), -1, settings.seeds)
    held_out, trained, excesses = (np.array(each).reshape(shape) for each in zip(*ends, strict=True))
    checks = _checks(held_out, trained, excesses, settings)
    return Findings(rows=rows, draw=lambda: _chart(rows, settings), checks=checks)


def _excesses(history: History, decay: float) -> np.ndarray:
    """(models, 1, S), of those that decayed all along."""
    return np.array(
        [
            [[penalized_excess(W, history.experiment.task, decay, ov) for W in history.weights[place]]]
            for place, (ov, kind) in enumerate(_KINDS)
            if kind == "all along"
        ]
    )


def penalized_excess(W: np.ndarray, task: Task, decay: float, ov: OV) -> float:
    """How far the penalized loss of W (A, V) is above the least, at most, as a share of it.

    Decay on two factors is a penalty decay · ‖W‖_* on their product (Srebro, Rennie and Jaakkola 2004), on a
    merged W it is decay / 2 · ‖W‖_F². With the loss's gradient G, for every W' by convexity

        nuclear     f(W) − f(W') ≤ ⟨G, W⟩ + decay ‖W‖_* + (‖G‖₂ / decay − 1)₊ f(W)
        Frobenius   f(W) − f(W') ≤ ‖G + decay W‖_F² / (2 decay)

    the first since decay ‖W'‖_* ≤ f(W') ≤ f(W) for those W' that are better.
    """
    triples, W = task.triples, W[:, task.content]
    told = np.flatnonzero(triples.trained)
    features = np.zeros((told.size, W.shape[1]))
    rows = np.arange(told.size)
    features[rows, triples.subject[told]] = features[rows, task.subject_count + triples.relation[told]] = 1
    logits, right = features @ W.T, triples.answer[told]
    slope = softmax(logits, axis=1)
    slope[rows, right] -= 1
    G = slope.T @ features / told.size
    loss = -log_softmax(logits, axis=1)[rows, right].mean()
    if ov == "merged":
        value = loss + decay / 2 * (W**2).sum()
        gap = ((G + decay * W) ** 2).sum() / (2 * decay)
    else:
        norm = np.linalg.norm(W, "nuc")
        value = loss + decay * norm
        gap = (G * W).sum() + decay * norm + max(0.0, np.linalg.norm(G, 2) / decay - 1) * value
    return float(gap / (value - gap)) if gap < value else np.inf


def _checks(
    held_out: np.ndarray, trained: np.ndarray, excesses: np.ndarray, settings: WeightDecaySettings
) -> list[Check]:
    """Of arrays (worlds, starts, models, decays, seeds), models and decays in the order of `_KINDS`."""
    small, large = settings.starts[0], settings.starts[-1]
    many = f"{len(settings.worlds)} worlds x {settings.seeds} seeds"
    without, halfway, decayed = (held_out[:, :, 0, place] for place in range(3))
    merged = held_out[:, :, 1, 2]
    apart = decayed.max(axis=(1, 2)) - decayed.min(axis=(1, 2))
    growth = trained[:, :, 0, 1] / trained[:, :, 0, 2]
    return [
        Check(
            statement="decay makes loss + λ‖W‖_* least for factors, loss + λ/2 ‖W‖_F² if merged, within "
            f"{_GAP:.0%}, from every start",
            holds=bool((excesses <= _GAP).all()),
            measured=f"above the least by at most {spread(excesses, 4)} of it, {many}",
        ),
        Check(
            statement="factorized without decay: the start decides, the rule from a small one, none from a "
            "large one",
            holds=bool((without[:, 0] > 0).all() and (without[:, -1] < 0).all()),
            measured=f"held-out margin / training margin {spread(without[:, 0])} from {small:g}, "
            f"{spread(without[:, -1])} from {large:g}, {many}",
        ),
        Check(
            statement=f"with decay it does not: the held-out margins are within {_WITHIN} and above 0",
            holds=bool((apart <= _WITHIN).all() and (decayed > 0).all()),
            measured=f"{spread(decayed)} over all starts, {many}",
        ),
        Check(
            statement=f"merged with decay: no held-out margin above {_WITHIN}, from any start",
            holds=bool((merged <= _WITHIN).all()),
            measured=f"{spread(merged)} over all starts, {many}",
        ),
        Check(
            statement=f"switched off midway, does the rule stay, with margins within {_WITHIN}?",
            holds=bool((np.abs(halfway - decayed) <= _WITHIN).all()),
            measured=f"off by {spread(np.abs(halfway - decayed))}, while training margins grow by a factor "
            f"of {spread(growth, 1)}",
            kind="question",
        ),
    ]


def _chart(rows: list[dict[str, Any]], settings: WeightDecaySettings) -> Chart:
    first = rows[0]["world"]
    starts = [f"{start:g}" for start in settings.starts]
    colours = ["#0072b2", "#e69f00", "#d55e00", "#009e73", "#cc79a7"][: len(starts)]
    titles = {"none": "no decay", "first half": "decay, switched off at the line"}
    panels = []
    for decay, title in titles.items():
        mine = [
            {**row, "from": f"{row['start']:g}"}
            for row in rows
            if row["world"] == first and row["decay"] == decay and np.isfinite(row["held_out"])
        ]
        lines = curves(
            mine,
            x=alt.X("step:Q", title="training step", axis=alt.Axis(grid=False, tickCount=3)),
            y="held_out",
            y_title="held-out margin / training margin",
            y_domain=[-1.2, 1.0],
            colour=alt.Color(
                "from:N", title="start", scale=alt.Scale(domain=starts, range=colours), legend=legend("start")
            ),
            dash=alt.StrokeDash("model:N", sort=list(NORMS), legend=legend(None)),
        )
        marks: list[Any] = [lines]
        if decay == "first half":
            rule = alt.Chart(data([{"step": settings.steps // 2}])).mark_rule(color=INK, opacity=0.6)
            marks.append(rule.encode(x="step:Q"))
        panels.append(alt.layer(*marks).properties(width=310, height=260, title=title))
    return titled(
        alt.hconcat(*panels),
        "What decay does to held-out margins, and what stays of it",
        f"{first}, decay {settings.decay:g}; means over {settings.seeds} seeds, bands from least to most",
    )


FIGURE = Figure(
    name="weight-decay",
    claim="Weight decay changes the implicit bias, and the change outlasts it (Jacobs et al. 2025, arXiv "
    "2504.12883). For factors it makes the nuclear norm the penalty, so that even a large start, which "
    "without it learns by heart, ends with the rule (our own experiment).",
    settings=WeightDecaySettings,
    experiments=experiments,
    findings=findings,
)
