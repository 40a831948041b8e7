"""The symbolic world: its triples by hand, its populations by enumeration, its batches by counting."""

from itertools import product

import numpy as np
import pytest

from spillover.errors import LabError
from spillover.symbolic.task import (
    KINDS,
    Sampler,
    Task,
    base_counts,
    draw_noise,
    noise_counts,
    training_weights,
)
from tests.symbolic.plain import counts_of, draw_sequence, sequence_of


def triples_of(task, *kinds):
    triples = task.triples
    return [
        (int(s), int(r), int(a))
        for s, r, a, k in zip(triples.subject, triples.relation, triples.answer, triples.kind, strict=True)
        if KINDS[k] in kinds
    ]


def test_unequal_groups_and_two_implications_by_hand():
    task = Task(groups=2, subjects=(1, 3), bridges=((1, 1), (0, 2)), implications=2, noise=0, length=3)
    assert triples_of(task, "bridge_fact") == [(0, 0, 0), (1, 0, 1), (2, 0, 1)]
    assert triples_of(task, "held_out_fact") == [(3, 0, 1)]
    assert triples_of(task, "bridge_implication") == [(0, 1, 2), (1, 1, 3), (1, 2, 5), (2, 2, 5)]
    assert triples_of(task, "held_out_implication") == [(2, 1, 3), (3, 1, 3), (0, 2, 4), (3, 2, 5)]


def test_exceptions_are_told_the_other_groups_answers_in_turn():
    task = Task(groups=3, subjects=5, bridges=4, exceptions=3, noise=0, length=3)
    told = [answer for _, _, answer in triples_of(task, "bridge_implication")]
    assert told == [3, 4, 5, 4, 4, 5, 3, 5, 5, 3, 4, 3]
    assert [answer for _, _, answer in triples_of(task, "held_out_implication")] == [3, 4, 5]
    assert [answer for _, answer in sorted((s, a) for s, _, a in triples_of(task, "bridge_fact"))] == [
        group for group in range(3) for _ in range(4)
    ]


def test_the_reference_world_has_the_papers_sizes():
    task = Task()
    sizes = {name: len(tokens) for name, tokens in task.tokens.items()}
    assert sizes == {"subjects": 80, "relations": 2, "answers": 40, "noise": 5, "eos": 1}
    assert task.vocabulary == 128
    assert [int((task.triples.kind == kind).sum()) for kind in range(4)] == [20, 20, 60, 60]


def test_training_weights_share_out_kinds_or_triples():
    task = Task(groups=2, subjects=3, bridges=1, noise=0, length=3)
    weights = training_weights(task, "kinds")
    shares = [weights[task.triples.kind == kind].sum() for kind in range(4)]
    assert shares == pytest.approx([1 / 3, 1 / 3, 1 / 3, 0])
    assert set(np.round(training_weights(task, "triples"), 12)) == {0.0, round(1 / 8, 12)}
    unbridged = Task(groups=2, subjects=3, bridges=0, noise=0, length=3)
    assert training_weights(unbridged, "kinds")[: len(unbridged.triples) // 2] == pytest.approx(1 / 6)


@pytest.mark.parametrize(("noise", "length"), [(3, 6), (1, 5), (2, 3), (0, 3), (5, 4)])
def test_noise_counts_are_those_of_every_string(noise, length):
    task = Task(groups=2, noise=noise, length=length)
    wanted: dict[tuple[int, ...], float] = {}
    strings = list(product(range(noise), repeat=length - 3))
    for string in strings:
        counts = tuple(string.count(token) for token in range(noise))
        wanted[counts] = wanted.get(counts, 0) + 1 / len(strings)
    counts_CN, share_C = noise_counts(task)
    assert {
        tuple(row): share for row, share in zip(counts_CN.astype(int).tolist(), share_C, strict=True)
    } == (pytest.approx(wanted))


def test_the_reference_noise_has_2380_counts():
    counts_CN, share_C = noise_counts(Task())
    assert counts_CN.shape == (2380, 5)
    assert share_C.sum() == pytest.approx(1)


def test_too_many_noise_counts_are_refused():
    with pytest.raises(LabError, match=r"30 noise tokens in 13 places have .* distinct counts"):
        noise_counts(Task(noise=30))


def test_drawn_noise_has_the_enumerated_distribution():
    task = Task(groups=2, noise=3, length=5)
    counts_CN, share_C = noise_counts(task)
    drawn = draw_noise(task, np.random.default_rng(0), (30_000,))
    seen = [(drawn == row).all(axis=1).mean() for row in counts_CN]
    assert seen == pytest.approx(share_C.tolist(), abs=0.015)  # five standard deviations
    wide = draw_noise(Task(groups=2, noise=300, length=10), np.random.default_rng(0), (50,))
    assert (wide.sum(axis=1) == 7).all()
    assert wide[:, 256:].sum() > 0


def test_counts_are_those_of_drawn_sequences():
    task = Task(groups=2, subjects=(1, 2), noise=2, length=7)
    rng = np.random.default_rng(0)
    sequences = [draw_sequence(task, triple, rng) for triple in range(len(task.triples))]
    counts = counts_of(task, sequences).numpy()
    noise = counts[:, task.noise_columns].copy()
    assert (noise.sum(axis=1) == 4).all()
    counts[:, task.noise_columns] = 0
    assert (counts == base_counts(task)).all()
    again = [sequence_of(task, triple, row) for triple, row in enumerate(noise)]
    assert [sorted(one) for one in again] == [sorted(one) for one in sequences]


@pytest.mark.parametrize(("batch", "wanted"), [(9, [3, 3, 3, 0]), (11, [4, 4, 3, 0])])
def test_batches_hold_every_kind_evenly_and_nothing_held_out(batch, wanted):
    task = Task(groups=3)
    rows_KB, noise_KBN = Sampler(task=task, batch=batch).block(0, 0, 5)
    for rows_B in rows_KB:
        assert np.bincount(task.triples.kind[rows_B], minlength=4).tolist() == wanted
    assert noise_KBN.shape == (5, batch, 5)
    assert (noise_KBN.sum(axis=-1) == 13).all()


def test_sampled_triples_follow_the_training_weights():
    task = Task(groups=2, subjects=3, bridges=1)
    for mix in ("kinds", "triples"):
        rows_KB, _ = Sampler(task=task, batch=30, mix=mix).block(3, 0, 1000)
        seen = np.bincount(rows_KB.ravel(), minlength=len(task.triples)) / rows_KB.size
        assert seen == pytest.approx(training_weights(task, mix), abs=0.02)


def test_a_seeds_batches_are_its_own_and_repeat():
    sampler = Sampler(task=Task(groups=2), batch=12)
    first = sampler.block(5, 2, 4)
    again = sampler.block(5, 2, 4)
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert (first[1] != sampler.block(6, 2, 4)[1]).any()
    assert (first[1] != sampler.block(5, 3, 4)[1]).any()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"groups": 1}, "groups must be a whole number of at least 2, got 1"),
        ({"groups": 2.5}, "groups must be a whole number of at least 2, got 2.5"),
        ({"groups": True}, "groups must be a whole number of at least 2, got True"),
        ({"subjects": 0}, "subjects of a group must be a whole number of at least 1, got 0"),
        ({"subjects": (4, 4)}, "subjects are given for 2 groups and there are 20"),
        ({"bridges": 5}, "group 0 has 5 bridges and only 4 subjects; take fewer bridges"),
        (
            {"exceptions": 2},
            "group 0 has 1 bridges, of which 2 are to be exceptions; take fewer exceptions",
        ),
        ({"bridges": -1}, "bridges of a group must be a whole number of at least 0, got -1"),
        ({"bridges": ((1,) * 20,) * 2}, "bridges are given for 2 implications and there are 1"),
        ({"implications": 0}, "implications must be a whole number of at least 1, got 0"),
        ({"noise": -1}, "noise must be a whole number of at least 0, got -1"),
        ({"noise": 0}, "length 16 leaves 13 places for noise and there are no noise tokens"),
        ({"length": 2}, "length must be a whole number of at least 3, got 2"),
    ],
)
def test_what_makes_no_world_is_one_sentence(given, told):
    with pytest.raises(LabError) as caught:
        Task(**given)
    assert str(caught.value).startswith(told)
    assert "\n" not in str(caught.value)
