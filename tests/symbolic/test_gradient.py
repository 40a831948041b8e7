"""Exact populations against every sequence written out, and the late phase against higher precision."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from spillover.errors import LabError
from spillover.symbolic import gradient
from spillover.symbolic.experiment import Experiment, Optimizer, Setting, Training
from spillover.symbolic.gradient import Exact, Rows, Sampled, rows_gradient
from spillover.symbolic.model import Attention, Model, Network
from spillover.symbolic.task import Task, noise_counts, training_weights
from tests.symbolic.plain import plain, sequence_of

TASK = Task(groups=2, subjects=(2, 3), bridges=1, noise=3, length=6)


def experiment(task=TASK, attention: Attention = "linear", **training):
    models = [
        Model(d_h=3, scale=4.0, attention=attention),
        Model(ov="merged", scale=4.0, attention=attention),
    ]
    return Experiment(
        task=task,
        settings=tuple(Setting(model=model) for model in models),
        training=Training(gradient="exact", dtype="float64", seeds=(0, 1), **training),
    )


def table_of(trial):
    networks = [
        Network(setting.model, trial.task, trial.training.seeds, torch.float64) for setting in trial.settings
    ]
    return torch.stack([network.table() for network in networks], dim=2), networks


@pytest.mark.parametrize("attention", ["linear", "softmax"])
@pytest.mark.parametrize("mix", ["kinds", "triples"])
def test_the_exact_gradient_is_that_of_the_loss_over_all_sequences(attention, mix):
    trial = experiment(attention=attention, mix=mix)
    table_SVGE, networks = table_of(trial)
    slope_SVGE = Exact(trial, torch.float64)(0, table_SVGE, attention == "softmax", None)
    noise_CN, share_C = noise_counts(TASK)
    weight_P = training_weights(TASK, mix)
    for place, setting in enumerate(trial.settings):
        found = networks[place].backward(slope_SVGE[:, :, place])
        for number, seed in enumerate(trial.training.seeds):
            _, plainly = plain(setting.model, TASK, seed)
            for triple in np.flatnonzero(weight_P):
                tokens = torch.tensor([sequence_of(TASK, int(triple), row) for row in noise_CN])
                label = torch.full((len(tokens),), int(TASK.triples.answer[triple]))
                losses = torch.nn.functional.cross_entropy(plainly(tokens), label, reduction="none")
                (weight_P[triple] * losses @ torch.tensor(share_C)).backward()
            for name, wanted in plainly.reduced_gradient().items():
                torch.testing.assert_close(found[name][number], wanted)


def test_the_factored_sum_is_the_sum_over_rows(monkeypatch):
    trial = experiment(mix="kinds")
    table_SVGE, _ = table_of(trial)
    laid_out = Exact(trial, torch.float64)
    monkeypatch.setattr(gradient, "ROWS", 0)
    factored = Exact(trial, torch.float64)
    assert laid_out.laid_out
    assert not factored.laid_out
    torch.testing.assert_close(factored(0, table_SVGE, False, None), laid_out(0, table_SVGE, False, None))


def test_too_many_rows_for_softmax_are_refused():
    with pytest.raises(
        LabError, match="238,000 rows of triples and noise, and softmax attention takes 20,000"
    ):
        Exact(experiment(task=Task(), attention="softmax"), torch.float64)


def test_too_many_rows_for_normalized_descent_are_refused():
    descent = Optimizer(rule="normalized_gd", weight_decay=0)
    late = Experiment(
        task=Task(), settings=(Setting(optimizer=descent),), training=Training(gradient="exact")
    )
    with pytest.raises(
        LabError, match="238,000 rows of triples and noise, and normalized descent takes 20,000"
    ):
        Exact(late, torch.float64)
    fixed = Setting(model=Model(key_query="fixed", attends="content"), optimizer=descent)
    assert Exact(replace(late, settings=(fixed,)), torch.float64).laid_out


def test_sampled_gradients_average_to_the_exact_one():
    trial = experiment()
    table_SVGE, _ = table_of(trial)
    exact = Exact(trial, torch.float64)(0, table_SVGE, False, None)
    sampled = Sampled(trial, torch.float64)
    drawn = torch.stack([sampled(step, table_SVGE, False, None) for step in range(400)])
    error = (drawn.mean(dim=0) - exact).abs()
    deviation = drawn.std(dim=0) / 20
    assert (error <= 5 * deviation + 1e-12).all()
    assert (deviation > 0).any()


def test_settings_of_one_seed_read_the_same_batches():
    trial = experiment()
    twice = Experiment(task=TASK, settings=(trial.settings[0],) * 2, training=trial.training)
    table_SVGE, _ = table_of(twice)
    slope_SVGE = Sampled(twice, torch.float64)(3, table_SVGE, False, None)
    torch.testing.assert_close(slope_SVGE[:, :, 0], slope_SVGE[:, :, 1])
    assert (slope_SVGE[0] - slope_SVGE[1]).abs().max() > 1e-6


@pytest.mark.parametrize("rescale", [False, True])
def test_certain_answers_still_have_a_gradient(rescale):
    """p - 1 is 0 in float32 at a margin of 40; the right answer's part must be minus the others'."""
    labels = torch.tensor([[0, 1]])
    rows = Rows.of(labels, torch.zeros(1, 2, 1), labels, 3)  # two subjects, and a token that never occurs
    table_SVGE = torch.tensor([[60.0, 20.0, 10.0], [0.0, 45.0, 0.0], [9.0, 9.0, 9.0]])[None, :, None]
    flags = torch.tensor([True]) if rescale else None
    slope = rows_gradient(rows, 0.5, table_SVGE, False, flags)[0, :2, 0].double()
    margins = torch.tensor([[0.0, 40.0, 50.0], [45.0, 0.0, 45.0]], dtype=torch.float64)
    odds = torch.exp(-margins)
    odds[0, 0] = odds[1, 1] = 0
    wanted = odds.clone()
    wanted[0, 0], wanted[1, 1] = -odds[0].sum(), -odds[1].sum()
    torch.testing.assert_close(slope / slope.norm(), wanted / wanted.norm(), rtol=1e-5, atol=0)
    assert slope[0, 1].item() == pytest.approx(0.5 if rescale else 0.5 * np.exp(-40), rel=1e-5)


def test_a_direction_never_underflows():
    table_SVGE = torch.tensor([[4000.0, 0.0, 1.0]], dtype=torch.float64)[None, :, None]
    zero = torch.zeros(1, 1, dtype=torch.int64)
    rows = Rows.of(zero, torch.zeros(1, 1, 0, dtype=torch.float64), zero, 1)
    plainly = rows_gradient(rows, 1.0, table_SVGE, False)
    assert (plainly == 0).all()
    slope = rows_gradient(rows, 1.0, table_SVGE, False, torch.tensor([True])).ravel()
    assert slope.tolist() == pytest.approx([-1 - np.exp(-1), np.exp(-1), 1])


def test_only_the_flagged_settings_are_rescaled():
    trial = experiment()
    table_SVGE, _ = table_of(trial)
    exact = Exact(trial, torch.float64)
    plainly = exact(0, table_SVGE, False, None)
    slope = exact(0, table_SVGE, False, torch.tensor([False, True]))
    torch.testing.assert_close(slope[:, :, 0], plainly[:, :, 0])
    for seed in range(2):
        ratio = slope[seed, :, 1] / plainly[seed, :, 1]
        ratio = ratio[plainly[seed, :, 1] != 0]
        assert ratio.min().item() == pytest.approx(ratio.max().item())
        assert ratio.max() > 1.1
