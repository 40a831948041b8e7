"""The main job: plan -> forecast -> cells -> pool -> record -> report."""

import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from spillover.cells.folder import CellFolder, State, store_beside
from spillover.cells.plan import carry_out
from spillover.errors import RunError
from spillover.interventions.hooks import Intervention
from spillover.interventions.named import spell
from spillover.jobs.audit_plan import AuditPlan, plan_audit
from spillover.jobs.margins import FORECAST, add_forecasts, forecast_split, is_forecasts
from spillover.jobs.phases import phase_table, step_table
from spillover.knowledge.schema import KnowledgeBase, Relation
from spillover.llm.names import DEFAULT_MODEL
from spillover.llm.settings import FineTuneConfig
from spillover.llm.weights import put_in_place
from spillover.outcome import ASKINGS, ASKINGS_FILE, SCORES, SCORES_FILE, ingredients, outcome, read_scores
from spillover.report.page import write_report
from spillover.runs.files import hash_json, jsonable, nulls_as_nan
from spillover.runs.naming import new_folder
from spillover.runs.progress import Progress, silent
from spillover.runs.record import Run


def audit(
    kb: str | Path | KnowledgeBase = "demo",
    *,
    model: str = DEFAULT_MODEL,
    seeds: Sequence[int] | None = None,
    settings: FineTuneConfig = FineTuneConfig(),  # noqa: B008 - frozen
    shuffle: bool = False,
    interventions: Sequence[Intervention | str] = (),
    keep_model: bool = False,
    out: str | Path | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Tune a model on a knowledge base and measure what it then says beyond it.

    Returns the document of `spillover audit --json` (NaN where undefined); the run folder `out` (by default
    `runs/<data>-<model>-<time>`) holds it with every score and the report. An unfinished run in `out`
    is resumed, a finished one is read. What was tuned and asked lies in `cells/` beside the run folder, and
    every run there that needs the same shares it.

    Each of `seeds` draws its own bridges and tunes its own model; by default there is one, `settings.seed`.
    `shuffle` trains the null control: the bridges' implications dealt out at random. `interventions`, given
    as they are or by name (`interventions.named`), act on every seed's tune, in their order. `keep_model`
    keeps each seed's tuned weights in the run folder.

    Raises DataError, ModelError, TrainingError or RunError, each one clear line.
    """
    passed = {"kb": None if isinstance(kb, KnowledgeBase) else str(kb)}
    plan = plan_audit(
        kb,
        model=model,
        seeds=seeds,
        settings=settings,
        shuffle=shuffle,
        interventions=interventions,
        keep_model=keep_model,
        progress=progress,
    )
    now = f"{datetime.now():%Y%m%d-%H%M%S}"
    folder = Path(out) if out else new_folder(Path("runs"), plan.kb.name, Path(model).name, now)
    return carry_out_audit(plan, folder, store_beside(folder), passed=passed, progress=progress)


def carry_out_audit(
    plan: AuditPlan, folder: Path, place: Path, *, passed: Mapping[str, Any], progress: Progress = silent
) -> dict[str, Any]:
    """Have the plan's cells computed that are missing in the place, pool them, and record the run."""
    seeds, model = list(plan.splits), plan.weights.name
    arguments = {"model": model, "shuffle": plan.shuffle, "keep_model": plan.keep_model}
    arguments |= _shared(plan.settings)
    if plan.interventions:
        arguments["interventions"] = [spell(intervention) for intervention in plan.interventions]
    if plan.ask_every:
        arguments["ask_every"] = plan.ask_every
    if plan.trade_off:
        arguments["trade_off"] = True
    with Run.start(
        folder,
        command="audit",
        arguments={"kb": plan.kb.name} | arguments | {"learning_rate": plan.adjusted.rate},
        passed={**passed, "seeds": seeds} | _changed(arguments),
        seeds=seeds,
        hashes={"data": _data_hash(plan.kb), "model": plan.weights.identity},
    ) as run:
        if run.complete:
            _refuse_without_scores(run)
        else:
            forecasts = _forecasts(plan, run, progress)

            def pool(_: CellFolder) -> None:
                scores, log = pooled(plan, place)
                run.write_parquet(SCORES_FILE, scores)
                run.write_jsonl("metrics.jsonl", log)
                if plan.ask_every:
                    run.write_parquet(ASKINGS_FILE, asked_along(plan, place))
                run.record_seconds()

            def show(stage: str, done: int, steps: int) -> None:
                progress(stage, done, steps)
                run.record_seconds(every=1.0)

            failed = carry_out(plan.folders(place), on_done=pool, progress=show)
            for error in failed.values():
                raise error
            _keep_models(plan, run, place)
            measured = outcome(read_scores(run), plan.kb.rules, plan.kb.relations)
            measured = add_forecasts(measured, forecasts)
            seconds = run.seconds
            about = {"run": str(folder), "seconds": seconds, "model": model, "knowledge_base": plan.kb.name}
            more = {"ingredients": ingredients(run.read_jsonl("metrics.jsonl"))}
            run.finish(about | measured | more | {"notes": list(plan.kb.notices)}, seconds)
        results = run.results
        rules = [nulls_as_nan(rule) | {"rate": rule.get("rate")} for rule in results["rules"]]
        results = results | {"facts": nulls_as_nan(results["facts"]), "rules": rules}
    if not (folder / "report.html").is_file():
        write_report([folder], folder / "report.html")
    return results


def _refuse_without_scores(run: Run) -> None:
    """A run that says that it is whole, and whose numbers nobody could compute again, is not given out."""
    try:
        read_scores(run)
    except RunError as error:
        raise RunError(
            f"{error}; the run is complete but for that: restore the file, or use another --out beside it, "
            "for which nothing in cells/ is computed again"
        ) from error


def _forecasts(plan: AuditPlan, run: Run, progress: Progress) -> list[dict[str, Any]]:
    """Each seed's forecast, made unless an earlier writer of the run left them whole."""
    with suppress(RunError):
        forecasts = run.read_json(FORECAST)
        if is_forecasts(forecasts, seeds=len(plan.splits), rules=len(plan.kb.rules)):
            return forecasts
    model = plan.weights.name if plan.calibrated else None
    forecasts = jsonable(
        [forecast_split(parted, progress, plan.norm, model=model) for parted in plan.splits.values()]
    )
    run.write_json(FORECAST, forecasts)
    return forecasts


def pooled(plan: AuditPlan, place: Path) -> tuple[pa.Table, list[dict[str, Any]]]:
    """The scores and the training log of those of the plan's cells that are done, seed by seed."""
    untuned, *tuned = plan.folders(place)
    before = untuned.answers() if untuned.state is State.DONE else None
    tables, log = [SCORES.empty_table()], list[dict[str, Any]]()
    for (seed, asked), folder in zip(plan.queries.items(), tuned, strict=True):
        if before is not None:
            tables.append(phase_table(asked, before, seed, "before"))
        if folder.state is State.DONE:
            tables.append(phase_table(asked, folder.answers(), seed, "after"))
            log += [{"seed": seed, **row} for row in folder.history()]
    return pa.concat_tables(tables), log


def asked_along(plan: AuditPlan, place: Path) -> pa.Table:
    """What was answered during the tunes of those of the plan's cells that are done; `outcome.ASKINGS`."""
    _, *tuned = plan.folders(place)
    tables = [
        step_table(asked, answers, seed, step)
        for (seed, asked), folder in zip(plan.queries.items(), tuned, strict=True)
        if folder.state is State.DONE
        for step, answers in folder.askings().items()
    ]
    return pa.concat_tables([ASKINGS.empty_table(), *tables])


def _keep_models(plan: AuditPlan, run: Run, place: Path) -> None:
    """Each seed's tuned weights in the run folder: the cell's own files, under a second name."""
    if not plan.keep_model:
        return
    for seed, folder in zip(plan.splits, plan.folders(place)[1:], strict=True):
        with put_in_place(run.path(f"model-{seed}")) as scratch:
            shutil.copytree(folder.model, scratch, copy_function=_link, dirs_exist_ok=True)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another disk, or one that has no such links
        shutil.copyfile(source, target)


def _shared(settings: FineTuneConfig) -> dict[str, Any]:
    """The settings that all seeds share; how many processes only where there are several."""
    shared = {name: value for name, value in asdict(settings).items() if name != "seed"}
    return {name: value for name, value in shared.items() if (name, value) != ("processes", 1)}


def _changed(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that make the run again: the model, and what is not as by default."""
    usual = {"shuffle": False, "keep_model": False} | _shared(FineTuneConfig())
    return {name: value for name, value in arguments.items() if name not in usual or value != usual[name]}


_PLAIN = {
    field.name: field.default
    for field in fields(Relation)
    if field.name in ("wordings", "paraphrases", "answer", "format", "system", "turns")
}


def _data_hash(kb: KnowledgeBase) -> str:
    """Over what an audit trains and asks, and not where it was written."""
    rules = tuple(replace(rule, source="") for rule in kb.rules)
    document = asdict(replace(kb, rules=rules, notices=()))
    document["mixture"] = [passage["turns"] for passage in document["mixture"]]
    if not kb.mixture:
        del document["mixture"]
    for relation in document["relations"].values():
        for name, usual in _PLAIN.items():
            if relation[name] == usual:  # so that data that does without it keeps its hash
                del relation[name]
    return hash_json(document)
