"""Fine-tuning SmolLM2-135M on city-language (120 short examples, batch 8): TRL's SFTTrainer against ours:
`python -m benchmarks.finetuning`.

SFTTrainer as it comes (bfloat16, activations computed again), and in float32 with its activations kept, which
is what we do. It is given our batches in our order, so that the losses can be compared step by step. Beside
both stands the floor: the matrix products of the same batches alone. Times are of training, without loading.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from datasets import Dataset, disable_progress_bars
from peft import LoraConfig
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from benchmarks.side_by_side import ratio, rounds
from spillover.knowledge.load import load
from spillover.knowledge.prompts import examples
from spillover.knowledge.split import split
from spillover.llm import models
from spillover.llm.finetune import FineTuneConfig, finetune, keep_freed_memory
from spillover.llm.trainer import LengthSorted, Row, collate, encode_examples

EPOCHS, RANK = 2, 8
FULL = FineTuneConfig(epochs=EPOCHS, learning_rate=5e-5)
LORA = FineTuneConfig(epochs=EPOCHS, learning_rate=1e-4, lora=RANK)

_EXAMPLES = examples(split(load("city-language"), 0))


def sft(config: FineTuneConfig, *, as_it_comes: bool = True) -> tuple[float, list[float]]:
    """Seconds of SFTTrainer, and the loss of each step."""
    disable_progress_bars()
    model, tokenizer = models.load(models.locate(models.DEFAULT_MODEL))
    rows = encode_examples(tokenizer, _EXAMPLES)
    told = [{"prompt": each.prompt, "completion": each.completion} for each in _EXAMPLES]
    adapters = LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules="all-linear", task_type="CAUSAL_LM")
    with tempfile.TemporaryDirectory() as scratch:
        trainer = SFTTrainer(
            model,
            args=SFTConfig(
                output_dir=scratch,
                num_train_epochs=1,  # of both, one behind the other
                per_device_train_batch_size=config.batch_size,
                learning_rate=config.rate,
                lr_scheduler_type="constant_with_warmup",
                warmup_steps=round(config.warmup * -(-len(rows) // config.batch_size)),
                train_sampling_strategy="sequential",
                logging_steps=1,
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
                use_cpu=True,
                bf16=None if as_it_comes else False,
                gradient_checkpointing=as_it_comes,
            ),
            train_dataset=Dataset.from_list([told[place] for place in _order(rows, config)]),
            processing_class=tokenizer,
            peft_config=adapters if config.lora else None,
        )
        started = time.perf_counter()
        trainer.train()
        seconds = time.perf_counter() - started
    return seconds, [row["loss"] for row in trainer.state.log_history if "loss" in row]


def ours(config: FineTuneConfig) -> tuple[float, list[float]]:
    """Seconds of `finetune`, and the loss of each step."""
    model, tokenizer = models.load(models.locate(models.DEFAULT_MODEL))
    history: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as scratch:
        started = time.perf_counter()
        finetune(
            model,
            tokenizer,
            _EXAMPLES,
            config,
            checkpoints=Path(scratch) / "c",
            on_log=lambda log: history.__setitem__(slice(None), log),
        )
        seconds = time.perf_counter() - started
    return seconds, [row["loss"] for row in history if "loss" in row]


def floor(config: FineTuneConfig) -> tuple[float, list[float]]:
    """Seconds of the matrix products of a full tune: of each linear layer forward, and backward twice."""
    keep_freed_memory()
    model, tokenizer = models.load(models.locate(models.DEFAULT_MODEL))
    rows = encode_examples(tokenizer, _EXAMPLES)
    weights = [
        (module.weight.detach(), torch.empty_like(module.weight), name == "lm_head")
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear)
    ]
    order, seconds = _order(rows, config), 0.0
    for start in range(0, len(order), config.batch_size):
        batch = collate([rows[place] for place in order[start : start + config.batch_size]], 0)
        for weight, gradient, is_head in weights:
            read = (batch["answers"] if is_head else batch["input_ids"]).numel()
            entered, came_back = torch.randn(read, weight.shape[1]), torch.randn(read, weight.shape[0])
            started = time.perf_counter()
            torch.mm(entered, weight.T)
            torch.mm(came_back, weight)
            torch.mm(came_back.T, entered, out=gradient)
            seconds += time.perf_counter() - started
    return seconds, []


SIDES: dict[str, Callable[[], tuple[float, list[float]]]] = {
    "SFTTrainer": lambda: sft(FULL),
    "SFTTrainer in float32": lambda: sft(FULL, as_it_comes=False),
    "ours": lambda: ours(FULL),
    "floor": lambda: floor(FULL),
    "SFTTrainer, LoRA": lambda: sft(LORA),
    "ours, LoRA": lambda: ours(LORA),
}


def main() -> None:
    """Print all sides and their ratios."""
    print("fine-tuning SmolLM2-135M, 120 examples, batch 8 (goals: 2.5x SFTTrainer, 1.25x the floor)")
    printed = rounds("benchmarks.finetuning", list(SIDES), 3)
    for side, runs in printed.items():
        print(f"  {side:<22}" + "".join(f"{run['seconds'] / EPOCHS:8.2f} s/epoch" for run in runs))
    for side, other in (
        ("SFTTrainer", "ours"),
        ("SFTTrainer in float32", "ours"),
        ("SFTTrainer, LoRA", "ours, LoRA"),
    ):
        pairs = zip(printed[side][0]["losses"], printed[other][0]["losses"], strict=True)
        difference = max(abs(a - b) for a, b in pairs)
        print(
            f"  {side} / {other}: {ratio(printed[side], printed[other])}; losses differ by {difference:.1e}"
        )
    print(f"  ours / floor: {ratio(printed['ours'], printed['floor'])}")


def _order(rows: list[Row], config: FineTuneConfig) -> list[int]:
    """The examples of all epochs in the order of a tune."""
    sampler = LengthSorted([len(row) for row in rows], config.batch_size, config.seed)
    order: list[int] = []
    for epoch in range(EPOCHS):
        sampler.set_epoch(epoch)
        order += sampler
    return order


if __name__ == "__main__":
    if len(sys.argv) == 1:
        main()
    else:
        seconds, losses = SIDES[sys.argv[1]]()
        print(json.dumps({"seconds": seconds, "losses": losses}))
