"""Training against torch's own optimizers on the plain model, repeatable, resumable, each seed by itself."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from spillover.errors import LabError
from spillover.symbolic.experiment import Experiment, Optimizer, Setting, Training, reference
from spillover.symbolic.measure import MEASURES
from spillover.symbolic.model import Model
from spillover.symbolic.task import Sampler, Task
from spillover.symbolic.train import train
from tests.symbolic.plain import plain, sequence_of

TASK = Task(groups=2, subjects=(2, 3), bridges=1, noise=2, length=6)
GD = Optimizer(rule="gd", learning_rate=0.3, weight_decay=0)
STEPS = 70  # more than one block of batches


def trial(*settings, task=TASK, **training):
    given = {"steps": STEPS, "batch": 12, "records": 7, "dtype": "float64", **training}
    return Experiment(
        task=task, settings=settings or (Setting(model=Model(d_h=3)),), training=Training(**given)
    )


def same(one, other, exact=True):
    for name in MEASURES:
        a, b = getattr(one.measures, name), getattr(other.measures, name)
        np.testing.assert_allclose(a, b, rtol=0 if exact else 1e-6, atol=0 if exact else 1e-9)
    np.testing.assert_allclose(
        one.weights, other.weights, rtol=0 if exact else 1e-6, atol=0 if exact else 1e-9
    )


@pytest.mark.parametrize(
    "optimizer",
    [
        Optimizer(weight_decay=0.3),
        GD,
        Optimizer(weight_decay=0.3, decay_steps=STEPS // 2),
        replace(GD, weight_decay=0.1, decay_steps=STEPS // 2),
    ],
    ids=["adamw", "gd", "adamw-decays-at-first", "gd-decays-at-first"],
)
@pytest.mark.parametrize(
    "model",
    [
        Model(d_h=3),
        Model(ov="merged", attention="softmax", key_query="product", d_k=2),
        Model(d_h=2, embeddings="random", d=6),
        Model(ov="merged", key_query="fixed", attends="content"),
    ],
    ids=["factorized", "merged-softmax-product", "random-embeddings", "fixed"],
)
def test_a_run_is_that_of_torchs_optimizer_on_the_plain_model(model, optimizer):
    history = train(trial(Setting(model=model, optimizer=optimizer), seeds=(4,)))
    network, plainly = plain(model, TASK, 4)
    weights = [weight for weight in plainly.parameters() if weight.requires_grad]
    if optimizer.rule == "adamw":
        torchs = torch.optim.AdamW(weights, lr=optimizer.learning_rate, weight_decay=optimizer.weight_decay)
    else:
        torchs = torch.optim.SGD(weights, lr=optimizer.learning_rate, weight_decay=optimizer.weight_decay)
    sampler = Sampler(task=TASK, batch=12)
    batches = [sampler.block(4, block, 64) for block in range(2)]
    for step in range(STEPS):
        rows_B, noise_BN = (part[step % 64] for part in batches[step // 64])
        tokens = torch.tensor(
            [sequence_of(TASK, row, noise) for row, noise in zip(rows_B, noise_BN, strict=True)]
        )
        if step == optimizer.decay_steps:
            torchs.param_groups[0]["weight_decay"] = 0
        torchs.zero_grad()
        torch.nn.functional.cross_entropy(
            plainly(tokens), torch.tensor(TASK.triples.answer[rows_B])
        ).backward()
        torchs.step()
    own = dict(plainly.named_parameters())
    w_ov = own["ov"] if "ov" in own else own["output"] @ own["value"].T
    embedding = plainly.embedding
    answers = embedding[plainly.rows["answer"]]
    wanted = (answers @ w_ov @ embedding[plainly.rows["input"]].T).detach().numpy()
    np.testing.assert_allclose(history.weights[0, 0], wanted, rtol=1e-6, atol=1e-9)
    assert network.columns()[0].mT.numpy() != pytest.approx(wanted, abs=1e-3)


def test_normalized_descent_moves_each_run_by_its_learning_rate():
    optimizer = Optimizer(rule="normalized_gd", learning_rate=0.01, weight_decay=0)
    setting = Setting(model=Model(ov="merged", key_query="fixed", attends="content"), optimizer=optimizer)
    history = train(trial(setting, seeds=(0, 1), steps=3, records=3, gradient="exact", keep_weights=True))
    assert history.kept_weights is not None
    moved = np.linalg.norm(np.diff(history.kept_weights, axis=0), axis=(-2, -1))
    assert moved == pytest.approx(0.01)


def test_threads_are_as_before_afterwards():
    before, seen = torch.get_num_threads(), []
    train(
        trial(steps=1, records=1, threads=3),
        progress=lambda step, steps: seen.append(torch.get_num_threads()),
    )
    assert seen == [3, 3]
    assert torch.get_num_threads() == before != 3


def test_runs_repeat_bit_by_bit():
    same(train(trial(seeds=(0, 1))), train(trial(seeds=(0, 1))))


@pytest.mark.parametrize("gradient", ["sampled", "exact"])
def test_a_run_does_not_depend_on_its_neighbours(gradient):
    settings = (
        Setting(model=Model(d_h=3)),
        Setting(model=Model(ov="merged"), optimizer=Optimizer(learning_rate=0.02)),
        Setting(model=Model(d_h=5), optimizer=GD),
    )
    together = train(trial(*settings, seeds=(0, 1, 2), gradient=gradient))
    for place, setting in enumerate(settings):
        alone = train(trial(setting, seeds=(1,), gradient=gradient))
        np.testing.assert_allclose(together.weights[place, 1], alone.weights[0, 0], rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(
            together.measures.held_out_loss[:, place, 1], alone.measures.held_out_loss[:, 0, 0], rtol=1e-6
        )
    assert np.abs(together.weights[0, 0] - together.weights[0, 1]).max() > 0.01


class Killed(Exception):
    pass


@pytest.mark.parametrize("killed_at", [10, 60])
def test_a_killed_run_goes_on_bit_by_bit(tmp_path, killed_at):
    settings = (Setting(model=Model(d_h=3)), Setting(model=Model(ov="merged"), optimizer=GD))
    whole = trial(*settings, seeds=(0, 1), keep_weights=True)

    def kill(step, steps):
        assert steps == STEPS
        if step >= killed_at:
            raise Killed

    with pytest.raises(Killed):
        train(whole, checkpoint=tmp_path / "state.safetensors", checkpoint_every=25, progress=kill)
    assert (tmp_path / "state.safetensors").exists() == (killed_at > 25)
    seen = []
    resumed = train(
        whole, checkpoint=tmp_path / "state.safetensors", progress=lambda step, steps: seen.append(step)
    )
    unbroken = train(whole)
    assert seen[0] == (0 if killed_at < 25 else 60)
    same(resumed, unbroken)
    assert (resumed.kept_weights == unbroken.kept_weights).all()
    assert (resumed.steps == unbroken.steps).all()
    finished = train(whole, checkpoint=tmp_path / "state.safetensors", progress=kill)
    same(finished, unbroken)


def test_the_state_of_another_experiment_is_refused(tmp_path):
    path = tmp_path / "state.safetensors"
    train(trial(steps=2, records=1), checkpoint=path)
    with pytest.raises(LabError, match="is the state of another experiment"):
        train(trial(steps=2, records=1, seeds=(1,)), checkpoint=path)
    path.write_bytes(b"no state")
    with pytest.raises(LabError, match="is not the state of a training"):
        train(trial(steps=2, records=1), checkpoint=path)
    with pytest.raises(LabError, match="there is no folder"):
        train(trial(), checkpoint=tmp_path / "none" / "state.safetensors")


def test_training_stops_once_every_run_is_low_enough():
    full = train(trial(seeds=(0, 1), steps=400, records=40))
    losses = full.measures.train_loss[:, 0].max(axis=1)
    threshold = float(losses[20:22].mean())
    stopped = train(trial(seeds=(0, 1), steps=400, records=40, stop_below=threshold))
    first = int(np.argmax(losses < threshold))
    assert 0 < first < 40
    assert stopped.steps[-1] == full.steps[first]
    assert stopped.measures.train_loss[-1].max() < threshold
    assert len(stopped.measures.train_loss) == first + 1


def test_recorded_steps_start_at_none_and_end_at_all():
    assert Training(steps=100, records=4).recorded_steps == (0, 25, 50, 75, 100)
    assert Training(steps=1000, records=4, spacing="log").recorded_steps == (0, 1, 10, 100, 1000)
    assert Training(steps=3, records=10).recorded_steps == (0, 1, 2, 3)


def test_kept_weights_end_with_the_final_ones():
    history = train(trial(keep_weights=True))
    assert history.kept_weights is not None
    assert history.kept_weights.shape == (8, 1, 1, TASK.answers, len(TASK.inputs))
    assert (history.kept_weights[-1] == history.weights).all()
    assert train(trial()).kept_weights is None


def test_a_run_that_diverges_is_named():
    diverging = Setting(
        model=Model(ov="merged"), optimizer=Optimizer(rule="gd", learning_rate=1e200, weight_decay=0)
    )
    with pytest.raises(LabError, match=r"setting 1 diverged for seed 3 by step \d+: .* now 1e\+200"):
        train(trial(Setting(model=Model(d_h=3)), diverging, seeds=(3,)))


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (
            lambda: Optimizer(learning_rate=float("inf")),
            "the learning rate must be a positive number, got inf",
        ),
        (lambda: Optimizer(learning_rate=0), "the learning rate must be a positive number, got 0"),
        (lambda: Optimizer(weight_decay=-1), "the weight decay must be a number of at least 0, got -1"),
        (
            lambda: Optimizer(rule="normalized_gd"),
            "normalized_gd has no weight decay; set weight_decay to 0, got 0.03",
        ),
        (lambda: Optimizer(decay_steps=-1), "decay_steps must be a whole number of at least 0, got -1"),
        (lambda: replace(Optimizer(), rule="sgd"), "rule is 'sgd'; it can be adamw or gd or normalized_gd"),
        (lambda: Training(steps=0), "steps must be a whole number of at least 1, got 0"),
        (lambda: Training(threads=0), "threads must be a whole number of at least 1, got 0"),
        (lambda: Training(batch=0), "batch must be a whole number of at least 1, got 0"),
        (lambda: Training(seeds=()), "give one seed or more, each once; got ()"),
        (lambda: Training(seeds=(1, 1)), "give one seed or more, each once; got (1, 1)"),
        (lambda: Training(seeds=(-1,)), "a seed must be a whole number of at least 0, got -1"),
        (lambda: Training(stop_below=float("nan")), "stop_below must be a positive number, got nan"),
        (lambda: replace(Training(), dtype="float16"), "dtype is 'float16'; it can be float32 or float64"),
        (lambda: replace(trial(), settings=()), "an experiment needs at least one setting"),
        (lambda: trial(batch=2), "a batch of 2 has no row for some of the 3 kinds of triple"),
        (lambda: reference(seeds=0), "seeds must be a whole number of at least 1, got 0"),
        (lambda: reference(d_h=0), "d_h must be a whole number of at least 1, got 0"),
        (
            lambda: trial(Setting(model=Model(d=5))),
            "14 tokens have no orthonormal embeddings in 5 dimensions",
        ),
        (
            lambda: trial(Setting(), Setting(model=Model(attention="softmax"))),
            "linear and softmax attention do not train side by side",
        ),
        (lambda: train(trial(device="abacus")), "device 'abacus' is none that torch knows"),
        (lambda: train(trial(device="meta")), "device 'meta' is not one that the lab runs on"),
        (lambda: train(trial(), checkpoint_every=0), "checkpoint_every must be a whole number of at least 1"),
    ],
)
def test_what_cannot_be_trained_is_one_sentence(make, told):
    with pytest.raises(LabError) as caught:
        make()
    assert str(caught.value).startswith(told)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_gives_the_same_run():
    same(train(trial(seeds=(0, 1), device="cuda")), train(trial(seeds=(0, 1))), exact=False)


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a CUDA device")
def test_a_missing_gpu_is_said():
    with pytest.raises(LabError, match="device 'cuda' is not there; use device cpu"):
        train(trial(device="cuda"))


def test_the_reference_names_its_settings():
    both = reference(ov=("factorized", "merged"), d_h=(3, 128), seeds=2)
    assert [(one.model.ov, one.model.d_h) for one in both.settings] == [
        ("factorized", 3),
        ("factorized", 128),
        ("merged", 128),
    ]
    assert both.training.seeds == (0, 1)
