"""Questions asked while a model is tuned, of which the tune notices nothing."""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from transformers import TrainerCallback

from spillover.errors import TrainingError
from spillover.knowledge.prompts import Question
from spillover.llm.score import score

STEP_ANSWERS = "answers"
"""Key of a step's log: for each question, in their order, its candidates' log-probabilities with float32's
digits; None where one cannot be scored."""

_LEAST = float(np.finfo(np.float32).min)  # JSON has no infinity


class AskAlong(TrainerCallback):
    """Asks every `every` steps and leaves the answers in the log of that step, under `STEP_ANSWERS`.

    They travel with the trainer's state, so a tune that goes on from a checkpoint has those from before. It
    works in any Trainer of one process; the tune is bit by bit the same without it.
    """

    def __init__(self, tokenizer: Any, questions: Sequence[Question], *, every: int) -> None:
        self.tokenizer, self.questions, self.every = tokenizer, questions, every
        self._answers: list[list[float | None]] | None = None

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Ask, where it is time, and have the step logged."""
        if state.global_step % self.every == 0:
            with undisturbed(kwargs["model"]) as model:
                self._answers = [_row(values) for values in score(model, self.tokenizer, self.questions)]
            control.should_log = True

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Put the answers into the row that the step has just been given."""
        if self._answers is not None:
            state.log_history[-1][STEP_ANSWERS] = self._answers
            self._answers = None


def refuse_askings_apart(every: int, processes: int) -> None:
    """Raise TrainingError where a model on several processes would be asked during its tune."""
    if every < 0:
        raise TrainingError(f"the steps between askings must be 1 or more, or 0 for none, got {every}")
    if every and processes > 1:
        raise TrainingError(
            f"a model on {processes} processes cannot be asked while it is tuned; tune it with processes=1"
        )


@contextmanager
def undisturbed(model: Any) -> Iterator[Any]:
    """The model in evaluation mode and as its weights are, without the autocast that accelerate puts around
    `forward`; afterwards its modes, its `forward` and all random states are as they were.

    Where the weights are of 16 bits, its output head alone computes in float32 (from a copy, which takes 4
    bytes a weight), since logits of 16 bits make ties of what is none.
    """
    modes = [(module, module.training) for module in model.modules()]
    wrapped = {
        name: vars(model).pop(name) for name in ("forward", "_original_forward") if name in vars(model)
    }
    states = random.getstate(), np.random.get_state()
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    try:
        with torch.random.fork_rng(devices), _fine_head(model):
            yield model.eval()
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        vars(model).update(wrapped)
        for module, training in modes:
            module.training = training


@contextmanager
def _fine_head(model: Any) -> Iterator[None]:
    """A block in which an output head of 16 bits reads and computes in float32, and so gives such logits."""
    head = model.get_output_embeddings()
    if head is None or head.weight.dtype not in (torch.bfloat16, torch.float16):
        yield
        return
    fine, own = deepcopy(head).float(), vars(head).get("forward")
    head.forward = lambda hidden: fine(hidden.float())
    try:
        yield
    finally:
        del head.forward
        if own is not None:
            head.forward = own


def _row(values: np.ndarray) -> list[float | None]:
    """The shortest digits that are the same in float32."""
    return [None if np.isnan(value) else float(str(np.float32(max(value, _LEAST)))) for value in values]
