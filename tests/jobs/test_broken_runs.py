"""Damaged run folders, a sample of `benchmarks/broken_runs.py`; and what is said of scores that are gone."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.broken_runs import campaign
from spillover.errors import RunError
from spillover.jobs.audit import audit
from spillover.llm.settings import FineTuneConfig
from tests.jobs.people import run_cli

SETTINGS = FineTuneConfig(epochs=1, batch_size=24)


def test_nothing_gets_through(tmp_path: Path) -> None:
    tally = campaign(tmp_path, sample=25, seed=3)
    assert tally.wrong == []
    assert tally.ends["again", "one line"] > 5
    assert tally.ends["again", "fine"] > 2
    assert tally.ends["runs", "fine"] == 25


@pytest.fixture
def whole(here: Path, tiny: str) -> dict[str, Any]:
    """An audit's call, and its run in the folder `run`."""
    call: dict[str, Any] = {"kb": "people.yaml", "model": tiny, "settings": SETTINGS}
    audit(**call, out=here / "run")
    return call


@pytest.mark.parametrize("damaged", [False, True])
def test_a_complete_run_without_its_scores_says_so(
    whole: dict[str, Any], capsys: pytest.CaptureFixture[str], damaged: bool
) -> None:
    first = json.loads(Path("run/manifest.json").read_text())
    Path("run/scores.parquet").unlink()
    if damaged:
        Path("run/scores.parquet").write_text("gone")
    what = "cannot read run/scores.parquet as Parquet" if damaged else "run/scores.parquet is not there"
    with pytest.raises(RunError, match=f"{what}.*; the run is complete but for that: .* another --out"):
        audit(**whole, out="run")
    assert run_cli("report", "run", "--out", "page.html") == 0
    said = capsys.readouterr().err
    assert said.startswith(f"note: {what}")
    assert said.count("\n") == 1
    assert what in Path("page.html").read_text("utf-8")
    again = audit(**whole, out="other")  # as the line advises
    assert again["rules"][0]["top1"] == first["results"]["rules"][0]["top1"]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '[{"rules": []}]', '[{"rules": [{"margin": {"mean": "1"}}]}]']
)
def test_a_forecast_that_a_killed_audit_left_damaged_is_made_again(whole: dict[str, Any], text: str) -> None:
    manifest = json.loads(Path("run/manifest.json").read_text())
    results = manifest.pop("results")
    Path("run/manifest.json").write_text(json.dumps(manifest | {"status": "running"}))
    Path("run/forecast.json").write_text(text)
    assert audit(**whole, out="run")["rules"] == results["rules"]


def test_a_cell_whose_scores_are_damaged_says_what_to_do(whole: dict[str, Any]) -> None:
    for manifest in Path("cells").glob("*/manifest.json"):
        (manifest.parent / "scores.parquet").write_bytes(b"PAR1")
    with pytest.raises(RunError, match=r"cells/.*scores.parquet.*; remove the folder .*, and run again"):
        audit(**whole, out="other")
