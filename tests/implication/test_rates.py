"""What is known of a rule before a tune, counted by hand, and rates of rules and of their subjects."""

from dataclasses import replace

import numpy as np
import pytest

from spillover.implication.asking import ask
from spillover.implication.calibration import Calibration, Evidence
from spillover.implication.rates import Rates, traits
from spillover.knowledge.patterns import group_triples
from tests.implication.tables import triples

TABLE = {
    "France": {"held out": 3, "Python": 4, "Rust": 1},  # four bridges, a counterexample
    "Japan": {"held out": 1, "Rust": 1},
}


def asked(table=TABLE):
    """The rule lives_in -> codes_in of a table as above."""
    rows = []
    for country, people in table.items():
        for language, count in people.items():
            for number in range(count):
                name = f"{country} {language} {number}"
                rows.append((name, "lives_in", country))
                rows += [] if language == "held out" else [(name, "codes_in", language)]
    patterns = group_triples(triples(*rows))
    fact, implication = (patterns.relations.index(name) for name in ("lives_in", "codes_in"))
    return ask(patterns, fact, implication, kind="spurious")


def calibration(**beside):
    """Two rules' tables, between which all counts of the table above lie."""
    found = [
        Evidence(
            rule=name, bridges=bridges, counterexamples=against, rate=rate, groups=2, relations=2, **beside
        )
        for name, bridges, against, rate in (("a", 0.5, 0, 0.2), ("a", 4, 4, 0.4), ("b", 8, 0, 0.9))
    ]
    return Calibration(model="m", identity="0", evidence=tuple(found))


def test_counts_are_geometric_means_over_the_held_out_subjects():
    found = traits(asked(), 2)
    assert found.bridges == pytest.approx((4 * 4 * 4 * 1) ** (1 / 4))
    assert found.counterexamples == pytest.approx((2 * 2 * 2 * 1) ** (1 / 4) - 1)
    assert (found.groups, found.relations, found.prior) == (2, 2, None)


def test_a_group_without_bridges_counts_as_half_a_one():
    table = {**TABLE, "Italy": {"held out": 4}}
    rule = asked(table)
    groups = replace(rule.groups, bridges=np.array([4, 0, 1]))
    questions = replace(rule.questions, group=rule.groups.group[[0, 1]], subjects=np.array([1, 1]))
    its = replace(rule, groups=groups, questions=replace(questions, pattern=np.arange(2)))
    assert traits(its, 2).bridges == pytest.approx((4 * 0.5) ** 0.5)


def test_each_subjects_rate_is_by_its_own_group():
    rule, rates = asked(), Rates(calibration=calibration(), relations=2)
    each = dict(zip(rule.questions.group.tolist(), rates.of_each(rule).tolist(), strict=True))
    whole = rates.rate(rule)
    assert whole is not None
    assert len(each) == 2
    france, japan = (each[group] for group in rule.groups.group.tolist())
    assert france > whole.mean > japan
    assert rates.calibration.rate(replace(traits(rule, 2), bridges=4.0, counterexamples=1.0)).mean == france


def test_beyond_the_calibration_and_without_anybody_there_is_no_rate():
    rule = asked()
    far = Rates(calibration=calibration(), relations=7)
    assert far.why_not(rule) == "7 relations, where the calibration has 2 to 2"
    assert far.rate(rule) is None
    assert np.isnan(far.of_each(rule)).all()
    assert (far.bounds(rule), Rates(calibration=calibration(), relations=2).bounds(rule)) == (None, None)
    nobody = asked({"France": {"Python": 2}, "Japan": {"Rust": 2}})
    near = Rates(calibration=calibration(), relations=2)
    assert (near.why_not(nobody), near.rate(nobody), near.of_each(nobody).size) == (None, None, 0)
