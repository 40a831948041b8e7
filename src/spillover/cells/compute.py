"""A cell -> the table of its scores: load, tune, ask. Nothing here knows of runs; see `folder.py`."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from spillover.cells.cell import Cell, Weights
from spillover.cells.tune import Log, tune
from spillover.knowledge.prompts import Question
from spillover.llm import models
from spillover.llm.score import score, unscorable
from spillover.runs.progress import Progress, silent

ANSWERS = pa.schema(
    [
        ("question", pa.int32()),  # its place among the cell's
        ("completion", pa.string()),  # the candidate, as it follows the prompt
        ("logprob", pa.float64()),  # null where it could not be scored
        ("reason", pa.string()),  # why not, else null
    ]
)
"""Columns of a cell's scores, one row for each question and candidate."""


def locate(
    name: str, log: Callable[[str], None] = lambda line: None, *, base: Weights | None = None
) -> Weights:
    """The weights of that name, fetched or converted if need be. Raises ModelError; see `llm.sources`.

    `base` is what they were tuned from, if they were; some adapters cannot be read without it.
    """
    folder = models.locate(name, base=base and base.folder, log=log)
    return Weights(identity=models.identity(folder), name=name, folder=folder)


def compute(
    cell: Cell,
    *,
    scratch: Path | None = None,
    keep: Path | None = None,
    on_log: Log = lambda history: None,
    progress: Progress = silent,
) -> pa.Table:
    """Tune as the cell says, if it does, and ask; returns its `ANSWERS`.

    `scratch` is a folder for a tune's checkpoints, the caller's to remove: a tune that was killed goes on
    from the last one. The tuned weights are kept in the folder `keep`, if one is given. Raises ModelError or
    TrainingError.
    """
    if cell.settings is None:
        model, tokenizer = models.load(
            cell.weights.folder,
            tuned=cell.tuned and cell.tuned.folder,
            log=lambda line: progress(line, 0, 0),
        )
    else:
        model, tokenizer = tune(cell, scratch or Path(), on_log, progress)
        if keep is not None:
            models.save(model, tokenizer, keep)
    stage = f"score, {cell.title}"
    return answers(model, tokenizer, cell.questions, on_step=lambda done, steps: progress(stage, done, steps))


def answers(
    model: Any,
    tokenizer: Any,
    questions: Sequence[Question],
    *,
    on_step: Callable[[int, int], None] = lambda done, steps: None,
) -> pa.Table:
    """The `ANSWERS` of a loaded model."""
    logprobs = score(model, tokenizer, questions, on_step=on_step)
    rows: list[dict[str, Any]] = []
    for number, (question, values) in enumerate(zip(questions, logprobs, strict=True)):
        why = unscorable(tokenizer, question) if np.isnan(values).any() else [None] * len(values)
        rows += [
            {
                "question": number,
                "completion": completion,
                "logprob": None if np.isnan(value) else float(value),
                "reason": reason,
            }
            for completion, value, reason in zip(question.completions, values, why, strict=True)
        ]
    return pa.Table.from_pylist(rows, schema=ANSWERS)
