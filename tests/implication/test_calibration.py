"""Calibrations: a curve through what was measured, and intervals that cover rules that it never saw."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit, logit

from spillover.errors import MarginError
from spillover.implication.calibration import COVERAGE, FEWEST_RULES, Calibration, Evidence


def evidence(rules, tables, seed, spread=0.3):
    """Rates on a known curve, moved in log-odds by what each rule and each table has of its own."""
    rng = np.random.default_rng(seed)
    found = []
    for rule in range(rules):
        own = rng.normal(0, spread)
        for early in rng.uniform(0.05, 0.95, tables):
            odds = 0.3 + 0.8 * np.log(early / (1 - early)) + own + rng.normal(0, spread)
            found.append(
                Evidence(
                    rule=f"rule {rule}",
                    early=float(early),
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
    for early in (0.1, 0.5, 0.9):
        odds = 0.3 + 0.8 * np.log(early / (1 - early))
        assert calibration.rate(early).mean == pytest.approx(1 / (1 + np.exp(-odds)), abs=1e-4)
    assert calibration.error == pytest.approx(0, abs=1e-4)


def test_each_rule_weighs_the_same_however_many_tables_it_has():
    def one(rule, rate):
        return Evidence(rule=rule, early=0.5, rate=rate, groups=3, relations=2)

    many = [one("loud", 0.9)] * 9 + [one("quiet", 0.1)]
    assert calibrated(many).rate(0.5).mean == pytest.approx(0.5, abs=1e-3)


def test_intervals_cover_new_rules_as_often_as_they_say():
    covered = []
    for seed in range(60):
        *seen, new = (evidence(13, 3, seed)[3 * k : 3 * k + 3] for k in range(13))
        calibration = calibrated(each for rule in seen for each in rule)
        for each in new:
            rate = calibration.rate(each.early)
            covered.append(rate.low <= each.rate <= rate.high)
    assert np.mean(covered) == pytest.approx(COVERAGE, abs=0.06)


def test_a_conformal_width_by_hand():
    """Ten rules of a table each at the same point: each is judged by the mean of the other nine."""
    rates = np.arange(10) / 10
    found = [Evidence(rule=f"{rate}", early=0.5, rate=rate, groups=3, relations=2) for rate in rates.tolist()]
    others = (rates.sum() - rates) / 9
    away = np.sort(np.abs(rates - others) / (np.sqrt(others * (1 - others)) + 0.1))
    mean = rates.mean()
    room = away[9] * (np.sqrt(mean * (1 - mean)) + 0.1)  # the 10th of 11, infinity among them
    rate = calibrated(found).rate(0.5)
    assert (rate.mean, rate.low) == pytest.approx((mean, max(0.0, mean - room)), abs=1e-3)


def test_few_rules_make_no_interval():
    few, enough = (calibrated(evidence(rules, 2, 1)).rate(0.5) for rules in (FEWEST_RULES - 1, FEWEST_RULES))
    assert (few.low, few.high) == (0, 1)
    assert 0 < enough.low < enough.mean < enough.high < 1


def test_one_rule_is_no_calibration():
    with pytest.raises(MarginError, match="at least two rules"):
        calibrated(evidence(1, 5, 0))


def test_what_lies_beyond_is_told():
    calibration = calibrated(evidence(9, 3, 0))
    assert calibration.beyond(5, 2) is None
    assert calibration.beyond(40, 2) == "40 groups, where the calibration has 3 to 7"
    assert calibration.beyond(5, 3) == "3 relations, where the calibration has 2 to 2"


def with_priors(found, weight, seed=5):
    """The rates moved in log-odds by each rule's prior, which is told of all but the first rule."""
    rng = np.random.default_rng(seed)
    own = {each.rule: float(rng.normal(0, 2)) for each in found}
    return tuple(
        replace(
            each,
            rate=float(expit(logit(each.rate) + weight * np.arcsinh(own[each.rule]))),
            prior=None if each.rule == "rule 0" else own[each.rule],
        )
        for each in found
    )


def test_the_models_prior_moves_the_curve():
    calibration = calibrated(with_priors(evidence(FEWEST_RULES + 1, 5, 0, spread=0.0), 1.5))
    for early, nats in ((0.2, -2.0), (0.5, 0.0), (0.8, 3.0)):
        odds = 0.3 + 0.8 * logit(early) + 1.5 * np.arcsinh(nats)
        assert calibration.rate(early, nats).mean == pytest.approx(expit(odds), abs=1e-4)
        assert calibration.rates(np.array([early]), nats)[0] == pytest.approx(expit(odds), abs=1e-4)
    assert calibration.error_asked == pytest.approx(0, abs=1e-4)
    assert calibration.error > 0.1
    sure, unsure = calibration.rate(0.5, 0.0), calibration.rate(0.5)
    assert sure.high - sure.low < 1e-3 < unsure.high - unsure.low


def test_too_few_rules_with_priors_leave_them_aside():
    calibration = calibrated(with_priors(evidence(FEWEST_RULES, 5, 0), 1.5))
    assert calibration.error_asked is None
    assert calibration.rate(0.5, 2.0) == calibration.rate(0.5)
    assert calibration.beyond(5, 2, 99.0) is None


def test_a_prior_beyond_the_calibrations_is_told():
    calibration = calibrated(with_priors(evidence(FEWEST_RULES + 1, 3, 0), 1.5))
    most = max(each.prior for each in calibration.evidence if each.prior is not None)
    assert calibration.beyond(5, 2, most) is None
    assert "prefers its answers by 99.0 nats, where" in (calibration.beyond(5, 2, 99.0) or "")
