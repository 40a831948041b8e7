"""What the tests of several interventions do with a tune: plan it, kill it, and go on."""

from pathlib import Path
from typing import Any

import pytest

from spillover.cells.cell import Cell
from spillover.interventions.hooks import Intervention
from spillover.jobs.audit_plan import plan_audit
from spillover.llm import finetune
from spillover.llm.settings import FineTuneConfig
from tests.llm import tuning


def planned_tune(
    folder: Path, *interventions: str | Intervention, settings: FineTuneConfig = tuning.CONFIG
) -> Cell:
    """The cell of an audit of the demo."""
    plan = plan_audit("demo", model=str(folder), seeds=None, settings=settings, interventions=interventions)
    return plan.tuned[0]


def killed_and_resumed(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> Any:
    """What a tune leaves that was killed at its fifth step and went on."""

    def kill(step: int, steps: int) -> None:
        if step == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(finetune, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    with pytest.raises(KeyboardInterrupt):
        tuning.tune(folder, tmp_path / "killed", on_step=kill, **options)
    assert list((tmp_path / "killed" / "checkpoints").glob("checkpoint-*"))
    steps: list[int] = []
    resumed = tuning.tune(folder, tmp_path / "killed", on_step=lambda step, _: steps.append(step), **options)
    assert 1 < steps[0] <= 5, "it goes on from a checkpoint"
    return resumed
