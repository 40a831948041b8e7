"""Many audits that share their cells: a grid of knowledge bases, models and settings, here or on Ray."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import product
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from spillover.cells.apart import Processes
from spillover.cells.folder import CELLS, CellFolder
from spillover.cells.plan import Executor, carry_out, one_after_another
from spillover.errors import DataError, RunError, SpilloverError
from spillover.jobs.audit import AuditPlan, carry_out_audit, plan_audit
from spillover.knowledge.faults import read_text, show, suggest
from spillover.llm.settings import FineTuneConfig
from spillover.llm.sources import DEFAULT_MODEL
from spillover.report.page import write_report
from spillover.runs.files import hash_json
from spillover.runs.naming import slug
from spillover.runs.progress import Progress, silent
from spillover.runs.record import Run

_SETTINGS = tuple(field.name for field in fields(FineTuneConfig) if field.name != "seed")
_KEYS = ("name", "kb", "model", "seeds", "shuffle", *_SETTINGS)
_MOST = 1000  # audits of one sweep; more is a slip in the grid


@dataclass(frozen=True, kw_only=True)
class Point:
    """One audit of the grid."""

    kb: str
    model: str
    settings: FineTuneConfig
    shuffle: bool
    varied: Mapping[str, Any]
    """What tells it from the other points: the entries of the grid with several values."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """What a sweep is about."""

    name: str
    seeds: tuple[int, ...]
    points: tuple[Point, ...]


def sweep(
    spec: str | Path,
    *,
    executor: Executor | None = None,
    out: str | Path | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Run every audit of a grid, each cell that they share once, and report on all of them.

    `spec` is a YAML file; each of its keys is an argument of `audit` (`kb`, `model`, `seeds`, `shuffle`, and
    the settings of `FineTuneConfig`), and where a list is given, every value is combined with every other.
    Seeds are pooled, as in an audit. `executor` says who computes the cells: by default this process, else
    `cells.apart.Processes` or `cells.on_ray.OnRay`.

    Returns the document of `spillover sweep --json`. Its folder is `out`, by default `runs/<name>`; a sweep
    that was stopped goes on there, and a finished one is read. A cell that fails stops no other: its audits
    are reported as failed, and the next call tries it again. Raises DataError, ModelError or RunError.
    """
    grid = read_grid(Path(spec))
    plans = [
        plan_audit(
            point.kb,
            model=point.model,
            seeds=grid.seeds,
            settings=point.settings,
            shuffle=point.shuffle,
            progress=progress,
        )
        for point in grid.points
    ]
    folder = Path(out) if out else Path("runs") / slug(grid.name)
    place = folder.absolute().parent / CELLS
    cells = [cell for plan in plans for cell in plan.folders(place)]
    with Run.start(
        folder,
        command="sweep",
        arguments={"name": grid.name, "points": [_described(point) for point in grid.points]},
        passed={"spec": str(spec)},
        seeds=list(grid.seeds),
        hashes={"cells": hash_json(sorted({cell.cell.identity for cell in cells}))},
    ) as run:
        if run.complete:
            return run.manifest["results"]
        failed = carry_out(
            cells,
            executor=executor or one_after_another,
            on_done=lambda _: run.record_seconds(),
            progress=progress,
        )
        audits = list(_audits(grid, plans, folder, place, failed, progress))
        document = {
            "run": str(folder),
            "seconds": run.seconds,
            "cells": {"done": len(set(cells)) - len(failed), "failed": len(failed)},
            "audits": audits,
        }
        whole = [folder / audit["run"] for audit in audits if "failed" not in audit]
        if whole:
            write_report(whole, folder / "report.html")
        if failed:
            run.fail(f"{len(failed)} cells failed; the first: {next(iter(failed.values()))}")
        else:
            run.finish(document, run.seconds)
    return document


def _audits(
    grid: Grid,
    plans: Sequence[AuditPlan],
    folder: Path,
    place: Path,
    failed: Mapping[CellFolder, SpilloverError],
    progress: Progress,
) -> Iterator[dict[str, Any]]:
    """Each point's entry of the document; its audit is recorded where all of its cells are done."""
    digits = len(str(len(plans)))
    for number, (point, plan) in enumerate(zip(grid.points, plans, strict=True), 1):
        name = f"{number:0{digits}}-{slug(plan.kb.name)}-{slug(Path(point.model).name)}"
        entry = {**_described(point), "knowledge_base": plan.kb.name, "varied": dict(point.varied)}
        reasons = [str(failed[cell]) for cell in plan.folders(place) if cell in failed]
        if reasons:
            yield {**entry, "failed": reasons[0]}
            continue
        results = carry_out_audit(plan, folder / name, place, passed={"kb": point.kb}, progress=progress)
        yield {**entry, "run": name, "facts": results["facts"], "rules": results["rules"]}


def _described(point: Point) -> dict[str, Any]:
    settings = {name: getattr(point.settings, name) for name in _SETTINGS}
    return {"kb": point.kb, "model": point.model, "shuffle": point.shuffle, **settings}


def read_grid(spec: Path) -> Grid:
    """The grid that a YAML file spans.

    Raises DataError for what is no grid, and TrainingError for settings out of range.
    """
    try:
        entries = yaml.safe_load(read_text(spec))
    except yaml.YAMLError as error:
        raise DataError(f"{spec}: not readable as YAML ({' '.join(str(error).split())})") from None
    if not isinstance(entries, dict) or not entries.keys() <= set(_KEYS):
        stray = (
            next((key for key in entries if key not in _KEYS), None) if isinstance(entries, dict) else None
        )
        said = "must be a mapping" if stray is None else f"unknown key {show(stray)}"
        raise DataError(f"{spec}: {said}; allowed are {', '.join(_KEYS)}{suggest(str(stray), _KEYS)}")
    name, seeds = entries.pop("name", spec.stem), entries.pop("seeds", [0])
    values = {key: value if isinstance(value, list) else [value] for key, value in entries.items()}
    for key, several in values.items():
        if not several:
            raise DataError(f"{spec}: {key} is an empty list; give a value, or leave the key out")
    values = {"kb": ["demo"], "model": [DEFAULT_MODEL], "shuffle": [False]} | values
    if math.prod(map(len, values.values())) > _MOST:
        raise DataError(f"{spec}: the grid has more than {_MOST:,} points; give shorter lists")
    varied = [key for key, choices in values.items() if len(choices) > 1]
    choices = [dict(zip(values, choice, strict=True)) for choice in product(*values.values())]
    return Grid(
        name=_checked(spec, "name", name, str),
        seeds=_checked(spec, "seeds", seeds, tuple[int, ...]),
        points=tuple(_point(spec, choice, varied) for choice in choices),
    )


def _point(spec: Path, values: Mapping[str, Any], varied: Sequence[str]) -> Point:
    """One combination; a knowledge base or model that is a file is meant from where the spec is."""
    kb, model = (_beside(spec, _checked(spec, key, values[key], str)) for key in ("kb", "model"))
    settings = {name: values[name] for name in _SETTINGS if name in values}
    return Point(
        kb=kb,
        model=model,
        settings=_checked(spec, "settings", settings, FineTuneConfig),
        shuffle=_checked(spec, "shuffle", values["shuffle"], bool),
        varied={key: values[key] for key in varied},
    )


def _beside(spec: Path, name: str) -> str:
    path = spec.parent / name
    return str(path) if path.exists() else name


def _checked(spec: Path, key: str, value: Any, kind: Any) -> Any:
    try:
        return TypeAdapter(kind).validate_python(value, strict=False)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        where = ".".join(map(str, (key, *fault["loc"])))
        raise DataError(f"{spec}: {where}: {fault['msg']}, got {show(fault['input'])}") from None


def workers(count: int) -> Executor:
    """The executor of this machine: this process for one worker, else so many processes. Raises RunError."""
    if count < 1:
        raise RunError(f"workers must be at least 1, got {count}")
    return one_after_another if count == 1 else Processes(count)
