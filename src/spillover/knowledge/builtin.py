"""The built-in knowledge bases: five data sets like the paper's, with tables of our own, and the demo.

`data/` holds one sheet per data set, and `names.txt`: fictional full names, one a line, in an order shuffled
once and then fixed. A data set's k-th rule is about names 100 k to 100 k + 99, the first twenty of them in
the group of its first pair, the next twenty in that of its second, and so on. So only the bridges are
left for the seed to draw.
"""

from importlib.resources import files
from pathlib import Path

from spillover.errors import DataError
from spillover.knowledge.faults import listed, show, suggest
from spillover.knowledge.schema import KnowledgeBase, Triple
from spillover.knowledge.sheet import parse_sheet

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


def built_in(name: str) -> KnowledgeBase:
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
    names = fictional_names()
    triples = tuple(
        Triple(subject=subject, relation=rule.fact, answer=answer)
        for k, rule in enumerate(rules)
        for i, answer in enumerate(rule.pairs)
        for subject in names[RULE * k + GROUP * i :][:GROUP]
    )
    relations = {name: relation for sheet in sheets for name, relation in sheet.relations.items()}
    return KnowledgeBase(name=name, triples=triples, relations=relations, rules=rules)


def fictional_names() -> list[str]:
    """The full names in `names.txt`, in their order: a first name, a space, a last name."""
    return (files("spillover.knowledge") / "data" / "names.txt").read_text("utf-8").splitlines()
