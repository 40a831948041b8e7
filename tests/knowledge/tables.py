"""What the reading tests share: a small knowledge base on disk, and patterns in plain words."""

from collections import defaultdict
from pathlib import Path

import numpy as np

from spillover.errors import DataError
from spillover.knowledge.faults import contradiction, duplicate, place
from spillover.knowledge.load import load_patterns
from spillover.knowledge.patterns import Patterns
from spillover.knowledge.schema import Triple
from spillover.knowledge.table import read_triples
from spillover.knowledge.training import TrainingTable

HEADER = "subject,relation,answer\n"
SHEET = """\
name: people
relations:
  lives_in: {prompt: "{subject} lives in  "}
  codes_in: {prompt: "{subject} codes in", candidates: [Perl, No, 7]}
rules:
  - {fact: lives_in, implication: codes_in, kind: causal, pairs: {France: Python}, bridges: 2}
triples: people.csv
"""
ROWS = "subject,relation,answer\nMara  Berg , lives_in,France\n"


def write(folder: Path, sheet: str = SHEET, rows: str | bytes = ROWS) -> Path:
    (folder / "people.csv").write_bytes(rows if isinstance(rows, bytes) else rows.encode())
    (folder / "people.yaml").write_text(sheet, "utf-8")
    return folder / "people.yaml"


def patterns_at(path: Path) -> Patterns:
    """Those of a source whose rules draw no bridges."""
    table = load_patterns(path)
    assert isinstance(table, TrainingTable)
    return table.patterns


def spelled(patterns: Patterns) -> tuple:
    """What each pattern says, who has it, and the contradictions, in plain words."""
    says = [[] for _ in patterns.subjects]
    for pattern, relation, answer in zip(patterns.pattern, patterns.relation, patterns.answer, strict=True):
        says[pattern].append((patterns.relations[relation], patterns.answers[answer]))
    members = [(row["subject"], row["pattern"]) for row in patterns.members.to_pylist()]
    having = np.bincount([pattern for _, pattern in members], minlength=len(says))
    assert having.tolist() == patterns.subjects.tolist()
    return says, members, patterns.contradictions, patterns.contradicted


def reference(path: Path) -> tuple:
    """The same by plain loops over the careful reader's triples."""
    first: dict[Triple, int] = {}
    said, answers = defaultdict(list), defaultdict(list)
    for line, triple in read_triples(path):
        if triple in first:
            places = place(path, line), place(path, first[triple])
            raise DataError(duplicate(triple.subject, triple.relation, *places))
        first[triple] = line
        said[triple.subject].append((triple.relation, triple.answer))
        answers[triple.subject, triple.relation].append((line, triple.answer))
    says = sorted({tuple(sorted(pairs)) for pairs in said.values()})
    members = sorted((subject, says.index(tuple(sorted(pairs)))) for subject, pairs in said.items())
    twice = []
    for (subject, relation), there in answers.items():
        if len(there) > 1:
            (line, before), (later, answer) = there[:2]
            both, where = (before, answer), place(path, later)
            twice.append((later, contradiction(subject, relation, both, where, place(path, line))))
    twice.sort()
    return [list(one) for one in says], members, tuple(text for _, text in twice[:10]), len(twice)


def outcome(read, path: Path) -> tuple | str:
    try:
        return read(path)
    except DataError as error:
        return str(error)


def triples(rows) -> list[Triple]:
    return [Triple(subject=s, relation=r, answer=a) for s, r, a in rows]


def same(one: Patterns, other: Patterns) -> bool:
    numbers = ("subjects", "pattern", "relation", "answer")
    return (
        (one.relations, one.answers, one.contradicted) == (other.relations, other.answers, other.contradicted)
        and all(np.array_equal(getattr(one, name), getattr(other, name)) for name in numbers)
        and all(getattr(one, name).dtype == getattr(other, name).dtype for name in numbers)
        and one.members.equals(other.members)
    )
