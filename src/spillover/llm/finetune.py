"""Examples -> tuned model: the settings of a tune, when it stops, and how it goes on after a kill."""

import ctypes
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import TrainerCallback, TrainingArguments, set_seed

from spillover.errors import TrainingError
from spillover.knowledge.prompts import Example
from spillover.llm.models import Quiet
from spillover.llm.trainer import AnswerTrainer, collate, encode_examples

LEAST_EPOCHS, MOST_EPOCHS = 8, 30
"""`epochs="auto"` never stops before the first, which is what the paper's predecessor trained for: the bias
towards a rule goes on after the answers fit. At the second it gives up."""

LEARNED = 0.05
"""Mean loss of a relation's answers, in nats an answer, at which `epochs="auto"` calls it learned.

By Markov's inequality at least 93% of the answers then had a loss below log 2, more than half of all
probability, when they were last trained on.
"""

FULL_RATE, LORA_RATE = 2e-4, 2e-3
"""Learning rates of a full tune and of adapters, which start from a product of zero and need a larger one."""

SECONDS_BETWEEN_CHECKPOINTS = 60.0
"""A checkpoint (weights and optimizer) of a full tune is three times the model: not after every epoch."""

SECONDS_BETWEEN_REPORTS = 1.0
"""The whole training log is written anew each time: not after every step."""


@dataclass(frozen=True, kw_only=True)
class FineTuneConfig:
    """How a model is tuned."""

    epochs: int | Literal["auto"] = "auto"
    """Passes over the examples; `auto`: until the training loss says that every relation is learned, from
    `LEAST_EPOCHS` to `MOST_EPOCHS`. What is held out is never looked at."""
    learning_rate: float | None = None
    """Learning rate of AdamW, constant after the warm-up; None: `FULL_RATE`, with LoRA `LORA_RATE`."""
    batch_size: int = 8
    """Examples per optimizer step."""
    warmup: float = 1.0
    """Epochs over which the learning rate rises. Without it, even 1e-4 has diverged."""
    clip: float = 1.0
    """Largest gradient norm; larger gradients are scaled down to it."""
    lora: int | None = None
    """Rank of LoRA adapters on all linear layers (PEFT); None tunes every parameter."""
    seed: int = 0
    """Seed of the order of the examples and of the adapters' start."""

    @property
    def rate(self) -> float:
        """The learning rate, given or by default."""
        if self.learning_rate is not None:
            return self.learning_rate
        return FULL_RATE if self.lora is None else LORA_RATE

    def __post_init__(self) -> None:
        """Raise TrainingError for a setting out of range."""
        if self.epochs != "auto" and not (isinstance(self.epochs, int) and self.epochs >= 1):
            raise TrainingError(f"epochs must be at least 1, or auto, got {self.epochs}")
        if not (math.isfinite(self.rate) and self.rate > 0):
            raise TrainingError(f"learning rate must be positive and finite, got {self.rate}")
        if self.batch_size < 1:
            raise TrainingError(f"batch size must be at least 1, got {self.batch_size}")
        if not (math.isfinite(self.warmup) and self.warmup >= 0):
            raise TrainingError(f"warm-up must be a number of epochs from 0 up, got {self.warmup}")
        if not self.clip > 0:
            raise TrainingError(f"the gradient clip must be positive, got {self.clip}")
        if self.lora is not None and self.lora < 1:
            raise TrainingError(f"LoRA rank must be positive, got {self.lora}")
        if self.seed < 0:
            raise TrainingError(f"seed must not be negative, got {self.seed}")


def finetune(
    model: Any,
    tokenizer: Any,
    examples: Sequence[Example],
    config: FineTuneConfig,
    *,
    checkpoints: Path,
    on_log: Callable[[list[dict[str, Any]]], None] = lambda history: None,
    on_step: Callable[[int, int], None] = lambda step, steps: None,
) -> Any:
    """The model tuned on the examples; with full parameters, `model` itself is changed.

    `checkpoints` is a folder for this tune alone, the caller's to remove: a tune that was killed goes on
    from the last checkpoint in it, to bit by bit the same result on a CPU. `on_log` is given the whole
    training log so far (one dict per logged step), `on_step` the step and the number of steps.

    Raises TrainingError for examples that cannot be trained on, and as soon as the loss is not
    finite.
    """
    if not examples:
        raise TrainingError("there are no training examples")
    keep_freed_memory()
    set_seed(config.seed)
    rows = encode_examples(tokenizer, examples)
    trained = _with_lora(model, config.lora) if config.lora else model
    watch = [_Watch(on_log, on_step), *([_UntilLearned()] if config.epochs == "auto" else [])]
    trainer = AnswerTrainer(
        model=trained,
        args=_arguments(config, checkpoints, len(rows)),
        train_dataset=rows,  # pyright: ignore[reportArgumentType] - any sized, indexed collection will do
        data_collator=lambda batch: collate(batch, tokenizer.pad_token_id),
        callbacks=watch,
    )
    for callback in list(trainer.callback_handler.callbacks):
        if type(callback).__name__ in {"PrinterCallback", "ProgressCallback"}:
            trainer.remove_callback(callback)
    with Quiet():
        trainer.train(resume_from_checkpoint=_last_checkpoint(checkpoints))
    # accelerate left its autocast around `forward`, which must not be there when the model is scored
    for name in ("forward", "_original_forward"):
        vars(trained).pop(name, None)
    return trained.eval()


class _Watch(TrainerCallback):
    """Reports the log and the steps, and asks for a checkpoint when the last one is old."""

    def __init__(
        self, on_log: Callable[[list[dict[str, Any]]], None], on_step: Callable[[int, int], None]
    ) -> None:
        self.report, self.advance = on_log, on_step
        self.saved_at = self.reported_at = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.advance(state.global_step, state.max_steps)
        if (
            time.monotonic() - self.saved_at >= SECONDS_BETWEEN_CHECKPOINTS
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
        steps = state.max_steps // MOST_EPOCHS
        totals: dict[str, tuple[float, int]] = {}
        for row in state.log_history[-steps:]:
            for relation, (loss, count) in row["losses"].items():
                total, counted = totals.get(relation, (0.0, 0))
                totals[relation] = (total + loss, counted + count)
        learned = all(total / count <= LEARNED for total, count in totals.values())
        if learned and state.global_step >= LEAST_EPOCHS * steps:
            control.should_training_stop = True


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


def _with_lora(model: Any, rank: int) -> Any:
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM")
    with Quiet():
        return get_peft_model(model, config)


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
        bf16=on_gpu,
        use_cpu=not on_gpu,
        dataloader_pin_memory=on_gpu,
        remove_unused_columns=False,
        logging_steps=1,  # what _UntilLearned adds up, also after a resume
        logging_nan_inf_filter=False,
        save_strategy="no",  # _Watch asks for checkpoints by the clock
        save_total_limit=1,
        report_to="none",
        disable_tqdm=True,
    )


def _last_checkpoint(folder: Path) -> str | None:
    """The newest checkpoint that was written whole: the trainer's state is written last."""
    whole = [path.parent for path in folder.glob("checkpoint-*/trainer_state.json") if _is_json(path)]
    return str(max(whole, key=lambda path: int(path.name.rpartition("-")[2]))) if whole else None


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_text())
    except ValueError:
        return False
    return True
