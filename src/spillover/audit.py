"""The main job: split -> check -> forecast -> score -> tune -> score -> record -> report."""

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime
from math import nan
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pyarrow as pa

from spillover.errors import DataError, MarginError, RunError
from spillover.jobs.forecast import forecast
from spillover.knowledge.leak import check_no_leak
from spillover.knowledge.load import load as load_knowledge
from spillover.knowledge.prompts import Example, Query, examples, queries
from spillover.knowledge.schema import KnowledgeBase
from spillover.knowledge.split import Split, shuffle_implications, split
from spillover.llm import models
from spillover.llm.finetune import FineTuneConfig, finetune
from spillover.llm.score import score as score_queries
from spillover.llm.score import unscorable
from spillover.outcome import SCORES, outcome, score_table
from spillover.report.page import write_report
from spillover.runs.files import hash_json, nulls_as_nan, plain, write_jsonl
from spillover.runs.naming import new_folder
from spillover.runs.progress import Progress, silent
from spillover.runs.record import Run

_CHECKPOINTS = "checkpoints"
_FORECAST_SECONDS = 60.0


def audit(
    kb: str | Path | KnowledgeBase = "demo",
    *,
    model: str = models.DEFAULT_MODEL,
    seeds: Sequence[int] | None = None,
    settings: FineTuneConfig = FineTuneConfig(),  # noqa: B008 - frozen
    shuffle: bool = False,
    keep_model: bool = False,
    out: str | Path | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Tune a model on a knowledge base and measure what it then says beyond it.

    Returns the document of `spillover audit --json` (NaN where undefined); the run folder `out` (by default
    `runs/<data>-<model>-<time>`) holds it with every score and the report. An unfinished run in `out`
    is resumed, a finished one is read.

    Each of `seeds` draws its own bridges and tunes its own model; by default there is one, `settings.seed`.
    `shuffle` trains the null control: the bridges' implications dealt out at random. `keep_model`
    keeps each seed's tuned weights in the run folder.

    Raises DataError, ModelError, TrainingError or RunError, each one clear line.
    """
    passed = {"kb": None if isinstance(kb, KnowledgeBase) else str(kb)}
    kb, seeds = _knowledge(kb), _seeds(seeds, settings)
    splits = {seed: split(kb, seed) for seed in seeds}
    if shuffle:
        splits = {seed: shuffle_implications(one, seed) for seed, one in splits.items()}
    texts = {seed: (examples(one), queries(one)) for seed, one in splits.items()}
    for taught, asked in texts.values():
        check_no_leak(taught, asked)

    arguments = {"model": model, "shuffle": shuffle, "keep_model": keep_model} | _shared(settings)
    resolved = {"kb": kb.name} | arguments | {"learning_rate": settings.rate}
    weights = models.locate(model, log=lambda line: progress(line, 0, 0))
    hashes = {"data": _data_hash(kb), "model": models.identity(weights)}
    now = f"{datetime.now():%Y%m%d-%H%M%S}"
    folder = Path(out) if out else new_folder(Path("runs"), kb.name, Path(model).name, now)
    with Run.start(
        folder,
        command="audit",
        arguments=resolved,
        passed=passed | {"seeds": seeds} | _changed(arguments),
        seeds=seeds,
        hashes=hashes,
    ) as run:
        if not run.complete:
            if not run.path("forecast.json").exists():
                run.write_json("forecast.json", [_forecast(one, progress) for one in splits.values()])
            forecasts = run.read_json("forecast.json")
            table = _Phases(run)
            for seed, (taught, asked) in texts.items():
                if not table.has(seed, "after"):
                    seeded = replace(settings, seed=seed)
                    _tune_and_score(taught, asked, weights, seeded, keep_model, table, progress)
            shutil.rmtree(folder / _CHECKPOINTS, ignore_errors=True)
            measured = _with_margins(outcome(table.scores, kb.rules), forecasts)
            seconds = run.seconds
            about = {"run": str(folder), "seconds": seconds, "model": model, "knowledge_base": kb.name}
            run.finish(about | measured | {"notes": list(kb.notices)}, seconds)
        results = run.manifest["results"]
        results = results | {part: nulls_as_nan(results[part]) for part in ("facts", "rules")}
    if not (folder / "report.html").exists():
        write_report([folder], folder / "report.html")
    return results


def score(
    kb: str | Path | KnowledgeBase,
    *,
    model: str = models.DEFAULT_MODEL,
    tuned: str | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Score a knowledge base on a model as it is, and on a tuned one (a model or a LoRA folder) if given.

    The same queries and numbers as the audit's: the untuned model's are the audit's `before`.
    Returns the audit's document without a run, with the `seed` that the bridges were drawn with (NaN where
    undefined). Raises DataError or ModelError.
    """
    started = time.monotonic()
    kb = _knowledge(kb)
    parts = split(kb, seed)
    asked = queries(parts)
    weights = models.locate(model, log=lambda line: progress(line, 0, 0))
    tables = [_score(*models.load(weights), asked, seed, "before", progress)]
    if tuned is not None:
        folder = models.locate(tuned, log=lambda line: progress(line, 0, 0))
        pair = models.load(weights, tuned=folder, log=lambda line: progress(line, 0, 0))
        tables.append(_score(*pair, asked, seed, "after", progress))
    about = {"model": model, "tuned": tuned, "knowledge_base": kb.name, "seed": seed}
    measured = _with_margins(outcome(pa.concat_tables(tables), kb.rules), [_forecast(parts, progress)])
    notes = list(kb.notices)
    if any(rule.bridges for rule in kb.rules):
        notes.append(
            f"bridges are drawn with seed {seed}; if the model was tuned with another seed, give that one: "
            "bridges that it was trained on would count as held out"
        )
    return plain(about | {"seconds": time.monotonic() - started} | measured | {"notes": notes})


def write_split(kb: str | Path | KnowledgeBase, file: str | Path, *, seed: int = 0) -> int:
    """Write what an audit with this seed trains on, for those who tune elsewhere; returns how many rows.

    `file` is JSON lines: `prompt`, `completion` (the loss is on it alone), `subject`, `relation`, `answer`.
    Only a plain file is replaced. Raises DataError or RunError.
    """
    parts = split(_knowledge(kb), seed)
    rows = examples(parts)
    check_no_leak(rows, queries(parts))
    try:
        write_jsonl(Path(file), rows)
    except OSError as error:
        raise RunError(
            f"cannot write the training rows to {file}: {error.strerror}; give another file"
        ) from error
    return len(rows)


def _tune_and_score(
    taught: Sequence[Example],
    asked: Sequence[Query],
    weights: Path,
    settings: FineTuneConfig,
    keep_model: bool,
    table: "_Phases",
    progress: Progress,
) -> None:
    """One seed: score the untuned model, tune it, score it again, and record each as it is done."""
    seed = settings.seed
    net, tokenizer = models.load(weights)
    if not table.has(seed, "before"):
        table.add(_score(net, tokenizer, asked, seed, "before", progress))
    tuned = finetune(
        net,
        tokenizer,
        taught,
        settings,
        checkpoints=table.run.path(_CHECKPOINTS) / f"seed-{seed}",
        on_log=lambda history: table.log(seed, history),
        on_step=lambda done, steps: progress(f"tune, seed {seed}", done, steps),
    )
    if keep_model:
        models.save(tuned, tokenizer, table.run.path(f"model-{seed}"))
    table.add(_score(tuned, tokenizer, asked, seed, "after", progress))


class _Phases:
    """What a run has measured so far: the scores of each seed's phases, and the training log."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.scores = (
            run.read_parquet("scores.parquet")
            if run.path("scores.parquet").exists()
            else SCORES.empty_table()
        )
        self.metrics = run.read_jsonl("metrics.jsonl") if run.path("metrics.jsonl").exists() else []

    def has(self, seed: int, phase: str) -> bool:
        """Whether an earlier writer finished this phase."""
        done = set(zip(self.scores["seed"].to_pylist(), self.scores["phase"].to_pylist(), strict=True))
        return (seed, phase) in done

    def add(self, rows: pa.Table) -> None:
        """Record a finished phase."""
        self.scores = pa.concat_tables([self.scores, rows])
        self.run.write_parquet("scores.parquet", self.scores)
        self.run.record_seconds()

    def log(self, seed: int, history: Sequence[Mapping[str, Any]]) -> None:
        """Record a seed's whole training log so far."""
        others = [row for row in self.metrics if row["seed"] != seed]
        self.metrics = others + [{"seed": seed, **row} for row in history]
        self.run.write_jsonl("metrics.jsonl", self.metrics)
        self.run.record_seconds()


def _forecast(split: Split, progress: Progress) -> dict[str, Any]:
    """The forecast of what is trained; of a table that has none, only why."""
    try:
        return forecast(split, time_limit=_FORECAST_SECONDS, progress=progress)
    except (DataError, MarginError) as error:
        return {"rules": [{"margin": {"mean": nan}} for _ in split.kb.rules], "notes": [str(error)]}


def _with_margins(measured: dict[str, Any], forecasts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The outcome with each rule's mean forecast margin over the seeds, NaN where one is undefined."""
    for number, rule in enumerate(measured["rules"]):
        margins = [one["rules"][number]["margin"]["mean"] for one in forecasts]
        rule["forecast_margin"] = fmean(nan if margin is None else margin for margin in margins)
    return measured


def _knowledge(kb: str | Path | KnowledgeBase) -> KnowledgeBase:
    loaded = kb if isinstance(kb, KnowledgeBase) else load_knowledge(kb)
    if not loaded.rules:
        raise DataError(
            f"knowledge base {loaded.name} has no rules, so there is nothing to hold out; "
            "write a YAML file with `rules:` beside the table (see `docs/guide.md`)"
        )
    return loaded


def _seeds(seeds: Sequence[int] | None, settings: FineTuneConfig) -> list[int]:
    if seeds is None:
        return [settings.seed]
    if not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise DataError(f"seeds must be distinct whole numbers from 0 up, at least one, got {list(seeds)}")
    if settings.seed != FineTuneConfig.seed and list(seeds) != [settings.seed]:
        raise DataError(f"seeds are {list(seeds)} and settings.seed is {settings.seed}; give one of the two")
    return list(seeds)


def _shared(settings: FineTuneConfig) -> dict[str, Any]:
    """The settings that all seeds share."""
    return {name: value for name, value in asdict(settings).items() if name != "seed"}


def _changed(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that make the run again: the model, and what is not as by default."""
    usual = {"shuffle": False, "keep_model": False} | _shared(FineTuneConfig())
    return {name: value for name, value in arguments.items() if name not in usual or value != usual[name]}


def _data_hash(kb: KnowledgeBase) -> str:
    """Over everything but where things were written, so that a moved file stays the same data."""
    rules = tuple(replace(rule, source="") for rule in kb.rules)
    return hash_json(asdict(replace(kb, rules=rules, notices=())))


def _score(
    model: Any, tokenizer: Any, asked: Sequence[Query], seed: int, phase: str, progress: Progress
) -> pa.Table:
    stage = f"score {phase}, seed {seed}"
    logprobs = score_queries(model, tokenizer, asked, on_step=lambda done, all_: progress(stage, done, all_))
    reasons = [
        unscorable(tokenizer, query) if np.isnan(values).any() else [None] * len(values)
        for query, values in zip(asked, logprobs, strict=True)
    ]
    return score_table(asked, logprobs, reasons, seed=seed, phase=phase)
