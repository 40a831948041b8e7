"""A cell's folder: where it is, how far it is, how it is recorded, how it is read again.

`PLACE/IDENTITY/` holds manifest.json (completed last), cell.json, scores.parquet, metrics.jsonl and, if asked
for, model/. Whoever needs a cell that is complete reads it; whoever needs one that another writes waits.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from shutil import rmtree
from typing import Any

import numpy as np
import pyarrow as pa

from spillover.cells.cell import Cell
from spillover.cells.compute import ANSWERS, compute
from spillover.errors import RunError
from spillover.knowledge.prompts import Question
from spillover.llm.asking import STEP_ANSWERS
from spillover.runs import files
from spillover.runs.progress import Progress, silent
from spillover.runs.record import Run, read_run
from spillover.runs.shapes import fault

CELLS = "cells"
"""The folder beside run folders that holds the cells which they share."""

_LETTERS = 24  # of an identity in a folder's name; the manifest has all 64
_WITH_MODEL = "-with-model"
_CELL, _SCORES, _LOG = "cell.json", "scores.parquet", "metrics.jsonl"
_CHECKPOINTS, _MODEL = "checkpoints", "model"


def store_beside(folder: Path) -> Path:
    """Where a run's folder and those beside it have their cells; RunError if it is that place itself."""
    folder = Path(os.path.abspath(folder))  # noqa: PTH100 - of ".." too
    place = folder.parent / CELLS
    if folder == place:
        raise RunError(f"{folder} is where the runs beside it share their cells; use another name, or --out")
    return place


class State(Enum):
    """How far a cell is."""

    PENDING = "pending"
    """Not begun, or its writer died; then it goes on from its last checkpoint."""
    RUNNING = "running"
    FAILED = "failed"
    DONE = "done"


@dataclass(frozen=True, kw_only=True)
class Answered:
    """How a model answered one question."""

    logprobs: np.ndarray
    """(C,) of the completions, in their order; NaN where one could not be scored."""
    reasons: tuple[str | None, ...]
    """(C,): why it could not be scored."""


@dataclass(frozen=True, kw_only=True)
class CellFolder:
    """One cell in one place."""

    cell: Cell
    place: Path
    keep_model: bool = False
    """Whether the tuned weights are wanted, too. Such a cell has a folder of its own, and serves those who do
    not want them as well."""

    @property
    def path(self) -> Path:
        """The folder itself."""
        plain = self.place / self.cell.identity[:_LETTERS]
        with_model = plain.with_name(plain.name + _WITH_MODEL)
        return with_model if self.keep_model or _status(with_model) == "complete" else plain

    @property
    def model(self) -> Path:
        """Where the tuned weights are once the cell is done, if they were wanted."""
        return self.path / _MODEL

    @property
    def state(self) -> State:
        """How far the cell is."""
        states = {"running": State.RUNNING, "failed": State.FAILED, "complete": State.DONE}
        return states.get(_status(self.path), State.PENDING)

    def open(self) -> Run:
        """The cell's run, to be written. Raises BusyError where another process writes it."""
        return Run.start(
            self.path,
            command="cell",
            arguments=self.cell.summary(),
            passed={},
            seeds=[self.cell.settings.seed] if self.cell.settings else [],
            hashes={"cell": self.cell.identity},
        )

    def compute(self, progress: Progress = silent) -> None:
        """Compute the cell in this process and record it; one that is complete is left alone.

        One that was stopped goes on from its last checkpoint. Raises BusyError where another process writes
        it, and ModelError or TrainingError where it cannot be computed.
        """
        with self.open() as run:
            if run.complete:
                return
            run.write_json(_CELL, self.cell.document())
            table = compute(
                self.cell,
                scratch=run.path(_CHECKPOINTS),
                keep=self.model if self.keep_model else None,
                on_log=lambda history: self.log(run, history),
                progress=progress,
            )
            self.record(run, table)

    def record(self, run: Run, table: pa.Table) -> None:
        """Write down the scores that `compute` gave, which completes the cell."""
        rmtree(run.path(_CHECKPOINTS), ignore_errors=True)
        run.write_parquet(_SCORES, table)
        run.finish({}, run.seconds)

    def log(self, run: Run, history: list[dict[str, Any]]) -> None:
        """Write down the whole training log so far."""
        run.write_jsonl(_LOG, history)

    def answers(self) -> dict[Question, Answered]:
        """What the model answered. Raises RunError where the cell is not done or its scores are damaged."""
        try:
            table = files.read_parquet(self.path / _SCORES)
            if not table.schema.equals(ANSWERS):
                raise RunError(f"{self.path / _SCORES} has other columns than a cell's")
            return answers_of(self.cell.questions, table)
        except RunError as error:
            raise self._damaged(error) from error
        except ValueError as error:
            raise self._damaged(f"{self.path / _SCORES} is damaged: {error}") from error

    def history(self) -> list[dict[str, Any]]:
        """The training log; of a cell without a tune an empty one. Raises RunError where it is damaged."""
        return [
            {name: value for name, value in row.items() if name != STEP_ANSWERS} for row in self._log_rows()
        ]

    def askings(self) -> dict[int, dict[Question, Answered]]:
        """What was answered during the tune, by step. Raises RunError where the log is damaged."""
        rows = [row for row in self._log_rows() if STEP_ANSWERS in row]
        shape = {"step": int, STEP_ANSWERS: [[(float, int, type(None))]]}
        if found := fault(rows, [shape], _LOG):
            raise self._damaged(found)
        return {row["step"]: self._answered(row[STEP_ANSWERS]) for row in rows}

    def _answered(self, answers: list[list[float | None]]) -> dict[Question, Answered]:
        """Each question's, in the cell's order."""
        questions = self.cell.questions
        if [len(values) for values in answers] != [len(question.completions) for question in questions]:
            raise self._damaged(f"{self.path / _LOG} has other answers than the cell's questions")
        return {
            question: Answered(logprobs=np.array(values, dtype=float), reasons=(None,) * len(values))
            for question, values in zip(questions, answers, strict=True)
        }

    def _log_rows(self) -> list[dict[str, Any]]:
        if not (self.path / _LOG).exists():
            return []
        try:
            rows = files.read_jsonl(self.path / _LOG)
        except RunError as error:
            raise self._damaged(error) from error
        if found := fault(rows, [dict], _LOG):
            raise self._damaged(found)
        return rows

    def _damaged(self, why: object) -> RunError:
        return RunError(f"{why}; remove the folder {self.path}, and run again")


def answers_of(questions: Sequence[Question], table: pa.Table) -> dict[Question, Answered]:
    """The `ANSWERS` of these questions by question. Raises ValueError where the table is of others."""
    rows = table.to_pydict()
    found: dict[Question, Answered] = {}
    start = 0
    for question in questions:
        part = slice(start, start := start + len(question.completions))
        if tuple(rows["completion"][part]) != question.completions:
            raise ValueError(f"the scores have no answers to {question.prompt!r}")
        logprobs = np.array(rows["logprob"][part], dtype=float)  # null becomes NaN
        found[question] = Answered(logprobs=logprobs, reasons=tuple(rows["reason"][part]))
    return found


def _status(folder: Path) -> str:
    try:
        return read_run(folder).status
    except RunError:
        return "broken"
