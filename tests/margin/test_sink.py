"""What no multiplier holds up is taken off W at once."""

import numpy as np
import pytest
import scipy.sparse as sp

from benchmarks.tables import rule_table
from spillover.margin import splitting, streamed_logits
from spillover.margin.certificate import certificate
from spillover.margin.collapse import collapse
from spillover.margin.logits import SHARES, Margins, largest_share
from spillover.margin.norms import unheld
from spillover.margin.problem import MarginProblem
from spillover.margin.solve import solve
from spillover.margin.splitting import Splitting
from spillover.margin.streamed_logits import StreamedLogits
from spillover.margin.whole_logits import WholeLogits


@pytest.mark.parametrize("turned", [False, True])
def test_the_part_that_is_not_held_is_that_along_small_singular_values(turned: bool) -> None:
    w = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    g = np.array([[0.0, 0.9], [0.1, 0.0], [0.0, 0.0]])  # 0.1 along the first column, 0.9 along the second
    expected = np.array([[1.0, 0.0], [3.0, 0.0], [5.0, 0.0]])
    part = unheld(w.T, g.T, 0.2).T if turned else unheld(w, g, 0.2)
    np.testing.assert_allclose(part, expected, atol=1e-12)
    assert not unheld(w, g, 0.05).any()


def one_example(copies: float) -> Margins:
    problem = MarginProblem(features=sp.csr_array(np.eye(1)), labels=np.array([0]), answers=3, copies=copies)
    return Margins(problem, collapse(problem))


@pytest.mark.parametrize("copies", [1.0, 9.0])
def test_the_cost_by_hand(copies: float) -> None:
    """Margins 2 and 1.25; the part takes 1 from the second, which is short from a quarter of it on."""
    cost = one_example(copies).cost(np.array([[2.0, 0.0, 0.75]]), np.array([[1.0, 1.0, 0.0]]), slice(0, 1))
    np.testing.assert_allclose(cost, 0.5 * np.sqrt(copies) * np.maximum(SHARES - 0.25, 0), atol=1e-12)
    assert largest_share(cost, 0.0) == 0.25
    assert largest_share(cost, 1e6) == 1.0
    assert largest_share(cost + 1, 0.5) == 0.0


def test_a_margin_that_is_short_and_falls_costs_from_the_start() -> None:
    cost = one_example(1.0).cost(np.array([[0.5, 0.0, -9.0]]), np.array([[2.0, 0.0, 0.0]]), slice(0, 1))
    np.testing.assert_allclose(cost, 0.5 * 2 * (0.5 + 2 * SHARES))


def test_streamed_as_much_sinks_as_held_whole(pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streamed_logits, "_PIECE", 5 * 20)
    problem = rule_table(60, 2, 10, 0.1, seed=0)
    reduced = collapse(problem)
    w, part = np.random.default_rng(0).normal(size=(2, *reduced.shape))
    shares = []
    for price in (0.0, 300.0, 1e9):
        whole = WholeLogits(problem, reduced)
        streamed = StreamedLogits(problem, reduced, reduced.features, pool)
        whole.relaxation = streamed.relaxation
        for logits in (whole, streamed):
            logits.project(0.3)
            logits.follow(w)
        shares.append(whole.sink(part, price, 0.3))
        assert streamed.sink(part, price, 0.3) == shares[-1]
        np.testing.assert_allclose(whole.project(0.3), streamed.project(0.3), atol=1e-7)
    assert shares[0] == 0.0 < shares[1] < shares[2] == 1.0


@pytest.mark.parametrize(
    ("subjects", "relations", "answers", "noise"), [(3000, 2, 20, 0.05), (2000, 3, 30, 0.1)]
)
def test_it_saves_rounds_to_the_same_optimum(
    subjects: int, relations: int, answers: int, noise: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = rule_table(subjects, relations, answers, noise, seed=0)
    at_once = solve(problem, 1e-3)
    monkeypatch.setattr(Splitting, "_sink", lambda self, pull: None)
    in_rounds = solve(problem, 1e-3)
    assert at_once.iterations <= 0.9 * in_rounds.iterations
    ours, theirs = certificate(problem, at_once), certificate(problem, in_rounds)
    assert ours.relative_gap <= 1e-3
    assert ours.objective >= theirs.lower_bound
    assert theirs.objective >= ours.lower_bound


def test_what_is_held_up_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the optimum nothing sinks: there the singular values of Σ λ A are 1 wherever W is not 0."""
    seen: list[float] = []
    whole = WholeLogits.sink
    monkeypatch.setattr(WholeLogits, "sink", lambda self, *a: seen.append(whole(self, *a)) or seen[-1])
    problem = rule_table(3000, 2, 20, 0.05, seed=0)
    solution = solve(problem, 1e-4)
    assert any(seen), "something sank on the way"
    seen.clear()
    solve(problem, 1e-4, start=solution, iteration_limit=30)
    assert not any(seen)
    assert splitting._HELD < 1
