"""`depth`: does the contrast of factorized and merged survive several heads, an MLP, a second layer?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, get_args

import altair as alt
import numpy as np

from spillover.report.charts import NULL, Chart
from spillover.reproduce.figure import Check, Figure, Findings, spread
from spillover.reproduce.late import NORMS, world
from spillover.reproduce.style import SCALE, data, legend, titled
from spillover.symbolic.deep import Deep, DeepAttention, train_deep
from spillover.symbolic.summary import mean_least_most
from spillover.symbolic.train import History

_FILLED = 0.5
"""Mean probability of the held-out answers from which on the implications count as filled in."""
_ROOM = 0.05
"""As far above that of an even guess they count as left open."""

_SHAPES = {
    "one head": Deep(),
    "four heads": Deep(heads=4),
    "one head, MLP": Deep(mlp=64),
    "two layers": Deep(layers=2),
    "two layers, MLPs": Deep(layers=2, mlp=64),
}
_ATTENTION = {"fixed": "attention fixed", "softmax": "softmax attention, trained"}


@dataclass(frozen=True, kw_only=True)
class DepthSettings:
    """One world, in which every kind of transformer is trained."""

    seeds: int = 4
    steps: int = 1000
    groups: int = 6
    bridges: int = 1
    held_out: int = 2


def findings(settings: DepthSettings, histories: Sequence[History]) -> Findings:
    """How probable the held-out answers are at the end, for each kind of transformer."""
    task = world(settings.groups, settings.bridges, settings.held_out)
    rows, probabilities = [], dict[tuple[str, str], list[np.ndarray]]()
    for attention, (name, deep), ov in product(get_args(DeepAttention), _SHAPES.items(), NORMS):
        ended = train_deep(
            task, replace(deep, ov=ov, attention=attention), seeds=settings.seeds, steps=settings.steps
        )
        probabilities.setdefault((name, ov), []).append(ended.held_out_probability)
        rows.append(
            {
                "transformer": name,
                "attention": attention,
                "model": ov,
                **mean_least_most(ended.held_out_probability, "held_out_probability"),
                **mean_least_most(ended.held_out_accuracy, "held_out_accuracy"),
                **mean_least_most(ended.train_accuracy, "train_accuracy"),
                **mean_least_most(ended.train_loss, "train_loss"),
                "steps": ended.steps,
            }
        )
    both = {kind: np.array(each) for kind, each in probabilities.items()}
    learned = np.array([row["train_accuracy_least"] for row in rows])
    checks = [
        Check(
            statement="every run learns its training set: accuracy 1.00",
            holds=bool((learned == 1).all()),
            measured=f"least accuracy of a transformer's seeds {spread(learned)}, {len(rows)} transformers",
        ),
        *_checks(both, 1 / settings.groups),
    ]
    return Findings(rows=rows, draw=lambda: _chart(rows, settings), checks=checks)


def _checks(probability: Mapping[tuple[str, str], np.ndarray], guess: float) -> list[Check]:
    """Of the held-out answers' probabilities (attention, seeds) of each transformer and model."""

    def contrast(name: str) -> bool:
        return bool(
            (probability[name, "factorized"] >= _FILLED).all()
            and (probability[name, "merged"] <= guess + _ROOM).all()
        )

    def measured(name: str) -> str:
        parts = (f"{ov} {spread(probability[name, ov], 2)}" for ov in NORMS)
        return f"probability of the held-out answers {', '.join(parts)}; a guess is {guess:.2f}"

    return [
        Check(
            statement="one head: factorized fills the implications in, merged leaves them open",
            holds=contrast("one head"),
            measured=measured("one head"),
        ),
        Check(
            statement="four heads: the same, since heads side by side are one wider W_OV",
            holds=contrast("four heads"),
            measured=measured("four heads"),
        ),
        *(
            Check(
                statement=f"does the contrast survive? {name}",
                holds=contrast(name),
                measured=measured(name),
                kind="question",
            )
            for name in list(_SHAPES)[2:]
        ),
    ]


def _chart(rows: list[dict[str, Any]], settings: DepthSettings) -> Chart:
    order = list(_SHAPES)
    panels = []
    for attention, title in _ATTENTION.items():
        base = alt.Chart(data([row for row in rows if row["attention"] == attention])).encode(
            y=alt.Y("transformer:N", sort=order, title=None, axis=alt.Axis(labelLimit=160, minExtent=110)),
            yOffset=alt.YOffset("model:N", sort=list(NORMS)),
            color=alt.Color("model:N", scale=SCALE, sort=list(NORMS), legend=legend(None)),
        )
        axis = {"title": "probability of the held-out answers", "scale": alt.Scale(domain=[0, 1])}
        ranges = base.mark_rule(strokeWidth=2).encode(
            x=alt.X("held_out_probability_least:Q", **axis),
            x2="held_out_probability_most:Q",
        )
        means = base.mark_point(filled=True, size=70).encode(
            x=alt.X("held_out_probability:Q", **axis),
            tooltip=["transformer:N", "model:N", alt.Tooltip("held_out_probability:Q", format=".2f")],
        )
        guess = alt.Chart(data([{"guess": 1 / settings.groups}])).mark_rule(color=NULL, strokeDash=[1, 3])
        layers = alt.layer(guess.encode(x="guess:Q"), ranges, means)
        panels.append(layers.properties(width=270, height=200, title=title))
    return titled(
        alt.hconcat(*panels, spacing=30),
        "What else factorizes: held-out implications of deeper models",
        f"Means over {settings.seeds} seeds, lines from least to most; dotted: an even guess",
    )


FIGURE = Figure(
    name="depth",
    claim="Theorem 1 is of one layer with attention alone. Heads side by side add up to one matrix, so the "
    "contrast survives them. An MLP or a second layer is a matrix behind a matrix: there a merged W_OV is a "
    "factor, too, and fills in what it was not told (our own experiment).",
    settings=DepthSettings,
    experiments=lambda settings: [],
    findings=findings,
)
