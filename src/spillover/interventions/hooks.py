"""An intervention on a tune: one method for each place where it can act, in the order of the tune."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, Self

import numpy as np

from spillover.knowledge.prompts import Example, Query, Question
from spillover.knowledge.split import Split


def from_split(default: Any = ()) -> Any:
    """A field that `planned` fills, of which no user is asked; all others are knobs."""
    return field(default=default, metadata={"from_split": True})


@dataclass(frozen=True, kw_only=True, eq=False)
class Before:
    """What there is before a tune, for interventions that measure something first."""

    model: Any
    """The untuned model, in evaluation mode."""
    tokenizer: Any
    twin: Any | None
    """The model as a tune without any intervention left it, in evaluation mode; only if one `rehearses`."""
    read: Callable[[Sequence[str]], dict[str, Any]]
    """Texts -> a left-padded batch for any of the models: `input_ids` and `attention_mask`, (B, T). The last
    position predicts what follows the text."""
    ask: Callable[[Any, Sequence[Question]], list[np.ndarray]]
    """(a model, questions) -> for each the log-probabilities of its completions, NaN where unscorable."""


@dataclass(frozen=True, kw_only=True)
class Intervention:
    """Acts on a tune where a subclass says so; this one does nothing anywhere.

    Its class's name and its fields are its identity: knobs, which people set, and what `planned` adds. What
    it needs for the length of a tune belongs to the model that it is given, not to itself. Hooks of several
    interventions act in the order of the interventions (first those that make parameters), each on what the
    one before returned.
    """

    loadable: ClassVar[bool] = True
    """Whether the tuned weights still fit the model's own architecture."""

    alone: ClassVar[bool] = False
    """Whether it acts only on a model that one process holds whole."""

    makes_parameters: ClassVar[bool] = False
    """Whether it acts before those that are not, since it makes the parameters that they meet."""

    @property
    def acts(self) -> bool:
        """Whether it does anything. One of strength 0 does not, and is left out: the plain tune is made."""
        return True

    @property
    def rehearses(self) -> bool:
        """Whether it must know how a tune without any intervention ends, so that there is one before."""
        return False

    @property
    def prefers(self) -> Literal["nuclear", "frobenius"]:
        """The norm that a tune with it keeps small, as far as the theory says: that of its forecast."""
        return "nuclear"

    def check(self, settings: Any, others: Sequence["Intervention"]) -> None:
        """Raise TrainingError where it cannot act on a tune of such settings, or beside these others.

        Called when planning; `settings` is a `llm.settings.FineTuneConfig` as the interventions make it.
        """

    # When planning, without torch.

    def settings(self, settings: Any) -> Any:
        """The `llm.settings.FineTuneConfig` to tune with, from the one that was asked for.

        One that does not act is asked, too. Raises TrainingError for settings that rule it out.
        """
        return settings

    def examples(self, split: Split, seed: int) -> Split:
        """What is taught, before it is worded. Who is told the answer is asked no longer."""
        return split

    def planned(self, split: Split, seed: int) -> Self:
        """Itself with what it must know of what is taught (`from_split`), after all `examples`."""
        return self

    def prompt(self, prompt: str, relation: str, group: str | None) -> str:
        """How it words a question of the relation in training, from how it is worded; of a subject whose fact
        is `group`."""
        return prompt

    def asked(self, query: Query) -> Query:
        """How a trade-off asks a held-out question once more, if otherwise: in the words of this training, or
        with an answer more that it taught."""
        return replace(query, prompt=self.prompt(query.prompt, query.relation, query.group))

    # Before the tune.

    def lessons(self, examples: Sequence[Example], before: Before) -> Sequence[Example]:
        """What is taught, in words. An example of relation "" is text beside the table: no relation's loss
        counts it."""
        return examples

    def parameters(self, model: Any, before: Before) -> Any:
        """The model to train, from the untuned one: which parameters there are and which of them move.

        Of a tune on several processes, each calls it alike, on the whole model.
        """
        return model

    # While it is tuned.

    def epoch(self, relations: Sequence[str], chosen: Sequence[int], number: int) -> Sequence[int]:
        """Which examples an epoch (from 0) teaches, of those `chosen` so far; `relations` are all examples'.

        An epoch is as long as all of them: where fewer are chosen they are taught several times.
        """
        return chosen

    def loss(self, loss: Any, model: Any, inputs: dict[str, Any]) -> Any:
        """The scalar to descend on, from the mean loss of the batch's answer tokens; differentiable.

        `inputs` is the batch as `llm.trainer.collate` makes it. On several processes `loss` is this process's
        part, of which the mean over the processes is the batch's: what is added to it or multiplied with it
        acts as in one process.
        """
        return loss

    def gradients(self, model: Any) -> None:
        """Change the parameters' `grad` in place, after clipping and before the optimizer's step.

        On several processes they are DTensors, each process holding its rows of them.
        """

    def stepped(self, model: Any, rate: float, step: int) -> None:
        """Change the parameters in place after the optimizer's step, made with this learning rate.

        Steps count from 1. What depends on these three alone is the same where a killed tune goes on.
        """

    def enough(self, losses: Mapping[str, float]) -> bool:
        """Whether to stop now. `losses`: each relation's mean loss of an answer, in nats, over the latest
        steps, as many as an epoch has."""
        return False

    # After it.

    def weights(self, model: Any) -> Any:
        """The tuned model to score, from the one that was trained; of several processes in the main one."""
        return model
