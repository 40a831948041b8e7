"""Small runs that are whole: an audit, a sweep, a reproduction, a run of the lab, those of 0.1 and a cell."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pyarrow import parquet

from spillover.jobs.audit import audit
from spillover.jobs.lab import symbolic
from spillover.jobs.sweep import sweep
from spillover.llm.settings import FineTuneConfig
from spillover.reproduce import load
from spillover.reproduce.save import reproduce
from tests.report.fixture import of_version_0_1
from tests.tiny_models import save_tiny_model

RUN = "run"
"""The run's folder in its place."""

_SETTINGS = FineTuneConfig(epochs=1, batch_size=24)
_LAB: dict[str, Any] = {
    "world": {"groups": 3, "noise": 1, "length": 4},
    "ov": ("factorized", "merged"),
    "d_h": (2,),
    "attention": "linear",
    "optimizer": {"rule": "adamw", "learning_rate": 5e-3, "weight_decay": 0.03},
    "seeds": 1,
    "training": {"steps": 10, "records": 2},
}


@dataclass(frozen=True, kw_only=True)
class Good:
    """A place with a run that is whole, and the call that made it."""

    place: Path
    made: Callable[[Path], dict[str, Any]]
    """Given the run's folder; returns the document."""

    @property
    def numbers(self) -> Any:
        """What its document says."""
        return numbers(self.made(self.place / RUN))


def numbers(document: dict[str, Any]) -> Any:
    """What of a document must not change."""
    return json.dumps(
        {name: document.get(name) for name in ("facts", "rules", "audits", "checks", "settings")}
    )


def good_runs(place: Path) -> dict[str, Good]:
    """A good run of each kind, by its name."""
    model = str(save_tiny_model(place / "tiny", "llama"))
    spec = place / "spec.yaml"
    spec.write_text(f"kb: country-code\nmodel: {model}\nepochs: 1\nbatch_size: 24\n", encoding="utf-8")
    figure = load("theorem-3")
    settings = replace(figure.settings(), reference_steps=2, steps=20)
    calls: dict[str, Callable[[Path], dict[str, Any]]] = {
        "audit": lambda run: audit("country-code", model=model, settings=_SETTINGS, out=run),
        "sweep": lambda run: sweep(spec, out=run),
        "reproduction": lambda run: reproduce(figure, run, settings=settings),
        "lab": lambda run: symbolic(**_LAB, out=run),
    }
    found: dict[str, Good] = {}
    for name, made in calls.items():
        (place / name).mkdir()
        made(place / name / RUN)
        found[name] = Good(place=place / name, made=made)
    for name, old in (("audit", _as_audit_of_0_1), ("reproduction", _as_reproduction_of_0_1)):
        shutil.copytree(found[name].place, place / f"{name} of 0.1")
        old(place / f"{name} of 0.1" / RUN)
        found[f"{name} of 0.1"] = replace(found[name], place=place / f"{name} of 0.1")
    shutil.copytree(found["audit"].place, place / "cell")
    shutil.rmtree(place / "cell" / RUN)
    found["cell"] = replace(found["audit"], place=place / "cell")
    return found


def _as_audit_of_0_1(run: Path) -> None:
    manifest = json.loads((run / "manifest.json").read_text("utf-8"))
    del manifest["results_hash"]
    manifest["results"]["rules"] = [of_version_0_1(rule) for rule in manifest["results"]["rules"]]
    (run / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    table = parquet.read_table(run / "scores.parquet").drop_columns("reason")
    parquet.write_table(table, run / "scores.parquet")


def _as_reproduction_of_0_1(run: Path) -> None:
    manifest = json.loads((run / "manifest.json").read_text("utf-8"))
    made_with = {name: manifest[name] for name in ("code_revision", "packages", "python", "platform")}
    result = {"format": 1, **manifest["results"], **made_with}
    (run / "result.json").write_text(json.dumps(result), encoding="utf-8")
    (run / "manifest.json").unlink()
