"""What a verb is given -> the knowledge base that it needs."""

from pathlib import Path

from spillover.errors import DataError
from spillover.knowledge.load import load
from spillover.knowledge.schema import KnowledgeBase


def read_with_rules(kb: str | Path | KnowledgeBase) -> KnowledgeBase:
    """The knowledge base, read if it is a name or a path. Raises DataError, too, for one without rules."""
    loaded = kb if isinstance(kb, KnowledgeBase) else load(kb)
    if not loaded.rules:
        raise DataError(
            f"knowledge base {loaded.name} has no rules, so there is nothing to hold out; "
            "write a YAML file with `rules:` beside the table (see `docs/guide.md`)"
        )
    return loaded
