"""A campaign's table has a line for each part, and a part that dies is not passed over."""

from pathlib import Path

import pytest
from rich.console import Console

from benchmarks import campaign
from benchmarks.campaign import PARTS, Outcome, main, run_apart, run_part, table_of


def test_each_part_and_all_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    outcomes = {
        "kills": Outcome(tried=100, wrong=["one", "two"], seconds=61.2, memory=0.5),
        "inputs": Outcome(tried=10_000, wrong=[], seconds=9.0, memory=1.25),
    }
    Console(width=80).print(table_of(outcomes))
    lines = [line.replace("│", " ").split() for line in capsys.readouterr().out.splitlines()]
    assert ["kills", "100", "2", "61", "0.50", "GB"] in lines
    assert ["all", "10,100", "2", "70", "1.25", "GB"] in lines


def test_a_part_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    def part(folder: Path, scale: float) -> Outcome:
        assert folder.is_dir()
        return Outcome(tried=round(100 * scale), wrong=["x"])

    monkeypatch.setitem(PARTS, "trial", part)
    found = run_part("trial", 0.5)
    assert (found.tried, found.wrong) == (50, ["x"])
    assert 0.01 < found.memory < 50
    assert 0 <= found.seconds < 10


def test_a_part_that_ends_without_an_outcome_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(campaign.sys, "executable", "/bin/false")
    found = run_apart("two writers", 1.0)
    assert found.tried == 0
    assert found.wrong[0].startswith("no outcome")


def test_anything_wrong_is_the_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong: list[str] = []
    monkeypatch.setattr(campaign, "run_apart", lambda name, scale: Outcome(tried=3, wrong=wrong))
    monkeypatch.setattr("sys.argv", ["campaign", "--part", "two writers"])
    assert main() == 0
    wrong.append("a hang")
    assert main() == 1
    assert "a hang" in capsys.readouterr().out
