"""Examples -> tuned model: a `transformers.Trainer` that trains on the answers alone.

Legend of shapes: B batch, T tokens, K answer tokens, V vocabulary.
"""

import ctypes
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from torch.utils.data import Sampler
from transformers import Trainer, TrainerCallback, TrainingArguments, set_seed

from spillover.errors import TrainingError
from spillover.knowledge.prompts import Example
from spillover.llm.encode import Pair, encode_pairs, left_padded
from spillover.llm.models import Quiet

IGNORED = -100
"""Label of a position that carries no loss."""

SECONDS_BETWEEN_CHECKPOINTS = 60.0
"""A checkpoint (weights and optimizer) of a full tune is three times the model: not after every epoch."""


@dataclass(frozen=True, kw_only=True)
class FineTuneConfig:
    """How a model is tuned."""

    epochs: int = 8
    """Passes over the examples."""
    learning_rate: float = 2e-4
    """Peak learning rate of AdamW, reached after the warm-up, then falling linearly to zero."""
    batch_size: int = 8
    """Examples per optimizer step."""
    warmup: float = 0.1
    """Share of all steps over which the learning rate rises. Without it, even 1e-4 has diverged."""
    clip: float = 1.0
    """Largest gradient norm; larger gradients are scaled down to it."""
    lora: int | None = None
    """Rank of LoRA adapters on all linear layers (PEFT); None tunes every parameter."""
    seed: int = 0
    """Seed of the order of the examples and of the adapters' start."""

    def __post_init__(self) -> None:
        """Raise TrainingError for a setting out of range."""
        if self.epochs < 1:
            raise TrainingError(f"epochs must be at least 1, got {self.epochs}")
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise TrainingError(f"learning rate must be positive and finite, got {self.learning_rate}")
        if self.batch_size < 1:
            raise TrainingError(f"batch size must be at least 1, got {self.batch_size}")
        if not 0 <= self.warmup < 1:
            raise TrainingError(f"warm-up must be a share of the steps in [0, 1), got {self.warmup}")
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
    rows = _encode_examples(tokenizer, examples)
    trained = _with_lora(model, config.lora) if config.lora else model
    trainer = AnswerTrainer(
        model=trained,
        args=_arguments(config, checkpoints, len(rows)),
        train_dataset=rows,  # pyright: ignore[reportArgumentType] - any sized, indexed collection will do
        data_collator=lambda batch: collate(batch, tokenizer.pad_token_id),
        callbacks=[_Watch(on_log, on_step)],
    )
    for callback in list(trainer.callback_handler.callbacks):
        if type(callback).__name__ in {"PrinterCallback", "ProgressCallback"}:
            trainer.remove_callback(callback)
    with Quiet():
        trainer.train(resume_from_checkpoint=_last_checkpoint(checkpoints))
    return trained.eval()


def collate(batch: Sequence[Pair], pad: int) -> dict[str, torch.Tensor]:
    """Left-padded inputs (B, T) and the `answers` (B, K) to predict at the last K positions.

    The last answer token is only predicted, never read, so it is not fed in. (The key is not called
    `labels` because the Trainer shifts and counts what it finds under that name.)
    """
    inputs = left_padded([prompt + answer[:-1] for prompt, answer in batch], pad)
    width = max(len(answer) for _, answer in batch)
    labels = torch.tensor([[IGNORED] * (width - len(answer)) + answer for _, answer in batch])
    return {**inputs, "answers": labels}


class AnswerTrainer(Trainer):
    """Trains on the answers' tokens alone and computes the output head only where they are predicted."""

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Mean cross-entropy of the batch's answer tokens, from logits (B, K, V)."""
        labels_BK = inputs["answers"]
        features = {name: value for name, value in inputs.items() if name != "answers"}
        outputs = model(**features, use_cache=False, logits_to_keep=labels_BK.shape[1])
        loss = cross_entropy(outputs.logits.flatten(0, 1).float(), labels_BK.flatten(), ignore_index=IGNORED)
        if not torch.isfinite(loss):
            raise TrainingError(
                f"the loss is not finite at step {self.state.global_step + 1} (learning rate "
                f"{self.args.learning_rate:g}); tune with a smaller --learning-rate"
            )
        return (loss, outputs) if return_outputs else loss

    def _get_train_sampler(self, *args: Any, **kwargs: Any) -> Sampler[int]:
        lengths = [len(prompt) + len(answer) for prompt, answer in self.train_dataset]  # pyright: ignore
        return LengthSorted(lengths, self.args.train_batch_size, self.args.seed)


class LengthSorted(Sampler[int]):
    """An order of the examples in which each batch holds nearly equal lengths.

    Every epoch shuffles the examples, sorts them by length (ties stay shuffled), cuts them into
    batches and shuffles the batches; the one incomplete batch comes last. The order depends on
    (seed, epoch) alone, so that a resumed tune meets the same batches.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int) -> None:
        self.lengths, self.batch_size, self.seed, self.epoch = lengths, batch_size, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order the next pass gives."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        order = torch.randperm(len(self.lengths), generator=generator).tolist()
        order.sort(key=self.lengths.__getitem__)
        whole = len(order) // self.batch_size
        rest = order[whole * self.batch_size :]
        for batch in torch.randperm(whole, generator=generator).tolist():
            yield from order[batch * self.batch_size : (batch + 1) * self.batch_size]
        yield from rest


class _Watch(TrainerCallback):
    """Reports the log and the steps, and asks for a checkpoint when the last one is old."""

    def __init__(
        self, on_log: Callable[[list[dict[str, Any]]], None], on_step: Callable[[int, int], None]
    ) -> None:
        self.report, self.advance, self.saved_at = on_log, on_step, time.monotonic()

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
        self.report(state.log_history)


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


def _encode_examples(tokenizer: Any, examples: Sequence[Example]) -> list[Pair]:
    rows = encode_pairs(tokenizer, [(example.prompt, example.completion) for example in examples])
    for row, example in zip(rows, examples, strict=True):
        if row is None:
            raise TrainingError(
                "the model's tokenizer does not keep prompt and answer apart in "
                f"{example.prompt + example.completion!r}; reword the prompt of relation {example.relation!r}"
            )
    return [row for row in rows if row is not None]


def _with_lora(model: Any, rank: int) -> Any:
    from peft import LoraConfig, get_peft_model

    return get_peft_model(
        model, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM")
    )


def _arguments(config: FineTuneConfig, folder: Path, examples: int) -> TrainingArguments:
    steps = config.epochs * math.ceil(examples / config.batch_size)
    on_gpu = torch.cuda.is_available()
    return TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=config.epochs,
        learning_rate=config.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=round(config.warmup * steps),
        max_grad_norm=config.clip,
        weight_decay=0.0,
        optim="adamw_torch_fused",
        per_device_train_batch_size=config.batch_size,
        seed=config.seed,
        bf16=on_gpu,
        use_cpu=not on_gpu,
        dataloader_pin_memory=on_gpu,
        remove_unused_columns=False,
        logging_steps=max(1, steps // 100),
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
