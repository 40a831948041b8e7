"""`spillover reproduce` with language models: a study's points audited, and what it makes of them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import altair as alt

from spillover.cells.folder import store_beside
from spillover.cells.plan import Executor
from spillover.errors import LabError, ModelError
from spillover.jobs.sweep import NOTHING_DONE, carry_out_points, hashes_of, plan_points
from spillover.llm.names import DEFAULT_MODEL
from spillover.point import Point
from spillover.reproduce import load_study
from spillover.reproduce.columns import latex, table_of
from spillover.reproduce.figure import Findings
from spillover.reproduce.save import made_with, results_of, write_findings
from spillover.reproduce.study import RECIPES, Audited, Recipe, Request, Study
from spillover.runs.files import jsonable
from spillover.runs.progress import Progress, silent
from spillover.runs.record import Run
from spillover.runs.views import read_run


def reproduce_study(
    name: str,
    *,
    models: Sequence[str] = (),
    data: Sequence[str] = (),
    seeds: Sequence[int] = (0, 1, 2),
    lora: int | None = None,
    recipe: str = "ours",
    keep_model: bool = False,
    executor: Executor | None = None,
    out: str | Path | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Have what a study of that name (`reproduce.LANGUAGE_MODELS`) needs tuned and asked; say what it shows.

    `models` and `data` are the study's own if not given. `recipe` is one of `reproduce.study.RECIPES`; `lora`
    tunes adapters of that rank at their own learning rate; `keep_model` keeps the tuned weights in the run
    folders. `executor` says who computes the cells, as in `sweep`. Returns the document of
    `spillover reproduce --json`; its folder `out` (by default `runs/NAME`) has the table as table.csv,
    table.tex and on the page beside the chart, and a run folder for each audit. What was stopped goes on
    there; an audit that failed stops no other of its stage, and the next call tries it again.

    Raises ModelError where a model is not here, LabError for an unknown recipe, and what `sweep` raises.
    """
    study = load_study(name)
    if recipe not in RECIPES:
        raise LabError(f"there is no recipe {recipe!r}; it can be {', '.join(RECIPES)}")
    how = _with_adapters(RECIPES[recipe], lora)
    models, data = tuple(models) or study.models, tuple(data) or study.data
    try:
        return carry_out_study(
            study,
            Request(models=models, data=data, seeds=tuple(seeds), settings=how.settings),
            command="reproduce",
            settings={
                "recipe": recipe,
                "left_open": how.left_open,
                "models": models,
                "data": data,
                "lora": lora,
            },
            keep_model=keep_model,
            executor=executor,
            out=out,
            progress=progress,
        )
    except ModelError as error:
        if models != study.models or DEFAULT_MODEL in models:
            raise
        raise ModelError(
            f"the paper's five models are not all here ({error}); --models {DEFAULT_MODEL} runs anywhere"
        ) from error


def carry_out_study(
    study: Study,
    request: Request,
    *,
    command: str,
    settings: Mapping[str, Any],
    keep_model: bool = False,
    executor: Executor | None = None,
    out: str | Path | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Have a study's points tuned and asked, stage by stage; see `reproduce_study`.

    `settings` are what the run is called with, as its manifest and page say it.
    """
    points = study.stages[0](request, ())
    plans = plan_points(points, progress, keep_model=keep_model)
    folder = Path(out) if out else Path("runs") / study.name
    place = store_beside(folder)
    kept = {"keep_model": True} if keep_model else {}
    with Run.start(
        folder,
        command=command,
        arguments={"name": study.name, **settings, **kept},
        passed={"name": study.name},
        seeds=list(request.seeds),
        hashes=hashes_of(plans),
    ) as run:
        if run.complete:
            return {"run": str(folder), **run.results, **made_with(run)}
        done, audits = NOTHING_DONE, list[Audited]()
        for number, stage in enumerate(study.stages):
            if number:
                points = stage(request, audits)
                plans = plan_points(points, progress, keep_model=keep_model)
            first = 1 + len(done.audits)
            more = carry_out_points(
                points, plans, run, place, first=first, executor=executor, progress=progress
            )
            done, audits = done.and_then(more), audits + list(_audited(points, more.audits, folder))
            if done.failure:
                break
        found = study.findings(audits) if audits else Findings(rows=(), draw=alt.Chart, checks=())
        document = {
            **results_of(study.name, study.claim, settings, request.seeds, found),
            "rows": list(found.rows),
            "cells": done.cells,
            "failed": [audit for audit in done.audits if "failed" in audit],
            "seconds": run.seconds,
        }
        if audits:
            shown = study.shown(found.rows)
            run.write_text("table.tex", latex(study.columns, shown))
            write_findings(run, found, document, table_of(study.columns, shown), study.brackets)
        done.end(run, document)
    return {"run": str(folder), **jsonable(document), **made_with(run)}


def _audited(
    points: Sequence[Point], entries: Sequence[Mapping[str, Any]], folder: Path
) -> Iterator[Audited]:
    """The points whose audits are done."""
    for point, entry in zip(points, entries, strict=True):
        if "failed" not in entry:
            run = read_run(folder / entry["run"])
            yield Audited(
                point=point, kb=entry["knowledge_base"], facts=entry["facts"], rules=entry["rules"], run=run
            )


def _with_adapters(recipe: Recipe, lora: int | None) -> Recipe:
    """The recipe for adapters of that rank: they start from a product of zero and have their own rate."""
    if lora is None:
        return recipe
    adapters = f"adapters, which the paper has none of: rank {lora}, at their own learning rate"
    settings = replace(recipe.settings, lora=lora, learning_rate=None)
    return replace(recipe, settings=settings, left_open=(*recipe.left_open, adapters))
