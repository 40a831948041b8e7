"""`spillover spectrum`: kept beside an audit and shown in its report; and over many audits."""

import json
from pathlib import Path

import numpy as np
import pytest

from spillover.errors import RunError
from spillover.jobs import spectrum as job
from spillover.jobs.audit import audit
from spillover.jobs.spectrum import spectrum
from spillover.jobs.sweep import sweep
from spillover.llm.settings import FineTuneConfig
from spillover.runs.files import read_parquet
from spillover.runs.record import read_run
from tests.jobs.people import run_cli
from tests.tiny_models import save_tiny_model

_QUICK = FineTuneConfig(epochs=3, batch_size=24, learning_rate=1e-3)


def test_it_is_kept_and_shown(tiny: str, here: Path, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    found = audit(
        "people.yaml", model=tiny, seeds=[0, 1], settings=_QUICK, keep_model=True, out="runs/people"
    )
    before = (Path("runs/people/manifest.json")).read_bytes()
    document = spectrum(["runs/people"])
    assert [cell["seed"] for cell in document["cells"]] == [0, 1]
    shares = {row["module"]: row["share"] for row in document["modules"]}
    assert sum(share for module, share in shares.items() if module != "ov") == pytest.approx(1)
    assert shares["ov"] == pytest.approx(1)
    assert read_parquet(Path("runs/people/spectrum.parquet"))["seed"].unique().to_pylist() == [0, 1]
    report = Path("runs/people/report.html").read_text("utf-8")
    assert "What tuning changed inside" in report
    assert (Path("runs/people/manifest.json")).read_bytes() == before
    assert read_run("runs/people").results == found
    top1 = np.mean([cell["top1"] for cell in document["cells"]])
    assert top1 == pytest.approx(np.mean([rule["top1"]["after"] for rule in found["rules"]]), abs=0.1)

    def again(*_: object, **__: object) -> None:
        raise AssertionError("what is there is computed again")

    monkeypatch.setattr(job, "changes", again)
    assert run_cli("spectrum", "runs/people", "--json") == 0
    assert json.loads(capsys.readouterr().out) == document
    monkeypatch.setenv("COLUMNS", "80")
    assert run_cli("spectrum", "runs/people") == 0
    assert "heads' W_O W_V" in capsys.readouterr().out


def test_over_the_audits_of_a_sweep(tiny: str, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = f"kb: people.yaml\nmodel: {tiny}\nseeds: [0]\nepochs: 1\nlora: [null, 2]\n"
    (here / "ranks.yaml").write_text(text, encoding="utf-8")
    sweep("ranks.yaml")
    with pytest.raises(RunError, match="runs/ranks has no tuned weights; run it again with --keep-model"):
        spectrum(["runs/ranks"])
    for number, lora in enumerate((None, 2)):
        settings = FineTuneConfig(epochs=1, lora=lora)
        audit("people.yaml", model=tiny, settings=settings, keep_model=True, out=f"runs/ranks/{number}")
    whole, adapters = spectrum(["runs/ranks"])["cells"]
    assert adapters["effective_rank"] <= 2 < whole["effective_rank"]
    assert adapters["heads_effective_rank"] > 0


def test_another_base_is_refused(tiny: str, here: Path, tmp_path: Path) -> None:
    base = save_tiny_model(tmp_path / "base", "llama")
    audit("people.yaml", model=str(base), settings=_QUICK, keep_model=True, out="runs/people")
    save_tiny_model(base, "llama", intermediate_size=64)
    with pytest.raises(RunError, match=r"tuned another .* than the one that is here"):
        spectrum(["runs/people"])


def test_within_data_sets() -> None:
    """Two data sets that differ in both numbers, which go against each other within each."""
    cells = [
        {"model": "m", "data": data, "rule": "r", "rank": base + seed, "top1": base - seed}
        for data, base in (("a", 0.0), ("b", 100.0))
        for seed in range(5)
    ]
    found = job.both(cells, "rank", "top1")
    assert found["all"]["rho"] > 0.4
    assert found["within"]["rho"] == pytest.approx(-1)
    assert found["within"]["p_value"] < 0.001
    assert found["within"]["cells"] == 10
