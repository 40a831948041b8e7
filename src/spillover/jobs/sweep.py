"""Many audits that share their cells: a grid of knowledge bases, models and settings, here or on Ray."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spillover.cells.apart import Processes
from spillover.cells.folder import CellFolder, store_beside
from spillover.cells.plan import Executor, carry_out, one_after_another
from spillover.errors import RunError, SpilloverError
from spillover.interventions.named import spell
from spillover.jobs.audit import carry_out_audit
from spillover.jobs.audit_plan import AuditPlan, plan_audit
from spillover.jobs.grid import SETTINGS, read_grid
from spillover.knowledge.schema import KnowledgeBase
from spillover.point import Point
from spillover.report.page import write_report
from spillover.runs.files import hash_json
from spillover.runs.naming import slug
from spillover.runs.progress import Progress, silent
from spillover.runs.record import Run


def sweep(
    spec: str | Path,
    *,
    executor: Executor | None = None,
    out: str | Path | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Run every audit of a grid, each cell that they share once, and report on all of them.

    `spec` is a YAML file; each of its keys is an argument of `audit` (`kb`, `model`, `seeds`, `shuffle`,
    `interventions` and the settings of `FineTuneConfig`), and where a list is given, every value is combined
    with every other; a list among the interventions is one value. Seeds are pooled, as in an audit.
    `executor` says who computes the cells: by default this process, else `cells.apart.Processes` or
    `cells.on_ray.OnRay`.

    Returns the document of `spillover sweep --json`. Its folder is `out`, by default `runs/<name>`; a sweep
    that was stopped goes on there, and a finished one is read. A cell that fails stops no other: its audits
    are reported as failed, and the next call tries it again. Raises DataError, ModelError or RunError.
    """
    grid = read_grid(Path(spec))
    plans = plan_points(grid.points, progress)
    folder = Path(out) if out else Path("runs") / slug(grid.name)
    place = store_beside(folder)
    with Run.start(
        folder,
        command="sweep",
        arguments={"name": grid.name, "grid": grid.values},
        passed={"spec": str(spec)},
        seeds=list(grid.seeds),
        hashes=hashes_of(plans),
    ) as run:
        if run.complete:
            return run.results
        done = carry_out_points(grid.points, plans, run, place, executor=executor, progress=progress)
        document = {"run": str(folder), "seconds": run.seconds, "cells": done.cells, "audits": done.audits}
        whole = [folder / audit["run"] for audit in done.audits if "failed" not in audit]
        if whole:
            write_report(whole, folder / "report.html")
        done.end(run, document)
    return document


def plan_points(
    points: Sequence[Point], progress: Progress = silent, *, keep_model: bool = False
) -> list[AuditPlan]:
    """What the audit of each point will have done; `keep_model` keeps each seed's tuned weights."""
    return [
        plan_audit(
            point.kb,
            model=point.model,
            seeds=point.seeds,
            settings=point.settings,
            shuffle=point.shuffle,
            interventions=point.interventions,
            ask_every=point.ask_every,
            trade_off=point.trade_off,
            keep_model=keep_model,
            progress=progress,
        )
        for point in points
    ]


def hashes_of(plans: Sequence[AuditPlan]) -> dict[str, str]:
    """What a run of these plans is known by: the cells that they need."""
    cells = {cell.identity for plan in plans for cell in (plan.untuned, *plan.tuned.values())}
    return {"cells": hash_json(sorted(cells))}


@dataclass(frozen=True, kw_only=True)
class PointsDone:
    """What became of points."""

    cells: dict[str, int]
    """How many are done and how many failed."""
    audits: list[dict[str, Any]]
    """The entry of each point, as the document of `spillover sweep --json` has it."""
    failure: str | None
    """The reason of the first cell that failed."""

    def and_then(self, more: "PointsDone") -> "PointsDone":
        """Both together."""
        return PointsDone(
            cells={end: count + more.cells[end] for end, count in self.cells.items()},
            audits=[*self.audits, *more.audits],
            failure=self.failure or more.failure,
        )

    def end(self, run: Run, document: Mapping[str, Any]) -> None:
        """Finish the run with its document, or mark it as failed."""
        if self.failure:
            run.fail(f"{self.cells['failed']} cells failed; the first: {self.failure}")
        else:
            run.finish(document, run.seconds)


NOTHING_DONE = PointsDone(cells={"done": 0, "failed": 0}, audits=[], failure=None)
"""Of no points."""


def carry_out_points(
    points: Sequence[Point],
    plans: Sequence[AuditPlan],
    run: Run,
    place: Path,
    *,
    first: int = 1,
    executor: Executor | None = None,
    progress: Progress = silent,
) -> PointsDone:
    """Have the missing cells computed in a place, and each audit whose cells are done recorded in the run.

    The audits' folders are numbered, from `first` up.
    """
    cells = [cell for plan in plans for cell in plan.folders(place)]
    failed = carry_out(
        cells,
        executor=executor or one_after_another,
        on_done=lambda _: run.record_seconds(),
        progress=progress,
    )
    return PointsDone(
        cells={"done": len(set(cells)) - len(failed), "failed": len(failed)},
        audits=list(_audits(points, plans, run.folder, place, first, failed, progress)),
        failure=str(next(iter(failed.values()))) if failed else None,
    )


def _audits(
    points: Sequence[Point],
    plans: Sequence[AuditPlan],
    folder: Path,
    place: Path,
    first: int,
    failed: Mapping[CellFolder, SpilloverError],
    progress: Progress,
) -> Iterator[dict[str, Any]]:
    """Each point's entry of the document; its audit is recorded where all of its cells are done."""
    digits = max(2, len(str(first - 1 + len(plans))))
    for number, (point, plan) in enumerate(zip(points, plans, strict=True), first):
        name = f"{number:0{digits}}-{slug(plan.kb.name)}-{slug(Path(point.model).name)}"
        kb = None if isinstance(point.kb, KnowledgeBase) else point.kb
        entry = {"kb": kb, **_described(point), "knowledge_base": plan.kb.name, "varied": dict(point.varied)}
        reasons = [str(failed[cell]) for cell in plan.folders(place) if cell in failed]
        if reasons:
            yield {**entry, "failed": reasons[0]}
            continue
        results = carry_out_audit(plan, folder / name, place, passed={"kb": kb}, progress=progress)
        yield {**entry, "run": name, "facts": results["facts"], "rules": results["rules"]}


def _described(point: Point) -> dict[str, Any]:
    settings = {name: getattr(point.settings, name) for name in SETTINGS}
    acting = [spell(intervention) for intervention in point.interventions]
    return {
        "model": point.model,
        "shuffle": point.shuffle,
        **settings,
        **({"interventions": acting} if acting else {}),
    }


def workers(count: int) -> Executor:
    """The executor of this machine: this process for one worker, else so many processes. Raises RunError."""
    if count < 1:
        raise RunError(f"workers must be at least 1, got {count}")
    return one_after_another if count == 1 else Processes(count)
