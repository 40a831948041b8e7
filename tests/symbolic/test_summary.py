"""Mean, least and most over seeds, of one number and along the steps."""

import numpy as np
import pytest

from spillover.symbolic.experiment import Experiment, Setting, Training
from spillover.symbolic.model import Model
from spillover.symbolic.summary import learning_curve, mean_least_most
from spillover.symbolic.task import Task
from spillover.symbolic.train import train


def test_mean_least_and_most():
    assert mean_least_most([1.0, 2.0, 6.0], "loss") == {"loss": 3.0, "loss_least": 1.0, "loss_most": 6.0}
    assert all(np.isnan(value) for value in mean_least_most([1.0, np.nan], "loss").values())


def test_a_learning_curve_has_a_row_for_each_recorded_step():
    experiment = Experiment(
        task=Task(groups=3, noise=1, length=4),
        settings=(Setting(model=Model(d_h=2)), Setting(model=Model(ov="merged"))),
        training=Training(steps=4, records=2, seeds=(0, 1, 2)),
    )
    history = train(experiment)
    rows = learning_curve(history, 1, ["train_loss", "nuclear"], model="merged")
    assert [row["step"] for row in rows] == [0, 2, 4]
    for place, row in enumerate(rows):
        assert list(row)[:2] == ["model", "step"]
        assert row["model"] == "merged"
        for name in ("train_loss", "nuclear"):
            values = getattr(history.measures, name)[place, 1]
            assert row[name] == pytest.approx(values.mean())
            assert (row[f"{name}_least"], row[f"{name}_most"]) == (values.min(), values.max())
