"""Leaps: where they lead, what they remember, and how one that went wrong is taken back."""

from dataclasses import replace

import numpy as np
import pytest

from spillover.margin.anderson import Anderson
from tests.margin.proofs import proven
from tests.margin.tables import FIXED, NORMS


@pytest.mark.parametrize("stretch", [1.0, 30.0])
def test_leaps_solve_a_linear_map_that_plain_steps_hardly_move(stretch):
    rng = np.random.default_rng(0)
    scale, target = np.linspace(1.0, stretch, 4), rng.normal(size=4)
    q = np.linalg.qr(rng.normal(size=(4, 4)))[0]
    matrix = (q * np.linspace(-0.5, 0.98, 4)) @ q.T * scale / scale[:, None]
    anderson, leaped, plain = Anderson(scale), np.zeros(4), np.zeros(4)
    for _ in range(8):  # four directions, and a few for rounding
        leaped = anderson.leap(leaped, target + matrix @ (leaped - target))
        plain = target + matrix @ (plain - target)
    errors = [np.linalg.norm(scale * (x - target)) / np.linalg.norm(scale * target) for x in (leaped, plain)]
    assert errors[0] < 1e-8
    assert errors[1] > 0.05


def test_as_many_steps_as_it_remembers_are_directions_that_it_solves():
    rng = np.random.default_rng(0)
    target, q = rng.normal(size=4), np.linalg.qr(rng.normal(size=(4, 4)))[0]
    matrix = (q * np.linspace(-0.5, 0.98, 4)) @ q.T
    left = []
    for memory in (2, 4):
        anderson, x = Anderson(np.ones(4), memory), np.zeros(4)
        for _ in range(8):
            x = anderson.leap(x, target + matrix @ (x - target))
        left.append(np.linalg.norm(x - target))
    assert left[1] < 1e-8 < left[0] / 10


def test_a_leap_that_went_wrong_is_taken_back():
    anderson = Anderson(np.ones(2))
    first = anderson.leap(np.zeros(2), np.array([1.0, 0.0])).copy()
    back = anderson.leap(np.array([50.0, 0.0]), np.array([50.0, 7.0]))
    np.testing.assert_array_equal(back, first)


@pytest.mark.parametrize("norm", NORMS)
def test_what_the_acceleration_remembers_is_left_alone(norm, monkeypatch):
    handed = []

    def leap(self, before, image):
        for given, copy in handed[-1:]:
            np.testing.assert_array_equal(given, copy)
        handed.append((image, image.copy()))
        return plain_leap(self, before, image)

    plain_leap = Anderson.leap
    monkeypatch.setattr(Anderson, "leap", leap)
    proven(replace(FIXED["table"], norm=norm), 1e-6)
    assert len(handed) > 5


def test_a_leap_to_where_nothing_is_a_number_is_taken_back():
    anderson = Anderson(np.ones(2))
    first = anderson.leap(np.zeros(2), np.array([1.0, 0.0])).copy()
    back = anderson.leap(np.array([1e200, 0.0]), np.array([np.nan, 7.0]))
    np.testing.assert_array_equal(back, first)


def test_where_nothing_moves_any_more_there_is_no_leap():
    anderson, here = Anderson(np.ones(2)), np.array([3.0, 4.0])
    for _ in range(4):
        np.testing.assert_array_equal(anderson.leap(here, here), here)
