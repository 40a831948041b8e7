"""`spillover spectrum`: what an audit's tunes changed inside, and whether spillover goes with low rank."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from spillover.cells.compute import locate
from spillover.errors import RunError
from spillover.knowledge.schema import Rule
from spillover.outcome import outcome, read_scores
from spillover.report.page import write_report
from spillover.report.spectrum import SPECTRUM
from spillover.runs import files
from spillover.runs.correlation import rank_correlation
from spillover.runs.files import jsonable
from spillover.runs.lock import lock
from spillover.runs.progress import Progress, silent
from spillover.runs.views import RunView, read_run
from spillover.spectrum.change import CHANGES, OV, changes

_SIZES = {
    "effective_rank": "effective rank of the weights' changes",
    "heads_effective_rank": "effective rank of the heads' output-value changes",
    "frobenius": "size of the change (Frobenius norm)",
}
_SPILLOVER = ("top1", "mean_rank")


def spectrum(runs: Sequence[str | Path], *, progress: Progress = silent) -> dict[str, Any]:
    """Measure what the tunes of audits with kept weights changed, and set their spillover beside it.

    `runs` are run folders of audits, or of sweeps and reproductions that hold such. Each audit's folder keeps
    the numbers of every weight and head (`spectrum.CHANGES`) in spectrum.parquet, and its report shows them;
    what is there is not computed again. Returns the document of `spillover spectrum --json`: `cells`, one for
    each seed of each audit, with what changed and how much it spills over, and `correlations` over them.

    Raises RunError for runs without kept weights, and ModelError where the base is not here or damaged.
    """
    views = [view for run in runs for view in _audits(Path(run))]
    cells: list[dict[str, Any]] = []
    notes: list[str] = []
    modules: list[dict[str, Any]] = []
    for view in views:
        table, told = _measured(view, progress)
        notes += [note for note in told if note not in notes]
        write_report([view.folder], view.folder / "report.html")
        cells += _cells(view, table)
        modules += [{"run": str(view.folder), **row} for row in by_module(table)]
    correlations = [
        {"of": of, "with": about, **both(cells, of, about)} for of in _SIZES for about in _SPILLOVER
    ]
    return jsonable({"cells": cells, "modules": modules, "correlations": correlations, "notes": notes})


def _audits(folder: Path) -> list[RunView]:
    """The complete audits of a folder that kept their weights. Raises RunError where there is none."""
    view = read_run(folder)
    if view.manifest.get("command") in ("sweep", "reproduce"):
        held = [read_run(path.parent) for path in sorted(folder.glob("*/manifest.json"))]
    else:
        held = [view]
    found = [each for each in held if each.status == "complete" and any(each.folder.glob("model-*"))]
    if not found:
        raise RunError(
            f"{folder} has no tuned weights; run it again with --keep-model and another --out beside it"
        )
    return found


def _measured(view: RunView, progress: Progress) -> tuple[pa.Table, list[str]]:
    """The run's `CHANGES` of all seeds, read where they are there, and notes for people."""
    path = view.folder / SPECTRUM
    if path.exists():
        table = files.read_parquet(path)
        if table.schema.equals(CHANGES):
            return table, []
    arguments = view.manifest["arguments"]
    base = locate(arguments["model"], log=lambda line: progress(line, 0, 0))
    if base.identity != view.manifest["hashes"]["model"]:
        raise RunError(f"{view.folder} tuned another {arguments['model']} than the one that is here")
    tables, notes = [], list[str]()
    for seed in view.manifest["seeds"]:
        stage = f"spectrum, {view.folder.name}, seed {seed}"
        tuned = view.folder / f"model-{seed}"
        table, told = changes(
            base.folder,
            tuned,
            seed=seed,
            on_step=lambda done, steps, stage=stage: progress(stage, done, steps),
        )
        tables.append(table)
        notes = told
    whole = pa.concat_tables(tables)
    with lock(view.folder), files.writing(path):
        files.write_parquet(path, whole)
    return whole, notes


def _cells(view: RunView, table: pa.Table) -> Iterator[dict[str, Any]]:
    """What each seed's tune changed, and the spillover of each rule."""
    results, scores = view.results or {}, read_scores(view)
    rules = [Rule(fact=r["fact"], implication=r["implication"], kind=r["kind"]) for r in results["rules"]]
    for seed in view.manifest["seeds"]:
        mine = table.filter(pc.field("seed") == seed)
        weights, heads = (mine.filter(pc.field("module") != OV), mine.filter(pc.field("module") == OV))
        measured = outcome(scores.filter(pc.field("seed") == seed), rules)
        for rule in measured["rules"]:
            yield {
                "run": str(view.folder),
                "model": results["model"],
                "data": results["knowledge_base"],
                "rule": f"{rule['fact']} -> {rule['implication']}",
                "seed": seed,
                "frobenius": float(np.sqrt((weights["frobenius"].to_numpy() ** 2).sum())),
                "effective_rank": _mean_rank(weights),
                "heads_effective_rank": _mean_rank(heads),
                **{name: rule[name]["after"] for name in _SPILLOVER},
                "chance": rule["top1"]["null"],
            }


def by_module(table: pa.Table) -> list[dict[str, Any]]:
    """The changes of each kind of weight, over the layers, the mean of the seeds; a share is NaN where
    nothing changed.
    """
    seeds = max(1, len(table["seed"].unique()))
    rows = []
    for module in table["module"].unique().to_pylist():
        mine = table.filter(pc.field("module") == module)
        rows.append(
            {
                "module": module,
                "parts": mine.num_rows // seeds,
                "share": float(mine["share"].to_numpy().sum()) / seeds,
                "frobenius": float(np.sqrt((mine["frobenius"].to_numpy() ** 2).sum() / seeds)),
                "nuclear": float(mine["nuclear"].to_numpy().sum()) / seeds,
                "effective_rank": _mean_rank(mine),
                "full_rank": mine["most"][0].as_py(),
            }
        )
    return rows


def _mean_rank(table: pa.Table) -> float:
    """The mean effective rank of matrices, each by its share of the change; NaN where there are none."""
    matrices = table.filter((pc.field("columns") > 1) & pc.field("effective_rank").is_valid())
    share = matrices["share"].to_numpy()
    return float(share @ matrices["effective_rank"].to_numpy() / share.sum()) if share.sum() else float("nan")


def both(cells: Sequence[dict[str, Any]], of: str, about: str) -> dict[str, Any]:
    """The rank correlation over all cells, and within data sets: of what is left of each when its data set's
    mean is taken off, dealt out within it.
    """
    x, y = (np.array([cell[name] for cell in cells], dtype=float) for name in (of, about))
    blocks = np.array([f"{cell['model']}, {cell['data']}, {cell['rule']}" for cell in cells])
    return {
        "all": _two_sided(x, y, np.zeros(len(x))),
        "within": _two_sided(_centred(x, blocks), _centred(y, blocks), blocks),
    }


def _centred(values: np.ndarray, blocks: np.ndarray) -> np.ndarray:
    centred = values.copy()
    for block in np.unique(blocks):
        centred[blocks == block] -= values[blocks == block].mean()
    return centred


def _two_sided(x: np.ndarray, y: np.ndarray, strata: np.ndarray) -> dict[str, Any]:
    with_it, against = rank_correlation(x, y, strata), rank_correlation(x, -y, strata)
    p = 2 * min(with_it.p_value, against.p_value)
    return {
        "rho": with_it.rho,
        "low": with_it.low,
        "high": with_it.high,
        "p_value": min(1.0, p) if p == p else p,
        "cells": with_it.pairs,
    }
