"""The one way in: the name of a built-in knowledge base or the path of a file -> what is known.

A file is a YAML that names a table of triples, or such a table alone. Every fault is a DataError of one line
that names file, line and what mends it.
"""

import os
from array import array
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from spillover.errors import DataError
from spillover.knowledge.alike import alike_notices
from spillover.knowledge.builtin import BUILTIN, built_in
from spillover.knowledge.checks import SUBJECT, Where, check_pairs, check_prompt, each_once
from spillover.knowledge.faults import listed, opened, place, read_text, show, suggest
from spillover.knowledge.mixture import read_mixture
from spillover.knowledge.patterns import Patterns, group_table
from spillover.knowledge.popqa import NAME as POPQA
from spillover.knowledge.popqa import popqa
from spillover.knowledge.schema import KnowledgeBase, Relation, Rule, Triple
from spillover.knowledge.sheet import parse_sheet
from spillover.knowledge.table import TABLES, read_triples
from spillover.knowledge.training import TrainingTable

_SHEETS = (".yaml", ".yml")


def load(name_or_path: str | Path) -> KnowledgeBase:
    """The built-in knowledge base of that name, `popqa:FILE`, else the one in the file at that path.

    A bare table has no rules, and asks each relation by its name: `lives_in` as "{subject} lives in".
    """
    return _named(str(name_or_path)) or _read_knowledge_base(_describe(_file_at(name_or_path)))


def load_patterns(name_or_path: str | Path) -> TrainingTable | KnowledgeBase:
    """The same by its patterns, read out of core; contradictions are let through and told of.

    Where a rule draws its bridges, patterns must wait for the split: then it is the knowledge base.
    """
    if named := _named(str(name_or_path)):
        return named
    source = _describe(_file_at(name_or_path))
    if any(rule.bridges for rule in source.rules):
        return _read_knowledge_base(source)
    return TrainingTable(
        name=source.name,
        patterns=_read_patterns(source),
        rules=source.rules,
        asked=source.relations or {},
        mixed=bool(source.mixture),
    )


def _named(name: str) -> KnowledgeBase | None:
    """The knowledge base of that name; None where it is a path."""
    if name in BUILTIN:
        return built_in(name)
    first, _, file = name.partition(":")
    return popqa(Path(file) if file else None) if first == POPQA else None


def _file_at(name_or_path: str | Path) -> Path:
    """The path, if it is one; raises DataError for what is neither a file nor looks like one."""
    # os.path answers also for what no file can be called
    if Path(name_or_path).suffix.lower() in (*_SHEETS, *TABLES) or os.path.exists(name_or_path):  # noqa: PTH110
        return Path(name_or_path)
    names = (*BUILTIN, POPQA)
    raise DataError(
        f"{show(str(name_or_path))} is neither a file nor a built-in knowledge base ({listed(names)})"
        f"{suggest(str(name_or_path), names) or '; give one of these or a path'}"
    )


@dataclass(frozen=True, kw_only=True)
class _Source:
    """A knowledge base without its triples: what is asked, which rules run through it, where its table is."""

    name: str
    rules: tuple[Rule, ...]
    table: Path
    mixture: tuple[Path, ...] = ()
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


def _describe(path: Path) -> _Source:
    """What a YAML says of its table, or nothing of a bare table. The table itself is not opened."""
    suffix = path.suffix.lower()
    if suffix in _SHEETS:
        sheet = parse_sheet(read_text(path), path)
        if not sheet.triples:
            raise DataError(
                f"{path}: key 'triples' is missing; name the table of triples, such as people.csv"
            )
        return _Source(
            name=sheet.name or path.stem,
            rules=sheet.rules,
            table=path.parent / sheet.triples,
            mixture=tuple(path.parent / file for file in sheet.mixture),
            relations=sheet.relations,
            sheet=path,
            where=sheet.where,
        )
    if suffix in TABLES:
        return _Source(
            name=path.stem,
            rules=(),
            table=path,
            relations=None,
            sheet=path,
            where=lambda *_: str(path),
        )
    opened(path).close()  # of a folder or an empty file, say that first
    allowed = (*_SHEETS, *TABLES)
    raise DataError(
        f"{path}: unknown kind of file {show(suffix)}; allowed are {listed(allowed)}"
        f"{suggest(suffix, allowed)}"
    )


def _read_patterns(source: _Source) -> Patterns:
    """The table's patterns, after the checks that a knowledge base gets; contradictions are let through."""
    patterns = group_table(source.table, source.relations, source.sheet, source.answers)
    if any(not set(rule.pairs) <= set(patterns.answers_of(rule.fact)) for rule in source.rules):
        # read again, because the complaint lists the answers in the table's order
        triples = (triple for _, triple in read_triples(source.table))
        check_pairs(source.rules, _answers(triples), source.where)
    return patterns


def _read_knowledge_base(source: _Source) -> KnowledgeBase:
    """The source with its triples, each looked at with its line."""
    notices: list[str] = []
    lines = array("q")

    def numbered() -> Iterator[tuple[int, Triple]]:
        for line, triple in read_triples(source.table, notices.append):
            lines.append(line)
            yield line, triple

    def where(line: int) -> str:
        return place(source.table, line)

    def first_lines(column: str, texts: Collection[str]) -> dict[str, int]:
        at = ((getattr(triple, column), line) for triple, line in zip(triples, lines, strict=True))
        return dict(reversed([(text, line) for text, line in at if text in texts]))

    triples = tuple(each_once(numbered(), source.relations, where, source.sheet))
    columns = {
        column: pa.array(sorted({getattr(triple, column) for triple in triples}), pa.string())
        for column in ("relation", "answer", "subject")
    }
    notices += alike_notices(columns, first_lines, where, source.answers)
    check_pairs(source.rules, _answers(triples), source.where)
    relations = source.relations
    if relations is None:
        relations = {
            name: Relation(
                name=name, prompt=check_prompt(f"{SUBJECT} {name.replace('_', ' ')}", str(source.table))
            )
            for name in dict.fromkeys(triple.relation for triple in triples)
        }
    return KnowledgeBase(
        name=source.name,
        triples=triples,
        relations=relations,
        rules=source.rules,
        mixture=tuple(passage for file in source.mixture for passage in read_mixture(file, notices.append)),
        notices=tuple(notices),
    )


def _answers(triples: Iterable[Triple]) -> dict[str, dict[str, None]]:
    """The answers of each relation, in the order of the triples."""
    answers: dict[str, dict[str, None]] = {}
    for triple in triples:
        answers.setdefault(triple.relation, {}).setdefault(triple.answer)
    return answers
