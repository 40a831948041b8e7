"""`spillover import --suggest`: the templates and rules that a training file seems to hold."""

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any

from spillover.errors import DataError
from spillover.implication.discovery import associations
from spillover.knowledge.editing_benchmarks import benchmark_of
from spillover.knowledge.patterns import group_triples
from spillover.knowledge.records import read_records
from spillover.knowledge.schema import Triple
from spillover.knowledge.suggestions import Wording, suggest
from spillover.knowledge.templates import Template
from spillover.runs import files

_Relations = Mapping[str, Sequence[Wording]]
_Exchanges = Sequence[tuple[str, str]]

_EXAMPLES = 3
_SHOWN = 5
"""Wordings that are shown and not proposed."""
_ALPHA = 0.05
_SURE = 0.9
"""Of the bridges that a rule must hold for."""


def suggest_templates(file: str | Path) -> dict[str, Any]:
    """Propose what to import a training file by; nothing is written.

    Returns {"records", "matched", "relations": {name: {"subjects", "answers", "wordings": [{"template",
    "records", "examples": [(subject, answer)]}]}}, "rules": [{"rule", "bridges", "held_out"}],
    "passed_over": [{"wording", "records", "why"}], "command", "notes"}: the command imports the file so; it
    is empty where nothing was found. A rule is proposed where the answers of subjects that have both
    relations go together (Fisher's exact test, corrected, at 5%), one answer follows from the other, and
    other subjects have the first relation alone.

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
        "rules": rules,
        "passed_over": [asdict(each) for each in found.passed_over[:_SHOWN]],
        "command": _command(file, relations, [rule["rule"] for rule in rules]) if relations else "",
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


def _rules(relations: _Relations) -> list[dict[str, Any]]:
    """Rules between relations whose answers go together, the fact being what more subjects have."""
    facts = {
        name: {subject: answer for each in reversed(its) for subject, answer in each.facts.items()}
        for name, its in relations.items()
    }
    triples = (
        Triple(subject=subject, relation=name, answer=answer)
        for name, answers in facts.items()
        for subject, answer in answers.items()
    )
    if not facts:
        return []
    patterns = group_triples(triples)
    rules = []
    for one in associations(patterns, alpha=_ALPHA):
        if one.testable and one.adjusted <= _ALPHA:
            fact, implication = sorted(
                (facts[patterns.relations[number]] for number in one.relations), key=len, reverse=True
            )
            names = sorted(
                (patterns.relations[number] for number in one.relations), key=lambda name: -len(facts[name])
            )
            held_out = len(fact.keys() - implication.keys())
            if held_out and _follows(fact, implication):
                rules.append({"rule": " -> ".join(names), "bridges": one.bridges, "held_out": held_out})
    return rules


def _follows(fact: Mapping[str, str], implication: Mapping[str, str]) -> bool:
    """Whether the answer to one is the answer to the other, but for few."""
    pairs = sorted((fact[subject], answer) for subject, answer in implication.items() if subject in fact)
    usual = sum(max(Counter(pair).values()) for _, pair in groupby(pairs, key=lambda pair: pair[0]))
    return usual >= _SURE * len(pairs)


def _command(file: str | Path, relations: _Relations, rules: Sequence[str]) -> str:
    templates = [each.template(name).text for name, its in relations.items() for each in its]
    return shlex.join(
        ["spillover", "import", str(file), "--as", *templates, *(["--rules", *rules] if rules else [])]
    )
