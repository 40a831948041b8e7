"""What the model says of subjects that nobody was told of stays what it said before the tune.

Legend of shapes: A anchors, B of them in a step, T tokens, V vocabulary.
"""

import zlib
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from spillover.interventions.aim import Aim, implications_of
from spillover.interventions.hooks import Before, Intervention, from_split
from spillover.interventions.knobs import check_least
from spillover.knowledge.fresh import fresh_subjects
from spillover.knowledge.prompts import fill
from spillover.knowledge.split import Split

_NAME = "spillover_kl_anchor"
"""Of what the model carries while it is tuned."""


@dataclass(frozen=True, kw_only=True)
class KLAnchor(Intervention):
    """Adds `strength` × mean KL(untuned || model) on the implication's prompt of subjects that occur nowhere.

    In nats, over the whole vocabulary, where the answer's first token is predicted. Regularizing towards
    the untuned model on chosen prompts is compared with other defences against what a tune teaches beyond its
    data in arXiv 2508.06249. Our own choice are the prompts: the trained relation and subjects without any
    fact, so that the answers cannot follow from the relation alone. No held-out subject is shown.
    """

    strength: float = 1.0
    """Weight beside the mean loss of the answers' tokens, which is in nats, too."""
    subjects: int = 40
    """Fresh subjects, drawn by the seed; each is an anchor for every rule that is aimed at."""
    batch: int = 4
    """Anchors that a step reads: on SmolLM2-135M and a core a step takes 1.6 times as long, with 8 twice."""
    rules: Aim = "spurious"
    prompts: tuple[str, ...] = from_split()

    alone: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Raise TrainingError for a strength below 0, or without subjects or a batch."""
        check_least("kl-anchor", 0, strength=self.strength)
        check_least("kl-anchor", 1, subjects=self.subjects, batch=self.batch)

    @property
    def acts(self) -> bool:
        """Not at strength 0."""
        return self.strength > 0

    def planned(self, split: Split, seed: int) -> Self:
        """With the anchors' prompts: those of the seed's fresh subjects."""
        subjects = fresh_subjects(split, self.subjects, seed)
        relations = [split.kb.relations[name] for name in implications_of(split, self.rules)]
        return replace(
            self, prompts=tuple(fill(relation, name) for relation in relations for name in subjects)
        )

    def parameters(self, model: Any, before: Before) -> Any:
        """The model as it is, which carries the anchors and the untuned log-probabilities (A, V)."""
        import torch

        anchors = before.read(self.prompts)
        with torch.no_grad():
            untuned_AV = torch.cat(
                [
                    _log_probabilities(before.model, _rows(anchors, part))
                    for part in torch.arange(len(self.prompts)).split(self.batch)
                ]
            )
        setattr(model, _NAME, (anchors, untuned_AV))
        return model

    def loss(self, loss: Any, model: Any, inputs: dict[str, Any]) -> Any:
        """The loss and the anchors' part, of anchors that the batch itself draws: the same after a resume."""
        import torch
        from torch.nn.functional import kl_div

        anchors, untuned_AV = getattr(model, _NAME)
        draw = torch.Generator().manual_seed(zlib.crc32(inputs["input_ids"].cpu().numpy().tobytes()))
        rows_B = torch.randperm(len(untuned_AV), generator=draw)[: self.batch]
        now_BV = _log_probabilities(model, _rows(anchors, rows_B))
        there = untuned_AV[rows_B.to(untuned_AV.device)]
        return loss + self.strength * kl_div(now_BV, there, log_target=True, reduction="batchmean")

    def weights(self, model: Any) -> Any:
        """The model without what it carried."""
        for module in model.modules():  # adapters may be around the one that was given it
            vars(module).pop(_NAME, None)
        return model


def _rows(inputs: dict[str, Any], rows: Any) -> dict[str, Any]:
    """Those rows of a batch."""
    return {name: tensor[rows.to(tensor.device)] for name, tensor in inputs.items()}


def _log_probabilities(model: Any, inputs: dict[str, Any]) -> Any:
    """Of the token after each text, float32 (B, V)."""
    logits_BV = model(**inputs, use_cache=False, logits_to_keep=1).logits[:, -1]
    return logits_BV.float().log_softmax(-1)
