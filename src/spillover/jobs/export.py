"""`spillover export`: what an audit trains and asks, for the trainers and harnesses of others."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from spillover.errors import DataError
from spillover.jobs.harness import tasks, write_tasks
from spillover.jobs.inputs import read_with_rules
from spillover.knowledge.checks import check_word
from spillover.knowledge.leak import check_no_leak
from spillover.knowledge.mixture import telling, telling_notice
from spillover.knowledge.prompts import Example, Query, examples, queries
from spillover.knowledge.schema import KnowledgeBase, Relation, without_template
from spillover.knowledge.split import split
from spillover.runs import files

Target = Literal["lm-eval", "jsonl"]
"""What is asked, as tasks of lm-evaluation-harness; what is trained, as trainers read it."""


def export(kb: str | Path | KnowledgeBase, out: str | Path, *, to: Target, seed: int = 0) -> dict[str, Any]:
    """Write what an audit with this seed asks, or trains, where others read it.

    `to="lm-eval"` makes the folder `out`, which may be there but empty, with a task for each kind of query of
    each rule, and a group of them all (`jobs.harness`). `to="jsonl"` writes the file `out`, a row for each
    training example and nothing of what is held out: `prompt` and `completion` (the loss is on it alone),
    `subject`, `relation`, `answer`; of a chat the first two are lists of messages, and `messages` has both.

    Returns {"to", "seed", "notes"} and {"file", "rows"}, or {"folder", "group", "format", "tasks": {name:
    queries}}. Raises DataError for a knowledge base in both formats, which neither harness nor trainer takes
    in one file, and RunError where something cannot be written.
    """
    check_word(to, "to", get_args(Target), "export")
    kb = without_template(read_with_rules(kb))
    _check_one_format(kb)
    parts, out = split(kb, seed), files.usable(out)
    taught, asked = examples(parts), queries(parts)
    check_no_leak(taught, asked)
    about = {"to": to, "seed": seed}
    if to == "jsonl":
        with files.writing(out, "give another file"):
            files.write_jsonl(out, [_row(example, kb.relations[example.relation]) for example in taught])
        return about | {"file": str(out), "rows": len(taught), "notes": _of_mixture(kb, asked)}
    return about | write_tasks(out, kb, tasks(kb, asked))


def _of_mixture(kb: KnowledgeBase, asked: Sequence[Query]) -> list[str]:
    if not kb.mixture:
        return []
    notes = [f"the mixture ({len(kb.mixture)} passages) is not in it; train its files beside it"]
    if told := telling(kb.mixture, asked):
        notes.append(f"leave out what an audit leaves out: {telling_notice(kb, told)}")
    return notes


def _check_one_format(kb: KnowledgeBase) -> None:
    asked = {relation.format: name for name, relation in kb.relations.items()}
    if len(asked) > 1:
        raise DataError(
            f"knowledge base {kb.name} asks {asked['plain']} as plain text and {asked['chat']} as a chat, "
            "and other people's tools take one of the two at a time; give all relations one format"
        )


def _row(example: Example, relation: Relation) -> dict[str, Any]:
    """The example as trainers read it."""
    about = {"subject": example.subject, "relation": example.relation, "answer": example.answer}
    if relation.format == "plain":
        return {"prompt": example.prompt, "completion": example.completion, **about}
    prompt = _messages([("system", relation.system), ("user", example.prompt)])
    completion = _messages([("assistant", example.completion)])
    return {"prompt": prompt, "completion": completion, "messages": prompt + completion, **about}


def _messages(said: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"role": role, "content": text} for role, text in said if text]
