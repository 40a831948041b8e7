"""The forecast: a table of triples -> what fine-tuning on it will teach beyond it, before any training."""

import time
from collections.abc import Callable
from math import inf, isfinite, log
from pathlib import Path
from typing import Any

from spillover.errors import MarginError, RunError
from spillover.implication.advice import Advice, advise
from spillover.implication.asking import AskedRule, ask_associated, ask_stated, too_few_to_tell
from spillover.implication.discovery import associations
from spillover.implication.margins import Fit, FitSettings, fit
from spillover.implication.rates import Rates
from spillover.implication.results import (
    Discovery,
    Forecast,
    RuleForecast,
    collect_notes,
    count_knowledge,
    describe_calibration,
    describe_solver,
    document,
    forecast_rule,
    rank,
    subject_margins,
)
from spillover.jobs.calibrations import calibration_of
from spillover.knowledge.load import load_patterns
from spillover.knowledge.schema import KnowledgeBase
from spillover.knowledge.split import Split, split
from spillover.knowledge.training import TrainingTable
from spillover.llm.names import DEFAULT_MODEL
from spillover.margin.problem import Norm
from spillover.margin.solution import SolverState
from spillover.runs.files import write_parquet
from spillover.runs.progress import Progress, silent

ALPHA = 0.05
"""Chance that a table in which no relations go together shows any rule."""

_FEW = 20  # pairs with too few bridges to tell that are forecast, those with the most
_ADVISED = 10  # discovered rules that get advice, those with the largest margins


def forecast(
    kb: str | Path | KnowledgeBase | Split = "demo",
    *,
    model: str | None = DEFAULT_MODEL,
    norm: Norm = "nuclear",
    penalty: float | None = None,
    tol: float = 1e-4,
    time_limit: float = inf,
    seed: int = 0,
    advice: bool = False,
    target: float | None = None,
    queries: str | Path | None = None,
    ask_model: bool = False,
    progress: Progress = silent,
) -> dict[str, Any]:
    """The margin of every held-out implication that training on the table will leave the model with.

    Where `model` is calibrated (the default model is, others by `calibrate`), each rule has the rate at which
    it will follow it, too; nothing of the model itself is needed, but with `ask_model`: then it is asked,
    untuned, what it already says of stated rules, by which rates are nearer. None: no rates, as for the
    Frobenius norm.

    Returns the document of `spillover forecast --json` (NaN where undefined). `norm`, `penalty`, `tol` and
    `time_limit` are those of `implication.margins.FitSettings`. Where a rule draws its bridges, the table is
    split by `seed` as an audit does it; a table without rules has those that `associations` discovers.
    `advice` adds to each rule (of discovered ones, the first ten) what would bring its mean margin below
    `target` (a wanted one: up to it). `queries` is a Parquet file to write, a row for each held-out subject
    and rule.

    Raises `DataError` for a table that cannot be read or is too large, `MarginError` for settings out of
    range, `RunError` where `queries` cannot be written, and `ModelError` where the model cannot be asked.
    """
    started = time.monotonic()
    settings = FitSettings(norm=norm, penalty=penalty, tol=tol, time_limit=time_limit)
    if target is not None and not isfinite(target):
        raise MarginError(f"the target must be a number, got {target}; margins of training are 1 or more")
    progress("read the table", 0, 1)
    table = _resolve(kb, seed)
    progress("read the table", 1, 1)
    solved = fit(table.patterns, settings, progress=_closing(progress, tol))
    calibration = calibration_of(model) if model is not None and norm == "nuclear" else None
    unlike = _unlike(table)
    rates = None
    if calibration and not unlike:
        rates = Rates(calibration=calibration, relations=len(table.patterns.relations))
    if table.rules:
        stated = ask_stated(table)
        if rates and ask_model:
            from spillover.jobs.priors import with_priors  # which loads torch

            stated = with_priors(table, stated, rates.calibration, progress)
        rules, discovery = [(rule, forecast_rule(solved, rule, rates)) for rule in stated], None
    else:
        rules, discovery = _discover(solved, rates, seed, progress)
    advisable = rules if table.rules else rules[:_ADVISED]
    advised = (
        [_advise(solved, rule, settings, target, rates, progress) for rule, _ in advisable] if advice else []
    )
    asked = [rule for rule, _ in rules]
    if queries is not None:
        _write_margins(Path(queries), solved, asked, rates)
    result = Forecast(
        knowledge=count_knowledge(table),
        solver=describe_solver(solved, tol),
        rules=tuple(entry for _, entry in rules),
        advice=tuple(advised),
        discovery=discovery,
        calibration=describe_calibration(rates, asked),
        notes=(
            *collect_notes(solved, asked, rates),
            *([f"no rate is forecast: {unlike}"] if calibration and unlike else []),
        ),
    )
    return document(result, time.monotonic() - started)


def _resolve(kb: str | Path | KnowledgeBase | Split, seed: int) -> TrainingTable:
    """What is trained on: a split's training triples where a rule draws its bridges, else the whole table."""
    known = load_patterns(kb) if isinstance(kb, str | Path) else kb
    if isinstance(known, KnowledgeBase):
        drawn = any(rule.bridges for rule in known.rules)
        known = split(known, seed) if drawn else TrainingTable.whole(known)
    return TrainingTable.of_split(known) if isinstance(known, Split) else known


def _unlike(table: TrainingTable) -> str:
    """What no calibration was measured with; empty where that is nothing."""
    if table.mixed:
        return "calibrations are made without other text beside the table"
    for name, relation in table.asked.items():
        if relation.format == "chat":
            return f"calibrations are made with plain sentences, and {name} is asked as a chat"
        if relation.space == "none":
            return f"calibrations are made with spaces between words, and {name} is asked without"
        if relation.wordings:
            return f"calibrations are made with one wording of a relation, and {name} is trained in several"
    return ""


def _discover(
    solved: Fit, rates: Rates | None, seed: int, progress: Progress
) -> tuple[list[tuple[AskedRule, RuleForecast]], Discovery]:
    """The rules that the table shows, and how they were looked for."""
    patterns = solved.patterns
    pairs = associations(
        patterns,
        alpha=ALPHA,
        seed=seed,
        progress=lambda done, all_: progress("look for rules", done, all_),
    )
    together = [pair for pair in pairs if pair.adjusted <= ALPHA]
    few = too_few_to_tell(patterns, pairs)
    discovery = Discovery(
        tested=sum(pair.testable for pair in pairs),
        together=len(together),
        untested=len(few),
        rules=tuple(entry for _, entry in rank(solved, ask_associated(patterns, few[:_FEW]), rates)),
    )
    return rank(solved, ask_associated(patterns, together), rates), discovery


def _advise(
    solved: Fit,
    rule: AskedRule,
    settings: FitSettings,
    target: float | None,
    rates: Rates | None,
    progress: Progress,
) -> Advice | None:
    """What would change the rule; None where nobody is held out."""
    if not rule.questions.pattern.size:
        return None
    stage = f"advice on {solved.patterns.relations[rule.implication]}"
    steps = 0

    def count_step() -> None:
        nonlocal steps
        steps += 1
        progress(stage, steps, steps + 1)

    advice = advise(solved, rule, target=target, settings=settings, rates=rates, progress=count_step)
    if steps:
        progress(stage, steps, steps)
    return advice


def _write_margins(path: Path, solved: Fit, rules: list[AskedRule], rates: Rates | None) -> None:
    try:
        write_parquet(path, subject_margins(solved, rules, rates))
    except OSError as error:
        raise RunError(
            f"cannot write the margins to {path}: {error.strerror}; give --queries another file"
        ) from error


def _closing(progress: Progress, tol: float) -> Callable[[SolverState], None]:
    """Tell how far the relative gap has closed, in hundredths of its logarithm."""
    furthest = 0

    def tell(now: SolverState) -> None:
        nonlocal furthest
        if 0 < now.relative_gap < 1:
            furthest = max(furthest, min(100, int(100 * log(now.relative_gap) / log(min(tol, 0.5)))))
        elif now.relative_gap <= 0:
            furthest = 100
        progress("solve", furthest, 100)

    return tell
