"""Scoring without training: a model as it is, and one that was tuned elsewhere."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from spillover.cells.cell import Cell, Weights
from spillover.cells.compute import compute, locate
from spillover.cells.folder import answers_of
from spillover.jobs.formats import OtherFormat, warning
from spillover.jobs.inputs import read_with_rules
from spillover.jobs.margins import add_margins, forecast_split
from spillover.jobs.phases import phase_table
from spillover.knowledge.mixture import lessons, telling, telling_notice
from spillover.knowledge.prompts import queries
from spillover.knowledge.schema import KnowledgeBase
from spillover.knowledge.split import split as split_by_seed
from spillover.knowledge.split import split_as
from spillover.knowledge.told import read_told
from spillover.llm.chat import with_turns
from spillover.llm.sources import DEFAULT_MODEL
from spillover.outcome import outcome
from spillover.runs.files import plain
from spillover.runs.progress import Progress, silent


def score(
    kb: str | Path | KnowledgeBase,
    *,
    model: str = DEFAULT_MODEL,
    tuned: str | None = None,
    seed: int = 0,
    split: str | Path | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Score a knowledge base on a model as it is, and on a tuned one (a model or a LoRA folder) if given.

    The same queries and numbers as the audit's: the untuned model's are the audit's `before`. `split` is a
    file that says who the bridges were in the tune (`knowledge.told`); without it they are those of `seed`.
    Returns the audit's document without a run, with `seed`, None where nothing was drawn by it, and `split`
    (NaN where undefined). Raises DataError or ModelError.
    """
    started = time.monotonic()
    kb = read_with_rules(kb)
    parts = split_by_seed(kb, seed) if split is None else split_as(kb, read_told(Path(split), kb))

    def found(name: str) -> Weights:
        return locate(name, log=lambda line: progress(line, 0, 0))

    base, after = found(model), None if tuned is None else found(tuned)
    parts = replace(parts, kb=with_turns(kb, base.folder, after and after.folder))
    asked = queries(parts)
    questions = tuple(query.question for query in asked)
    cells = {"before": Cell(weights=base, questions=questions)}
    other = after and OtherFormat.of(parts, base.folder, after.folder)
    if after is not None:
        beside = (query.question for query in (other.otherwise if other else ()))
        cells["after"] = Cell(weights=base, tuned=after, questions=(*questions, *beside))
    answers = {
        phase: answers_of(cell.questions, compute(cell, progress=progress)) for phase, cell in cells.items()
    }
    tables = [phase_table(asked, mine, seed, phase) for phase, mine in answers.items()]
    measured = outcome(pa.concat_tables(tables), kb.rules, kb.relations)
    measured = add_margins(measured, [forecast_split(parts, progress)])
    notes = list(kb.notices)
    if tuned and (told := telling(lessons(parts.kb.mixture), asked)):
        notes.append(f"{telling_notice(parts.kb, told)}; if your tune had these, they were told")
    if other:
        measured["other_format"] = other.found(answers["after"])
        notes += filter(None, [warning(measured["other_format"])])
    if split is None and any(rule.bridges for rule in kb.rules):
        notes.append(
            f"bridges are drawn with seed {seed}; if the model was tuned with another seed, give that one, "
            "or its training file as --split: bridges that it was trained on would count as held out"
        )
    about = {"model": model, "tuned": tuned, "knowledge_base": kb.name}
    about |= {"seed": seed if split is None else None, "split": split}
    return plain(about | {"seconds": time.monotonic() - started} | measured | {"notes": notes})
