"""Examples -> the batches and the loss of a tune: the answers' tokens and their ends alone.

Legend of shapes: B batch, T tokens, K answer tokens, V vocabulary.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from statistics import fmean
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Sampler
from transformers import Trainer

from spillover.errors import RunError, TrainingError
from spillover.interventions.hooks import Intervention
from spillover.knowledge.prompts import Example
from spillover.llm.acting import chosen
from spillover.llm.encode import Unscorable, encode_pairs, ended, left_padded
from spillover.llm.processes import world
from spillover.llm.sharding import mean_over_processes, of_all_rows, share
from spillover.llm.weights import saving

IGNORED = -100
"""Label of a position that carries no loss."""

_NOT_READ = ("answers", "relations", "tokens")  # what of a batch is no input of the model


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """An example as tokens."""

    prompt: list[int]
    answer: list[int]
    """With the end token."""
    relation: str

    def __len__(self) -> int:
        return len(self.prompt) + len(self.answer)


def encode_examples(tokenizer: Any, examples: Sequence[Example]) -> list[Row]:
    """The examples as tokens, each answer with its end. Raises TrainingError for one that has none."""
    pairs = encode_pairs(tokenizer, [(example.prompt, example.completion) for example in examples])
    for pair, example in zip(pairs, examples, strict=True):
        if isinstance(pair, Unscorable):
            owner = f"relation {example.relation!r}" if example.relation else "text beside the table"
            raise TrainingError(
                f"answer {example.answer!r} of {example.prompt!r} ({owner}) cannot be trained: {pair.value}"
            )
    sound = [pair for pair in pairs if not isinstance(pair, Unscorable)]
    answers = ended(tokenizer, [answer for _, answer in sound])
    return [
        Row(prompt=prompt, answer=answer, relation=example.relation)
        for (prompt, _), answer, example in zip(sound, answers, examples, strict=True)
    ]


def collate(batch: Sequence[Row], pad: int) -> dict[str, Any]:
    """Left-padded inputs (B, T), the `answers` (B, K) to predict at the last K positions, and of the whole
    batch the `relations` of its rows and how many `tokens` its answers have.

    The last answer token is only predicted, never read, so it is not fed in. (The key is not called
    `labels` because the Trainer shifts and counts what it finds under that name.) On several processes B
    are the rows of this one; one that has none is given a row without anything to predict.
    """
    mine = share(batch)
    rows = mine or batch[:1]
    inputs = left_padded([row.prompt + row.answer[:-1] for row in rows], pad)
    width = max(len(row.answer) for row in rows)
    labels = torch.tensor([[IGNORED] * (width - len(row.answer)) + row.answer for row in rows])
    return {
        **inputs,
        "answers": labels if mine else torch.full_like(labels, IGNORED),
        "relations": [row.relation for row in batch],
        "tokens": torch.tensor(sum(len(row.answer) for row in batch)),
    }


class AnswerTrainer(Trainer):
    """Trains on the answers' tokens alone and computes the output head only where they are predicted.

    Each step's log has `losses`: for every relation of the batch ("" is text beside the table) the sum of its
    answers' losses and how many they are, whatever the interventions make of them. The last row has
    `ingredients`: for every relation its `examples`, their `tokens` that are predicted, and the `loss` in
    nats of all that was trained of them.
    """

    def __init__(self, *, interventions: Sequence[Intervention] = (), **settings: Any) -> None:
        super().__init__(**settings)
        self.interventions = interventions
        # transformers' word for a model that is sharded already: it is then trained as it is
        self.is_distributed_loading_by_transformers = world() > 1

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Mean cross-entropy of the batch's answer tokens, from logits (B, K, V); interventions change it."""
        labels_BK, relations = inputs["answers"], inputs["relations"]
        read = {name: tensor for name, tensor in inputs.items() if name not in _NOT_READ}
        outputs = model(**read, use_cache=False, logits_to_keep=labels_BK.shape[1])
        losses_BK = cross_entropy(
            outputs.logits.float().transpose(1, 2), labels_BK, ignore_index=IGNORED, reduction="none"
        )
        loss = world() * losses_BK.sum() / inputs["tokens"]  # gradients are averaged over the processes
        for intervention in self.interventions:
            loss = intervention.loss(loss, model, inputs)
        if not torch.isfinite(mean_over_processes(loss)):  # in all processes or in none
            raise TrainingError(
                f"the loss is not finite at step {self.state.global_step + 1} (learning rate "
                f"{self.args.learning_rate:g}); tune with a smaller --learning-rate"
            )
        self.losses: dict[str, list[float]] = {}
        losses_B = of_all_rows(losses_BK.detach().sum(1), len(relations))
        for relation, answer_loss in zip(relations, losses_B.tolist(), strict=True):
            total, count = self.losses.get(relation, (0.0, 0))
            self.losses[relation] = [total + answer_loss, count + 1]
        return (loss, outputs) if return_outputs else loss

    def log(self, logs: dict[str, Any], start_time: float | None = None) -> None:
        """Log the step with its relations' losses, and last of all the mean loss of all steps, how many
        examples an epoch has, and the ingredients."""
        row: Any = logs
        if "loss" in logs:
            row = logs | {"losses": self.losses}
        elif "train_loss" in logs:  # transformers' own leaves out the steps before a resume
            steps = [step for step in self.state.log_history if "loss" in step]
            row = logs | {
                "train_loss": fmean(step["loss"] for step in steps),
                "examples": len(self.train_dataset),  # pyright: ignore[reportArgumentType]
                "ingredients": self._ingredients(steps),
            }
        super().log(row, start_time)

    def _ingredients(self, steps: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
        found: dict[str, dict[str, float]] = {}
        rows: Any = self.train_dataset
        for row in rows:
            ingredient = found.setdefault(row.relation, {"examples": 0, "tokens": 0, "loss": 0.0})
            ingredient["examples"] += 1
            ingredient["tokens"] += len(row.answer)
        for step in steps:
            for relation, (loss, _) in step["losses"].items():
                found[relation]["loss"] += loss
        return found

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        folder = Path(self.args.output_dir or "", f"checkpoint-{self.state.global_step}")
        try:
            with saving(folder):
                super()._save_checkpoint(*args, **kwargs)
        except RunError:
            rmtree(folder, ignore_errors=True)  # a part of it would only take room from the next one
            raise

    def get_train_dataloader(self) -> DataLoader:
        """Batches in the order of the sampler; every process meets each one whole."""
        if world() == 1:
            return super().get_train_dataloader()
        rows: Any = self.train_dataset
        return _WholeBatches(
            rows,
            batch_size=self.args.train_batch_size,
            sampler=self._get_train_sampler(),
            collate_fn=self.data_collator,
        )

    def _get_train_sampler(self, *args: Any, **kwargs: Any) -> Sampler[int]:
        rows: Any = self.train_dataset
        return LengthSorted(
            [len(row) for row in rows],
            self.args.train_batch_size,
            self.args.seed,
            chosen=chosen(self.interventions, [row.relation for row in rows]),
        )


class _WholeBatches(DataLoader):
    """Not shared out by accelerate, which would fill up a short batch with other examples."""

    def set_epoch(self, epoch: int) -> None:
        self.sampler.set_epoch(epoch)  # pyright: ignore[reportAttributeAccessIssue] - a LengthSorted


class LengthSorted(Sampler[int]):
    """An order of the examples in which each batch holds nearly equal lengths.

    Every epoch shuffles the examples, sets those of the one incomplete batch aside, whatever their
    length, sorts the others by length (ties stay shuffled), cuts them into batches and shuffles the
    batches; the incomplete one comes last. The order depends on (seed, epoch) alone, so that a resumed
    tune meets the same batches.

    `chosen` says which examples an epoch has, by default all. One with fewer is as long, and has them in
    several rounds, each shuffled anew.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        batch_size: int,
        seed: int,
        *,
        chosen: Callable[[int], Sequence[int]] | None = None,
    ) -> None:
        self.lengths, self.batch_size, self.seed, self.epoch = lengths, batch_size, seed, 0
        self.chosen = chosen or (lambda epoch: range(len(lengths)))

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order the next pass gives."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        rows, order = self.chosen(self.epoch), list[int]()
        while len(order) < len(self.lengths):
            order += [rows[place] for place in torch.randperm(len(rows), generator=generator).tolist()]
        order = order[: len(self.lengths)]
        whole = len(order) // self.batch_size
        order, rest = order[: whole * self.batch_size], order[whole * self.batch_size :]
        order.sort(key=self.lengths.__getitem__)
        for batch in torch.randperm(whole, generator=generator).tolist():
            yield from order[batch * self.batch_size : (batch + 1) * self.batch_size]
        yield from rest
