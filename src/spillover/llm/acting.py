"""Interventions on a tune: what they are shown before it, and where the Trainer lets them act."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from transformers import TrainerCallback

from spillover.interventions.hooks import Before, Intervention
from spillover.llm.encode import encode_prompts, left_padded
from spillover.llm.score import score


def before(model: Any, tokenizer: Any, twin: Any | None) -> Before:
    """What interventions may look at before a tune."""

    def read(texts: Sequence[str]) -> dict[str, Any]:
        inputs = left_padded(encode_prompts(tokenizer, texts), tokenizer.pad_token_id)
        return {name: tensor.to(model.device) for name, tensor in inputs.items()}

    return Before(
        model=model,
        tokenizer=tokenizer,
        twin=twin,
        read=read,
        ask=lambda asked, questions: score(asked, tokenizer, questions),
    )


class Act(TrainerCallback):
    """Lets the interventions act at every step, in their order."""

    def __init__(self, interventions: Sequence[Intervention]) -> None:
        self.interventions = interventions

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Let them change the gradients, which are clipped by then."""
        for intervention in self.interventions:
            intervention.gradients(kwargs["model"])

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Let them change the weights; the scheduler has not moved on yet."""
        rate = kwargs["optimizer"].param_groups[0]["lr"]
        for intervention in self.interventions:
            intervention.stepped(kwargs["model"], rate, state.global_step + 1)

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Stop where one has enough."""
        if is_enough(self.interventions, state.log_history, state.max_steps, state.num_train_epochs):
            control.should_training_stop = True


def is_enough(
    interventions: Sequence[Intervention], history: Sequence[Mapping[str, Any]], steps: int, epochs: float
) -> bool:
    """Whether an intervention stops a tune of so many steps and epochs after these steps of its log."""
    window = round(steps / epochs)
    latest = [row["losses"] for row in history[-window:] if "losses" in row]
    if len(latest) < window:
        return False
    means = mean_losses(latest)
    return any(intervention.enough(means) for intervention in interventions)


def mean_losses(steps: Sequence[Mapping[str, tuple[float, int]]]) -> dict[str, float]:
    """Each relation's mean loss of an answer over the steps, whose `losses` are sums and counts; none of what
    is beside the table."""
    totals: dict[str, tuple[float, int]] = {}
    for losses in steps:
        for relation, (loss, count) in losses.items():
            total, counted = totals.get(relation, (0.0, 0))
            totals[relation] = (total + loss, counted + count)
    return {relation: total / count for relation, (total, count) in totals.items() if relation}


def chosen(interventions: Sequence[Intervention], relations: Sequence[str]) -> Callable[[int], Sequence[int]]:
    """Which of the examples with these relations each epoch teaches."""

    def of_epoch(number: int) -> Sequence[int]:
        rows: Sequence[int] = range(len(relations))
        for intervention in interventions:
            rows = intervention.epoch(relations, rows, number)
        return rows

    return of_epoch
