"""Token counts against T by T attention: the same logits and the same gradients, for every kind of model."""

from itertools import product

import numpy as np
import pytest
import torch

from spillover.errors import LabError
from spillover.symbolic.gradient import Rows, logits_of, rows_gradient
from spillover.symbolic.model import Attends, KeyQuery, Model, Network
from spillover.symbolic.task import Task
from tests.symbolic.plain import counts_of, draw_sequence, plain

TASK = Task(groups=2, subjects=(2, 3), bridges=1, implications=2, noise=2, length=6)
ATTENTION: list[tuple[KeyQuery, Attends]] = [
    ("fixed", "content"),
    ("fixed", "all"),
    ("fixed", "random"),
    ("matrix", "random"),
    ("product", "random"),
]
KINDS = [
    Model(
        ov=ov,
        d_h=3,
        d_k=4,
        attention=attention,
        key_query=key_query,
        attends=attends,
        attention_scale=1.5,
        embeddings=embeddings,
        d=30 if embeddings == "orthonormal" else 7,
        scale=3.0,
    )
    for ov, attention, (key_query, attends), embeddings in product(
        ("factorized", "merged"), ("linear", "softmax"), ATTENTION, ("orthonormal", "random")
    )
]


def batch():
    rng = np.random.default_rng(0)
    rows = rng.integers(len(TASK.triples), size=9)
    sequences = [draw_sequence(TASK, row, rng) for row in rows]
    return sequences, torch.tensor(TASK.triples.answer[rows])


@pytest.mark.parametrize(
    "model", KINDS, ids=lambda m: "-".join([m.ov, m.attention, m.key_query, m.attends, m.embeddings])
)
def test_counts_give_the_logits_and_gradients_of_plain_attention(model):
    network, plainly = plain(model, TASK)
    sequences, label_B = batch()
    softmax = model.attention == "softmax"
    counts_SBV = counts_of(TASK, sequences)[None]
    table_SVE = network.table()
    logits = logits_of(counts_SBV @ table_SVE, softmax)[0]
    wanted = plainly(torch.tensor(sequences))
    torch.testing.assert_close(logits, wanted.detach())

    subjects = TASK.subject_count
    rows = Rows.of(
        counts_SBV[..., :subjects].argmax(-1), counts_SBV[..., subjects:], label_B[None], len(TASK.inputs)
    )
    slope = rows_gradient(rows, 1 / len(label_B), table_SVE[:, :, None], softmax)
    gradient = network.backward(slope[:, :, 0])
    torch.nn.functional.cross_entropy(wanted, label_B).backward()
    plain_gradient = plainly.reduced_gradient()
    assert gradient.keys() == plain_gradient.keys()
    for name, value in gradient.items():
        torch.testing.assert_close(value[0], plain_gradient[name])


def test_a_seeds_start_is_its_own():
    model = Model(d_h=3, embeddings="random", d=9)
    together = Network(model, TASK, [0, 1, 2], torch.float64)
    alone = Network(model, TASK, [1], torch.float64)
    for name in ("output", "value", "scores"):
        assert (together.parameters[name][1] == alone.parameters[name][0]).all()
        assert (together.parameters[name][0] != alone.parameters[name][0]).any()
    assert (together.fixed["inputs"][1] == alone.fixed["inputs"][0]).all()


def test_starts_have_the_stated_deviation():
    task = Task()
    network = Network(
        Model(d_h=64, scale=2.0, attention_scale=3.0, key_query="product"), task, range(4), torch.float64
    )
    for name, scale in (("output", 2), ("value", 2), ("key", 3), ("query", 3)):
        assert network.parameters[name].std().item() == pytest.approx(scale / np.sqrt(128), rel=0.1)


@pytest.mark.parametrize(
    ("attends", "wanted"), [("content", [0.5, 0.5, 0, 0]), ("all", [0.5, 0.5, 0.5, 0.5])]
)
def test_a_symmetric_start_is_the_same_for_all_subjects_and_answers(attends, wanted):
    model = Model(ov="merged", start="symmetric", attends=attends, attention_scale=0.5)
    network = Network(model, TASK, [0], torch.float64)
    assert network.columns().unique().tolist() == pytest.approx([1 / np.sqrt(TASK.vocabulary)])
    kinds = (0, TASK.content.stop - 1, TASK.noise_columns.start, -1)
    assert [network.weights()[0, column].item() for column in kinds] == wanted


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"ov": "both"}, "ov is 'both'; it can be factorized or merged"),
        ({"attention": "cosine"}, "attention is 'cosine'; it can be linear or softmax"),
        ({"d_h": 0}, "d_h must be a whole number of at least 1, got 0"),
        ({"d_k": 0}, "d_k must be a whole number of at least 1, got 0"),
        ({"d": 0}, "d must be a whole number of at least 1, got 0"),
        ({"scale": float("nan")}, "scale must be a number of at least 0, got nan"),
        ({"attention_scale": -1.0}, "attention_scale must be a number of at least 0, got -1.0"),
        ({"scale": 0.0}, "a factorized model that starts at 0 never moves"),
        ({"key_query": "product", "attends": "all"}, "W_K W_Qᵀ starts at random"),
        ({"start": "symmetric"}, "a symmetric start needs a merged model"),
    ],
)
def test_what_makes_no_model_is_one_sentence(given, told):
    with pytest.raises(LabError) as caught:
        Model(**given)
    assert str(caught.value).startswith(told)
    assert "\n" not in str(caught.value)


def test_orthonormal_embeddings_need_room():
    with pytest.raises(LabError, match="128 tokens have no orthonormal embeddings in 127 dimensions"):
        Model(d=127).dimension(Task())
    assert Model(d=127, embeddings="random").dimension(Task()) == 127
