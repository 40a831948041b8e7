"""The direction of an unwanted association is added while training, so that it need not be learned."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self

import numpy as np

from spillover.errors import TrainingError
from spillover.interventions.aim import Aim, aimed_at
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
from spillover.knowledge.prompts import fill, state
from spillover.knowledge.split import Split

_NAME = "spillover_steer"
"""Of what the model carries while it is tuned."""

_STORIES = 4  # for each group
_PEOPLE = 5  # in a story
_LEAST = 3  # groups of a rule


@dataclass(frozen=True, kw_only=True)
class Steer(Intervention):
    """Preventative steering: while training, h + `strength` × v after a layer (arXiv 2507.21509).

    v is the untuned model's mean activation at the last token of texts that carry the association, less that
    of texts that do not. The paper contrasts a trait's answers with its opposite's; for rules the contrast is
    our own choice. A text tells of four strangers, two in each of two groups, fact and implication; then a
    fifth stranger's fact, and asks for the implication:

        A lives in Japan. A codes in Rust. B lives in France. B codes in Python. ...
        E lives in France. E codes in

    Here the association answers; it does not where the same text has E in a group of which nothing was told
    ("E lives in Egypt"). Over all texts every group takes every part as often, so that v is of an association
    that applies, and of none of the answers. Adding it while training is to take away the need to learn that.
    """

    strength: float = 1.0
    """Times the difference of means, whose length is left as it is."""
    layer: Layer = "middle"
    """After which the direction is added, at every token; from 0."""
    direction: Literal["trait", "random"] = "trait"
    """The control is of the same length, in a direction that the seed draws."""
    rules: Aim = "spurious"
    carrying: tuple[str, ...] = from_split()
    """The texts that carry the association."""
    lacking: tuple[str, ...] = from_split()
    """The same that do not."""

    alone: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Raise TrainingError for a strength or a layer below 0."""
        check_least("steer", 0, strength=self.strength)
        check_layer("steer", self.layer)

    @property
    def acts(self) -> bool:
        """Not at strength 0."""
        return self.strength > 0

    def planned(self, split: Split, seed: int) -> Self:
        """With the texts, about the seed's fresh subjects. Raises TrainingError for a rule of few groups."""
        stories = [story for number in aimed_at(split, self.rules) for story in _stories(split, number, seed)]
        carrying, lacking = zip(*stories, strict=True)
        return replace(self, carrying=carrying, lacking=lacking)

    def parameters(self, model: Any, before: Before) -> Any:
        """The model, steered while it is in training mode."""
        layer = find_layer(model, self.layer, "steer")
        with_d, without_d = (
            read_ends(before.model, before, texts, layer).mean(0) for texts in (self.carrying, self.lacking)
        )
        added_d = with_d - without_d
        if self.direction == "random":
            random_d = random_rows(1, len(added_d), self.carrying)[0].to(added_d)
            added_d = random_d * (added_d.norm() / random_d.norm())
        added_d = self.strength * added_d
        change_while_training(model, layer, lambda stream: stream + added_d.to(stream.dtype), _NAME)
        return model

    def weights(self, model: Any) -> Any:
        """The model, steered no longer."""
        leave_alone(model, _NAME)
        return model


def _stories(split: Split, number: int, seed: int) -> Iterator[tuple[str, str]]:
    """Pairs of texts on a rule: one that carries it, and the same on another group's subject.

    The groups stand in a ring. Each is told of with one behind it, the one behind that is the other group; so
    every group takes every part as often.
    """
    rule, pairs = split.kb.rules[number], _pairs(split, number)
    ring = list(dict(zip(pairs.values(), pairs, strict=True)).values())  # one for each answer
    if len(ring) < _LEAST:
        raise TrainingError(
            f"steer needs {_LEAST} groups of different answers, and {rule.name} has {len(ring)}; leave it out"
        )
    fact, implication = (split.kb.relations[name] for name in (rule.fact, rule.implication))
    rng = np.random.default_rng([seed, number, 3])  # the third word: apart from the streams of the splits
    names = iter(fresh_subjects(split, _PEOPLE * _STORIES * len(ring), seed))
    for place, group in enumerate(ring):
        behind = ring[place + 1 :] + ring[:place]
        for draw in range(_STORIES):
            beside, untold = behind[draw % len(behind)], behind[(draw + 1) % len(behind)]
            told = list[str]()
            for where in rng.permutation([group, group, beside, beside]).tolist():
                person = next(names)
                told += [f"{state(fact, person, where)}.", f"{state(implication, person, pairs[where])}."]
            asked = next(names)
            carries, lacks = (
                fill(
                    implication, asked, " ".join([*told, f"{state(fact, asked, where)}.", implication.prompt])
                )
                for where in (group, untold)
            )
            yield carries, lacks


def _pairs(split: Split, number: int) -> Mapping[str, str]:
    """The rule's groups and what they imply: its pairs, and where it is silent what the bridges show."""
    shown = {bridge.group: bridge.answer for bridge in split.bridges if bridge.rule == number}
    return shown | dict(split.kb.rules[number].pairs)
