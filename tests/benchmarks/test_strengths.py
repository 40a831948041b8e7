"""The benchmark of strengths: its arms, that a method is measured once, and its table."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks import strengths
from spillover.tradeoff.arms import DEFAULT, read_arms


def test_every_method_of_the_default_trade_off_has_its_strengths_or_none_to_have() -> None:
    arms = {arm.name for names in strengths.GRID.values() for arm in read_arms(names)}
    left = [arm.name for arm in read_arms(DEFAULT) if arm.name not in arms]
    assert left == ["early-stop+inoculate", "early-stop+inoculate:text=placebo"]


def test_a_method_that_is_measured_is_not_measured_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked = []

    def measured(_: str, *, interventions: tuple[str, ...], **__: Any) -> dict[str, Any]:
        asked.append(interventions)
        shares = ("facts", "facts_least", "bridges", "wanted_rank", "kl", "known", "seconds")
        shares += ("spurious_top1", "spurious_top1_low", "spurious_top1_high", "spurious_top1_null")
        shares += ("spurious_rank_p", "spurious_p_seeds", "paraphrase_top1")
        return {"rows": [{"arm": arm, "missed": "", **dict.fromkeys(shares, 0.5)} for arm in interventions]}

    monkeypatch.setattr(strengths, "FILE", tmp_path / "strengths.parquet")
    monkeypatch.setattr(strengths, "tradeoff", measured)
    monkeypatch.setattr(strengths, "GRID", {"a": ("early-stop",)})
    strengths.measure(tmp_path)
    monkeypatch.setattr(strengths, "GRID", {"a": ("early-stop",), "b": ("abstain", "lora")})
    strengths.measure(tmp_path)
    assert asked == [("early-stop",), ("abstain", "lora")]
    heading, _, *rows = strengths.lines()
    assert [row.split(" | ")[0] for row in rows] == ["| early-stop", "| abstain", "| lora"]
    assert all(row.count("|") == heading.count("|") for row in rows)
    assert "50% [50, 50]" in rows[0]
