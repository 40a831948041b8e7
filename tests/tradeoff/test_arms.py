"""Names on the command line are the ways to tune that are compared."""

import pytest

from spillover.errors import LabError, TrainingError
from spillover.interventions.freeze import Freeze
from spillover.interventions.output_value import FactorizedOV, MergedOV
from spillover.tradeoff.arms import DEFAULT, PLAIN, QUICK, read_arms


def test_the_plain_tune_comes_first_and_each_once() -> None:
    arms = read_arms(["merged-ov", "none", "merged-ov:rest=frozen", "factorized-ov"])
    assert [arm.interventions for arm in arms] == [(), (MergedOV(),), (FactorizedOV(),)]
    assert [arm.name for arm in arms] == [PLAIN, "merged-ov", "factorized-ov"]
    assert read_arms(["merged-ov:rest=trained"])[1].name == "merged-ov:rest=trained"


def test_several_act_together() -> None:
    (_, arm) = read_arms(["merged-ov+factorized-ov"])
    assert arm.interventions == (MergedOV(), FactorizedOV())
    assert read_arms([arm.name])[1] == arm


def test_a_value_may_hold_a_plus() -> None:
    (_, arm) = read_arms(["freeze:layers=0-1+3-4+merged-ov"])
    assert arm.interventions == (Freeze(layers="0-1+3-4"), MergedOV())
    assert read_arms([arm.name])[1] == arm


@pytest.mark.parametrize("names", [[], ["none"]])
def test_nothing_to_compare(names: list[str]) -> None:
    with pytest.raises(LabError, match="nothing to compare"):
        read_arms(names)


def test_an_unknown_name_is_one_line() -> None:
    with pytest.raises(TrainingError, match="there is no intervention 'merge-ov'"):
        read_arms(["merge-ov"])


def test_the_defaults_are_there_and_apart() -> None:
    assert len(read_arms(DEFAULT)) == 1 + len(DEFAULT)
    assert len(read_arms(QUICK)) == 6
