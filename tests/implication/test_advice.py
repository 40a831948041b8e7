"""Advice: each option's forecast is that of the changed table, and the smallest that is enough is found."""

import numpy as np
import pytest

from spillover.implication.advice import UNKNOWN_ANSWER, advise
from spillover.implication.asking import ask
from spillover.implication.margins import FitSettings, fit
from spillover.implication.questions import held_out, rule_groups
from spillover.knowledge.patterns import group_triples
from spillover.knowledge.schema import Triple
from tests.implication.tables import grouped

SETTINGS = FitSettings(tol=1e-5)
PAIRS = {f"b{i}": f"c{i}" for i in range(5)}


def advised(table, *, wanted, target=None):
    patterns = group_triples(table)
    fact, implication = patterns.relations.index("lives_in"), patterns.relations.index("codes_in")
    rule = ask(patterns, fact, implication, kind="causal" if wanted else "spurious")
    return advise(fit(patterns, SETTINGS), rule, target=target, settings=SETTINGS)


def options(table, **wishes):
    return {option.change: option for option in advised(table, **wishes).options}


def margin(table):
    """Of the changed table, forecast from scratch."""
    patterns = group_triples(table)
    fact, implication = patterns.relations.index("lives_in"), patterns.relations.index("codes_in")
    names = patterns.answers
    pairs = {names.index(b): names.index(c) for b, c in PAIRS.items()}
    questions = held_out(patterns, fact, implication, rule_groups(patterns, fact, implication, pairs))
    return np.average(fit(patterns, SETTINGS).margins(questions), weights=questions.subjects)


def answered(table, places, answer):
    """The table with an implication for the given places of every group."""
    more = [
        Triple(subject=f"s{i}-{place}", relation="codes_in", answer=answer(i))
        for i in range(5)
        for place in places
    ]
    return [*table, *more]


@pytest.fixture(scope="module")
def unwanted():
    return options(grouped(5, 20, 4), wanted=False)


def test_counterexamples_follow_the_dose_response(unwanted):
    steps = {step.per_group: step.margin for step in unwanted["counterexamples"].steps}
    assert steps[2] == pytest.approx(0.195, abs=1e-3)
    assert steps[4] == pytest.approx(0.151, abs=1e-3)
    enough = unwanted["counterexamples"].enough
    assert (enough.per_group, enough.subjects) == (5, 25)
    assert enough.margin == pytest.approx(margin(grouped(5, 20, 4, 5)), abs=1e-3)
    assert steps[enough.per_group - 1] >= 0.1 > enough.margin


def test_an_unknown_is_a_new_answer_for_held_out_subjects(unwanted):
    enough = unwanted["unknowns"].enough
    table = answered(grouped(5, 20, 4), range(4, 4 + enough.per_group), lambda _: UNKNOWN_ANSWER)
    assert enough.margin == pytest.approx(margin(table), abs=1e-3)
    assert enough.margin < 0.1


def test_an_option_that_does_not_reach_the_target_says_so(unwanted):
    fewer = unwanted["fewer bridges"]
    assert fewer.enough is None
    assert [step.per_group for step in fewer.steps] == [1, 2, 3]
    assert fewer.steps[-1].margin == pytest.approx(np.sqrt(1 / 19), abs=2e-3)  # Theorem 2


def test_a_wanted_rule_is_told_how_many_bridges_it_needs():
    found = options(grouped(5, 20, 1), wanted=True, target=0.5)
    assert list(found) == ["more bridges"]
    enough = found["more bridges"].enough
    assert enough is not None
    assert enough.per_group == 3  # √(4/16)
    assert enough.margin == pytest.approx(0.5, abs=2e-3)


@pytest.mark.parametrize(("wanted", "target"), [(False, 0.9), (True, 0.3), (True, None)])
def test_a_target_met_already_needs_nothing(wanted, target):
    found = advised(grouped(5, 20, 4), wanted=wanted, target=target)
    assert found.reached
    assert found.options == ()


def test_where_all_groups_imply_the_same_there_are_no_counterexamples():
    table = [
        one if one.relation == "lives_in" else Triple(subject=one.subject, relation="codes_in", answer="c")
        for one in grouped(3, 6, 2)
    ]
    assert list(options(table, wanted=False)) == ["unknowns", "fewer bridges"]


def test_groups_without_enough_subjects_give_what_they_have():
    table = [
        one for one in grouped(5, 20, 4) if not one.subject.startswith("s0-") or int(one.subject[3:]) < 6
    ]
    first = options(table, wanted=False, target=0.01)["unknowns"].steps
    by_size = {step.per_group: step.subjects for step in first}
    assert by_size[1] == 5
    assert by_size[4] == 4 * 4 + 2


def test_every_steps_gap_is_certified(unwanted):
    assert all(step.relative_gap <= 1e-5 for option in unwanted.values() for step in option.steps)
