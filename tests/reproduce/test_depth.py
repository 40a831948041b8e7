"""Every check of `depth` holds and fails as it should, on runs that are made up."""

import numpy as np
import pytest

from spillover.reproduce import depth
from spillover.symbolic.deep import Deep, DeepHistory


@pytest.fixture
def holding(monkeypatch):
    """The checks' verdicts where the held-out probabilities of a transformer are as a function says."""

    def verdicts(probability, train_accuracy=1.0):
        def made_up(task, deep, *, seeds, steps):
            held_out = np.full(seeds, float(probability(deep)))
            accuracy = np.full(seeds, train_accuracy)
            return DeepHistory(
                train_loss=np.zeros(seeds),
                train_accuracy=accuracy,
                held_out_accuracy=held_out,
                held_out_probability=held_out,
                steps=steps,
            )

        monkeypatch.setattr(depth, "train_deep", made_up)
        return [check.holds for check in depth.findings(depth.DepthSettings(), []).checks]

    return verdicts


def survives(deep: Deep) -> float:
    return 0.9 if deep.ov == "factorized" else 1 / 6


def test_checks(holding):
    assert holding(survives) == [True] * 6
    assert holding(survives, train_accuracy=0.99) == [False] + [True] * 5
    assert holding(lambda deep: 0.9) == [True] + [False] * 5
    assert holding(lambda deep: 0.1) == [True] + [False] * 5
    only = {"one head": [1], "four heads": [2], "mlp": [3, 5], "layers": [4, 5]}
    tests = {
        "one head": lambda deep: (deep.heads, deep.layers, deep.mlp) == (1, 1, 0),
        "four heads": lambda deep: deep.heads == 4,
        "mlp": lambda deep: deep.mlp > 0,
        "layers": lambda deep: deep.layers == 2,
    }
    for name, places in only.items():
        found = holding(lambda deep, its=tests[name]: 0.5 if its(deep) else survives(deep))
        assert [place for place, holds in enumerate(found) if not holds] == places


def test_softmax_attention_counts_as_much(holding):
    found = holding(lambda deep: 0.9 if deep.attention == "softmax" else survives(deep))
    assert found == [True] + [False] * 5
