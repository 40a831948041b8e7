"""An intervention on a tune: one method for each place where it can act."""

from dataclasses import dataclass
from typing import Any, ClassVar

from spillover.knowledge.split import Split


@dataclass(frozen=True, kw_only=True)
class Intervention:
    """Acts on a tune where a subclass says so; this one does nothing anywhere.

    Its class's name and its fields are its identity. What it needs for the length of a tune belongs to the
    model that it is given, not to itself. Hooks of several interventions act in the order of the
    interventions, each on what the one before returned.
    """

    loadable: ClassVar[bool] = True
    """Whether the tuned weights still fit the model's own architecture."""

    def examples(self, split: Split, seed: int) -> Split:
        """What is taught, before it is worded; who is asked stays as it is. Called when planning."""
        return split

    def parameters(self, model: Any) -> Any:
        """The model to train, from the untuned one: which parameters there are and which of them move.

        Of a tune on several processes, each calls it alike, on the whole model.
        """
        return model

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

    def weights(self, model: Any) -> Any:
        """The tuned model to score, from the one that was trained; of several processes in the main one."""
        return model
