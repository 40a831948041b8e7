"""`spillover reproduce table-1`: a grid of audits, each model on each data set, and the table they make."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from spillover.cells.folder import store_beside
from spillover.cells.plan import Executor
from spillover.errors import LabError, ModelError
from spillover.jobs.grid import Grid, Point
from spillover.jobs.sweep import carry_out_grid, hashes_of, plan_grid
from spillover.llm.sources import DEFAULT_MODEL
from spillover.reproduce.figure import Row
from spillover.reproduce.save import made_with, results_of, write_findings
from spillover.reproduce.table_1 import (
    CLAIM,
    DATA,
    HEADINGS,
    MODELS,
    NAME,
    RECIPES,
    Recipe,
    cells,
    findings,
    latex,
    row,
)
from spillover.runs.files import jsonable
from spillover.runs.progress import Progress, silent
from spillover.runs.record import Run


def table_1(
    *,
    models: Sequence[str] = MODELS,
    data: Sequence[str] = DATA,
    seeds: Sequence[int] = (0, 1, 2),
    lora: int | None = None,
    recipe: str = "ours",
    keep_model: bool = False,
    executor: Executor | None = None,
    out: str | Path | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Tune and ask every model on every data set, and set what they answer beside the paper's mean ranks.

    `recipe` is one of `reproduce.table_1.RECIPES`; `lora` tunes adapters of that rank at their own learning
    rate; `keep_model` keeps the tuned weights in the run folders. `executor` says who computes the cells, as
    in `sweep`. Returns the document of `spillover reproduce table-1 --json`; its folder `out` (by default
    `runs/table-1`) has the table as table.csv, table.tex and on the page beside the chart, and a run folder
    for each audit. What was stopped goes on there; an audit that failed stops no other, and the next call
    tries it again.

    Raises ModelError where a model is not here, LabError for an unknown recipe, and what `sweep` raises.
    """
    if recipe not in RECIPES:
        raise LabError(f"there is no recipe {recipe!r}; it can be {', '.join(RECIPES)}")
    how = _with_adapters(RECIPES[recipe], lora)
    grid = Grid(
        name=NAME,
        seeds=tuple(seeds),
        values={"model": list(models), "kb": list(data)},
        points=tuple(
            Point(kb=kb, model=model, settings=how.settings, shuffle=False, varied={"kb": kb, "model": model})
            for model in models
            for kb in data
        ),
    )
    try:
        plans = plan_grid(grid, progress, keep_model=keep_model)
    except ModelError as error:
        if tuple(models) != MODELS:
            raise
        raise ModelError(
            f"the paper's five models are not all here ({error}); --models {DEFAULT_MODEL} runs anywhere"
        ) from error
    folder = Path(out) if out else Path("runs") / NAME
    place = store_beside(folder)
    settings = {"recipe": recipe, "left_open": how.left_open, "models": models, "data": data, "lora": lora}
    kept = {"keep_model": True} if keep_model else {}
    with Run.start(
        folder,
        command="reproduce",
        arguments={"name": NAME, **settings, **kept},
        passed={"name": NAME},
        seeds=list(seeds),
        hashes=hashes_of(plans),
    ) as run:
        if run.complete:
            document = run.results
        else:
            done = carry_out_grid(grid, plans, run, place, executor=executor, progress=progress)
            rows = list(_rows(grid, done.audits))
            found = findings(rows)
            document = {
                **results_of(NAME, CLAIM, settings, seeds, found),
                "rows": rows,
                "cells": done.cells,
                "failed": [audit for audit in done.audits if "failed" in audit],
                "seconds": run.seconds,
            }
            if rows:
                run.write_text("table.tex", latex(rows))
                write_findings(run, found, document, [HEADINGS, *map(cells, rows)])
            done.end(run, document)
    return {"run": str(folder), **jsonable(document), **made_with(run)}


def _rows(grid: Grid, audits: Sequence[Mapping[str, Any]]) -> Iterator[Row]:
    """The table's rows: each rule of the audits that are done."""
    for audit in audits:
        for rule in audit.get("rules", ()):
            yield row(audit["model"], audit["knowledge_base"], grid.seeds, rule)


def _with_adapters(recipe: Recipe, lora: int | None) -> Recipe:
    """The recipe for adapters of that rank: they start from a product of zero and have their own rate."""
    if lora is None:
        return recipe
    adapters = f"adapters, which the paper has none of: rank {lora}, at their own learning rate"
    settings = replace(recipe.settings, lora=lora, learning_rate=None)
    return replace(recipe, settings=settings, left_open=(*recipe.left_open, adapters))
