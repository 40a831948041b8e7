"""Fine-tuning SmolLM2-135M on city-language (120 short examples, batch 8): the plain loop against ours.

The plain loop pads on the right, computes logits at every position and steps torch's Adam, as the
field writes it; schedule, clipping and batches are ours, so that the losses can be compared step by
step. (In a random order it would pad more and be slower.)
"""

import json
import sys
import tempfile
import time
from pathlib import Path

import torch

from benchmarks.side_by_side import ratio, rounds
from spillover.knowledge.load import load
from spillover.knowledge.prompts import examples
from spillover.knowledge.split import split
from spillover.llm import models
from spillover.llm.finetune import FineTuneConfig, finetune
from spillover.llm.trainer import LengthSorted, encode_examples

EPOCHS = 2
CONFIG = FineTuneConfig(epochs=EPOCHS, learning_rate=5e-5)


def plain() -> list[float]:
    """Train with the plain loop; the loss of each step."""
    model, tokenizer = models.load(models.locate(models.DEFAULT_MODEL))
    rows = encode_examples(tokenizer, _examples())
    pairs = [(row.prompt, row.answer) for row in rows]
    sampler = LengthSorted([len(row) for row in rows], CONFIG.batch_size, CONFIG.seed)
    warmup = round(CONFIG.warmup * -(-len(pairs) // CONFIG.batch_size))
    optimizer = torch.optim.Adam(model.parameters(), lr=CONFIG.rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, step / warmup))
    model.train()
    losses = []
    for epoch in range(EPOCHS):
        sampler.set_epoch(epoch)
        order = list(sampler)
        for start in range(0, len(order), CONFIG.batch_size):
            batch = [pairs[i] for i in order[start : start + CONFIG.batch_size]]
            width = max(len(prompt) + len(answer) for prompt, answer in batch)
            ids = torch.full((len(batch), width), tokenizer.pad_token_id)
            mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
            for row, (prompt, answer) in enumerate(batch):
                whole = len(prompt) + len(answer)
                ids[row, :whole] = torch.tensor(prompt + answer)
                mask[row, :whole] = 1
                labels[row, len(prompt) : whole] = torch.tensor(answer)
            loss = model(input_ids=ids, attention_mask=mask, labels=labels).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), CONFIG.clip)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            losses.append(loss.item())
    return losses


def ours() -> list[float]:
    """Train with `finetune`; the loss of each step."""
    model, tokenizer = models.load(models.locate(models.DEFAULT_MODEL))
    history: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as scratch:
        finetune(
            model,
            tokenizer,
            _examples(),
            CONFIG,
            checkpoints=Path(scratch) / "c",
            on_log=lambda log: history.__setitem__(slice(None), log),
        )
    return [row["loss"] for row in history if "loss" in row]


def main() -> None:
    """Print both sides and the ratio."""
    print("fine-tuning SmolLM2-135M, 120 examples, batch 8, float32 (goal: 2.5x, same losses)")
    printed = rounds("benchmarks.finetuning", ("plain", "ours"), 3)
    for side, runs in printed.items():
        print(f"  {side:<6}" + "".join(f"{run['seconds'] / EPOCHS:8.2f} s/epoch" for run in runs))
    pairs = zip(printed["plain"][0]["losses"], printed["ours"][0]["losses"], strict=True)
    print(f"  largest difference of a step's loss: {max(abs(a - b) for a, b in pairs):.1e}")
    print(f"  ratio {ratio(printed['plain'], printed['ours'])}")


def _examples() -> list:
    return examples(split(load("city-language"), 0))


if __name__ == "__main__":
    models.load(models.locate(models.DEFAULT_MODEL))  # the page cache is warm for both sides
    started = time.perf_counter()
    losses = {"plain": plain, "ours": ours}[sys.argv[1]]()
    print(json.dumps({"seconds": time.perf_counter() - started, "losses": losses}))
