"""What an untuned model already says of a rule's implication once it is told the fact: its prior."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from scipy.special import log_softmax

from spillover.cells.cell import Cell, Weights
from spillover.cells.compute import compute, locate
from spillover.cells.folder import Answered, CellFolder, State, answers_of
from spillover.errors import ModelError
from spillover.implication.asking import AskedRule
from spillover.implication.calibration import Calibration
from spillover.knowledge.prompts import Question, fill, state, written
from spillover.knowledge.training import TrainingTable
from spillover.runs.progress import Progress, silent
from spillover.runs.stats import rank_matrix

_SUBJECTS = 4  # of each group


@dataclass(frozen=True, kw_only=True)
class Prior:
    """Of one rule, as means over its groups."""

    nats: float
    """By which the model prefers the rule's answer to an even guess among the candidates."""
    rank: float
    """Of the rule's answer among them; 0 is the first."""


def priors(
    table: TrainingTable,
    rules: Sequence[AskedRule],
    weights: Weights,
    *,
    place: Path | None = None,
    progress: Progress = silent,
) -> list[Prior | None]:
    """Ask the untuned model "{subject's fact}. {the implication's prompt}" for four held-out subjects of each
    group; None for a rule of which nobody is held out, or whose relations' words are not known.

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
    return [_prior(groups, found) for groups in asked]


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
    return [replace(rule, prior=its and its.nats) for rule, its in zip(rules, found, strict=True)]


@dataclass(frozen=True, kw_only=True)
class _Group:
    """What is asked of one group of a rule."""

    asked: list[Question]
    right: int
    """Place of the rule's answer among the completions."""


def _prior(groups: list[_Group], found: Mapping[Question, Answered]) -> Prior | None:
    if not groups:
        return None
    nats, ranks = [], []
    for group in groups:
        logprobs = np.stack([found[question].logprobs for question in group.asked])
        nats.append(log_softmax(logprobs, axis=1)[:, group.right].mean() + np.log(logprobs.shape[1]))
        ranks.append(rank_matrix(logprobs)[:, group.right].mean())
    nats, rank = float(np.mean(nats)), float(np.mean(ranks))
    return None if np.isnan(nats) else Prior(nats=nats, rank=rank)


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
