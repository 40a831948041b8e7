"""`spillover import --suggest`: the templates and rules that a training file seems to hold."""

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from spillover.errors import DataError
from spillover.jobs.init import SuggestedRule, suggest_rules
from spillover.knowledge.editing_benchmarks import benchmark_of
from spillover.knowledge.records import read_records
from spillover.knowledge.schema import KnowledgeBase, Relation, Triple
from spillover.knowledge.suggestions import Wording, suggest
from spillover.knowledge.templates import Template
from spillover.runs import files

_Relations = Mapping[str, Sequence[Wording]]
_Exchanges = Sequence[tuple[str, str]]

_EXAMPLES = 3
_SHOWN = 5
"""Wordings that are shown and not proposed."""


def suggest_templates(file: str | Path) -> dict[str, Any]:
    """Propose what to import a training file by; nothing is written.

    Returns {"records", "matched", "relations": {name: {"subjects", "answers", "wordings": [{"template",
    "records", "examples": [(subject, answer)]}]}}, "rules": [{"rule", "said"}], "passed_over": [{"wording",
    "records", "why"}], "command", "notes"}: the command imports the file so; it is empty where nothing was
    found. Rules are those that `init` would write for the table.

    Raises DataError for a file that cannot be read.
    """
    if benchmark := benchmark_of(Path(file)):
        raise DataError(f"{file}: is read by the fields of {benchmark.title}; leave --suggest out")
    records, exchanges = 0, list[tuple[str, str]]()
    said = list[str]()
    for record in read_records(Path(file), said.append):
        records += 1
        if record.exchange is not None:
            _, asked, answered = record.exchange
            exchanges.append((asked.strip(), answered.strip()))
    found = suggest(exchanges)
    relations = found.relations
    counts, notes = _counted(relations, exchanges)
    rules = _rules(relations)
    document = {
        "records": records,
        "matched": counts.total(),
        "relations": {name: _described(name, its, counts) for name, its in relations.items()},
        "rules": [{"rule": each.rule.name, "said": each.said} for each in rules],
        "passed_over": [asdict(each) for each in found.passed_over[:_SHOWN]],
        "command": _command(file, relations, [each.rule.name for each in rules]) if relations else "",
        "notes": [*said, *notes],
    }
    return files.jsonable(document)


def _counted(relations: _Relations, exchanges: _Exchanges) -> tuple[Counter[Template], list[str]]:
    """How many records each template finds a fact in, and what an import will stumble over."""
    counts, known, twice = Counter[Template](), dict[tuple[str, str], str](), Counter[str]()
    tried = [(each.frame, each.template(name)) for name, its in relations.items() for each in its]
    for asked, answered in exchanges:
        fitting = (template for frame, template in tried if frame.filling(asked))
        for template in fitting:
            if fact := template.triple(asked, answered):
                counts[template] += 1
                twice[template.relation] += (
                    known.setdefault((fact.subject, fact.relation), fact.answer) != fact.answer
                )
                break
    notes = [
        f"{name}: {count} records give a subject another answer than an earlier one; an import refuses that"
        for name, count in twice.items()
        if count
    ]
    return counts, notes


def _described(name: str, wordings: Sequence[Wording], counts: Counter[Template]) -> dict[str, Any]:
    return {
        "subjects": len({subject for each in wordings for subject in each.facts}),
        "answers": len({answer for each in wordings for answer in each.facts.values()}),
        "wordings": [
            {
                "template": each.template(name).text,
                "records": counts[each.template(name)],
                "examples": list(each.facts.items())[:_EXAMPLES],
            }
            for each in wordings
        ],
    }


def _rules(relations: _Relations) -> list[SuggestedRule]:
    """The rules that what the relations say shows, as far as an import can write them."""
    facts = {
        (subject, name): answer
        for name, its in relations.items()
        for each in reversed(its)
        for subject, answer in each.facts.items()
    }
    kb = KnowledgeBase(
        name="what is proposed",
        triples=tuple(Triple(subject=s, relation=r, answer=answer) for (s, r), answer in facts.items()),
        relations={
            name: Relation(name=name, prompt=its[0].template(name).prompt) for name, its in relations.items()
        },
        rules=(),
    )
    return [each for each in suggest_rules(kb) if each.taken and each.rule.bridges is None]


def _command(file: str | Path, relations: _Relations, rules: Sequence[str]) -> str:
    templates = [each.template(name).text for name, its in relations.items() for each in its]
    return shlex.join(
        ["spillover", "import", str(file), "--as", *templates, *(["--rules", *rules] if rules else [])]
    )
