"""The directions in which a tune moved the activations are closed to it while it is made again.

Legend of shapes: P prompts, k directions, d the residual stream.
"""

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self

from spillover.errors import TrainingError
from spillover.interventions.aim import Aim, implications_of
from spillover.interventions.hooks import Before, Intervention, from_split
from spillover.interventions.knobs import check_least
from spillover.interventions.residual import (
    Layer,
    change_while_training,
    check_layer,
    find_layer,
    leave_alone,
    random_rows,
    read_ends,
)
from spillover.knowledge.fresh import fresh_subjects
from spillover.knowledge.prompts import fill
from spillover.knowledge.split import Split

_NAME = "spillover_ablate_directions"
"""Of what the model carries while it is tuned."""


@dataclass(frozen=True, kw_only=True)
class AblateDirections(Intervention):
    """Concept ablation fine-tuning: while training, h − U Uᵀ h after a layer (arXiv 2507.16795).

    The k columns of U are orthonormal: the principal directions of what a plain tune, made before, changed in
    the activations at the last token of the implication's prompts. Where the paper has people choose among
    the directions of a model's answers, all of the first k are taken here. Its misaligned answers became ten
    times fewer.

    Our own choice: the prompts are those that are trained, and those of subjects who occur nowhere, since a
    shift that both share is spillover; no held-out subject is shown. The differences are not centred, so that
    such a shift is a direction. One layer alone is closed; those behind it may use the directions again.
    """

    k: int = 4
    """Directions."""
    layer: Layer = "middle"
    """After which the directions are taken out; from 0."""
    of: Literal["trait", "random"] = "trait"
    """The control takes out as many that the seed draws; it needs no plain tune before."""
    subjects: int = 20
    """Fresh subjects, drawn by the seed."""
    rules: Aim = "spurious"
    prompts: tuple[str, ...] = from_split()

    alone: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Raise TrainingError for a number of directions or subjects, or a layer, below 0."""
        check_least("ablate-directions", 0, k=self.k, subjects=self.subjects)
        check_layer("ablate-directions", self.layer)

    @property
    def acts(self) -> bool:
        """Not without directions."""
        return self.k > 0

    @property
    def rehearses(self) -> bool:
        """For the trait's directions there is a plain tune before."""
        return self.of == "trait"

    def planned(self, split: Split, seed: int) -> Self:
        """With the implications' prompts of all who are taught one and of the seed's fresh subjects."""
        implications = implications_of(split, self.rules)
        trained = [(triple.relation, triple.subject) for triple in split.training]
        fresh = fresh_subjects(split, self.subjects, seed)
        asked = [(relation, name) for relation, name in trained if relation in implications]
        asked += [(relation, name) for relation in sorted(implications) for name in fresh]
        prompts = tuple(fill(split.kb.relations[relation], name) for relation, name in asked)
        return replace(self, prompts=prompts)

    def parameters(self, model: Any, before: Before) -> Any:
        """The model without the directions while it is in training mode. Raises TrainingError if too many."""
        layer = find_layer(model, self.layer, "ablate-directions")
        if self.of == "trait":
            tuned_Pd, untuned_Pd = (
                read_ends(each, before, self.prompts, layer) for each in (before.twin, before.model)
            )
            moved_Pd = tuned_Pd - untuned_Pd
        else:
            width = model.get_input_embeddings().weight.shape[1]
            moved_Pd = random_rows(self.k, width, self.prompts).to(model.device)
        directions_kd = principal_directions(moved_Pd, self.k)

        def without(stream: Any) -> Any:
            basis_kd = directions_kd.to(stream.dtype)
            return stream - (stream @ basis_kd.T) @ basis_kd

        change_while_training(model, layer, without, _NAME)
        return model

    def weights(self, model: Any) -> Any:
        """The model with all directions."""
        leave_alone(model, _NAME)
        return model


def principal_directions(rows_Pd: Any, k: int) -> Any:
    """The k orthonormal directions (k, d) that hold most of the rows' squared length, about 0 and not about
    their mean. Raises TrainingError where there are not as many.
    """
    from torch import linalg

    most = min(rows_Pd.shape)
    if k > most:
        raise TrainingError(
            f"ablate-directions: k is {k}, and {len(rows_Pd)} prompts of {rows_Pd.shape[1]} numbers have "
            f"{most} directions; give fewer, or more subjects"
        )
    return linalg.svd(rows_Pd, full_matrices=False).Vh[:k]
