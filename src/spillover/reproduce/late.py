"""The late phase of training, where the implicit bias shows, and the certified optimum it is bound for.

Theorem 1's setting: W_KQ fixed on subject and relation, no noise, the exact gradient with every triple alike,
a small start. Normalized gradient descent follows the path of gradient descent far beyond the step at which
the loss is too small for a float.
"""

from dataclasses import dataclass

import numpy as np

from spillover.margin.certificate import certificate
from spillover.margin.problem import Norm
from spillover.margin.solve import solve
from spillover.symbolic.experiment import Experiment, Optimizer, Setting, Training
from spillover.symbolic.measure import margin_problem
from spillover.symbolic.model import OV, Model
from spillover.symbolic.task import Task

NORMS: dict[OV, Norm] = {"factorized": "nuclear", "merged": "frobenius"}
"""The norm that each model's training makes least, in the order in which `late_phase` trains them."""

_TOLERANCE = 1e-6
_START = 0.01
_RATES: dict[OV, float] = {"factorized": 0.03, "merged": 0.5}


@dataclass(frozen=True, kw_only=True, eq=False)
class Optimum:
    """The certified max-margin solution of a task, as the trained model's W_OV would have it."""

    norm: float
    """‖W‖_* or ‖W‖_F of a feasible W, nearest from above."""
    lower_bound: float
    """No W that keeps every margin has a smaller norm."""
    W: np.ndarray
    """(A, subjects + relations), with the smallest training margin 1."""
    held_out_margin: float
    """The smallest of the held-out implications; NaN where nothing is held out."""


def world(groups: int, bridges: int | tuple[int, ...], held_out: int | tuple[int, ...]) -> Task:
    """Groups of bridges and held-out subjects, one number for all groups or one for each; no noise."""
    many = tuple(np.broadcast_to(bridges, groups).tolist())
    others = np.broadcast_to(held_out, groups).tolist()
    subjects = tuple(few + other for few, other in zip(many, others, strict=True))
    return Task(groups=groups, subjects=subjects, bridges=many, noise=0, length=3)


def late_phase(task: Task, *, seeds: int, steps: int, start: float = _START) -> Experiment:
    """Both models far into their late phase; d_h is larger than any rank W_OV can have. `start` is the spread
    of the normal start.
    """
    settings = tuple(
        Setting(
            model=Model(ov=ov, d_h=task.answers + 2, key_query="fixed", attends="content", scale=start),
            optimizer=Optimizer(rule="normalized_gd", learning_rate=_RATES[ov], weight_decay=0),
        )
        for ov in NORMS
    )
    training = Training(
        steps=steps,
        seeds=tuple(range(seeds)),
        gradient="exact",
        mix="triples",
        dtype="float64",
        records=40,
        spacing="log",
    )
    return Experiment(task=task, settings=settings, training=training)


def optimum(task: Task, model: Model, norm: Norm) -> Optimum:
    """The solution of the task's max-margin problem with its two bounds, recomputed from the problem."""
    problem = margin_problem(task, model, norm)
    solution = solve(problem, _TOLERANCE)
    proof = certificate(problem, solution)
    W = solution.W / proof.smallest_margin
    bounds = np.array([proof.objective, proof.lower_bound])
    upper, lower = bounds if norm == "nuclear" else np.sqrt(2 * bounds)
    return Optimum(norm=float(upper), lower_bound=float(lower), W=W, held_out_margin=held_out_margin(task, W))


def held_out_margin(task: Task, W: np.ndarray) -> float:
    """The smallest margin of a held-out implication under W (A, subjects + relations); NaN for none."""
    triples = task.triples
    asked = np.flatnonzero(~triples.trained)
    if not asked.size:
        return np.nan
    logits_PA = (W[:, triples.subject[asked]] + W[:, task.subject_count + triples.relation[asked]]).T
    right_P = logits_PA[np.arange(asked.size), triples.answer[asked]]
    logits_PA[np.arange(asked.size), triples.answer[asked]] = -np.inf
    return float((right_P - logits_PA.max(axis=1)).min())
