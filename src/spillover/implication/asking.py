"""Rules -> what is asked of a table: of the stated ones, and of relations whose answers go together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import nan
from typing import Literal

import numpy as np

from spillover.implication.calibration import Prior
from spillover.implication.discovery import Association
from spillover.implication.questions import Groups, Questions, held_out, held_out_by, places, rule_groups
from spillover.knowledge.patterns import Patterns
from spillover.knowledge.schema import RuleKind
from spillover.knowledge.training import TrainingTable

AskedKind = RuleKind | Literal["discovered", "untested"]
"""Rules that nobody stated are `discovered` where the table shows an association, and `untested` where it has
too few bridges to tell."""


@dataclass(frozen=True, kw_only=True, eq=False)
class AskedRule:
    """A rule of a table as what is asked of it; relations by their indices."""

    fact: int
    implication: int
    kind: AskedKind
    groups: Groups
    questions: Questions
    p_value: float = nan
    """That the answers do not go together, as discovery has it; NaN for stated and untested rules."""
    prior: Prior | None = None
    """Of the untuned model; None where it was not asked."""


def ask(
    patterns: Patterns,
    fact: int,
    implication: int,
    *,
    kind: AskedKind,
    pairs: Mapping[int, int] | None = None,
    p_value: float = nan,
) -> AskedRule:
    """Ask every subject with the fact and without the implication; `pairs` are those of `rule_groups`."""
    groups = rule_groups(patterns, fact, implication, pairs or {})
    return AskedRule(
        fact=fact,
        implication=implication,
        kind=kind,
        groups=groups,
        questions=held_out(patterns, fact, implication, groups),
        p_value=p_value,
    )


def ask_stated(table: TrainingTable) -> list[AskedRule]:
    """The rules of the table, in their order; whom a split holds out is asked what it says is right."""
    patterns = table.patterns
    answers = places(patterns.answers)
    asked = []
    for number, rule in enumerate(table.rules):
        fact, implication = (patterns.relations.index(name) for name in (rule.fact, rule.implication))
        pairs = {answers[b]: answers[c] for b, c in rule.pairs.items() if b in answers}
        question = ask(patterns, fact, implication, kind=rule.kind, pairs=pairs)
        if table.split:
            question = replace(question, questions=held_out_by(table.split, number, patterns))
        asked.append(question)
    return asked


def ask_associated(patterns: Patterns, associations: Sequence[Association]) -> list[AskedRule]:
    """Each pair of relations as a rule in both directions, where somebody is held out."""
    asked = [
        ask(
            patterns,
            fact,
            implication,
            kind="discovered" if association.testable else "untested",
            p_value=association.adjusted,
        )
        for association in associations
        for fact, implication in (association.relations, association.relations[::-1])
    ]
    return [rule for rule in asked if rule.questions.pattern.size]


def too_few_to_tell(patterns: Patterns, associations: Sequence[Association]) -> list[Association]:
    """Pairs that no number of their bridges could show to go together, the most bridges first. A relation
    with one answer is left out: whatever its facts say follows from nothing.
    """
    various = np.array([len(patterns.answers_of(name)) > 1 for name in patterns.relations])
    few = [pair for pair in associations if not pair.testable and various[list(pair.relations)].all()]
    return sorted(few, key=lambda pair: -pair.bridges)
