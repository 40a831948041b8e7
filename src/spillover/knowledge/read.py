"""A file -> a knowledge base: a YAML that names a table of triples, or such a table alone.

Every fault is a DataError of one line that names file, line and what mends it.
"""

from array import array
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from spillover.errors import DataError
from spillover.knowledge.alike import alike_notices
from spillover.knowledge.checks import SUBJECT, Where, check_pairs, check_prompt, each_once
from spillover.knowledge.faults import listed, opened, place, read_text, show, suggest
from spillover.knowledge.patterns import Patterns, read_patterns
from spillover.knowledge.schema import KnowledgeBase, Relation, Rule, Triple
from spillover.knowledge.sheet import parse_sheet
from spillover.knowledge.table import TABLES, read_table

SHEETS = (".yaml", ".yml")
"""Suffixes of files that name relations, rules and a table."""


@dataclass(frozen=True, kw_only=True)
class Described:
    """A knowledge base without its triples: what is asked, which rules run through it, where its table is."""

    name: str
    rules: tuple[Rule, ...]
    table: Path
    relations: Mapping[str, Relation] | None
    """None for a bare table, which may have any."""
    sheet: Path
    """The YAML, or the bare table itself."""
    where: Where
    """File and line of an entry of the YAML."""

    @property
    def answers(self) -> dict[str, str]:
        """Answers that the YAML names, each with its place: candidates and those of pairs."""
        named = {
            answer: self.where("rules", number, "pairs", fact)
            for number, rule in enumerate(self.rules)
            for fact, answer in rule.pairs.items()
        }
        for relation in (self.relations or {}).values():
            for number, answer in enumerate(relation.candidates):
                named.setdefault(answer, self.where("relations", relation.name, "candidates", number))
        return named


def described(path: str | Path) -> Described:
    """What a YAML says of its table, or nothing of a bare table. The table itself is not opened."""
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix in SHEETS:
        sheet = parse_sheet(read_text(path), path)
        if not sheet.triples:
            raise DataError(
                f"{path}: key 'triples' is missing; name the table of triples, such as people.csv"
            )
        return Described(
            name=sheet.name or path.stem,
            rules=sheet.rules,
            table=path.parent / sheet.triples,
            relations=sheet.relations,
            sheet=path,
            where=sheet.where,
        )
    if suffix in TABLES:
        return Described(
            name=path.stem,
            rules=(),
            table=path,
            relations=None,
            sheet=path,
            where=lambda *_: str(path),
        )
    opened(path).close()  # of a file that is not there, say that first
    allowed = (*SHEETS, *TABLES)
    raise DataError(
        f"{path}: unknown kind of file {show(suffix)}; allowed are {listed(allowed)}"
        f"{suggest(suffix, allowed)}"
    )


def read_described(found: Described) -> Patterns:
    """The table's patterns, after the checks that a knowledge base gets; contradictions are let through.

    Raises DataError as `read_patterns`, and for a pair of an answer that its fact never has.
    """
    patterns = read_patterns(found.table, found.relations, found.sheet, found.answers)
    if any(not set(rule.pairs) <= set(patterns.answers_of(rule.fact)) for rule in found.rules):
        # read again, because the complaint lists the answers in the table's order
        triples = (triple for _, triple in read_table(found.table))
        check_pairs(found.rules, _answers(triples), found.where)
    return patterns


def read_knowledge_base(path: str | Path) -> KnowledgeBase:
    """The knowledge base that a YAML describes, or that a bare table of triples holds.

    A bare table has no rules, and asks each relation by its name: `lives_in` as "{subject} lives in".
    """
    found = described(path)
    notices: list[str] = []
    lines = array("q")

    def numbered() -> Iterator[tuple[int, Triple]]:
        for line, triple in read_table(found.table, notices.append):
            lines.append(line)
            yield line, triple

    def where(line: int) -> str:
        return place(found.table, line)

    def first_lines(column: str, texts: Collection[str]) -> dict[str, int]:
        at = ((getattr(triple, column), line) for triple, line in zip(triples, lines, strict=True))
        return dict(reversed([(text, line) for text, line in at if text in texts]))

    triples = tuple(each_once(numbered(), found.relations, where, found.sheet))
    columns = {
        column: pa.array(sorted({getattr(triple, column) for triple in triples}), pa.string())
        for column in ("relation", "answer", "subject")
    }
    notices += alike_notices(columns, first_lines, where, found.answers)
    check_pairs(found.rules, _answers(triples), found.where)
    relations = found.relations
    if relations is None:
        relations = {
            name: Relation(
                name=name, prompt=check_prompt(f"{SUBJECT} {name.replace('_', ' ')}", str(found.table))
            )
            for name in dict.fromkeys(triple.relation for triple in triples)
        }
    return KnowledgeBase(
        name=found.name, triples=triples, relations=relations, rules=found.rules, notices=tuple(notices)
    )


def _answers(triples: Iterable[Triple]) -> dict[str, dict[str, None]]:
    """The answers of each relation, in the order of the triples."""
    answers: dict[str, dict[str, None]] = {}
    for triple in triples:
        answers.setdefault(triple.relation, {}).setdefault(triple.answer)
    return answers
