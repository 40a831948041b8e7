"""What the paper proves and shows, in small: implicit bias, Theorem 3's lower bound, the reference run."""

import numpy as np
import pytest

from spillover.symbolic.experiment import Experiment, Optimizer, Setting, Training, reference
from spillover.symbolic.measure import blocks
from spillover.symbolic.model import Model
from spillover.symbolic.task import Task
from spillover.symbolic.train import train


@pytest.fixture(scope="module")
def late_phase():
    """Three groups of a bridge and a held-out subject, late: the optima are 5.73205 and 9."""
    descent = {"rule": "normalized_gd", "weight_decay": 0}
    settings = (
        Setting(
            model=Model(d_h=8, key_query="fixed", attends="content", scale=0.01),
            optimizer=Optimizer(learning_rate=0.03, **descent),
        ),
        Setting(
            model=Model(ov="merged", key_query="fixed", attends="content", scale=0.01),
            optimizer=Optimizer(learning_rate=0.5, **descent),
        ),
    )
    training = Training(steps=2500, records=5, gradient="exact", mix="triples", dtype="float64")
    task = Task(groups=3, subjects=2, bridges=1, noise=0, length=3)
    return train(Experiment(task=task, settings=settings, training=training))


def test_theorem_1_factorized_goes_to_the_least_nuclear_norm(late_phase):
    assert 5.73205 * (1 - 1e-6) <= late_phase.measures.normalized_nuclear[-1, 0, 0] <= 5.73205 * 1.01


def test_theorem_1_merged_goes_to_the_least_frobenius_norm(late_phase):
    assert 9 * (1 - 1e-9) <= late_phase.measures.normalized_frobenius[-1, 1, 0] ** 2 <= 9 * 1.01


def test_theorem_2_only_the_factorized_model_implies_what_was_held_out(late_phase):
    share = late_phase.measures.held_out_margin[-1] / late_phase.measures.train_margin[-1]
    assert share[0, 0] > 0.95
    assert abs(share[1, 0]) < 1e-3
    filled, empty = (
        np.abs(
            blocks(late_phase.experiment.task, late_phase.weights[place, 0])["implication", "held_out"]
        ).max()
        for place in range(2)
    )
    assert filled / np.abs(late_phase.weights[0, 0]).max() > 0.2
    assert empty / np.abs(late_phase.weights[1, 0]).max() < 1e-2


@pytest.mark.parametrize("attends", ["all", "content"])
def test_theorem_3_merged_from_a_symmetric_start_stays_above_the_log_of_its_answers(attends):
    model = Model(ov="merged", start="symmetric", attends=attends, attention_scale=0.1, scale=0.1)
    training = Training(steps=600, gradient="exact", dtype="float64", records=30)
    history = train(
        Experiment(
            task=Task(groups=4, noise=2, length=5), settings=(Setting(model=model),), training=training
        )
    )
    assert history.measures.train_loss[-1] < 0.05
    assert np.ptp(history.attention) > 1  # W_KQ is trained, and far from where it was
    assert (history.measures.held_out_loss >= np.log(4)).all()


def test_the_reference_run_shows_the_papers_contrast():
    history = train(reference(ov=("factorized", "merged"), steps=300))
    assert history.measures.train_accuracy[-1, :, 0] == pytest.approx(1)
    assert history.measures.held_out_accuracy[-1, 0, 0] > 0.99
    assert history.measures.held_out_loss[-1, 0, 0] < 0.4
    assert history.measures.held_out_accuracy[-1, 1, 0] < 0.1
    assert history.measures.held_out_loss[-1, 1, 0] > np.log(20)
