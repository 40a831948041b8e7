"""A hard margin that cannot be kept is refused, and the examples named are in conflict."""

import numpy as np
import pytest

from spillover.errors import InseparableError
from spillover.margin import conflict
from spillover.margin.certificate import certificate
from spillover.margin.problem import MarginProblem, from_triples
from spillover.margin.solve import solve

CROSSED = [("s", "r", "a"), ("s", "q", "b"), ("t", "r", "b"), ("t", "q", "a")]


def random_table(subjects: int, seed: int) -> MarginProblem:
    """Answers shared between relations, at random: such a table contradicts itself."""
    rng = np.random.default_rng(seed)
    triples = [(s, f"r{r}", int(rng.integers(6))) for s in range(subjects) for r in range(3)]
    return from_triples(triples, answers=6)


def only(problem: MarginProblem, examples: list[int]) -> MarginProblem:
    return MarginProblem(
        features=problem.features[examples], labels=problem.labels[examples], answers=problem.answers
    )


def test_one_question_with_two_answers_is_named_at_once():
    table = [("s", "r", "a"), ("t", "r", "a"), ("s", "r", "b")]
    with pytest.raises(InseparableError, match="these 2 examples apart by a margin: 0, 2; correct") as caught:
        solve(from_triples(table))
    assert caught.value.examples == [0, 2]


def test_a_cycle_is_named_whole():
    with pytest.raises(InseparableError) as caught:
        solve(from_triples([*CROSSED, ("u", "r", "a"), ("u", "p", "c")]))
    assert caught.value.examples == [0, 1, 2, 3]


@pytest.mark.parametrize("constraints", [20_000, 400], ids=["all", "the heaviest"])
@pytest.mark.parametrize("seed", range(3))
def test_what_is_named_is_a_conflict_and_without_any_one_it_is_none(seed, constraints, monkeypatch):
    monkeypatch.setattr(conflict, "_CONSTRAINTS", constraints)
    problem = random_table(60, seed)
    with pytest.raises(InseparableError) as caught:
        solve(problem)
    named = caught.value.examples
    with pytest.raises(InseparableError):
        solve(only(problem, named))
    for left_out in named:
        rest = only(problem, [example for example in named if example != left_out])
        assert certificate(rest, solve(rest)).smallest_margin > 0.99


def test_a_soft_margin_takes_what_a_hard_one_refuses():
    problem = from_triples(CROSSED, penalty=1.0)
    assert certificate(problem, solve(problem)).relative_gap <= 1e-4


def test_without_reductions_the_same_conflict_is_found():
    with pytest.raises(InseparableError) as caught:
        solve(from_triples(CROSSED), reduce=False)
    assert caught.value.examples == [0, 1, 2, 3]


def test_a_margin_that_is_hard_to_find_is_not_refused():
    """The linear program looks at every constraint and finds that the margin can be kept."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(40, 38))
    problem = MarginProblem(features=features, labels=rng.integers(2, size=40), answers=3)  # pyright: ignore[reportArgumentType]
    separable = conflict.refuse_conflict(problem, *_nothing(problem))
    assert separable
    assert certificate(problem, solve(problem, 1e-3)).relative_gap <= 1e-3


def _nothing(problem: MarginProblem):
    import scipy.sparse as sp

    return sp.csr_array((problem.examples, problem.answers)), np.arange(problem.examples)
