"""Small transformers against loops over tokens, heads and neurons."""

import numpy as np
import pytest
import torch

from spillover.errors import LabError
from spillover.reproduce.late import world
from spillover.symbolic import deep as lab
from spillover.symbolic.deep import Deep, train_deep

TASK = world(3, 1, 1)


def by_loops(weights: dict[str, np.ndarray], deep: Deep, tokens: list[int], d: int) -> np.ndarray:
    """The stream at the last token, of one seed."""
    stream = [np.eye(d)[token] for token in tokens]
    for layer in range(deep.layers):
        after = [x.copy() for x in stream]
        for head in range(deep.heads):
            if deep.ov == "merged":
                ov = weights[f"{layer}/ov"][head]
            else:
                ov = weights[f"{layer}/output"][head] @ weights[f"{layer}/value"][head].T
            for t, x in enumerate(stream):
                if deep.attention == "fixed":
                    shares = [1.0, 1.0, 0.0][: t + 1]
                else:
                    scores = np.exp([x @ weights[f"{layer}/scores"][head] @ y for y in stream[: t + 1]])
                    shares = scores / scores.sum()
                for share, y in zip(shares, stream, strict=False):
                    after[t] += share * (ov @ y)
        if deep.mlp:
            for t, x in enumerate(after):
                hidden = np.maximum(weights[f"{layer}/in"].T @ x, 0)
                after[t] = x + weights[f"{layer}/out"].T @ hidden
        stream = after
    return stream[-1]


@pytest.mark.parametrize("ov", ["factorized", "merged"])
@pytest.mark.parametrize("attention", ["fixed", "softmax"])
@pytest.mark.parametrize("shape", [{}, {"heads": 2}, {"mlp": 4}, {"layers": 2, "heads": 2, "mlp": 3}])
def test_the_forward_pass_is_that_of_loops(ov, attention, shape):
    deep, d = Deep(ov=ov, attention=attention, **shape), 7
    weights = lab._start(deep, d, seeds=2)
    tokens = [[0, 2, 3], [1, 2, 3]]
    stream = torch.nn.functional.one_hot(torch.tensor(tokens), d).double()
    found = lab._forward(weights, deep, stream).detach().numpy()
    for seed in range(2):
        own = {name: value[seed].detach().numpy() for name, value in weights.items()}
        for row, ids in enumerate(tokens):
            np.testing.assert_allclose(found[seed, row], by_loops(own, deep, ids, d), atol=1e-12)


def test_seeds_train_without_touching_each_other():
    both = train_deep(TASK, Deep(heads=2), seeds=2, steps=30)
    alone = train_deep(TASK, Deep(heads=2), seeds=1, steps=30)
    assert both.steps == alone.steps == 30
    np.testing.assert_allclose(both.train_loss[:1], alone.train_loss, rtol=1e-9)
    assert both.train_loss[0] != both.train_loss[1]
    assert (both.train_loss < np.log(TASK.answers)).all()


def test_training_stops_when_every_seed_is_low_enough():
    ended = train_deep(TASK, Deep(mlp=16), seeds=2, steps=500, stop_below=0.01)
    assert ended.steps < 500
    assert (ended.train_loss <= 0.01).all()
    assert (ended.train_accuracy == 1).all()


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"layers": 0}, "layers must be a whole number of at least 1, got 0"),
        ({"heads": 0}, "heads must be a whole number of at least 1, got 0"),
        ({"mlp": -1}, "mlp must be a whole number of at least 0, got -1"),
        ({"ov": "tied"}, "ov is 'tied'; it can be factorized or merged"),
        ({"attention": "linear"}, "attention is 'linear'; it can be fixed or softmax"),
    ],
)
def test_what_makes_no_transformer(wrong, told):
    with pytest.raises(LabError, match=told):
        Deep(**wrong)
