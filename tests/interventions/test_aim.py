"""An intervention is aimed at what is not wanted, unless it is told otherwise."""

import pytest

from spillover.errors import TrainingError
from spillover.interventions.aim import aimed_at
from spillover.knowledge.builtin import built_in
from spillover.knowledge.split import split


def test_the_unwanted_rules_or_all() -> None:
    parts = split(built_in("demo"), 0)
    assert [parts.kb.rules[n].kind for n in (0, 1)] == ["causal", "spurious"]
    assert aimed_at(parts, "spurious") == (1,)
    assert aimed_at(parts, "all") == (0, 1)


def test_a_table_whose_rules_are_all_wanted_has_none() -> None:
    with pytest.raises(TrainingError, match="no spurious rule to act on; give the intervention rules=all"):
        aimed_at(split(built_in("city-language"), 0), "spurious")
