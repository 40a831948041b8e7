"""The main job on a tiny model, and once, for a few steps, on the real SmolLM2."""

import json
import subprocess
import sys
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spillover.cells import tune
from spillover.errors import DataError, RunError
from spillover.jobs.audit import audit
from spillover.jobs.score import score
from spillover.knowledge.load import load
from spillover.llm import finetune as finetune_module
from spillover.llm.finetune import FineTuneConfig
from spillover.outcome import outcome
from spillover.runs.record import read_run

SETTINGS = FineTuneConfig(epochs=1, learning_rate=1e-3)


def test_an_audit_end_to_end(tiny: str, tmp_path: Path) -> None:
    results = audit("country-code", model=tiny, seeds=(0, 1), settings=SETTINGS, out=tmp_path / "run")
    run = read_run(tmp_path / "run")
    assert run.status == "complete"
    assert run.manifest["results"] == results
    rule = results["rules"][0]
    assert (rule["kind"], rule["queries"], rule["candidates"]) == ("spurious", 160, 10)
    assert (rule["facts"]["queries"], rule["bridges"]["queries"]) == (200, 40)
    assert rule["mean_rank"]["low"] <= rule["mean_rank"]["after"] <= rule["mean_rank"]["high"]
    assert 0 < rule["p_value"] <= 1
    assert results["facts"]["queries"] == 200
    assert "<html" in (tmp_path / "run" / "report.html").read_text()
    assert not (tmp_path / "run" / "checkpoints").exists()
    rows = run.read_jsonl("metrics.jsonl")
    assert {row["seed"] for row in rows} == {0, 1}
    assert json.dumps(results, allow_nan=False)


def test_numbers_can_be_computed_again_from_the_scores(tiny: str, tmp_path: Path) -> None:
    results = audit("sport-music", model=tiny, settings=SETTINGS, out=tmp_path / "run")
    scores = read_run(tmp_path / "run").read_parquet("scores.parquet")
    rows = [
        r for r in scores.to_pylist() if (r["kind"], r["phase"], r["right"]) == ("held_out", "after", True)
    ]
    assert np.mean([row["rank"] for row in rows]) == pytest.approx(results["rules"][0]["mean_rank"]["after"])
    again = outcome(scores, load("sport-music").rules)
    assert again["rules"][0]["mean_rank"] == results["rules"][0]["mean_rank"]


def test_score_equals_the_audits_before(tiny: str, tmp_path: Path) -> None:
    audited = audit("demo", model=tiny, settings=SETTINGS, out=tmp_path / "run")
    scored = score("demo", model=tiny)
    for a, b in zip(audited["rules"], scored["rules"], strict=True):
        assert a["mean_rank"]["before"] == b["mean_rank"]["before"]
        assert a["top1"]["before"] == b["top1"]["before"]
        assert isnan(b["top1"]["after"])


@pytest.mark.parametrize("lora", [None, 2])
def test_scoring_the_kept_model_equals_the_audits_after(tiny: str, tmp_path: Path, lora: int | None) -> None:
    settings = FineTuneConfig(epochs=1, learning_rate=1e-2, lora=lora)
    audited = audit("country-code", model=tiny, settings=settings, keep_model=True, out=tmp_path / "run")
    scored = score("country-code", model=tiny, tuned=str(tmp_path / "run" / "model-0"))
    assert scored["rules"][0]["mean_rank"]["after"] == pytest.approx(
        audited["rules"][0]["mean_rank"]["after"]
    )
    assert scored["rules"][0]["mean_rank"]["before"] != scored["rules"][0]["mean_rank"]["after"]


def test_a_finished_run_is_read_not_repeated(
    tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = audit("country-code", model=tiny, settings=SETTINGS, out=tmp_path / "run")
    monkeypatch.setattr(tune, "finetune", lambda *a, **k: pytest.fail("tuned again"))
    (tmp_path / "run" / "report.html").unlink()
    assert audit("country-code", model=tiny, settings=SETTINGS, out=tmp_path / "run") == first
    assert (tmp_path / "run" / "report.html").exists()
    with pytest.raises(RunError, match="epochs"):
        audit("country-code", model=tiny, settings=FineTuneConfig(epochs=2), out=tmp_path / "run")


def test_a_killed_audit_resumes_to_the_same_scores(
    tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    audit("country-code", model=tiny, seeds=(0, 1), settings=SETTINGS, out=tmp_path / "whole" / "run")
    monkeypatch.setattr(finetune_module, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)

    def kill(stage: str, done: int, steps: int) -> None:
        if stage == "tune, seed 1" and done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        audit(
            "country-code", model=tiny, seeds=(0, 1), settings=SETTINGS, out=tmp_path / "run", progress=kill
        )
    assert read_run(tmp_path / "run").status == "incomplete"
    stages: list[tuple[str, int]] = []
    audit(
        "country-code",
        model=tiny,
        seeds=(0, 1),
        settings=SETTINGS,
        out=tmp_path / "run",
        progress=lambda stage, done, steps: stages.append((stage, done)),
    )
    assert stages[0] == ("tune, seed 1", 5), "seed 0 and the score before seed 1 are not repeated"
    whole, resumed = read_run(tmp_path / "whole" / "run"), read_run(tmp_path / "run")
    assert whole.read_parquet("scores.parquet").equals(resumed.read_parquet("scores.parquet"))
    assert resumed.manifest["resumed_at"]


def test_the_null_control_trains_other_implications(tiny: str, tmp_path: Path) -> None:
    settings = FineTuneConfig(epochs=2, learning_rate=1e-2)
    plain = audit("country-code", model=tiny, settings=settings, out=tmp_path / "plain")
    null = audit("country-code", model=tiny, settings=settings, shuffle=True, out=tmp_path / "null")
    assert plain["rules"][0]["mean_rank"]["before"] == null["rules"][0]["mean_rank"]["before"]
    assert plain["rules"][0]["mean_rank"]["after"] != null["rules"][0]["mean_rank"]["after"]


@pytest.mark.parametrize("seeds", [(), (0, 0), (-1,)])
def test_bad_seeds(tiny: str, seeds: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match="seeds must be distinct"):
        audit("demo", model=tiny, seeds=seeds)


def spillover(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "spillover", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)


def test_the_command_line(tiny: str, tmp_path: Path) -> None:
    """A table for people, a document for programs, gates, and one line for what is wrong."""
    arguments = ("audit", "country-code", "--model", tiny, "--epochs", "1", "--out", "run")
    done = spillover(*arguments, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "lives in country → codes" in done.stdout
    assert done.stdout.rstrip().endswith("Report: run/report.html")
    assert max(map(len, done.stdout.splitlines())) <= 80

    gated = spillover(*arguments, "--json", "--fail-on", "spurious.top1 >= 0", folder=tmp_path)
    assert gated.returncode == 1
    assert "gate failed" in gated.stderr
    document: dict[str, Any] = json.loads(gated.stdout)
    assert set(document) >= {"run", "seconds", "model", "facts", "rules"}

    wrong = spillover("audit", "cuntry-code", folder=tmp_path)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert len(wrong.stderr.splitlines()) == 1
    assert "country-code" in wrong.stderr

    listed = spillover("runs", "--json", ".", folder=tmp_path)
    assert [run["status"] for run in json.loads(listed.stdout)] == ["complete"]
    report = spillover("report", "run", "--out", "both.html", folder=tmp_path)
    assert report.returncode == 0
    assert (tmp_path / "both.html").exists()


def test_the_real_smollm2_for_a_few_steps(tmp_path: Path) -> None:
    """The default model, from the cache, the hub or PyPI, through the whole audit."""
    settings = FineTuneConfig(epochs=1, learning_rate=1e-4, batch_size=24)
    results = audit("city-language", settings=settings, out=tmp_path / "run")
    assert results["model"] == "smollm2-135m"
    assert results["facts"]["top1"] > 0.15
    rows = read_run(tmp_path / "run").read_jsonl("metrics.jsonl")
    losses = [row["loss"] for row in rows if "loss" in row]
    assert losses[-1] < losses[0]
