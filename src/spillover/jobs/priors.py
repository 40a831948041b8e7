"""What an untuned model already associates with a rule's fact: its prior."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from scipy.special import softmax

from spillover.cells.cell import Cell, Weights
from spillover.cells.compute import compute, locate
from spillover.cells.folder import Answered, CellFolder, State, answers_of
from spillover.errors import ModelError
from spillover.implication.asking import AskedRule
from spillover.implication.calibration import Calibration, Prior
from spillover.knowledge.checks import SUBJECT
from spillover.knowledge.prompts import Question, fill, state, written
from spillover.knowledge.training import TrainingTable
from spillover.runs.progress import Progress, silent
from spillover.runs.stats import rank_matrix

_SUBJECTS = 4  # of each group


def priors(
    table: TrainingTable,
    rules: Sequence[AskedRule],
    weights: Weights,
    *,
    place: Path | None = None,
    progress: Progress = silent,
) -> list[Prior | None]:
    """Ask the untuned model "{subject's fact}. {the implication's prompt}" for four held-out subjects of each
    group; None for a rule whose held-out subjects have fewer than two right answers, or whose relations'
    words are not known.

    With a `place` for cells it is asked once. Raises ModelError.
    """
    asked = [_questions(table, rule) for rule in rules]
    cell = Cell(weights=weights, questions=tuple(one for groups in asked for g in groups for one in g.asked))
    if not cell.questions:
        return [None] * len(rules)
    if place is None:
        found = answers_of(cell.questions, compute(cell, progress=progress))
    else:
        folder = CellFolder(cell=cell, place=place)
        if folder.state is not State.DONE:
            folder.compute(progress)
        found = folder.answers()
    return [_prior(groups, found, _shared(table, rule)) for groups, rule in zip(asked, rules, strict=True)]


def with_priors(
    table: TrainingTable, rules: Sequence[AskedRule], calibration: Calibration, progress: Progress = silent
) -> list[AskedRule]:
    """The rules with the calibrated model's priors. Raises ModelError, also if its weights changed."""
    weights = locate(calibration.model, log=lambda line: progress(line, 0, 0))
    if weights.identity != calibration.identity:
        raise ModelError(
            f"{calibration.model} has other weights than it was calibrated with; calibrate it anew "
            f"(spillover calibrate --model {calibration.model}), or forecast without asking it"
        )
    found = priors(table, rules, weights, progress=progress)
    return [replace(rule, prior=its) for rule, its in zip(rules, found, strict=True)]


@dataclass(frozen=True, kw_only=True)
class _Group:
    """What is asked of one group of a rule."""

    asked: list[Question]
    right: int
    """Place of the rule's answer among the completions."""


def _shared(table: TrainingTable, rule: AskedRule) -> bool:
    """Whether both relations' prompts have the same words before the subject."""
    before = {
        asked.prompt.partition(SUBJECT)[0]
        for place in (rule.fact, rule.implication)
        if (asked := table.asked.get(table.patterns.relations[place]))
    }
    return len(before) == 1


def _prior(groups: list[_Group], found: Mapping[Question, Answered], shared: bool) -> Prior | None:
    """Its nats are log p(answer | own fact) − log p(answer | other groups' facts): probabilities among the
    candidates, as means over a group's subjects; the other groups weigh the same.
    """
    right = np.array([group.right for group in groups], dtype=int)
    other_GG = right[:, None] != right  # where another group's answer is the same, its fact says nothing
    if not other_GG.any():
        return None
    logprobs = [np.stack([found[question].logprobs for question in group.asked]) for group in groups]
    told_GC = np.stack([softmax(its, axis=1).mean(axis=0) for its in logprobs])
    answers_GG = told_GC[:, right]  # of a group's fact and another's right answer
    others = np.average(answers_GG, axis=0, weights=other_GG)
    nats = float(np.mean(np.log(np.diag(answers_GG)) - np.log(others)))
    ranks = [rank_matrix(its)[:, answer].mean() for its, answer in zip(logprobs, right, strict=True)]
    return None if np.isnan(nats) else Prior(nats=nats, rank=float(np.mean(ranks)), shared=shared)


def _questions(table: TrainingTable, rule: AskedRule) -> list[_Group]:
    patterns, questions = table.patterns, rule.questions
    fact, implication = (table.asked.get(patterns.relations[it]) for it in (rule.fact, rule.implication))
    if fact is None or implication is None or not questions.member.size:
        return []
    implied = {patterns.answers[answer] for answer in rule.groups.implied.tolist() if answer >= 0}
    candidates = sorted({*implied, *implication.candidates})
    completions = tuple(written(implication, answer) for answer in candidates)
    group_of, answer_of = (np.repeat(it, questions.subjects) for it in (questions.group, questions.answer))
    found = []
    for group in np.unique(group_of).tolist():
        members = np.sort(questions.member[group_of == group])[:_SUBJECTS]
        told = patterns.answers[group]
        prompts = [
            f"{state(fact, name, told)}. {fill(implication, name)}"
            for name in patterns.members["subject"].take(pa.array(members)).to_pylist()
        ]
        found.append(
            _Group(
                asked=[Question(prompt=prompt, completions=completions) for prompt in prompts],
                right=candidates.index(patterns.answers[int(answer_of[group_of == group][0])]),
            )
        )
    return found
