from dataclasses import fields, replace
from functools import cache

import numpy as np
import pytest

from spillover.reproduce import load
from spillover.symbolic.measure import Measures
from spillover.symbolic.train import train

SMALL = {
    "dynamics": {"seeds": 2, "steps": 20, "exact_seeds": 1, "exact_steps": 2},
    "rank-sweep": {"seeds": 2, "steps": 10},
    "weights": {"seeds": 2, "steps": 200, "groups": 3, "held_out": 2},
    "theorem-1": {"seeds": 2, "steps": 200, "worlds": ((3, 1, 1), (3, (1, 2, 1), (2, 1, 1)))},
    "theorem-2": {"seeds": 2, "steps": 200, "bridges": (1, 2), "held_out": (1, 2)},
    "theorem-3": {"reference_steps": 2, "steps": 20},
    "bridges": {"seeds": 2, "steps": 10, "groups": 3, "subjects": 4, "bridges": (0, 1, 2)},
    "softmax": {"seeds": 2, "steps": 10},
    "small-start": {"seeds": 2, "steps": 200, "worlds": ((3, 1, 2),)},
    "weight-decay": {"seeds": 2, "steps": 200, "worlds": ((3, 1, 2),), "starts": (0.1, 6.0)},
    "depth": {"seeds": 2, "steps": 3, "groups": 3},
    "two-hop": {"chains": (2, 3)},
    "reversal": {"pairs": (2, 3)},
}
"""Settings of every reproduction that train in a second."""


@cache
def trained(name):
    figure = load(name)
    settings = figure.settings(**SMALL[name])
    return figure, settings, tuple(train(one) for one in figure.experiments(settings))


@pytest.fixture
def fabricated():
    """A reproduction's checks on histories whose measures were written by hand."""

    def checks(name, *edits, weights=None):
        figure, settings, histories = trained(name)
        made = []
        for number, history in enumerate(histories):
            arrays = {
                field.name: np.array(getattr(history.measures, field.name)) for field in fields(Measures)
            }
            for edit in edits:
                edit(number, arrays)
            made.append(replace(history, measures=Measures(**arrays)))
        if weights is not None:
            made[0] = replace(made[0], weights=weights)
        return figure.findings(settings, made).checks

    return checks
