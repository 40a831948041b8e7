"""A table's max-margin problem, solved and certified, and the margins of what it was never told.

Shapes: P patterns, R relations and A answers of the table; Q questions.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from spillover.errors import DataError, InseparableError
from spillover.implication.questions import Questions
from spillover.knowledge.patterns import Patterns
from spillover.margin.certificate import Certificate, certificate
from spillover.margin.problem import MarginProblem, Norm, from_patterns
from spillover.margin.solution import Solution, SolverState
from spillover.margin.solve import solve
from spillover.margin.whole_logits import remembered

PENALTY = 1.0
"""Of the soft margin that contradictions call for. Where a subject has one triple it is the hard one:
no multiplier there exceeds 1, for it would push the subject's own column beyond the dual's norm."""

_TIE = 1e-3  # logits this close are the same answer: what a gap of 1e-4 leaves uncertain
_BUDGET = 8e9  # bytes that a fit may take
_CHUNK = 4_000_000  # logits held at once: 32 MB
_LEAST_TIME = 0.1  # seconds that a soft margin has after a hard one has used up the limit


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """How a table's problem is posed and solved."""

    norm: Norm = "nuclear"
    """`nuclear`: factorized value and output matrices, as language models have; `frobenius`: merged."""
    penalty: float | None = None
    """Of a soft margin; None: a hard margin, or `PENALTY` where the table contradicts itself."""
    tol: float = 1e-4
    """The relative gap to be reached."""
    time_limit: float = np.inf
    """Seconds for the solver, after which the best points so far are taken."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Fit:
    """The max-margin solution of a table, and what it is worth."""

    patterns: Patterns
    problem: MarginProblem
    solution: Solution
    certificate: Certificate
    conflict: tuple[int, ...]
    """Statements that no W can tell apart, for which the margin is soft; empty on a hard margin."""

    def margins(self, questions: Questions) -> np.ndarray:
        """(Q,), each right answer's logit minus the largest other one. Training margins are at least 1."""
        return np.concatenate([np.empty(0), *(part[0] for part in self._chunks(questions))])

    def first_places(self, questions: Questions) -> tuple[float, float]:
        """How often the right answer comes first among the relation's answers, and the same with the right
        answers dealt out anew, as a mean over all deals. Ties share the place; NaN without questions.
        """
        answers = self.patterns.answer[self.patterns.relation == questions.relation]
        candidates, place = np.unique(np.concatenate([answers, questions.answer]), return_inverse=True)
        right = place[answers.size :]
        top1, first_C = 0.0, np.zeros(candidates.size)
        start = 0
        for _, logits in self._chunks(questions):
            credits = _first(logits[:, candidates])
            part = slice(start, start := start + len(logits))
            top1 += questions.subjects[part] @ credits[np.arange(len(logits)), right[part]]
            first_C += questions.subjects[part] @ credits
        total = questions.subjects.sum()
        if not total:
            return float("nan"), float("nan")
        share_C = np.bincount(right, weights=questions.subjects, minlength=candidates.size) / total
        return float(top1 / total), float(first_C @ share_C / total)

    def _chunks(self, questions: Questions) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Margins and logits of some questions at a time."""
        columns, column_of, kinds = (
            self.solution.columns,
            self.solution.column_of,
            len(self.patterns.subjects),
        )
        asked = columns[column_of[kinds + questions.relation]]
        for start in range(0, questions.pattern.size, step := max(1, _CHUNK // self.problem.answers)):
            pattern, right = questions.pattern[start : start + step], questions.answer[start : start + step]
            scale = np.sqrt(self.patterns.subjects[pattern])[:, None]
            logits = columns[column_of[pattern]] / scale + asked
            row = np.arange(right.size)
            rival = logits.copy()
            rival[row, right] = -np.inf
            yield logits[row, right] - rival.max(axis=1), logits


def _first(logits: np.ndarray) -> np.ndarray:
    """The share of the first place that each logit of a row has."""
    tied = logits >= logits.max(axis=1, keepdims=True) - _TIE
    return tied / tied.sum(axis=1, keepdims=True)


def fit(
    patterns: Patterns,
    settings: FitSettings,
    *,
    start: Solution | None = None,
    progress: Callable[[SolverState], None] | None = None,
) -> Fit:
    """Solve the table's problem: features e_s + e_r, every other answer an alternative, margins at least 1.

    A table that no W can keep every margin of is solved with a soft margin. `start` is a solution of a
    table with the same shape that is nearly the same. Raises `DataError` for a table with one answer or too
    large for 8 GB, and `MarginError` for settings out of range.
    """
    _refuse_unfit(patterns)
    started = time.monotonic()

    def solved(penalty: float, time_limit: float) -> tuple[MarginProblem, Solution]:
        problem = _problem(patterns, settings.norm, penalty)
        return problem, solve(problem, settings.tol, time_limit=time_limit, progress=progress, start=start)

    conflict: tuple[int, ...] = ()
    try:
        penalty = np.inf if settings.penalty is None else settings.penalty
        problem, solution = solved(penalty, settings.time_limit)
    except InseparableError as error:
        conflict = tuple(error.examples)
        left = settings.time_limit - (time.monotonic() - started)
        problem, solution = solved(PENALTY, max(left, _LEAST_TIME))
    proof = certificate(problem, solution)
    return Fit(patterns=patterns, problem=problem, solution=solution, certificate=proof, conflict=conflict)


def _problem(patterns: Patterns, norm: Norm, penalty: float) -> MarginProblem:
    return from_patterns(
        patterns.pattern,
        patterns.relation,
        patterns.answer,
        subjects=patterns.subjects,
        relations=len(patterns.relations),
        answers=len(patterns.answers),
        norm=norm,
        penalty=penalty,
    )


def _refuse_unfit(patterns: Patterns) -> None:
    if len(patterns.answers) < 2:
        raise DataError(
            f"every triple has the same answer, {next(iter(patterns.answers))!r}, so there is nothing to "
            "confuse; a forecast needs at least two answers"
        )
    needed = _bytes(patterns)
    if needed <= _BUDGET:
        return
    columns, answers = len(patterns.subjects) + len(patterns.relations), len(patterns.answers)
    distinct = np.unique(np.stack([patterns.relation, patterns.answer]), axis=1)[0]
    counts = np.bincount(distinct)
    most = int(counts.argmax())
    raise DataError(
        f"the table has {answers:,} distinct answers and {columns:,} kinds of subjects and relations, with "
        f"{patterns.pattern.size:,} statements: a forecast would take {needed / 1e9:.0f} GB, and it can take "
        f"{_BUDGET / 1e9:.0f}; leave out relations whose answers are nearly all different: "
        f"{patterns.relations[most]!r} has {counts[most]:,}"
    )


def _bytes(patterns: Patterns) -> int:
    """What a fit allocates at most: every large array is a W, its smaller Gram matrix, or the logits.

    At first every multiplier is positive, so a sparse one is as large as a logit: 12 bytes in the iteration,
    its best point, the certificate, and each of their steps. The copies of each were measured. The past to
    leap from is held beside them, and six copies of its newest step.
    """
    columns, answers = len(patterns.subjects) + len(patterns.relations), len(patterns.answers)
    of_w, of_gram = 14 * 8 * columns * answers, 8 * 8 * min(columns, answers) ** 2
    size = (columns + patterns.pattern.size) * answers
    steps = remembered(size)
    of_past = 8 * (2 * steps + 6) * size if steps else 0
    return of_w + of_gram + of_past + 70 * patterns.pattern.size * answers
