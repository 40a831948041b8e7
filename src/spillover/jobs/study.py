"""`spillover reproduce` of a study: its audits, stage by stage, and the table that they make."""

from pathlib import Path
from typing import Any

from spillover.cells.folder import store_beside
from spillover.cells.plan import Executor
from spillover.errors import LabError, ModelError
from spillover.jobs.sweep import Done, carry_out_points, hashes_of, plan_points
from spillover.llm.sources import DEFAULT_MODEL
from spillover.reproduce.save import made_with, results_of, write_findings
from spillover.reproduce.study import RECIPES, Audited, Options, Study
from spillover.runs.files import jsonable
from spillover.runs.progress import Progress, silent
from spillover.runs.record import Run


def reproduce_study(
    study: Study,
    options: Options,
    *,
    executor: Executor | None = None,
    out: str | Path | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Have a study's audits computed and say what they show.

    `executor` says who computes the cells, as in `sweep`. Returns the document of `spillover reproduce
    --json`; its folder `out` (by default `runs/NAME`) has the table as table.csv (and table.tex, where the
    study has one) and on the page beside the chart, and a run folder for each audit. What was stopped goes on
    there; an audit that failed stops no other, and the next call tries it again.

    Raises ModelError where a model is not here, LabError for an unknown recipe, and what `sweep` raises.
    """
    if options.recipe not in RECIPES:
        raise LabError(f"there is no recipe {options.recipe!r}; it can be {', '.join(RECIPES)}")
    folder = Path(out) if out else Path("runs") / study.name
    points = study.stages[0](options, ())
    try:
        plans = plan_points(points, progress)
    except ModelError as error:
        if options.models == (DEFAULT_MODEL,) or options.models != study.options.models:
            raise
        raise ModelError(
            f"the paper's five models are not all here ({error}); --models {DEFAULT_MODEL} runs anywhere"
        ) from error
    settings = {
        "recipe": options.recipe,
        "left_open": options.how.left_open,
        "models": options.models,
        "data": options.data,
        "lora": options.lora,
    }
    kept = {"keep_model": True} if options.keep_model else {}
    place = store_beside(folder)
    with Run.start(
        folder,
        command="reproduce",
        arguments={"name": study.name, **settings, **kept},
        passed={"name": study.name},
        seeds=list(options.seeds),
        hashes=hashes_of(plans),
    ) as run:
        if run.complete:
            document = run.results
        else:
            done = Done()
            for stage in study.stages:
                if done.points:
                    points = stage(options, _audited(done, folder))
                    plans = plan_points(points, progress)
                done += carry_out_points(
                    points,
                    plans,
                    run,
                    place,
                    numbered_from=1 + len(done.points),
                    executor=executor,
                    progress=progress,
                )
            found = study.findings(options, _audited(done, folder))
            document = {
                **results_of(study.name, study.claim, settings, options.seeds, found),
                "rows": found.rows,
                "cells": done.cells,
                "failed": [audit for audit in done.audits if "failed" in audit],
                "seconds": run.seconds,
            }
            if found.rows:
                if study.latex:
                    run.write_text("table.tex", study.latex(found.rows))
                write_findings(run, found, document, study.table)
            done.end(run, document)
    return {"run": str(folder), **jsonable(document), **made_with(run)}


def _audited(done: Done, folder: Path) -> list[Audited]:
    """The audits that did not fail."""
    return [
        Audited(point=point, folder=folder / audit["run"], results=audit)
        for point, audit in zip(done.points, done.audits, strict=True)
        if "failed" not in audit
    ]
