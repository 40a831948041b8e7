"""The penalized loss against CVXPY's minimum and by hand; every check holds and fails as it should."""

import cvxpy as cp
import numpy as np
import pytest

from spillover.reproduce.late import world
from spillover.reproduce.weight_decay import penalized_excess

from .conftest import trained

TASK = world(3, 1, 1)
COLUMNS = TASK.subject_count + 2


def least(decay: float, ov: str):
    """The least penalized loss of the task by CVXPY, and where."""
    triples = TASK.triples
    told = np.flatnonzero(triples.trained)
    W = cp.Variable((TASK.answers, COLUMNS))
    losses = []
    for row in told:
        subject, relation = int(triples.subject[row]), TASK.subject_count + int(triples.relation[row])
        logits = W[:, subject] + W[:, relation]
        losses.append(cp.log_sum_exp(logits) - logits[int(triples.answer[row])])
    penalty = cp.normNuc(W) if ov == "factorized" else cp.sum_squares(W) / 2
    problem = cp.Problem(cp.Minimize(sum(losses) / told.size + decay * penalty))
    value = problem.solve(solver=cp.SCS, eps=1e-7, max_iters=50_000)
    return value, np.asarray(W.value)


@pytest.mark.parametrize("ov", ["factorized", "merged"])
def test_the_excess_is_small_at_the_minimum_and_a_bound_elsewhere(ov):
    decay = 0.05
    value, W = least(decay, ov)
    assert penalized_excess(W, TASK, decay, ov) < 1e-3
    rng = np.random.default_rng(0)
    for size in (0.01, 0.1, 1.0):
        other = W + size * rng.standard_normal(W.shape)
        triples, told = TASK.triples, TASK.triples.trained
        logits = (other[:, triples.subject[told]] + other[:, TASK.subject_count + triples.relation[told]]).T
        loss = (
            np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(told.sum()), triples.answer[told]]
        ).mean()
        norm = np.linalg.norm(other, "nuc") if ov == "factorized" else (other**2).sum() / 2
        excess = (loss + decay * norm) / value - 1
        assert 0 < excess <= penalized_excess(other, TASK, decay, ov)


def test_a_penalty_above_the_gradient_leaves_nothing():
    assert penalized_excess(np.zeros((TASK.answers, COLUMNS)), TASK, 10.0, "factorized") == 0
    assert penalized_excess(np.zeros((TASK.answers, COLUMNS)), TASK, 0.01, "factorized") > 1


def as_it_is_said(number, arrays):
    """Factors with decay end with the rule, without decay as they start; settings are ov by decay."""
    arrays["train_margin"][...] = 1.0
    arrays["held_out_margin"][...] = 0.8
    arrays["held_out_margin"][:, 0] = (0.7, -0.5)[number]
    arrays["held_out_margin"][:, 3:] = 0.0


def edit(number, setting, value):
    def change(this, arrays):
        if this == number:
            arrays["held_out_margin"][-1, setting, 1] = value

    return change


def test_checks(fabricated):
    def holding(*edits):
        return [check.holds for check in fabricated("weight-decay", as_it_is_said, *edits)][1:]

    assert holding() == [True] * 4
    assert holding(edit(0, 0, -0.1)) == [False, True, True, True]
    assert holding(edit(1, 0, 0.1)) == [False, True, True, True]
    assert holding(edit(1, 2, 0.7)) == [True, False, True, False]
    assert holding(edit(1, 5, 0.1)) == [True, True, False, True]
    assert holding(edit(0, 1, 0.9)) == [True, True, True, False]


def test_decay_acts_as_the_settings_say():
    _, _, histories = trained("weight-decay")
    for history in histories:
        without, half, whole = history.measures.nuclear[:, :3].swapaxes(0, 1)
        middle = history.steps.tolist().index(100)
        np.testing.assert_array_equal(half[: middle + 1], whole[: middle + 1])
        assert (half[-1] > whole[-1]).all()
        assert (without[-1] > half[-1]).all()
