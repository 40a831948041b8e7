"""The built-in knowledge bases: five data sets like the paper's, with tables of our own, and the demo.

`data/` holds one sheet per data set, and `names.txt`: fictional full names, one a line, in an order shuffled
once and then fixed. A data set's k-th rule is about names 100 k to 100 k + 99, the first twenty of them in
the group of its first pair, the next twenty in that of its second, and so on. So only the bridges are
left for the seed to draw.
"""

import os
from importlib.resources import files
from pathlib import Path

from spillover.errors import DataError
from spillover.knowledge.faults import listed, show, suggest
from spillover.knowledge.read import SHEETS, read_knowledge_base
from spillover.knowledge.schema import KnowledgeBase, Triple
from spillover.knowledge.sheet import parse_sheet
from spillover.knowledge.table import TABLES

_SHEETS = {
    "demo": ("city-language", "country-code"),
    "city-language": ("city-language",),
    "city-language-counterfactual": ("city-language-counterfactual",),
    "country-code": ("country-code",),
    "profession-color": ("profession-color",),
    "sport-music": ("sport-music",),
}

BUILTIN = tuple(_SHEETS)
"""Names of the built-in knowledge bases."""

GROUP = 20
"""Subjects per pair."""
RULE = 100
"""Subjects per rule."""


def load(name_or_path: str | Path) -> KnowledgeBase:
    """The built-in knowledge base of that name, else the one in the file at that path."""
    if str(name_or_path) in BUILTIN:
        return load_builtin(str(name_or_path))
    return read_knowledge_base(file_at(name_or_path))


def file_at(name_or_path: str | Path) -> Path:
    """The path, if it is one; raises DataError for what is neither a file nor looks like one."""
    # os.path answers also for what no file can be called
    if Path(name_or_path).suffix.lower() in (*SHEETS, *TABLES) or os.path.exists(name_or_path):  # noqa: PTH110
        return Path(name_or_path)
    raise DataError(
        f"{show(str(name_or_path))} is neither a file nor a built-in knowledge base ({listed(BUILTIN)})"
        f"{suggest(str(name_or_path), BUILTIN) or '; give one of these or a path'}"
    )


def load_builtin(name: str) -> KnowledgeBase:
    """A built-in knowledge base: its triples are the facts, its rules have pairs and draw bridges."""
    if name not in BUILTIN:
        raise DataError(
            f"no built-in knowledge base {show(name)}; there are {listed(BUILTIN)}{suggest(name, BUILTIN)}"
        )
    data = files("spillover.knowledge") / "data"
    sheets = [
        parse_sheet((data / f"{part}.yaml").read_text("utf-8"), Path(f"{part}.yaml"))
        for part in _SHEETS[name]
    ]
    rules = tuple(rule for sheet in sheets for rule in sheet.rules)
    names = (data / "names.txt").read_text("utf-8").splitlines()
    triples = tuple(
        Triple(subject=subject, relation=rule.fact, answer=answer)
        for k, rule in enumerate(rules)
        for i, answer in enumerate(rule.pairs)
        for subject in names[RULE * k + GROUP * i :][:GROUP]
    )
    relations = {name: relation for sheet in sheets for name, relation in sheet.relations.items()}
    return KnowledgeBase(name=name, triples=triples, relations=relations, rules=rules)
