"""A file -> a knowledge base: a YAML that names a table of triples, or such a table alone.

Every fault is a DataError of one line that names file, line and what mends it.
"""

from collections.abc import Iterable
from pathlib import Path

from spillover.errors import DataError
from spillover.knowledge.faults import listed, place, read_bytes, read_text, show, suggest
from spillover.knowledge.schema import KnowledgeBase, Relation, Rule, Triple
from spillover.knowledge.sheet import SUBJECT, Sheet, check_prompt, parse_sheet
from spillover.knowledge.table import TABLES, read_table

SHEETS = (".yaml", ".yml")
"""Suffixes of files that name relations, rules and a table."""


def read_knowledge_base(path: str | Path) -> KnowledgeBase:
    """The knowledge base that a YAML describes, or that a bare table of triples holds.

    A bare table has no rules, and asks each relation by its name: `lives_in` as "{subject} lives in".
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix in SHEETS:
        return _described(path)
    if suffix in TABLES:
        return _bare(path)
    read_bytes(path)  # of a file that is not there, say that first
    allowed = (*SHEETS, *TABLES)
    raise DataError(
        f"{path}: unknown kind of file {show(suffix)}; allowed are {listed(allowed)}"
        f"{suggest(suffix, allowed)}"
    )


def _described(path: Path) -> KnowledgeBase:
    sheet = parse_sheet(read_text(path), path)
    if not sheet.triples:
        raise DataError(f"{path}: key 'triples' is missing; name the table of triples, such as people.csv")
    table = path.parent / sheet.triples
    triples = _checked(table, sheet.relations, path)
    _check_pairs(sheet, triples)
    return KnowledgeBase(
        name=sheet.name or path.stem, triples=triples, relations=sheet.relations, rules=sheet.rules
    )


def _bare(path: Path) -> KnowledgeBase:
    triples = _checked(path)
    relations = {
        name: Relation(name=name, prompt=check_prompt(f"{SUBJECT} {name.replace('_', ' ')}", str(path)))
        for name in dict.fromkeys(triple.relation for triple in triples)
    }
    return KnowledgeBase(name=path.stem, triples=triples, relations=relations, rules=())


def _checked(
    table: Path, relations: Iterable[str] | None = None, sheet: Path | None = None
) -> tuple[Triple, ...]:
    """The table's triples: of known relations (any, if none are named), each answered once."""
    seen: dict[tuple[str, str], tuple[int, str]] = {}
    triples = []
    for line, triple in read_table(table):
        if relations is not None and triple.relation not in relations:
            raise DataError(
                f"{place(table, line)}: relation {show(triple.relation)} is not in {sheet}, which has "
                f"{listed(relations)}{suggest(triple.relation, relations)}"
            )
        first, answer = seen.setdefault((triple.subject, triple.relation), (line, triple.answer))
        if first != line:
            asked = f"({show(triple.subject)}, {show(triple.relation)})"
            if answer == triple.answer:
                raise DataError(
                    f"{place(table, line)}: {asked} stands already in {place(table, first)}; remove the "
                    "duplicate"
                )
            raise DataError(
                f"{place(table, line)}: {asked} is {show(triple.answer)} here but {show(answer)} in "
                f"{place(table, first)}; keep one"
            )
        triples.append(triple)
    return tuple(triples)


def _check_pairs(sheet: Sheet, triples: Iterable[Triple]) -> None:
    """A pair for an answer that the fact never has would silently do nothing."""
    for number, rule in enumerate(sheet.rules):
        known = _answers(triples, rule)
        for fact in rule.pairs:
            if fact not in known:
                raise DataError(
                    f"{sheet.where('rules', number, 'pairs', fact)}: no triple of {rule.fact} has the answer "
                    f"{show(fact)} of this pair, only {listed(map(show, known))}{suggest(fact, known)}"
                )


def _answers(triples: Iterable[Triple], rule: Rule) -> dict[str, None]:
    return dict.fromkeys(triple.answer for triple in triples if triple.relation == rule.fact)
