"""Advice: the smallest change of a table that brings a rule's forecast margin where it is wanted.

Four kinds of change, each by so many subjects of every group: counterexamples and unknowns are facts to add
about held-out subjects, bridges are taken away or added. Each step is forecast anew, starting from the
solution of the table as it is.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import scipy.sparse as sp

from spillover.implication.asking import AskedRule
from spillover.implication.calibration import Rate
from spillover.implication.margins import Fit, FitSettings, fit
from spillover.implication.questions import Questions, answers_to, held_out, lacks, rule_groups
from spillover.implication.rates import Rates
from spillover.knowledge.patterns import Patterns
from spillover.margin.solution import Solution

Change = Literal["counterexamples", "unknowns", "fewer bridges", "more bridges"]

SPURIOUS_TARGET, WANTED_TARGET = 0.1, 0.5
"""Margins below which an unwanted rule and from which on a wanted one is where it should be."""

UNKNOWN_ANSWER = "unknown"


@dataclass(frozen=True, kw_only=True)
class Advice:
    """What would bring a rule's mean margin where it is wanted."""

    target: float
    reached: bool
    """Whether the table as it is has it there: nothing to change."""
    options: tuple["Option", ...] = ()


@dataclass(frozen=True, kw_only=True)
class Step:
    """A change by so many subjects of every group, and the forecast after it."""

    per_group: int
    subjects: int
    """In all groups together; a group without enough of them gives what it has."""
    margin: float
    """Mean over the subjects still held out."""
    rate: Rate | None
    """Of the same subjects, for a calibrated model."""
    relative_gap: float
    certified: bool
    """Whether the gap is within the tolerance."""


@dataclass(frozen=True, kw_only=True)
class Option:
    """One kind of change: the steps looked at, by size, and the smallest that reaches the target, if any."""

    change: Change
    steps: tuple[Step, ...]
    enough: Step | None


def advise(
    before: Fit,
    rule: AskedRule,
    *,
    target: float | None = None,
    settings: FitSettings,
    rates: Rates | None = None,
    progress: Callable[[], None] | None = None,
) -> Advice:
    """What would bring the rule's mean margin below the target, or for a wanted (causal) one to the target.

    Sizes are doubled until the target is reached and then halved in between, which finds the smallest
    size if the margin moves one way with the size. `settings.time_limit` is that of every step, and
    `progress` is called after each. With `rates`, those of the table as it is, every step has its rate.
    """
    wanted, groups = rule.kind == "causal", rule.groups
    if target is None:
        target = WANTED_TARGET if wanted else SPURIOUS_TARGET

    def reached(margin: float) -> bool:
        return margin >= target if wanted else margin < target

    questions = held_out(before.patterns, rule.fact, rule.implication, groups)
    if reached(questions.mean(before.margins(questions))):
        return Advice(target=target, reached=True)
    changes: list[Change] = ["more bridges"] if wanted else ["unknowns", "fewer bridges"]
    if not wanted and np.unique(groups.implied[groups.implied >= 0]).size > 1:
        changes.insert(0, "counterexamples")
    tables = (_Changed(before, rule, settings, change, rates, progress) for change in changes)
    options = tuple(_option(table, reached) for table in tables)
    return Advice(target=target, reached=False, options=options)


def _option(table: "_Changed", reached: Callable[[float], bool]) -> Option:
    low, high, size = 0, None, 1
    while high is None and size <= table.most:
        if reached(table.step(size).margin):
            high = size
        else:
            low, size = size, (2 * size if 2 * size <= table.most or size == table.most else table.most)
    while high is not None and high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(table.step(middle).margin) else (middle, high)
    steps = tuple(table.steps[size] for size in sorted(table.steps))
    return Option(change=table.change, steps=steps, enough=None if high is None else table.steps[high])


class _Changed:
    """A table under one kind of change, by size."""

    def __init__(
        self,
        before: Fit,
        rule: AskedRule,
        settings: FitSettings,
        change: Change,
        rates: Rates | None,
        progress: Callable[[], None] | None,
    ) -> None:
        self._before, self._rule, self._settings, self._progress = before, rule, settings, progress
        self._rates = rates
        self.change: Change = change
        self.steps: dict[int, Step] = {}
        groups = rule.groups
        known = groups.implied >= 0
        subjects = groups.bridges if change == "fewer bridges" else groups.held_out
        self.most = int(subjects[known].max(initial=0)) - 1
        """The size that leaves one subject of the largest group as it was."""

    def step(self, size: int) -> Step:
        """The forecast after a change of so many subjects per group."""
        edited = _edit(self._before.patterns, self._edits(size))
        start = _carried(self._before.solution, self._before.patterns, edited)
        after = fit(edited.patterns, self._settings, start=start)
        left = held_out(edited.patterns, self._rule.fact, self._rule.implication, self._rule.groups)
        self.steps[size] = Step(
            per_group=size,
            subjects=edited.moved,
            margin=left.mean(after.margins(left)),
            rate=self._rate(edited.patterns, left),
            relative_gap=after.certificate.relative_gap,
            certified=bool(after.certificate.relative_gap <= self._settings.tol),
        )
        if self._progress is not None:
            self._progress()
        return self.steps[size]

    def _rate(self, after: Patterns, left: Questions) -> Rate | None:
        """Of those who are still held out."""
        if self._rates is None:
            return None
        rule = self._rule
        each = zip(rule.groups.group.tolist(), rule.groups.implied.tolist(), strict=True)
        groups = rule_groups(after, rule.fact, rule.implication, {b: c for b, c in each if c >= 0})
        return self._rates.rate(replace(rule, groups=groups, questions=left))

    def _edits(self, size: int) -> Iterable["_Edit"]:
        patterns, groups, implication = self._before.patterns, self._rule.groups, self._rule.implication
        facts, implications = answers_to(patterns, self._rule.fact), answers_to(patterns, implication)
        lacking = lacks(patterns, implication)
        implied = list(dict.fromkeys(groups.implied[groups.implied >= 0].tolist()))
        for b, c in zip(groups.group.tolist(), groups.implied.tolist(), strict=True):
            if c < 0:
                continue
            if self.change == "fewer bridges":
                bridges = np.flatnonzero((facts == b) & (implications == c))
                yield from (_Edit(pattern=p, drop=implication) for p in _take(patterns, bridges, size))
                continue
            asked = np.flatnonzero((facts == b) & lacking)
            for number, pattern in enumerate(_take(patterns, asked, size)):
                yield _Edit(pattern=pattern, add=(implication, self._answer(c, number, implied)))

    def _answer(self, right: int, number: int, implied: list[int]) -> int:
        """What the group's added fact of that number says."""
        if self.change == "more bridges":
            return right
        if self.change == "counterexamples":  # spread over what other groups imply
            return implied[(implied.index(right) + 1 + number % (len(implied) - 1)) % len(implied)]
        answers = self._before.patterns.answers
        return answers.index(UNKNOWN_ANSWER) if UNKNOWN_ANSWER in answers else len(answers)


@dataclass(frozen=True, kw_only=True)
class _Edit:
    """One subject of a pattern that gains or loses a statement."""

    pattern: int
    add: tuple[int, int] | None = None
    """(relation, answer)"""
    drop: int | None = None
    """A relation."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Edited:
    """A table after edits, and where its patterns and statements come from."""

    patterns: Patterns
    pattern_from: np.ndarray
    """(P,), a pattern of the table before."""
    statement_from: np.ndarray
    """(S,), a statement of the table before; −1 for what was added."""
    moved: int
    """Subjects that were edited."""


def _take(patterns: Patterns, which: np.ndarray, number: int) -> list[int]:
    """Patterns of the first `number` subjects of the given patterns, the most common pattern first."""
    which = which[np.argsort(-patterns.subjects[which], kind="stable")]
    ends = np.cumsum(patterns.subjects[which])
    number = min(number, int(ends[-1]) if ends.size else 0)
    return which[np.searchsorted(ends, np.arange(number), side="right")].tolist()


def _edit(patterns: Patterns, edits: Iterable[_Edit]) -> _Edited:
    first = np.searchsorted(patterns.pattern, np.arange(len(patterns.subjects) + 1))
    left = patterns.subjects.copy()
    made: dict[tuple[tuple[int, int, int], ...], list[int]] = {}
    moved, unknown = 0, False
    for edit in edits:
        moved += 1
        left[edit.pattern] -= 1
        statements = [
            (int(patterns.relation[i]), int(patterns.answer[i]), int(i))
            for i in range(first[edit.pattern], first[edit.pattern + 1])
            if patterns.relation[i] != edit.drop
        ]
        if edit.add is not None:
            statements.append((*edit.add, -1))
            unknown |= edit.add[1] == len(patterns.answers)
        made.setdefault(tuple(sorted(statements)), []).append(edit.pattern)
    kept = np.flatnonzero(left)
    stays = np.isin(patterns.pattern, kept)
    fresh = [(len(kept) + p, *what) for p, statements in enumerate(made) for what in statements]
    added = np.array(fresh, dtype=patterns.pattern.dtype).reshape(-1, 4)
    return _Edited(
        patterns=replace(
            patterns,
            answers=(*patterns.answers, UNKNOWN_ANSWER) if unknown else patterns.answers,
            subjects=np.r_[left[kept], [len(sources) for sources in made.values()]].astype(left.dtype),
            pattern=np.r_[np.searchsorted(kept, patterns.pattern[stays]), added[:, 0]],
            relation=np.r_[patterns.relation[stays], added[:, 1]],
            answer=np.r_[patterns.answer[stays], added[:, 2]],
            members=patterns.members.slice(0, 0),
        ),
        pattern_from=np.r_[kept, [sources[0] for sources in made.values()]].astype(int),
        statement_from=np.r_[np.flatnonzero(stays), added[:, 3]],
        moved=moved,
    )


def _carried(solution: Solution, before: Patterns, edited: _Edited) -> Solution:
    """The solution of the table before, as a start for the table after."""
    after = edited.patterns
    kinds, more = len(before.subjects), len(after.answers) - len(before.answers)
    columns = solution.columns[
        solution.column_of[np.r_[edited.pattern_from, kinds + np.arange(len(before.relations))]]
    ]
    columns[: len(after.subjects)] *= np.sqrt(after.subjects / before.subjects[edited.pattern_from])[:, None]
    rows = solution.multipliers[solution.multipliers_of[np.maximum(edited.statement_from, 0)]]
    rows = sp.diags_array((edited.statement_from >= 0).astype(float)) @ rows
    padding = sp.csr_array((rows.shape[0], more))
    return replace(
        solution,
        columns=np.pad(columns, ((0, 0), (0, more))),
        column_of=np.arange(len(columns)),
        multipliers=sp.csr_array(sp.hstack([rows, padding])),
        multipliers_of=np.arange(rows.shape[0]),
    )
