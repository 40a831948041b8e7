"""The held-out implications of a table, as questions: who is asked, and what would follow from the rule.

Shapes: P patterns and A answers of the table; G groups of a rule; Q questions, alike subjects asked as one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from spillover.knowledge.patterns import Patterns
from spillover.knowledge.split import Split

NO_ANSWER = -1
"""No answer: the table has none, or two."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Groups:
    """A rule's groups: the answers of its fact, and what the table shows to follow from each."""

    group: np.ndarray
    """(G,), the fact's answer b."""
    implied: np.ndarray
    """(G,), the implication's answer c; NO_ANSWER where bridges are missing or tied."""
    bridges: np.ndarray
    """(G,), subjects with the fact b and the implication c."""
    exceptions: np.ndarray
    """(G,), subjects with the fact b and another implication than c."""
    held_out: np.ndarray
    """(G,), subjects with the fact b and without an implication."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Questions:
    """What one rule leaves to be asked, and its right answers."""

    relation: int
    """The implication."""
    pattern: np.ndarray
    """(Q,)"""
    group: np.ndarray
    """(Q,), the fact's answer b."""
    answer: np.ndarray
    """(Q,), the right answer c."""
    subjects: np.ndarray
    """(Q,), how many subjects the question stands for."""
    member: np.ndarray
    """(Σ subjects,), rows of the patterns' `members`, question after question; empty where not known."""

    def mean(self, values: np.ndarray) -> float:
        """Over the subjects, of a value for each question; NaN without any."""
        return float(np.average(values, weights=self.subjects)) if values.size else float("nan")


def answers_to(patterns: Patterns, relation: int) -> np.ndarray:
    """(P,), each pattern's answer to the relation; NO_ANSWER where it has none or contradicts itself."""
    its = patterns.relation == relation
    answers = np.full(len(patterns.subjects), NO_ANSWER)
    answers[patterns.pattern[its]] = patterns.answer[its]
    answers[np.bincount(patterns.pattern[its], minlength=answers.size) > 1] = NO_ANSWER
    return answers


def lacks(patterns: Patterns, relation: int) -> np.ndarray:
    """(P,), whether the pattern has no statement of the relation."""
    return ~np.isin(np.arange(len(patterns.subjects)), patterns.pattern[patterns.relation == relation])


def rule_groups(patterns: Patterns, fact: int, implication: int, pairs: Mapping[int, int]) -> Groups:
    """The groups of the rule from one relation to the other.

    What follows from b is what `pairs` says, else what most of its bridges show; a tie is left open.
    """
    facts, implications = answers_to(patterns, fact), answers_to(patterns, implication)
    weights, both = patterns.subjects, (facts != NO_ANSWER) & (implications != NO_ANSWER)
    answers = len(patterns.answers)
    cells, cell_of = np.unique(facts[both] * answers + implications[both], return_inverse=True)
    counts = np.bincount(cell_of, weights=weights[both], minlength=cells.size).astype(int)
    b, c = np.divmod(cells, answers)
    group = np.unique(facts[facts != NO_ANSWER])
    implied = np.full(group.size, NO_ANSWER)
    for place, answer in enumerate(group):
        followers = counts * (b == answer)
        most = np.flatnonzero((followers == followers.max(initial=1)) & (followers > 0))
        implied[place] = pairs.get(int(answer), c[most[0]] if most.size == 1 else NO_ANSWER)
    place = np.searchsorted(group, b)
    follows = implied[place] == c
    asked = lacks(patterns, implication) & (facts != NO_ANSWER)
    return Groups(
        group=group,
        implied=implied,
        bridges=np.bincount(place, weights=counts * follows, minlength=group.size).astype(int),
        exceptions=np.bincount(place, weights=counts * ~follows, minlength=group.size).astype(int),
        held_out=np.bincount(
            np.searchsorted(group, facts[asked]), weights=weights[asked], minlength=group.size
        ).astype(int),
    )


def held_out(patterns: Patterns, fact: int, implication: int, groups: Groups) -> Questions:
    """Every pattern with the fact and without the implication, where the table shows what would follow."""
    facts = answers_to(patterns, fact)
    pattern = np.flatnonzero(lacks(patterns, implication) & np.isin(facts, groups.group[groups.implied >= 0]))
    return Questions(
        relation=implication,
        pattern=pattern,
        group=facts[pattern],
        answer=groups.implied[np.searchsorted(groups.group, facts[pattern])],
        subjects=patterns.subjects[pattern],
        member=_members(patterns, pattern),
    )


def held_out_by(split: Split, rule: int, patterns: Patterns) -> Questions:
    """What a split of the table holds out under one of its rules.

    The patterns are those of its training, and their answers hold every right one, even if nobody has it.
    """
    answer, member = places(patterns.answers), places(patterns.members["subject"].to_pylist())
    pattern_of = patterns.members["pattern"].to_numpy()
    asked = [implied for implied in split.held_out if implied.rule == rule]
    member_of = np.array([member[implied.subject] for implied in asked], dtype=int)
    rows = np.array([(answer[implied.group], answer[implied.answer]) for implied in asked]).reshape(-1, 2)
    alike, place, subjects = np.unique(
        np.column_stack([pattern_of[member_of], rows]), axis=0, return_inverse=True, return_counts=True
    )
    return Questions(
        relation=patterns.relations.index(split.kb.rules[rule].implication),
        pattern=alike[:, 0],
        group=alike[:, 1],
        answer=alike[:, 2],
        subjects=subjects,
        member=member_of[np.argsort(place, kind="stable")],
    )


def _members(patterns: Patterns, pattern: np.ndarray) -> np.ndarray:
    """The subjects of the given patterns, as rows of `members`."""
    if not patterns.members.num_rows:
        return np.empty(0, dtype=int)
    of_pattern = np.argsort(patterns.members["pattern"].to_numpy(), kind="stable")
    first = np.cumsum(patterns.subjects) - patterns.subjects
    subjects = patterns.subjects[pattern]
    nth = np.arange(subjects.sum()) - np.repeat(np.cumsum(subjects) - subjects, subjects)
    return of_pattern[np.repeat(first[pattern], subjects) + nth]


def places(names: Sequence[str]) -> dict[str, int]:
    """Where each name stands."""
    return {name: place for place, name in enumerate(names)}
