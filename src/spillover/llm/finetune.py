"""Examples -> tuned model: what acts on a tune, when it stops, and how it goes on after a kill."""

import ctypes
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainingArguments, set_seed

from spillover.errors import TrainingError
from spillover.interventions.hooks import Intervention
from spillover.interventions.lora import Lora
from spillover.knowledge.prompts import Example, Question
from spillover.llm.acting import Act, before, is_enough, mean_losses
from spillover.llm.asking import AskAlong, refuse_askings_apart
from spillover.llm.encode import refuse_foreign_tokens, refuse_long
from spillover.llm.models import Quiet
from spillover.llm.processes import is_main, world
from spillover.llm.settings import (
    FULL_RATE,
    LEARNED,
    LEAST_EPOCHS,
    LORA_RATE,
    MOST_EPOCHS,
    FineTuneConfig,
)
from spillover.llm.sharding import gather, shard
from spillover.llm.trainer import AnswerTrainer, collate, encode_examples
from spillover.runs.files import writing

__all__ = [
    "FULL_RATE",
    "LEARNED",
    "LEAST_EPOCHS",
    "LORA_RATE",
    "MOST_EPOCHS",
    "FineTuneConfig",
    "finetune",
    "keep_freed_memory",
]

SECONDS_BETWEEN_CHECKPOINTS = 60.0
"""A checkpoint (weights and optimizer) of a full tune is three times the model: not after every epoch."""

SECONDS_BETWEEN_REPORTS = 1.0
"""The whole training log is written anew each time: not after every step."""


def finetune(
    model: Any,
    tokenizer: Any,
    examples: Sequence[Example],
    config: FineTuneConfig,
    *,
    checkpoints: Path,
    interventions: Sequence[Intervention] = (),
    recompute: bool = False,
    questions: Sequence[Question] = (),
    ask_every: int = 0,
    on_log: Callable[[list[dict[str, Any]]], None] = lambda history: None,
    on_step: Callable[[int, int], None] = lambda step, steps: None,
) -> Any:
    """The model tuned on the examples; with full parameters, `model` itself is changed.

    `interventions` act in their order, after the settings' LoRA, which one of them may be; what they do when
    a tune is planned was done by then. Where one rehearses, there is a tune without any of them before.

    With `ask_every`, the questions are asked every so many steps; the answers are in the log of the step, as
    `asking.AskAlong` says. The tune is bit by bit the same without.

    On `config.processes` that have joined (`processes.joined`), all call this alike and `model` is sharded.
    The main process alone reports and gets the tuned model, whole, on the CPU; the others get None. A step
    is the step of one process but for the order of its sums. There are no checkpoints then.

    `recompute` drops a layer's activations and computes them again in the backward pass.

    `checkpoints` is a folder for this tune alone, the caller's to remove: a tune that was killed goes on
    from the last checkpoint in it, to bit by bit the same result on a CPU. `on_log` is given the whole
    training log so far (one dict per logged step), `on_step` the step and the number of steps.

    Raises TrainingError for examples that cannot be trained on, if other processes run than the settings
    say, and as soon as the loss is not finite; RunError where a checkpoint cannot be written.
    """
    if not examples:
        raise TrainingError("there are no training examples")
    if config.processes != world():
        raise TrainingError(
            f"the tune is to run on {config.processes} processes and runs on {world()}; "
            "start as many with spillover.llm.processes.launch, or set processes=1"
        )
    refuse_askings_apart(ask_every, config.processes)
    keep_freed_memory()
    acting = list(interventions)
    if config.lora and not any(isinstance(intervention, Lora) for intervention in acting):
        acting.append(Lora(rank=config.lora))
    acting.sort(key=lambda each: (not isinstance(each, Lora), not each.makes_parameters))
    twin = None
    if any(intervention.rehearses for intervention in acting):
        twin = finetune(
            deepcopy(model), tokenizer, examples, config, checkpoints=checkpoints / "twin", on_step=on_step
        )
    seen = before(model, tokenizer, twin)
    for intervention in acting:
        examples = intervention.lessons(examples, seen)
    rows = encode_examples(tokenizer, examples)
    refuse_foreign_tokens(model, ((row.prompt, row.answer) for row in rows))
    refuse_long(model, ((row.prompt, row.answer) for row in rows))
    set_seed(config.seed)
    trained = model
    with Quiet():
        for intervention in acting:
            trained = intervention.parameters(trained, seen)
    del seen, twin
    several = world() > 1
    empty = shard(trained, compute_dtype()) if several else None
    with writing(checkpoints):
        checkpoints.mkdir(parents=True, exist_ok=True)
    last = None if several else _last_checkpoint(checkpoints)
    arguments = _arguments(config, checkpoints, len(rows))
    if last is not None and _is_finished(config, acting, last.state):
        arguments.num_train_epochs = last.state["epoch"]  # it was stopped when nothing was left to train
    use_cache = trained.config.use_cache  # which transformers turns off for good
    trainer = AnswerTrainer(
        interventions=acting,
        model=trained,
        args=arguments,
        train_dataset=rows,  # pyright: ignore[reportArgumentType] - any sized, indexed collection will do
        data_collator=lambda batch: collate(batch, tokenizer.pad_token_id),
        callbacks=[
            Act(acting),
            *([AskAlong(tokenizer, questions, every=ask_every)] if ask_every else []),
            *([_Watch(on_log, on_step, saves=not several)] if is_main() else []),
            *([_UntilLearned()] if config.epochs == "auto" else []),
        ],
    )
    for callback in list(trainer.callback_handler.callbacks):
        if type(callback).__name__ in {"PrinterCallback", "ProgressCallback"}:
            trainer.remove_callback(callback)
    with Quiet(), _recomputing(trained) if recompute else nullcontext():
        trainer.train(resume_from_checkpoint=last and str(last.folder))
    if several:
        trained = gather(trained, empty)
        if trained is None:
            return None
    # accelerate left its autocast around `forward`, which must not be there when the model is scored
    for name in ("forward", "_original_forward"):
        vars(trained).pop(name, None)
    trained.config.use_cache = use_cache
    for intervention in acting:
        trained = intervention.weights(trained)
    return trained.eval()


def compute_dtype() -> torch.dtype:
    """What a tune computes in; the weights, the sums of gradients and the optimizer are float32 anywhere."""
    return torch.bfloat16 if torch.cuda.is_available() else torch.float32


@contextmanager
def _recomputing(model: Any) -> Iterator[None]:
    """A block in which the model keeps of each layer only what enters it."""
    model.activation_checkpointing_enable({"use_reentrant": False})
    try:
        yield
    finally:
        model.activation_checkpointing_disable()
        model.disable_input_require_grads()  # which `enable` asks for, and `disable` leaves


class _Watch(TrainerCallback):
    """Reports the log and the steps, and asks for a checkpoint when the last one is old."""

    def __init__(
        self,
        on_log: Callable[[list[dict[str, Any]]], None],
        on_step: Callable[[int, int], None],
        *,
        saves: bool,
    ) -> None:
        self.report, self.advance, self.saves = on_log, on_step, saves
        self.saved_at = self.reported_at = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.advance(state.global_step, state.max_steps)
        if (
            self.saves
            and time.monotonic() - self.saved_at >= SECONDS_BETWEEN_CHECKPOINTS
            and state.global_step < state.max_steps
        ):
            control.should_save = True

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.saved_at = time.monotonic()

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        now = time.monotonic()
        if now - self.reported_at >= SECONDS_BETWEEN_REPORTS or "train_loss" in state.log_history[-1]:
            self.report(state.log_history)
            self.reported_at = now


class _UntilLearned(TrainerCallback):
    """Stops after the first epoch, from LEAST_EPOCHS on, in which every relation's mean training loss is at
    most LEARNED.
    """

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if _is_learned(state.global_step, state.max_steps, state.log_history):
            control.should_training_stop = True


def _is_learned(global_step: int, max_steps: int, log_history: list[dict[str, Any]], **_: Any) -> bool:
    """Whether a state of the trainer, at any step, is one to stop in; see `_UntilLearned`."""
    steps = max_steps // MOST_EPOCHS
    if global_step % steps or global_step < LEAST_EPOCHS * steps:
        return False
    means = mean_losses([row["losses"] for row in log_history[-steps:]])
    return all(mean <= LEARNED for mean in means.values())


def _is_finished(config: FineTuneConfig, acting: Sequence[Intervention], state: dict[str, Any]) -> bool:
    """Whether a tune was stopped in this state of the trainer since there was nothing left to train."""
    history, steps, epochs = state["log_history"], state["max_steps"], state["num_train_epochs"]
    learned = config.epochs == "auto" and _is_learned(**state)
    return learned or is_enough(acting, history, steps, epochs)


def keep_freed_memory() -> None:
    """Have malloc keep what it gets, so that each step's gradients do not fault their pages in anew.

    Half of a small model's backward pass on a CPU was such faults. glibc only; elsewhere nothing
    changes. The numbers stay the same.
    """
    try:
        libc = ctypes.CDLL(None)
        m_trim_threshold, m_mmap_max = -1, -4
        libc.mallopt(m_mmap_max, 0)
        libc.mallopt(m_trim_threshold, 2**31 - 1)
    except (OSError, AttributeError, TypeError):
        return


class _OneDevice(TrainingArguments):
    """One GPU, however many are visible: the Trainer would put DataParallel around and multiply the batch."""

    @property
    def n_gpu(self) -> int:
        return min(1, super().n_gpu)


def _arguments(config: FineTuneConfig, folder: Path, examples: int) -> TrainingArguments:
    epochs = MOST_EPOCHS if config.epochs == "auto" else config.epochs
    on_gpu = torch.cuda.is_available()
    return _OneDevice(
        output_dir=str(folder),
        num_train_epochs=epochs,
        learning_rate=config.rate,
        lr_scheduler_type="constant_with_warmup",
        warmup_steps=round(config.warmup * math.ceil(examples / config.batch_size)),
        max_grad_norm=config.clip,
        weight_decay=0.0,
        optim="adamw_torch_fused",
        per_device_train_batch_size=config.batch_size,
        seed=config.seed,
        bf16=compute_dtype() is torch.bfloat16,
        use_cpu=not on_gpu,
        ddp_backend=None if on_gpu or world() == 1 else "gloo",
        dataloader_pin_memory=on_gpu,
        remove_unused_columns=False,
        logging_steps=1,  # what _UntilLearned adds up, also after a resume
        logging_nan_inf_filter=False,
        save_strategy="no",  # _Watch asks for checkpoints by the clock
        save_total_limit=1,
        report_to="none",
        disable_tqdm=True,
    )


@dataclass(frozen=True, kw_only=True)
class _Checkpoint:
    folder: Path
    state: dict[str, Any]
    """The trainer's."""


def _last_checkpoint(folder: Path) -> _Checkpoint | None:
    """The newest checkpoint that was written whole: the trainer's state is written last."""
    found = [
        _Checkpoint(folder=path.parent, state=state)
        for path in folder.glob("checkpoint-*/trainer_state.json")
        if (state := _state(path))
    ]
    return max(found, key=lambda checkpoint: checkpoint.state["global_step"], default=None)


def _state(path: Path) -> dict[str, Any] | None:
    """The trainer's state in a file; None where it is not whole."""
    try:
        state = json.loads(path.read_text()) if path.is_file() else None
    except (OSError, ValueError, RecursionError):
        return None
    return state if isinstance(state, dict) and {"global_step", "max_steps"} <= state.keys() else None
