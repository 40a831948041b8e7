"""Scoring without training: a model as it is, and one that was tuned elsewhere."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from spillover.cells.cell import Cell, Weights
from spillover.cells.compute import compute, locate
from spillover.cells.folder import Answered, answers_of
from spillover.errors import ModelError
from spillover.jobs.formats import OtherFormat, warning
from spillover.jobs.inputs import read_with_rules
from spillover.jobs.margins import add_forecasts, forecast_split
from spillover.jobs.phases import phase_table
from spillover.knowledge.faults import show
from spillover.knowledge.mixture import telling, telling_notice
from spillover.knowledge.prompts import Question, queries
from spillover.knowledge.schema import KnowledgeBase
from spillover.knowledge.split import split as split_by_seed
from spillover.knowledge.split import split_as
from spillover.knowledge.told import read_told
from spillover.llm.chat import with_turns
from spillover.llm.endpoint import Endpoint
from spillover.llm.endpoint import score as endpoint_scores
from spillover.llm.names import DEFAULT_MODEL
from spillover.llm.sources import ENDPOINT
from spillover.llm.weights import is_adapter
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

    Either may be behind an endpoint, `openai:URL#name`; see `llm.endpoint`.

    The same queries and numbers as the audit's: the untuned model's are the audit's `before`. `split` is a
    file that says who the bridges were in the tune (`knowledge.told`); without it they are those of `seed`.
    Returns the audit's document without a run, with `seed`, None where nothing was drawn by it, and `split`
    (NaN where undefined). Raises DataError or ModelError.
    """
    started = time.monotonic()
    kb = read_with_rules(kb)
    parts = split_by_seed(kb, seed) if split is None else split_as(kb, read_told(Path(split), kb))
    endpoints = [name for name in (model, tuned) if name and name.startswith(ENDPOINT)]
    for name in endpoints:
        _refuse_chats(kb, name)

    def found(name: str, base: Weights | Endpoint | None = None) -> Weights | Endpoint:
        if name.startswith(ENDPOINT):
            return Endpoint.of(name)
        weights = base if isinstance(base, Weights) else None
        return locate(name, lambda line: progress(line, 0, 0), base=weights)

    base = found(model)
    after = None if tuned is None else found(tuned, base)
    if isinstance(base, Endpoint) and isinstance(after, Weights) and is_adapter(after.folder):
        raise ModelError(
            f"{tuned} holds a LoRA adapter; give the weights of its base as --model, no endpoint"
        )
    other = None
    if isinstance(base, Weights) and not isinstance(after, Endpoint):
        asked_kb = replace(parts.kb, mixture=())  # which is not asked
        parts = replace(parts, kb=with_turns(asked_kb, base.folder, after and after.folder))
        other = after and OtherFormat.of(parts, base.folder, after.folder)
    asked = queries(parts)
    questions = [query.question for query in asked]
    answers = {"before": _answers(base, None, questions, progress)}
    if after is not None:
        questions += [query.question for query in (other.otherwise if other else ())]
        answers["after"] = _answers(base, after, questions, progress)
    tables = [phase_table(asked, mine, seed, phase) for phase, mine in answers.items()]
    measured = outcome(pa.concat_tables(tables), kb.rules, kb.relations)
    measured = add_forecasts(measured, [forecast_split(parts, progress)])
    notes = list(kb.notices)
    if tuned and (told := telling(kb.mixture, asked)):
        notes.append(f"{telling_notice(kb, told)}; if your tune had these, they were told")
    if untold := len(kb.triples) - len(parts.kb.triples) if split is not None else 0:
        notes.append(f"{untold} facts of the table are not in {split}, so who has them is not asked")
    if other:
        measured["other_format"] = other.found(answers["after"])
        notes += filter(None, [warning(measured["other_format"])])
    notes += [
        f"{name} is an endpoint, whose weights are not pinned: the numbers are those of what it served then"
        for name in endpoints
    ]
    if split is None and any(rule.bridges for rule in kb.rules):
        notes.append(
            f"bridges are drawn with seed {seed}; if the model was tuned with another seed, give that one, "
            "or its training file as --split: bridges that it was trained on would count as held out"
        )
    about = {"model": model, "tuned": tuned, "knowledge_base": kb.name}
    about |= {"seed": seed if split is None else None, "split": split}
    return plain(about | {"seconds": time.monotonic() - started} | measured | {"notes": notes})


def _answers(
    base: Weights | Endpoint,
    tuned: Weights | Endpoint | None,
    questions: Sequence[Question],
    progress: Progress,
) -> dict[Question, Answered]:
    """What the base answers, or the tuned model if there is one. Nothing is kept of either."""
    model = base if tuned is None else tuned
    if isinstance(model, Endpoint):
        once = sorted(set(questions))
        scored = endpoint_scores(
            model, once, on_step=lambda done, texts: progress(f"score, {model.name}", done, texts)
        )
        return {
            question: Answered(logprobs=logprobs, reasons=reasons)
            for question, (logprobs, reasons) in zip(once, scored, strict=True)
        }
    if isinstance(base, Endpoint):  # whose weights a whole model does not need
        base, tuned = model, None
    cell = Cell(weights=base, tuned=model if tuned else None, questions=tuple(questions))
    return answers_of(cell.questions, compute(cell, progress=progress))


def _refuse_chats(kb: KnowledgeBase, endpoint: str) -> None:
    """Raise ModelError for a chat, of which a server that completes texts does not say the template."""
    for relation in kb.relations.values():
        if relation.format == "chat":
            raise ModelError(
                f"relation {relation.name} is of format chat, and {show(endpoint)} does not say how it "
                "writes a chat's turns; score the model's weights, or set format: plain"
            )
