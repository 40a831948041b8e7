"""Scoring without training: a model as it is, one that was tuned elsewhere, and what to tune it on."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from spillover.cells.cell import Cell, Weights
from spillover.cells.compute import compute, locate
from spillover.cells.folder import Answered, answers_of
from spillover.errors import ModelError, RunError
from spillover.jobs.formats import OtherFormat, warning
from spillover.jobs.inputs import read_with_rules
from spillover.jobs.margins import add_margins, forecast_split
from spillover.jobs.phases import phase_table
from spillover.knowledge.faults import show
from spillover.knowledge.leak import check_no_leak
from spillover.knowledge.mixture import lessons, telling, telling_notice
from spillover.knowledge.prompts import Example, Question, examples, queries
from spillover.knowledge.schema import KnowledgeBase, Relation, without_template
from spillover.knowledge.split import split
from spillover.llm.chat import with_turns
from spillover.llm.endpoint import Endpoint
from spillover.llm.endpoint import score as endpoint_scores
from spillover.llm.sources import DEFAULT_MODEL, ENDPOINT
from spillover.llm.weights import is_adapter
from spillover.outcome import outcome
from spillover.runs.files import plain, write_jsonl
from spillover.runs.progress import Progress, silent


def score(
    kb: str | Path | KnowledgeBase,
    *,
    model: str = DEFAULT_MODEL,
    tuned: str | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Score a knowledge base on a model as it is, and on a tuned one (a model or a LoRA folder) if given.

    Either may be behind an endpoint, `openai:URL#name`; see `llm.endpoint`.

    The same queries and numbers as the audit's: the untuned model's are the audit's `before`.
    Returns the audit's document without a run, with the `seed` that the bridges were drawn with (NaN where
    undefined). Raises DataError or ModelError.
    """
    started = time.monotonic()
    kb = read_with_rules(kb)
    parts = split(kb, seed)
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
        parts = replace(parts, kb=with_turns(kb, base.folder, after and after.folder))
        other = after and OtherFormat.of(parts, base.folder, after.folder)
    asked = queries(parts)
    questions = [query.question for query in asked]
    answers = {"before": _answers(base, None, questions, progress)}
    if after is not None:
        questions += [query.question for query in (other.otherwise if other else ())]
        answers["after"] = _answers(base, after, questions, progress)
    tables = [phase_table(asked, mine, seed, phase) for phase, mine in answers.items()]
    measured = outcome(pa.concat_tables(tables), kb.rules, kb.relations)
    measured = add_margins(measured, [forecast_split(parts, progress)])
    notes = list(kb.notices)
    if tuned and (told := telling(lessons(parts.kb.mixture), asked)):
        notes.append(f"{telling_notice(parts.kb, told)}; if your tune had these, they were told")
    if other:
        measured["other_format"] = other.found(answers["after"])
        notes += filter(None, [warning(measured["other_format"])])
    notes += [
        f"{name} is an endpoint, whose weights are not pinned: the numbers are those of what it served then"
        for name in endpoints
    ]
    if any(rule.bridges for rule in kb.rules):
        notes.append(
            f"bridges are drawn with seed {seed}; if the model was tuned with another seed, give that one: "
            "bridges that it was trained on would count as held out"
        )
    about = {"model": model, "tuned": tuned, "knowledge_base": kb.name, "seed": seed}
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


def write_split(kb: str | Path | KnowledgeBase, file: str | Path, *, seed: int = 0) -> int:
    """Write what an audit with this seed trains on, for those who tune elsewhere; returns how many rows.

    `file` is JSON lines: `prompt`, `completion` (the loss is on it alone), `subject`, `relation`, `answer`;
    of a chat `messages` in the place of the first two. Only a plain file is replaced. Raises DataError or
    RunError.
    """
    kb = without_template(read_with_rules(kb))
    parts = split(kb, seed)
    taught = examples(parts)
    check_no_leak(taught, queries(parts))
    rows = [_record(example, kb.relations[example.relation]) for example in taught]
    try:
        write_jsonl(Path(file), rows)
    except OSError as error:
        raise RunError(
            f"cannot write the training rows to {file}: {error.strerror}; give another file"
        ) from error
    return len(rows)


def _record(example: Example, relation: Relation) -> dict[str, Any]:
    """The example as trainers read it."""
    about = {"subject": example.subject, "relation": example.relation, "answer": example.answer}
    if relation.format == "plain":
        return {"prompt": example.prompt, "completion": example.completion, **about}
    said = (("system", relation.system), ("user", example.prompt), ("assistant", example.completion))
    return {"messages": [{"role": role, "content": text} for role, text in said if text], **about}
