"""`spillover spectrum`: what the kept tunes of audits changed inside, and whether spillover goes with it."""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from spillover.cells.cell import Weights
from spillover.cells.compute import locate
from spillover.errors import RunError
from spillover.outcome import outcome, read_scores, rules_of
from spillover.report.page import write_report
from spillover.report.verdict import outcome as judged
from spillover.runs import files
from spillover.runs.correlation import rank_correlation
from spillover.runs.progress import Progress, silent
from spillover.runs.record import RunView, list_runs, read_run
from spillover.runs.stats import holm
from spillover.runs.views import checked, holds_run
from spillover.spectrum.measure import measure
from spillover.spectrum.table import (
    HEADS,
    SPECTRA,
    SPECTRUM_FILE,
    by_kind,
    by_layer,
    of_seed,
    read_spectra,
    whole,
)

DOCUMENT = "spectrum.json"
"""The file beside the table with the run's entry of the document."""

CHANGES = ("effective_rank", "ratio", "ov_rank", "ov_ratio")
"""Numbers of a tune's change (`spectrum.table.whole`) that are correlated with its spillover."""

SPILLOVER = ("top1", "mean_rank")

_ELSEWHERE = "copy the run to where you may write"


def spectrum(runs: Sequence[str | Path], *, progress: Progress = silent) -> dict[str, Any]:
    """Measure what each seed's tune changed in the weights, of audits whose tuned weights were kept.

    `runs` are run folders of audits, or folders with such run folders in them (a sweep's). Each audit's
    folder gets spectrum.parquet (a row for each weight and head), spectrum.json and a new report.html with a
    section on it. Seeds that were measured before are read.

    Returns the document of `spillover spectrum --json` (NaN where undefined): `runs`, an entry for each
    audit; `cells`, for each seed the numbers of its change beside its spillover; `correlations` of the two
    over all cells and within data sets.

    Raises RunError for what is no finished audit or has no kept weights, and ModelError where weights cannot
    be read, or the base is another model than the one that was tuned.
    """
    started = time.monotonic()
    found = cache(lambda name: locate(name, log=lambda line: progress(line, 0, 0)))
    entries: list[dict[str, Any]] = []
    cells: dict[str, dict[str, Any]] = {}
    for view in _audits(runs):
        rows = _measured(view, found, progress)
        entries.append(_recorded(view, rows))
        for cell in _cells(view, rows):
            cells.setdefault(cell.pop("tune"), cell)  # a tune that two runs share counts once
    document = {
        "runs": entries,
        "cells": list(cells.values()),
        "correlations": _correlations(list(cells.values())),
        "seconds": time.monotonic() - started,
    }
    return files.plain(document)


def _audits(paths: Sequence[str | Path]) -> list[RunView]:
    """The finished audits with kept weights, each once. Raises RunError for a path that has none."""
    if not paths:
        raise RunError("a spectrum needs at least one run folder; `spillover runs` lists them")
    views: dict[Path, RunView] = {}
    for path in map(files.usable, paths):
        here = [read_run(path)] if holds_run(path) else []
        if not here or here[0].manifest.get("command", "audit") != "audit":
            here = [view for view in list_runs(path) if view.manifest.get("command") == "audit"][::-1]
            if not here:
                raise RunError(f"{path} is no audit and holds none; `spillover runs` lists them")
        kept = [view for view in here if view.status == "complete" and any(_tuned(view).values())]
        if not kept:
            raise _unfit(here[0])
        for view in kept:
            checked(view.folder, view.manifest)
            views.setdefault(view.folder.resolve(), view)
    return list(views.values())


def _tuned(view: RunView) -> dict[int, Path | None]:
    """The folder of each seed's tuned weights, None where there is none."""
    folders = {seed: view.path(f"model-{seed}") for seed in view.manifest.get("seeds", [])}
    return {seed: folder if folder.is_dir() else None for seed, folder in folders.items()}


def _unfit(view: RunView) -> RunError:
    if view.status != "complete":
        return RunError(f"{view.folder} is {view.status}; finish the audit first, with the same command")
    return RunError(
        f"{view.folder} keeps no tuned weights (model-SEED); run the audit again with --keep-model and "
        "another --out beside it: nothing of it but the tunes is computed again"
    )


def _measured(view: RunView, found: Any, progress: Progress) -> list[dict[str, Any]]:
    """The rows of all seeds, each recorded as soon as it is measured."""
    identity, name = (view.manifest.get(part, {}).get("model") for part in ("hashes", "arguments"))
    wanted = SPECTRA.with_metadata({"base": str(identity), "version": "1"})
    rows: list[dict[str, Any]] = []
    with suppress(RunError):  # missing, or damaged: it is made anew
        table = read_spectra(view)
        if table.schema.metadata == wanted.metadata:
            rows = table.to_pylist()
    done = {row["seed"] for row in rows}
    for seed, folder in _tuned(view).items():
        if seed in done:
            continue
        if folder is None:
            raise RunError(f"{view.path(f'model-{seed}')} is not there; restore it, or run the audit again")
        base: Weights = found(str(name))
        if base.identity != identity:
            raise RunError(
                f"{view.folder} was tuned from {name} with the hash {str(identity)[:12]}, and {base.folder} "
                f"has {base.identity[:12]}; get the weights that it was tuned from"
            )
        stage = f"seed {seed}, {view.folder.name}"
        mine = measure(
            base.folder,
            folder,
            on_step=lambda step, steps, stage=stage: progress(stage, step, steps),
            log=lambda line: progress(line, 0, 0),
        )
        rows += [{"seed": seed, **row} for row in mine]
        with files.writing(view.path(SPECTRUM_FILE), _ELSEWHERE):
            files.write_parquet(view.path(SPECTRUM_FILE), pa.Table.from_pylist(rows, schema=wanted))
    return rows


def _recorded(view: RunView, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The run's entry of the document, which is also written into its folder, and its report anew."""
    notes = [] if rows else ["no weight was changed"]
    if rows and not any(row["kind"] == HEADS for row in rows):
        notes.append(
            "the heads' output-value products are left out: no weights named v_proj and o_proj of an "
            "attention were changed"
        )
    entry = {
        "run": str(view.folder),
        **{name: (view.results or {}).get(name) for name in ("model", "knowledge_base")},
        "seeds": [{"seed": seed, **whole(of_seed(rows, seed))} for seed in view.manifest["seeds"]],
        "kinds": by_kind(rows),
        "layers": by_layer(rows),
        "notes": notes,
    }
    with files.writing(view.path(DOCUMENT), _ELSEWHERE):
        files.write_json(view.path(DOCUMENT), entry)
    write_report([view.folder], view.path("report.html"))
    return entry


def _cells(view: RunView, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each seed's change beside its spillover: means over its rules of top-1 and mean rank less their chance.

    The mean rank is reversed, so that both grow with spillover. A rule whose facts or bridges were not
    learned counts nothing.
    """
    scores, results = read_scores(view), view.results or {}
    rules = rules_of(results["rules"])
    settings = {name: view.manifest.get(name) for name in ("arguments", "hashes")}
    cells = []
    for seed in view.manifest["seeds"]:
        measured = outcome(scores.filter(pc.field("seed") == seed), rules)["rules"]
        known = [rule for rule in measured if judged(rule).is_known]
        beyond = {
            "top1": [rule["top1"]["after"] - rule["top1"]["null"] for rule in known],
            "mean_rank": [rule["mean_rank"]["null"] - rule["mean_rank"]["after"] for rule in known],
        }
        cells.append(
            {
                "tune": files.hash_json([settings, seed]),
                "run": str(view.folder),
                "block": f"{results['knowledge_base']}, {results['model']}",
                "seed": seed,
                **{name: float(np.mean(values)) if values else np.nan for name, values in beyond.items()},
                **whole(of_seed(rows, seed)),
            }
        )
    return cells


def _correlations(cells: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """An entry for each number of the change and each of spillover, over all cells and within data sets."""
    entries = []
    for change in CHANGES:
        for measure_ in SPILLOVER:
            changes, spilt = ([cell[name] for cell in cells] for name in (change, measure_))
            blocks = [cell["block"] for cell in cells]
            scopes = {
                scope: vars(rank_correlation(changes, spilt, blocks, within=scope == "within"))
                for scope in ("all", "within")
            }
            entries.append({"change": change, "spillover": measure_, **scopes})
    for scope in ("all", "within"):
        adjusted = holm([entry[scope]["p_value"] for entry in entries]).tolist()
        for entry, p in zip(entries, adjusted, strict=True):
            entry[scope]["p_adjusted"] = p
    return entries
