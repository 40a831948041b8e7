"""Measures against every sequence written out, by hand, and against the margin problem's own constraints."""

from itertools import product

import numpy as np
import pytest
import torch

from spillover.errors import LabError
from spillover.margin.problem import from_triples
from spillover.symbolic.experiment import Experiment, Setting, Training
from spillover.symbolic.measure import (
    Meter,
    blocks,
    compared,
    effective_rank,
    margin_problem,
    singular_values,
)
from spillover.symbolic.model import Model, Network
from spillover.symbolic.task import Task, noise_counts, training_weights
from tests.symbolic.plain import plain, sequence_of

TASK = Task(groups=2, subjects=(2, 3), bridges=1, noise=3, length=6)
FIXED = Model(ov="merged", key_query="fixed", attends="content")


def meter_of(*models, task=TASK, **training):
    given = {"gradient": "exact", "dtype": "float64", "seeds": (0, 1), **training}
    settings = tuple(Setting(model=model) for model in models)
    trial = Experiment(task=task, settings=settings, training=Training(**given))
    networks = [Network(model, task, trial.training.seeds, torch.float64) for model in models]
    return Meter(trial, torch.float64), networks


@pytest.mark.parametrize("attention", ["linear", "softmax"])
def test_measures_are_those_of_every_sequence(attention):
    models = (
        Model(d_h=3, scale=4.0, attention_scale=2.0, attention=attention),
        Model(ov="merged", scale=4.0, attention=attention),
    )
    meter, networks = meter_of(*models, mix="kinds")
    measures = meter(networks)
    noise_CN, share_C = noise_counts(TASK)
    trained, weight_P = TASK.triples.trained, training_weights(TASK, "kinds")
    for (place, model), seed in product(enumerate(models), (0, 1)):
        loss, hit, margin = np.zeros((3, len(TASK.triples)))
        _, plainly = plain(model, TASK, seed)
        for triple, answer in enumerate(TASK.triples.answer):
            tokens = torch.tensor([sequence_of(TASK, triple, row) for row in noise_CN])
            logits_CA = plainly(tokens).detach()
            loss[triple] = -torch.log_softmax(logits_CA, dim=-1)[:, answer].numpy() @ share_C
            hit[triple] = (logits_CA.argmax(dim=-1) == answer).double().numpy() @ share_C
            others = np.delete(logits_CA.numpy(), answer, axis=1)
            margin[triple] = (logits_CA[:, [answer]].numpy() - others).min()
        wanted = {
            "train_loss": loss @ weight_P,
            "train_accuracy": hit @ weight_P,
            "train_margin": margin[trained].min(),
            "train_margin_mean": margin[trained].mean(),
            "held_out_loss": loss[~trained].mean(),
            "held_out_accuracy": hit[~trained].mean(),
            "held_out_margin": margin[~trained].min(),
            "held_out_margin_mean": margin[~trained].mean(),
        }
        found = {name: getattr(measures, name)[place, seed] for name in wanted}
        assert found == pytest.approx(wanted)


def test_sampled_measures_are_near_the_exact_ones():
    model = Model(d_h=3, scale=3.0)
    exact, networks = meter_of(model)
    drawn, _ = meter_of(model, gradient="sampled", evaluation_draws=2000)
    assert drawn(networks).train_loss == pytest.approx(exact(networks).train_loss, rel=0.05)
    assert drawn(networks).train_loss != pytest.approx(exact(networks).train_loss, rel=1e-9)
    assert drawn(networks).train_margin == pytest.approx(exact(networks).train_margin)


def test_many_noise_counts_in_pieces(monkeypatch):
    model = Model(d_h=3, scale=3.0)
    meter, networks = meter_of(model)
    whole = meter(networks)
    monkeypatch.setattr("spillover.symbolic.measure._CHUNK", 1)
    assert meter(networks).train_loss == pytest.approx(whole.train_loss)
    assert meter(networks).held_out_accuracy == pytest.approx(whole.held_out_accuracy)


def test_ties_share_their_credit_and_a_zero_model_knows_nothing():
    zero = Model(ov="merged", scale=0.0, key_query="fixed", attends="content")
    meter, networks = meter_of(zero)
    measures = meter(networks)
    assert measures.train_accuracy == pytest.approx(1 / TASK.answers)
    assert measures.held_out_accuracy == pytest.approx(1 / TASK.answers)
    assert measures.held_out_loss == pytest.approx(np.log(TASK.answers))
    assert measures.nuclear == pytest.approx(0)
    assert np.isnan(measures.effective_rank).all()
    assert np.isnan(measures.normalized_nuclear).all()


def test_nothing_held_out_is_nan():
    meter, networks = meter_of(Model(d_h=3), task=Task(groups=2, subjects=2, bridges=2, noise=1, length=4))
    measures = meter(networks)
    assert np.isnan(measures.held_out_loss).all()
    assert np.isnan(measures.held_out_accuracy).all()
    assert np.isnan(measures.held_out_margin).all()
    assert np.isfinite(measures.train_loss).all()


def test_norms_and_rank_of_a_known_matrix():
    meter, (network,) = meter_of(FIXED)
    ov_SVA = network.parameters["ov"]
    ov_SVA.fill_(1e6)  # noise and EOS, which nothing reads, must not count
    ov_SVA[:, TASK.content] = 0
    ov_SVA[:, 0, 1], ov_SVA[:, 2, 0], ov_SVA[:, 5, 3] = 3.0, -2.0, 1.0
    measures = meter([network])
    assert measures.nuclear == pytest.approx(6)
    assert measures.frobenius == pytest.approx(np.sqrt(14))
    share = np.array([3, 2, 1]) / 6
    assert measures.effective_rank == pytest.approx(np.exp(-(share * np.log(share)).sum()))


def test_normalized_norms_divide_by_the_smallest_margin():
    task = Task(groups=2, subjects=2, bridges=1, noise=0, length=3)
    meter, (network,) = meter_of(FIXED, task=task, seeds=(0,))
    ov_SVA = network.parameters["ov"]
    ov_SVA.zero_()
    ov_SVA[0, task.tokens["relations"].start, :2] = 1.0  # facts: an answer of the fact, +1
    ov_SVA[0, task.tokens["relations"].start + 1, 2:] = 1.0
    for subject in range(4):
        ov_SVA[0, subject, [subject // 2, 2 + subject // 2]] = 0.5
    measures = meter([network])
    assert measures.train_margin == pytest.approx(0.5)
    assert measures.normalized_frobenius == pytest.approx(np.sqrt(4 + 8 / 4) / 0.5)
    assert measures.normalized_nuclear == pytest.approx(measures.nuclear / 0.5)


def test_effective_rank_of_equal_and_of_one_value():
    assert effective_rank(np.ones((2, 5))) == pytest.approx(5)
    assert effective_rank(np.array([4.0, 0, 0])) == pytest.approx(1)
    broken = singular_values(torch.tensor([[[np.nan, 0], [0, 1.0]], [[2.0, 0], [0, 1]]]))
    assert np.isnan(broken[0]).all()
    assert broken[1].tolist() == [2, 1]


def test_the_margin_problem_is_that_of_the_trained_triples():
    task = Task(groups=3, subjects=2, bridges=1, noise=2, length=6)
    problem = margin_problem(task, FIXED, norm="frobenius")
    trained = task.triples.trained
    columns = zip(
        *(getattr(task.triples, name)[trained] for name in ("subject", "relation", "answer")), strict=True
    )
    wanted = from_triples(list(columns), norm="frobenius")
    assert (problem.features.toarray() == wanted.features.toarray()).all()
    assert (problem.labels == wanted.labels).all()
    assert (problem.answers, problem.norm) == (6, "frobenius")


@pytest.mark.parametrize("attention", ["linear", "softmax"])
@pytest.mark.parametrize("attends", ["content", "all"])
def test_the_problems_margins_are_the_meters(attention, attends):
    """W's smallest margin over the problem's examples is that over all sequences, in the same unit."""
    model = Model(
        ov="merged", key_query="fixed", attends=attends, attention=attention, attention_scale=0.7, scale=5.0
    )
    meter, (network,) = meter_of(model)
    problem = margin_problem(TASK, model)
    margins = meter([network]).train_margin[0]
    for seed in range(2):
        w_AJ = network.columns()[seed].mT.numpy()[:, compared(TASK, model)]
        logits_XA = problem.features @ w_AJ.T
        rows = np.arange(problem.examples)
        right_X = logits_XA[rows, problem.labels].copy()
        logits_XA[rows, problem.labels] = -np.inf
        assert (right_X - logits_XA.max(axis=1)).min() == pytest.approx(margins[seed])


@pytest.mark.parametrize(
    "model", [Model(), Model(key_query="fixed"), Model(key_query="fixed", attends="all", embeddings="random")]
)
def test_a_problem_that_is_not_the_models_is_refused(model):
    with pytest.raises(LabError, match="the margin problem needs W_KQ fixed on content or all tokens"):
        margin_problem(TASK, model)


def test_blocks_hold_the_rows_and_columns_they_name():
    task = Task(groups=2, subjects=(1, 3), bridges=((1, 1), (0, 2)), implications=2, noise=0, length=3)
    weights = np.arange(task.answers)[:, None] * 100 + np.arange(len(task.inputs))
    cut = blocks(task, weights[None])
    assert len(cut) == 9
    assert cut["fact", "bridges"][0].tolist() == [[0, 1, 2], [100, 101, 102]]
    assert cut["fact", "held_out"][0].tolist() == [[3], [103]]
    assert cut["implication", "held_out"][0].tolist() == [[202, 203], [302, 303]]
    assert cut["implication 2", "bridges"][0].tolist() == [[401, 402], [501, 502]]
    assert cut["implication 2", "relations"][0].tolist() == [[404, 405, 406], [504, 505, 506]]
