"""Who was a bridge in a tune that was made elsewhere, as its training file or a list of subjects says."""

from pathlib import Path

from spillover.errors import DataError
from spillover.knowledge.faults import clean, contradiction, listed, show, suggest, unknown_relation
from spillover.knowledge.records import read_entries
from spillover.knowledge.schema import KnowledgeBase


def read_told(path: Path, kb: KnowledgeBase) -> dict[str, set[str]]:
    """For each implication, and each other relation that the file names, the subjects whom it tells it
    (`knowledge.split.split_as`).

    A record has a `subject` and may have `relation` and `answer`, as `spillover export --to jsonl` writes
    them; one without a relation is about every implication. Raises DataError for a record about somebody or
    something that the knowledge base does not know, or with another answer, and for a rule without bridges.
    """
    owner = f"knowledge base {kb.name}"
    subjects = {subject for answers in kb.answers.values() for subject in answers}
    implications = [rule.implication for rule in kb.rules]
    told: dict[str, set[str]] = {implication: set() for implication in implications}
    for place, entry in read_entries(path):
        if "subject" not in entry:
            raise DataError(
                f"{place}: has the fields {listed(map(show, entry)) or 'none'}; it must have subject, and "
                "may have relation and answer, as `spillover export --to jsonl` writes them"
            )
        subject, relation, answer = (_text(entry, name, place) for name in ("subject", "relation", "answer"))
        if subject not in subjects:
            near = suggest(subject, subjects) or "; give the file of a tune on this knowledge base"
            raise DataError(f"{place}: subject {show(subject)} is not in {owner}{near}")
        if relation and relation not in kb.relations:
            raise DataError(unknown_relation(relation, kb.relations, place, owner))
        known = _known(kb, subject, relation)
        if answer and known and answer not in known:
            said = contradiction(subject, relation, (known[0], answer), place, owner)
            raise DataError(f"{said}; give the file of a tune on this knowledge base")
        for about in [relation] if relation else implications:
            told.setdefault(about, set()).add(subject)
    for rule in kb.rules:
        facts = kb.answers[rule.fact].keys() | told.get(rule.fact, set())
        if not told[rule.implication] & facts:
            raise DataError(
                f"{path}: no record tells anybody {rule.implication} who has {rule.fact}, so rule "
                f"{rule.name} has no bridges; give the file that the model was trained on"
            )
    return told


def _text(entry: dict[str, object], name: str, place: str) -> str:
    """The field without the white space around it; empty where it is not there."""
    text = entry.get(name)
    if text is None and name != "subject":
        return ""
    if not isinstance(text, str):
        raise DataError(f"{place}: {name} is {show(text)}, it must be text; write it in quotes")
    return clean(text, name, place)


def _known(kb: KnowledgeBase, subject: str, relation: str) -> list[str]:
    """What the knowledge base says: the table's answer, else what pairs do; nothing where it is silent."""
    if not relation:
        return []
    if subject in kb.answers[relation]:
        return [kb.answers[relation][subject]]
    facts = ((rule, kb.answers[rule.fact].get(subject, "")) for rule in kb.rules)
    return [rule.pairs[fact] for rule, fact in facts if rule.implication == relation and fact in rule.pairs]
