"""Every check holds on histories that are as the paper says, and fails on those that are not."""

import numpy as np
import pytest

from spillover.reproduce.late import held_out_margin, optimum, world
from spillover.symbolic.model import Model

from .conftest import trained


def holding(checks):
    return [check.holds for check in checks]


def write(**values):
    """An edit that sets whole measures."""

    def edit(_, arrays):
        for name, value in values.items():
            arrays[name][...] = value

    return edit


def put(number, name, place, value):
    """An edit that sets one entry of one history."""

    def edit(this, arrays):
        if this == number:
            arrays[name][place] = value

    return edit


def falling(_, arrays):
    """Setting 0 as a factorized model, the last setting as a merged one."""
    for name, first, last in (("held_out_loss", np.nan, 3.0), ("held_out_accuracy", 1.0, 0.05)):
        arrays[name][:, :] = first
        arrays[name][:, -1] = last
    steps = arrays["held_out_loss"].shape[0]
    arrays["held_out_loss"][:, :-1] = np.geomspace(3, 0.01, steps)[:, None, None]


def test_dynamics(fabricated):
    assert holding(fabricated("dynamics", falling)) == [True] * 4
    bad = fabricated("dynamics", falling, put(0, "held_out_accuracy", (-1, 0, 1), 0.99))
    assert holding(bad) == [False, True, True, True]
    assert "0.99" in bad[0].measured
    for loss in (0.11, 0.09):  # too high; lower than at half-time but not in every seed
        broken = fabricated(
            "dynamics",
            falling,
            put(0, "held_out_loss", (-1, 0, 1), loss),
            put(0, "held_out_loss", (10, 0, 1), 0.09),
        )
        assert holding(broken) == [True, False, True, True]
    below = np.log(20) - 1e-6
    assert holding(fabricated("dynamics", falling, put(1, "held_out_loss", (1, 0, 0), below)))[2:] == [
        False,
        True,
    ]
    assert holding(fabricated("dynamics", falling, put(0, "held_out_loss", (3, 1, 1), below)))[2:] == [
        True,
        False,
    ]


def test_rank_sweep(fabricated):
    as_claimed = (write(held_out_accuracy=1.0), put(0, "held_out_accuracy", (-1, 0), 0.7))
    assert holding(fabricated("rank-sweep", *as_claimed)) == [True] * 8
    one_works = fabricated("rank-sweep", *as_claimed, put(0, "held_out_accuracy", (-1, 0, 1), 1.0))
    assert holding(one_works) == [False, *[True] * 6, False]
    one_fails = fabricated("rank-sweep", *as_claimed, put(0, "held_out_accuracy", (-1, 1, 1), 0.95))
    assert holding(one_fails) == [True, False, *[True] * 6]
    assert "1.00 for 1 of 2" in one_fails[1].measured
    for place in (0, 1):
        unknown = put(0, "held_out_accuracy", (-1, place, 1), np.nan)
        undefined = fabricated("rank-sweep", *as_claimed, unknown)[place]
        assert not undefined.holds
        assert "undefined" in undefined.measured


def at_the_optimum(times, setting=None):
    """An edit that makes every norm over margin that multiple of the optimum, of one setting or all."""

    def edit(number, arrays):
        _, _, histories = trained("theorem-1")
        run = histories[number].experiment
        for place, norm in enumerate(("nuclear", "frobenius")):
            if setting in (None, place):
                best = optimum(run.task, run.settings[place].model, norm)
                arrays[norm][:, place] = times * best.norm
        arrays["train_margin"][...] = 1.0

    return edit


def test_theorem_1(fabricated):
    assert holding(fabricated("theorem-1", at_the_optimum(1.0))) == [True] * 3
    assert holding(fabricated("theorem-1", at_the_optimum(1.0), at_the_optimum(1.049, 0))) == [True] * 3
    far = fabricated("theorem-1", at_the_optimum(1.0), at_the_optimum(1.051, 0))
    assert holding(far) == [False, True, True]
    assert "1.0510" in far[0].measured
    assert holding(fabricated("theorem-1", at_the_optimum(1.0), at_the_optimum(1.021, 1))) == [
        True,
        False,
        True,
    ]
    assert not fabricated("theorem-1", at_the_optimum(0.99))[2].holds  # nothing can be below the bound
    never = fabricated("theorem-1", at_the_optimum(1.0), put(1, "train_margin", (-1, 0, 0), -1.0))
    assert not never[0].holds  # no margin, no ratio
    assert "undefined" in never[0].measured
    nowhere = fabricated("theorem-1", at_the_optimum(1.0), write(train_margin=-1.0))
    assert holding(nowhere) == [False] * 3


def as_the_bound(number, arrays):
    pairs = trained("theorem-2")[1].pairs
    m_train, m_test = pairs[number]
    arrays["train_margin"][...] = 2.0
    arrays["held_out_margin"][:, 0] = 2 * min(np.sqrt(m_train / m_test), 1)
    arrays["held_out_margin"][:, 1] = 0.0


def test_theorem_2(fabricated):
    assert holding(fabricated("theorem-2", as_the_bound)) == [True] * 5
    low = fabricated("theorem-2", as_the_bound, put(1, "held_out_margin", (-1, 0, 1), 2 * 0.6))
    assert holding(low) == [True, False, True, True, False]
    high = fabricated("theorem-2", as_the_bound, put(1, "held_out_margin", (-1, 0, 1), 2 * 0.8))
    assert holding(high) == [True] * 4 + [False]
    assert [check.verdict for check in high] == ["holds"] * 4 + ["no"]
    full = fabricated("theorem-2", as_the_bound, put(3, "held_out_margin", (-1, 1, 0), -0.05))
    assert holding(full) == [True, True, True, False, True]


def test_theorem_3(fabricated):
    fine = write(held_out_loss=np.log(20), train_accuracy=1.0)
    assert holding(fabricated("theorem-3", fine)) == [True] * 3
    below = np.log(20) - 1e-6
    assert holding(fabricated("theorem-3", fine, put(0, "held_out_loss", (1, 0, 0), below))) == [
        False,
        True,
        True,
    ]
    small = fabricated("theorem-3", fine, put(2, "held_out_loss", (3, 2, 0), np.log(3) - 1e-6))
    assert holding(small) == [True, False, True]
    assert holding(fabricated("theorem-3", fine, put(3, "train_accuracy", (-1, 0, 0), 0.99))) == [
        True,
        True,
        False,
    ]


def as_taught(number, arrays):
    arrays["held_out_accuracy"][:, 0] = float(number > 0)
    arrays["held_out_loss"][:, 0] = 5.0 if number == 0 else 0.1 / number
    arrays["held_out_loss"][:, 1] = 1.2


def test_bridges(fabricated):
    assert holding(fabricated("bridges", as_taught)) == [True] * 4
    for edit, broken in (
        (put(1, "held_out_accuracy", (-1, 0, 0), 0.9), 0),
        (put(2, "held_out_loss", (-1, 0), 0.2), 1),
        (put(2, "held_out_loss", (-1, 1), 1.0), 2),
        (put(0, "held_out_loss", (-1, 0, 1), 1.0), 3),
    ):
        expected = [place != broken for place in range(4)]
        assert holding(fabricated("bridges", as_taught, edit)) == expected


def test_softmax_is_answered_not_judged(fabricated):
    carries = (falling, put(1, "held_out_accuracy", (-1, 2), 0.5))
    checks = fabricated("softmax", *carries)
    assert [check.verdict for check in checks] == ["yes"] * 4
    checks = fabricated(
        "softmax",
        *carries,
        put(1, "held_out_accuracy", (-1, slice(0, 2), 0), 0.9),
        put(1, "held_out_accuracy", (-1, 2), 1.0),
        put(1, "held_out_loss", (2, -1), 2.9),
    )
    assert [check.verdict for check in checks] == ["no"] * 4


def test_weights(fabricated):
    _, _, (history,) = trained("weights")
    task = history.experiment.task
    wide = np.array(history.weights)
    for place, norm in enumerate(("nuclear", "frobenius")):
        model = history.experiment.settings[place].model
        wide[place][..., task.content] = 7 * optimum(task, model, norm).W
    scaled = write(train_margin=7.0)
    assert holding(fabricated("weights", scaled, weights=wide)) == [True] * 5
    swapped = fabricated("weights", scaled, weights=wide[::-1])
    assert holding(swapped) == [False] * 5


def test_optimum_is_the_papers_and_certified():
    for groups, bridges, held_out, nuclear, frobenius in ((3, 1, 1, 5.73205, 9), (4, 1, 3, 10.19615, 19)):
        task = world(groups, bridges, held_out)
        fixed = Model(key_query="fixed", attends="content")
        best = optimum(task, fixed, "nuclear")
        assert best.norm == pytest.approx(nuclear, rel=2e-6)
        assert best.lower_bound <= best.norm <= best.lower_bound * (1 + 1e-6)
        assert best.held_out_margin == pytest.approx(np.sqrt(bridges / held_out), abs=1e-3)
        least = optimum(task, fixed, "frobenius")
        assert least.norm**2 == pytest.approx(frobenius, rel=2e-6)
        assert least.held_out_margin == pytest.approx(0, abs=1e-6)


def test_held_out_margin_of_a_table_by_hand():
    task = world(2, 1, 1)  # subjects 0, 1 | 2, 3; columns 4, 5 are the relations; held out: 1 and 3
    W = np.zeros((4, 6))
    W[2, 1], W[3, 3] = 3.0, 1.0
    W[0, 5] = 0.5
    assert held_out_margin(task, W) == 0.5
    assert np.isnan(held_out_margin(world(2, 1, 0), W[:, [0, 2, 4, 5]]))
