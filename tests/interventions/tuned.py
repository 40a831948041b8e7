"""What tests of interventions share: a split, plans of its cells, tunes of a tiny model, a killed one."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from spillover.cells.cell import Cell
from spillover.interventions.hooks import Intervention
from spillover.interventions.named import parse
from spillover.jobs.audit_plan import plan_audit
from spillover.knowledge.builtin import built_in
from spillover.knowledge.split import Split, split
from spillover.llm import finetune
from spillover.llm.settings import FineTuneConfig
from tests.llm import tuning
from tests.llm.tuning import CONFIG

DEMO = split(built_in("demo"), 0)
ROUGH = {"max_position_embeddings": 512, "sliding_window": 512, "initializer_range": 0.3}
"""Of a tiny model that reads long texts, in which the tokens before the last one matter."""
IDS = torch.tensor([[3, 8, 1, 40, 22, 6, 90]])


def planned(text: str, parts: Split = DEMO) -> Any:
    """The intervention of that name, as planning leaves it."""
    return parse(text).planned(parts, 0)


def identities(model: Path, *interventions: str) -> list[str]:
    """Of the tunes of an audit with these interventions."""
    plan = plan_audit(
        "country-code", model=str(model), seeds=[0, 1], settings=CONFIG, interventions=interventions
    )
    return [cell.identity for cell in plan.tuned.values()]


def planned_tune(folder: Path, *interventions: str | Intervention, settings: FineTuneConfig = CONFIG) -> Cell:
    """The cell of an audit of the demo."""
    plan = plan_audit("demo", model=str(folder), seeds=None, settings=settings, interventions=interventions)
    return plan.tuned[0]


def goes_on_after_a_kill(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    interventions: Sequence[Intervention],
    *,
    rehearsed: int = 0,
) -> bool:
    """Whether a tune that was killed in its second epoch ends bit by bit as one that was not; before it there
    is a rehearsal of so many steps.
    """
    acting: dict[str, Any] = {"interventions": interventions, "config": replace(CONFIG, epochs=2)}
    whole = tuning.tune(folder, tmp_path / "whole", **acting)
    return tuning.same(
        whole, killed_and_resumed(folder, tmp_path, monkeypatch, at=4, rehearsed=rehearsed, **acting)
    )


def killed_and_resumed(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    at: int = 5,
    rehearsed: int = 0,
    **options: Any,
) -> Any:
    """What a tune leaves that was killed at a step and went on; before it there is a rehearsal of so many."""
    made = 0

    def kill(step: int, steps: int) -> None:
        nonlocal made
        made += 1
        if made == rehearsed + at:
            assert step == at
            raise KeyboardInterrupt

    monkeypatch.setattr(finetune, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    with pytest.raises(KeyboardInterrupt):
        tuning.tune(folder, tmp_path / "killed", on_step=kill, **options)
    assert list((tmp_path / "killed" / "checkpoints").glob("checkpoint-*"))
    steps: list[int] = []
    resumed = tuning.tune(folder, tmp_path / "killed", on_step=lambda step, _: steps.append(step), **options)
    assert 1 < steps[0] <= (rehearsed or at), "it goes on from a checkpoint"
    return resumed


def after_first(model: Any, ids: torch.Tensor) -> torch.Tensor:
    """The residual stream (T, d) as the second layer meets it."""
    met: list[torch.Tensor] = []
    layer = next(m for name, m in model.named_modules() if name.endswith("layers.1"))
    handle = layer.register_forward_pre_hook(lambda module, inputs: met.append(inputs[0][0]))
    with torch.no_grad():
        model(input_ids=ids)
    handle.remove()
    return met[0]
