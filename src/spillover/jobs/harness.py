"""Queries -> tasks of lm-evaluation-harness: YAML and JSON lines, without any code.

A task is `multiple_choice` and its `acc` the share of queries whose right answer has the largest
log-likelihood: what we call top-1, as long as no candidate begins another. Where one does, we take from
"Java" what goes on to "JavaScript"; the harness has no setting for that, so the task's alias says so.
All texts are columns of the JSON lines, so none is read as a template.
"""

import glob
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from spillover.errors import DataError, RunError
from spillover.knowledge.faults import show
from spillover.knowledge.prompts import Kind, Query
from spillover.knowledge.schema import KnowledgeBase
from spillover.runs import files
from spillover.runs.naming import slug

_KINDS: dict[Kind, str] = {"held_out": "held out", "paraphrase": "in other words", "bridge": "bridges"}
"""What is asked of a rule, and how a table of results calls it."""


_DATE = re.compile(r"\d{4}-\d\d-\d\d([T ].*)?")


@dataclass(frozen=True, kw_only=True)
class Task:
    """Queries of one kind."""

    name: str
    """As `--tasks` names it."""
    alias: str
    """As a table of results shows it, with what its reader must know."""
    queries: Sequence[Query]


def tasks(kb: KnowledgeBase, asked: Iterable[Query]) -> list[Task]:
    """A task for each kind of query of each rule, in the rules' order, and one for the facts of them all."""
    asked, found = list(asked), list[Task]()
    chat = "--apply_chat_template" if _format(kb) == "chat" else ""

    def add(queries: list[Query], alias: str, *parts: str) -> None:
        name = "_".join(("spillover", *map(slug, parts)))
        twins = sum(task.name.startswith(name) for task in found)  # alike but for what `slug` takes
        name += f"_{twins + 1}" if twins else ""
        relations = dict.fromkeys(query.relation for query in queries)
        told = [chat, *(_begun(kb, relation) for relation in relations)]
        alias += "".join(f" ({each})" for each in told if each)
        if queries:
            found.append(Task(name=name, alias=alias, queries=queries))

    for number, rule in enumerate(kb.rules):
        for kind, words in _KINDS.items():
            its = [query for query in asked if query.rule == number and query.kind == kind]
            parts = (kb.name, rule.fact, rule.implication, kind)
            add(its, f"{rule.name}, {rule.kind}: {words}", *parts)
    add([query for query in asked if query.kind == "fact"], "facts", kb.name, "facts")
    return found


def write_tasks(folder: Path, kb: KnowledgeBase, tasks: Sequence[Task]) -> dict[str, Any]:
    """Write the tasks and their group into a folder: {"folder", "group", "format", "tasks", "notes"}.

    Each task names its JSON lines by an absolute path, since the harness looks for a relative one in whatever
    folder it is started. Raises DataError for answers that it would not read as text, and RunError where
    something cannot be written.
    """
    for task in tasks:
        _refuse_dates(task)
    _make_empty(folder)
    group, notes = f"spillover_{slug(kb.name)}", _notes(kb, tasks)
    for task in tasks:
        rows = folder / f"{task.name}.jsonl"
        _write(rows, task, kb)
        sheet = {
            "task": task.name,
            "task_alias": task.alias,
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": {"test": glob.escape(os.fspath(rows.absolute()))}},
            "test_split": "test",
            "output_type": "multiple_choice",
            "doc_to_text": "prompt",
            "doc_to_choice": "choices",
            "doc_to_target": "answer",
            "target_delimiter": "",
            "num_fewshot": 0,
            "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
            "metadata": {"version": 1.0, "notes": notes},
        }
        if _format(kb) == "chat":
            sheet["description"] = "system"
        _write_yaml(folder / f"{task.name}.yaml", sheet)
    _write_yaml(folder / f"{group}.yaml", {"group": group, "task": [task.name for task in tasks]})
    return {
        "folder": str(folder),
        "group": group,
        "format": _format(kb),
        "tasks": {task.name: len(task.queries) for task in tasks},
        "notes": notes,
    }


def _format(kb: KnowledgeBase) -> str:
    return next(iter(kb.relations.values())).format


def _notes(kb: KnowledgeBase, tasks: Sequence[Task]) -> list[str]:
    """A line for each relation that is asked and whose candidates begin one another."""
    asked = dict.fromkeys(query.relation for task in tasks for query in task.queries)
    return [
        f"{name}: {begun}; where its tokens do, too, lm-eval counts for the shorter one what goes on to the "
        "longer one, and its accuracy is not spillover's"
        for name in asked
        if (begun := _begun(kb, name))
    ]


def _begun(kb: KnowledgeBase, relation: str) -> str:
    """The first candidate that begins another, in words; empty where none does."""
    pairs = pairwise(kb.candidates(relation))  # sorted, so that what begins others stands before them
    found = [f"{show(one)} begins {show(other)}" for one, other in pairs if other.startswith(one)]
    return found[0] if found else ""


def _refuse_dates(task: Task) -> None:
    """JSON lines have no types, and where all texts are dates the harness reads points in time."""
    if all(_DATE.fullmatch(text) for query in task.queries for text in query.completions):
        raise DataError(
            f"task {task.name}: all answers are dates, which lm-eval would not read as text; ask them with "
            "`spillover score`"
        )


def _make_empty(folder: Path) -> None:
    """What lies there already would be read as tasks, too."""
    with files.writing(folder, "give another folder"):
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise RunError(f"{folder} is not empty, and all that lies there is read; give a new folder")


def _write(path: Path, task: Task, kb: KnowledgeBase) -> None:
    rows = [
        {
            "prompt": query.words,
            "choices": query.completions,
            "answer": query.candidates.index(query.answer),
            "system": kb.relations[query.relation].system,
            "subject": query.subject,
            "relation": query.relation,
        }
        for query in task.queries
    ]
    with files.writing(path, "give another folder"):
        files.write_jsonl(path, rows)


def _write_yaml(path: Path, sheet: dict[str, Any]) -> None:
    with files.writing(path, "give another folder"):
        files.write_text(path, yaml.safe_dump(sheet, sort_keys=False, allow_unicode=True, width=100))
