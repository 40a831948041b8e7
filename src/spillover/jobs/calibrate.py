"""`spillover calibrate`: a few small tunes of a model -> how often it follows a rule, for its forecasts."""

import time
from collections.abc import Iterator
from dataclasses import replace
from math import isfinite
from pathlib import Path
from typing import Any

from spillover.cells.cell import Weights
from spillover.cells.compute import locate
from spillover.cells.plan import carry_out
from spillover.errors import TrainingError
from spillover.implication.asking import ask_stated
from spillover.implication.calibration import FEWEST_RULES, Calibration, Evidence
from spillover.implication.rates import evidence
from spillover.jobs.audit import pooled
from spillover.jobs.audit_plan import plan_audit
from spillover.jobs.calibrations import keep, known_as, place_of
from spillover.jobs.priors import priors
from spillover.knowledge.schema import KnowledgeBase
from spillover.knowledge.training import TrainingTable
from spillover.knowledge.trials import trials
from spillover.llm.names import DEFAULT_MODEL
from spillover.llm.settings import FineTuneConfig
from spillover.outcome import outcome
from spillover.runs.files import plain
from spillover.runs.progress import Progress, silent

HOUR = 3600.0


def calibrate(
    model: str = DEFAULT_MODEL, *, budget: float = HOUR, progress: Progress = silent
) -> dict[str, Any]:
    """Tune a model on the built-in trials, one after another while the budget lasts, and keep what it did.

    `budget` is in seconds: no tune is begun that would end after it, going by the seconds that an example
    took so far; the first two always are. Settings are those of an audit by default. All is kept in the
    cache under the model's identity, so another call goes on from there; from its second table on there
    is a calibration, which `forecast(model=...)` finds by the same name.

    Returns the document of `spillover calibrate --json`. Raises TrainingError for a budget that is no time,
    ModelError, and RunError where nothing can be written.
    """
    if not (isfinite(budget) and budget > 0):
        raise TrainingError(f"the budget must be a time above 0 s, got {budget:g}")
    started = time.monotonic()
    weights = locate(model, log=lambda line: progress(line, 0, 0))
    identity = weights.identity
    found, examples = list[Evidence](), 0
    tables = trials()
    progress("tables", 0, len(tables))
    for done, kb in enumerate(tables):
        spent = time.monotonic() - started
        if done > 1 and spent + spent / examples * len(kb.triples) > budget:
            break
        found += measure(kb, weights, place_of(identity), progress)
        examples += len(kb.triples)
        progress("tables", done + 1, len(tables))
        if done:
            keep(Calibration(model=known_as(model), identity=identity, evidence=tuple(found)))
    calibration = Calibration(model=known_as(model), identity=identity, evidence=tuple(found))
    return {
        "model": calibration.model,
        "identity": identity,
        "rules": calibration.rules,
        "evidence": plain(calibration.evidence),
        "error": calibration.error,
        "error_asked": calibration.error_asked,
        "intervals": calibration.rules >= FEWEST_RULES,
        "seconds": time.monotonic() - started,
    }


def measure(
    kb: KnowledgeBase, weights: Weights, place: Path, progress: Progress = silent
) -> Iterator[Evidence]:
    """Tune the model on a table whose rules draw no bridges; of each rule what was to be expected, and what
    came. Cells that the place has are not computed again. Raises the reason where the tune fails.
    """
    plan = plan_audit(kb, model=weights.name, seeds=None, settings=FineTuneConfig(), progress=progress)
    _, tune = plan.folders(place)
    for error in carry_out([tune], progress=progress).values():
        raise error
    scores, _ = pooled(plan, place)
    table = TrainingTable.whole(kb)
    measured = outcome(scores, kb.rules)["rules"]
    stated = ask_stated(table)
    own = priors(table, stated, weights, place=place, progress=progress)
    for rule, asked, its, of_rule in zip(kb.rules, stated, own, measured, strict=True):
        rate = of_rule["top1"]["after"]
        yield evidence(
            replace(asked, prior=its), name=rule.name, relations=len(table.patterns.relations), rate=rate
        )
