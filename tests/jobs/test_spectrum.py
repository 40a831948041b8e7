"""`spillover spectrum` on audits of a tiny model: table, document, report, and what is one line."""

import json
import re
import shutil
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pytest

from spillover.errors import ModelError, RunError
from spillover.jobs import spectrum as job
from spillover.jobs.audit import audit
from spillover.jobs.spectrum import spectrum
from spillover.knowledge.load import load
from spillover.llm.settings import FineTuneConfig
from spillover.outcome import outcome
from spillover.runs.record import read_run
from spillover.runs.views import checked
from spillover.spectrum.measure import measure
from spillover.spectrum.table import SPECTRA, whole
from tests.jobs.people import run_cli
from tests.tiny_models import save_tiny_model

FULL = FineTuneConfig(epochs=1, learning_rate=1e-3, batch_size=24)
LORA = FineTuneConfig(epochs=1, learning_rate=1e-2, batch_size=24, lora=2)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two audits, one in full over two seeds and one of adapters, and their model."""
    place = tmp_path_factory.mktemp("runs")
    model = str(save_tiny_model(place / "models" / "tiny", "llama"))
    for name, seeds, settings in (("full", (0, 1), FULL), ("lora", (0,), LORA)):
        audit(
            "country-code",
            model=model,
            seeds=seeds,
            settings=settings,
            keep_model=True,
            out=place / "runs" / name,
        )
    return place


@pytest.fixture
def place(runs: Path, tmp_path: Path) -> Path:
    """A copy of the run folders; their model stays where it was."""
    return Path(shutil.copytree(runs / "runs", tmp_path / "runs"))


def test_the_table_is_each_seeds_changes(place: Path, runs: Path) -> None:
    before = (place / "full" / "manifest.json").read_bytes()
    document = spectrum([place / "full"])
    run = read_run(place / "full")
    assert run.status == "complete"
    assert (place / "full" / "manifest.json").read_bytes() == before
    checked(run.folder, run.manifest)
    table = run.read_parquet("spectrum.parquet")
    assert table.schema.equals(SPECTRA)
    for seed in (0, 1):
        rows = [row for row in table.to_pylist() if row.pop("seed") == seed]
        assert rows == measure(runs / "models" / "tiny", place / "full" / f"model-{seed}")
        assert document["runs"][0]["seeds"][seed] == {"seed": seed, **whole(rows)}
    (entry,) = document["runs"]
    assert entry == json.loads((place / "full" / "spectrum.json").read_text()) | {"kinds": entry["kinds"]}
    assert [kind["kind"] for kind in entry["kinds"]] == [
        *("embedding", "q", "k", "v", "o", "gate", "up", "down", "norm", "head", "ov")
    ]
    assert sum(kind["share"] for kind in entry["kinds"][:-1]) == pytest.approx(1)
    assert entry["notes"] == []
    assert [layer["layer"] for layer in entry["layers"]] == [0, 1]


def test_adapters(place: Path) -> None:
    (entry,) = spectrum([place / "lora"])["runs"]
    kinds = {kind["kind"]: kind for kind in entry["kinds"]}
    assert kinds.keys() == {"q", "k", "v", "o", "gate", "up", "down", "ov"}
    assert all(0 < kind["effective_rank"] <= 2 + 1e-9 for name, kind in kinds.items() if name != "ov")
    assert kinds["q"]["rank_limit"] == 2


def test_what_is_measured_is_read_and_what_is_damaged_is_made_anew(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(base: Path, tuned: Path, **options: Any) -> Any:
        if tuned.name == "model-1":
            raise KeyboardInterrupt
        return measure(base, tuned, **options)

    monkeypatch.setattr(job, "measure", killed)
    with pytest.raises(KeyboardInterrupt):
        spectrum([place / "full"])
    measured: list[str] = []

    def noted(base: Path, tuned: Path, **options: Any) -> Any:
        measured.append(tuned.name)
        return measure(base, tuned, **options)

    monkeypatch.setattr(job, "measure", noted)
    first = spectrum([place / "full"])
    assert measured == ["model-1"]
    assert repr(spectrum([place / "full"])["runs"]) == repr(first["runs"])
    assert measured == ["model-1"]
    (place / "full" / "spectrum.parquet").write_bytes(b"no table")
    assert repr(spectrum([place / "full"])["runs"]) == repr(first["runs"])
    assert measured == ["model-1", "model-0", "model-1"]


def test_a_folder_of_audits_and_their_spillover(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spillover.report.verdict.LEARNED", 0.0)  # a tiny model learns nothing
    document = spectrum([place, place / "full"])
    assert [Path(run["run"]).name for run in document["runs"]] == ["full", "lora"]
    assert [cell["seed"] for cell in document["cells"]] == [0, 1, 0]
    scores = read_run(place / "full").read_parquet("scores.parquet").filter(pc.field("seed") == 1)
    (rule,) = outcome(scores, load("country-code").rules)["rules"]
    cell = document["cells"][1]
    assert cell["top1"] == rule["top1"]["after"] - rule["top1"]["null"]
    assert cell["mean_rank"] == rule["mean_rank"]["null"] - rule["mean_rank"]["after"]
    assert len(document["correlations"]) == 8
    assert all(
        isnan(entry[scope]["value"]) for entry in document["correlations"] for scope in ("all", "within")
    )


def test_nothing_changed_is_a_note(place: Path, runs: Path) -> None:
    weights = runs / "models" / "tiny" / "model.safetensors"
    for seed in (0, 1):
        tuned = place / "full" / f"model-{seed}" / "model.safetensors"
        tuned.unlink()
        shutil.copyfile(weights, tuned)
    (entry,) = spectrum([place / "full"])["runs"]
    assert entry["notes"] == ["no weight was changed"]
    assert (entry["kinds"], entry["layers"]) == ([], [])
    assert run_cli("spectrum", str(place / "full")) == 0


def test_a_tune_that_two_runs_share_counts_once(place: Path) -> None:
    shutil.copytree(place / "full", place / "again")
    assert len(spectrum([place / "full", place / "again"])["cells"]) == 2


def test_a_cell_that_learned_nothing_has_no_spillover(place: Path) -> None:
    (cell, _) = spectrum([place / "full"])["cells"]
    assert isnan(cell["top1"])


def test_correlations_of_made_up_cells() -> None:
    rng = np.random.default_rng(0)
    cells = [
        {
            "block": block,
            **{
                "effective_rank": -spilt + 10 * number,
                "ratio": 1.0,
                "ov_rank": np.nan,
                "ov_ratio": rng.normal(),
            },
            **{"top1": spilt + number, "mean_rank": rng.normal()},
        }
        for number, block in enumerate("abcde")
        for spilt in rng.normal(size=3)
    ]
    found = {(e["change"], e["spillover"]): e for e in job._correlations(cells)}
    low = found["effective_rank", "top1"]
    assert low["all"]["value"] > 0
    assert low["within"]["value"] == pytest.approx(-1)
    assert low["within"]["p_value"] < 0.001
    assert low["within"]["p_adjusted"] == pytest.approx(4 * low["within"]["p_value"])
    assert isnan(found["ratio", "top1"]["all"]["value"])
    assert isnan(found["ov_rank", "top1"]["within"]["p_value"])


def test_the_command_line(place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    report = (place / "full" / "report.html").read_text("utf-8")
    assert "What tuning changed inside" not in report
    assert run_cli("spectrum", str(place / "full")) == 0
    printed = capsys.readouterr().out
    assert "MLP gate" in printed
    assert max(map(len, printed.split("Report:")[0].splitlines())) <= 80
    after = (place / "full" / "report.html").read_text("utf-8")
    start, end = after.index("<h3>What tuning changed"), after.index("<h3>Settings and versions")
    assert without_charts(after[:start] + after[end:]) == without_charts(report), "else it is as it was"
    assert after[start:end].count('<div class="chart">') == 4
    assert run_cli("spectrum", str(place)) == 0
    assert "Does spillover go with low rank? 3 cells, 1 data set" in capsys.readouterr().out
    assert run_cli("spectrum", str(place), "--json") == 0
    assert json.loads(capsys.readouterr().out).keys() == {"runs", "cells", "correlations", "seconds"}


def without_charts(page: str) -> str:
    """Charts hold sums that differ in their last digit from one call to the next."""
    return re.sub(r"<script type=.application/json.>.*?</script>", "", page, flags=re.DOTALL)


def test_a_damaged_table_is_a_gap_of_the_report(place: Path) -> None:
    from spillover.report.page import write_report

    (place / "full" / "spectrum.parquet").write_bytes(b"no table")
    page = write_report([place / "full"], place / "page.html").read_text("utf-8")
    assert "spectrum.parquet as Parquet" in page
    assert "makes it anew" in page


def remove(folder: Path, pattern: str) -> None:
    for path in folder.glob(pattern):
        shutil.rmtree(path)


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (
            lambda f: remove(f, "model-*"),
            RunError,
            "keeps no tuned weights .* --keep-model and another --out",
        ),
        (lambda f: remove(f, "model-1"), RunError, r"model-1 is not there; restore it"),
        (lambda f: (f / "manifest.json").unlink(), RunError, "is no audit and holds none"),
        (lambda f: edit(f, status="running"), RunError, "is incomplete; finish the audit first"),
        (
            lambda f: edit(f, hashes={"model": "00"}),
            RunError,
            "was tuned from .* with the hash 00, and .* has",
        ),
        (lambda f: edit(f, arguments={"model": "nowhere/at all"}), ModelError, "nowhere"),
        (lambda f: edit(f, results={}), RunError, "manifest.json is damaged"),
        (lambda f: edit(f, seeds=["x"]), RunError, "manifest.json is damaged"),
        (
            lambda f: (f / "model-0" / "model.safetensors").write_bytes(b""),
            ModelError,
            "no whole safetensors",
        ),
        (lambda f: (f / "spectrum.parquet").mkdir(), RunError, "cannot write .*copy the run to where"),
        (lambda f: (f / "scores.parquet").unlink(), RunError, "scores.parquet is not there"),
    ],
)
def test_what_cannot_be_is_one_line(place: Path, damage: Any, error: type[Exception], message: str) -> None:
    damage(place / "full")
    with pytest.raises(error, match=message):
        spectrum([place / "full"])


def edit(folder: Path, **changes: Any) -> None:
    manifest = json.loads((folder / "manifest.json").read_text("utf-8")) | changes
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")


def test_no_run_at_all(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="at least one run folder"):
        spectrum([])
    with pytest.raises(RunError, match="holds none"):
        spectrum([tmp_path / "nowhere"])


def test_runs_without_weights_are_passed_over_in_a_folder(place: Path) -> None:
    remove(place / "full", "model-*")
    assert [Path(run["run"]).name for run in spectrum([place])["runs"]] == ["lora"]
