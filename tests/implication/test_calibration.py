"""Calibrations: a curve through what was measured, and intervals that cover rules that it never saw."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit, logit

from spillover.errors import MarginError
from spillover.implication.calibration import COVERAGE, FEWEST_RULES, Calibration, Evidence, Prior, Traits


def curve(bridges, counterexamples):
    """The log-odds of a rate."""
    return 0.5 * np.log(bridges) - 0.5 * np.log1p(counterexamples)


def traits(bridges=4.0, counterexamples=2.0, **others):
    return Traits(**{"groups": 5, "relations": 2, **others}, bridges=bridges, counterexamples=counterexamples)


def prior(nats, shared=False):
    return Prior(nats=nats, rank=0.0, shared=shared)


def evidence(rules, tables, seed, spread=0.3):
    """Rates on a known curve, moved in log-odds by what each rule and each table has of its own."""
    rng = np.random.default_rng(seed)
    found = []
    for rule in range(rules):
        own = rng.normal(0, spread)
        for bridges, against in zip(rng.uniform(1, 8, tables), rng.uniform(0, 8, tables), strict=True):
            odds = curve(bridges, against) + own + rng.normal(0, spread)
            found.append(
                Evidence(
                    rule=f"rule {rule}",
                    bridges=float(bridges),
                    counterexamples=float(against),
                    rate=float(1 / (1 + np.exp(-odds))),
                    groups=int(rng.integers(3, 8)),
                    relations=2,
                )
            )
    return tuple(found)


def calibrated(found):
    return Calibration(model="m", identity="0", evidence=tuple(found))


def test_without_noise_it_is_the_curve():
    calibration = calibrated(evidence(4, 5, 0, spread=0.0))
    for bridges, against in ((2, 1), (4, 2), (6, 6)):
        rate = calibration.rate(traits(bridges, against))
        assert rate.mean == pytest.approx(expit(curve(bridges, against)), abs=1e-4)
    assert calibration.error == pytest.approx(0, abs=1e-4)


def test_each_rule_weighs_the_same_however_many_tables_it_has():
    def one(rule, rate):
        return Evidence(rule=rule, bridges=4, counterexamples=0, rate=rate, groups=3, relations=2)

    many = [one("loud", 0.9)] * 9 + [one("quiet", 0.1)]
    assert calibrated(many).rate(traits()).mean == pytest.approx(0.5, abs=1e-3)


def test_intervals_cover_new_rules_as_often_as_they_say():
    covered = []
    for seed in range(60):
        *seen, new = (evidence(20, 3, seed)[3 * k : 3 * k + 3] for k in range(20))
        calibration = calibrated(each for rule in seen for each in rule)
        for each in new:
            rate = calibration.rate(each)
            covered.append(rate.low <= each.rate <= rate.high)
    assert np.mean(covered) == pytest.approx(COVERAGE, abs=0.06)


def test_a_conformal_width_by_hand():
    """Ten rules of a table each at the same point: each is judged by the mean of the other nine."""
    rates = np.arange(10) / 10
    found = [
        Evidence(rule=f"{rate}", bridges=4, counterexamples=0, rate=rate, groups=3, relations=2)
        for rate in rates.tolist()
    ]
    others = (rates.sum() - rates) / 9
    away = np.sort(np.abs(rates - others) / (np.sqrt(others * (1 - others)) + 0.1))
    mean = rates.mean()
    room = away[9] * (np.sqrt(mean * (1 - mean)) + 0.1)  # the 10th of 11, infinity among them
    rate = calibrated(found).rate(traits())
    assert (rate.mean, rate.low) == pytest.approx((mean, max(0.0, mean - room)), abs=1e-3)


def test_few_rules_make_no_interval():
    few, enough = (
        calibrated(evidence(rules, 2, 1)).rate(traits()) for rules in (FEWEST_RULES - 1, FEWEST_RULES)
    )
    assert (few.low, few.high) == (0, 1)
    assert 0 < enough.low < enough.mean < enough.high < 1


def test_one_rule_is_no_calibration():
    with pytest.raises(MarginError, match="at least two rules"):
        calibrated(evidence(1, 5, 0))


def test_what_lies_beyond_is_told():
    calibration = calibrated(evidence(9, 3, 0))
    assert calibration.beyond(traits()) is None
    assert calibration.beyond(traits(groups=40)) == "40 groups, where the calibration has 3 to 7"
    assert calibration.beyond(traits(relations=3)) == "3 relations, where the calibration has 2 to 2"
    assert "0.5 bridges, where the calibration has" in (calibration.beyond(traits(0.5)) or "")


def test_more_than_was_measured_opens_the_interval():
    calibration = calibrated(evidence(FEWEST_RULES, 3, 0))
    most, least = (max(getattr(e, n) for e in calibration.evidence) for n in ("bridges", "counterexamples"))
    measured, bridges = calibration.rate(traits(most)), calibration.rate(traits(500))
    assert (bridges.mean, bridges.low, bridges.high) == (measured.mean, measured.low, 1)
    measured, against = calibration.rate(traits(4, least)), calibration.rate(traits(4, 99))
    assert (against.mean, against.low, against.high) == (measured.mean, 0, measured.high)
    assert calibration.beyond(traits(500, 99)) is None
    said = calibration.more(traits(500, 99)) or ""
    assert "500 bridges a group, where the calibration has up to" in said
    assert "99 counterexamples a group, where" in said
    assert calibration.more(traits(most, least)) is None


def with_priors(found, seed=5):
    """The rates moved in log-odds by each rule's prior, which is told of all but the first rule."""
    rng = np.random.default_rng(seed)
    own = {each.rule: prior(float(rng.normal(0, 2)), shared=bool(rng.random() < 0.5)) for each in found}
    return tuple(
        replace(
            each,
            rate=float(expit(logit(each.rate) + its.nats + 0.9 * its.shared)),
            prior=None if each.rule == "rule 0" else its,
        )
        for each in found
        for its in [own[each.rule]]
    )


def test_the_models_prior_moves_the_curve():
    calibration = calibrated(with_priors(evidence(FEWEST_RULES + 1, 5, 0, spread=0.0)))
    for bridges, nats, shared in ((2, -2.0, False), (4, 0.0, True), (6, 2.0, True)):
        odds = curve(bridges, 2) + nats + 0.9 * shared
        rate = calibration.rate(traits(bridges, 2, prior=prior(nats, shared)))
        assert rate.mean == pytest.approx(expit(odds), abs=1e-4)
    assert calibration.error_asked == pytest.approx(0, abs=1e-4)
    assert calibration.error > 0.1
    sure, unsure = calibration.rate(traits(prior=prior(0.0))), calibration.rate(traits())
    assert sure.high - sure.low < 1e-3 < unsure.high - unsure.low


def test_too_few_rules_with_priors_leave_them_aside():
    calibration = calibrated(with_priors(evidence(FEWEST_RULES, 5, 0)))
    assert calibration.error_asked is None
    assert calibration.rate(traits(prior=prior(2.0))) == calibration.rate(traits())
    assert calibration.beyond(traits(prior=prior(99.0))) is None


def test_a_prior_far_beyond_the_calibrations_is_told():
    calibration = calibrated(with_priors(evidence(FEWEST_RULES + 1, 3, 0)))
    seen = [each.prior.nats for each in calibration.evidence if each.prior is not None]
    near = max(seen) + 0.09 * (max(seen) - min(seen))
    assert calibration.beyond(traits(prior=prior(near))) is None
    assert "associates its answers by 99.0 nats, where" in (
        calibration.beyond(traits(prior=prior(99.0))) or ""
    )
