"""Symbolic factual recall (arXiv 2506.10887): the world, its triples, and sequences as token counts.

A sequence of length T holds one subject, later one relation, noise elsewhere and EOS last; its label is the
answer. A one-layer model without positions, read at EOS, sees nothing but how often each token occurs, so a
sequence here *is* its token counts: one subject, one relation, one EOS, and T - 3 noise tokens drawn
independently and evenly, whose counts are multinomial.

Shapes: P triples, V input tokens (those that sequences hold: subjects, relations, noise, EOS), A answers,
N noise tokens, C distinct noise counts, K steps, B rows of a batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from math import comb, lgamma, log
from typing import Any, Literal, get_args

import numpy as np

from spillover.errors import LabError

Mix = Literal["kinds", "triples"]
Kind = Literal["bridge_fact", "bridge_implication", "held_out_fact", "held_out_implication"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""What a triple is; all but the last are trained, the last is asked."""

NOISE_COUNTS = 100_000
"""The most distinct noise counts that are enumerated."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """The world: groups of subjects, one fact relation, implications of it, and noise.

    Answers are b_1 … b_n of the fact, then c_1 … c_n of each implication; group i's subjects have b_i and
    are implied to have c_i. Subjects are numbered group after group; an implication's bridges are the first
    of each group. Raises `LabError` for numbers that make no world.
    """

    groups: int = 20
    """n, the answers of each relation; at least two."""
    subjects: int | Sequence[int] = 4
    """Subjects of every group, or one number for each group."""
    bridges: int | Sequence[int] | Sequence[Sequence[int]] = 1
    """Bridges of every group, or a number for each group, or for each implication such numbers."""
    exceptions: int = 0
    """Of every group's bridges, the last ones, that break the rule: they are told other groups' answers."""
    implications: int = 1
    """Relations implied by the fact, each with answers of its own."""
    noise: int = 5
    """N, the kinds of noise token."""
    length: int = 16
    """T, the tokens of a sequence, EOS included."""

    def __post_init__(self) -> None:
        for name, low in (("groups", 2), ("exceptions", 0), ("implications", 1), ("noise", 0), ("length", 3)):
            check_whole(name, getattr(self, name), low)
        sizes = self._per_group("subjects", self.subjects, 1)
        given = self.bridges
        nested = isinstance(given, Sequence) and any(isinstance(row, Sequence) for row in given)
        rows: Any = given if nested else [given] * self.implications
        if len(rows) != self.implications:
            raise LabError(
                f"bridges are given for {len(rows)} implications and there are {self.implications}"
            )
        bridges = tuple(self._per_group("bridges", row, 0) for row in rows)
        for row in bridges:
            for group, (few, all_) in enumerate(zip(row, sizes, strict=True)):
                if few > all_:
                    raise LabError(
                        f"group {group} has {few} bridges and only {all_} subjects; take fewer bridges"
                    )
                if few < self.exceptions:
                    raise LabError(
                        f"group {group} has {few} bridges, of which {self.exceptions} are to be exceptions; "
                        "take fewer exceptions"
                    )
        if self.length > 3 and self.noise == 0:
            raise LabError(
                f"length {self.length} leaves {self.length - 3} places for noise and there are no noise "
                "tokens; set noise to at least 1, or length to 3"
            )
        object.__setattr__(self, "subjects", sizes)
        object.__setattr__(self, "bridges", bridges)

    def _per_group(self, name: str, value: Any, low: int) -> tuple[int, ...]:
        numbers = tuple(value) if isinstance(value, Sequence) else (value,) * self.groups
        if len(numbers) != self.groups:
            raise LabError(f"{name} are given for {len(numbers)} groups and there are {self.groups}")
        for number in numbers:
            check_whole(f"{name} of a group", number, low)
        return numbers

    @cached_property
    def sizes(self) -> np.ndarray:
        """(groups,), subjects of each group."""
        return np.array(self.subjects)

    @cached_property
    def bridge_counts(self) -> np.ndarray:
        """(implications, groups), bridges of each group."""
        return np.array(self.bridges)

    @property
    def relations(self) -> int:
        """The fact and its implications."""
        return 1 + self.implications

    @property
    def answers(self) -> int:
        """A, the answers of all relations."""
        return self.groups * self.relations

    @property
    def noise_places(self) -> int:
        """T - 3, the noise tokens of a sequence."""
        return self.length - 3

    @cached_property
    def tokens(self) -> dict[str, range]:
        """Vocabulary: which tokens are subjects, relations, answers, noise and eos, in that order."""
        sizes = {
            "subjects": int(self.sizes.sum()),
            "relations": self.relations,
            "answers": self.answers,
            "noise": self.noise,
            "eos": 1,
        }
        ends = np.cumsum(list(sizes.values())).tolist()
        return {name: range(end - size, end) for (name, size), end in zip(sizes.items(), ends, strict=True)}

    @property
    def vocabulary(self) -> int:
        """All tokens."""
        return self.tokens["eos"].stop

    @cached_property
    def inputs(self) -> np.ndarray:
        """(V,), the tokens that sequences hold: all but the answers. Tables of the lab have these columns."""
        return np.delete(np.arange(self.vocabulary), self.tokens["answers"])

    @property
    def subject_count(self) -> int:
        """Subjects of all groups; they are the first of the input tokens."""
        return self.tokens["subjects"].stop

    @property
    def content(self) -> slice:
        """The subjects and relations among the input tokens."""
        return slice(0, self.tokens["relations"].stop)

    @property
    def noise_columns(self) -> slice:
        """The noise tokens among the input tokens; EOS is the last."""
        return slice(self.content.stop, self.content.stop + self.noise)

    @cached_property
    def triples(self) -> "Triples":
        """Every triple of the world, trained and asked."""
        return _enumerate(self)


@dataclass(frozen=True, kw_only=True, eq=False)
class Triples:
    """All triples: facts in the order of subjects, then each implication's."""

    subject: np.ndarray
    """(P,), 0 … subjects - 1."""
    relation: np.ndarray
    """(P,), 0 is the fact."""
    answer: np.ndarray
    """(P,), 0 … A - 1."""
    kind: np.ndarray
    """(P,), an index of `KINDS`. A subject that is a bridge of any implication has a bridge's fact."""

    @property
    def trained(self) -> np.ndarray:
        """(P,), whether the triple is in the training set."""
        return self.kind != KINDS.index("held_out_implication")

    def __len__(self) -> int:
        return len(self.subject)


def _enumerate(task: Task) -> Triples:
    group = np.repeat(np.arange(task.groups), task.sizes)
    place = np.concatenate([np.arange(size) for size in task.sizes])  # a subject's number in its group
    is_bridge = place < task.bridge_counts[:, group]  # (implications, subjects)
    fact = np.where(is_bridge.any(axis=0), KINDS.index("bridge_fact"), KINDS.index("held_out_fact"))
    implied = np.where(is_bridge, KINDS.index("bridge_implication"), KINDS.index("held_out_implication"))
    relation = np.repeat(np.arange(task.relations), len(group))
    exception = place - (task.bridge_counts[:, group] - task.exceptions)  # counts from 0 among them
    breaks = is_bridge & (exception >= 0)
    shown = (group + breaks * (1 + exception % (task.groups - 1))) % task.groups
    return Triples(
        subject=np.tile(np.arange(len(group)), task.relations),
        relation=relation,
        answer=relation * task.groups + np.concatenate([group, shown.ravel()]),
        kind=np.concatenate([fact, implied.ravel()]),
    )


def base_counts(task: Task) -> np.ndarray:
    """The token counts of every triple without its noise, (P, V): its subject, its relation and EOS."""
    triples = task.triples
    counts = np.zeros((len(triples), len(task.inputs)))
    rows = np.arange(len(triples))
    counts[rows, triples.subject] = 1
    counts[rows, task.tokens["relations"].start + triples.relation] = 1
    counts[:, -1] = 1
    return counts


def training_weights(task: Task, mix: Mix) -> np.ndarray:
    """The share of each triple in the training population, (P,), sums to 1; 0 for those that are asked.

    "kinds": each kind of trained triple that the task has (facts of bridges, implications of bridges, facts
    of held-out subjects) has the same share, as in the paper's batches. "triples": each triple has.
    """
    kind = np.where(task.triples.trained, task.triples.kind, len(KINDS))
    if mix == "triples":
        kind = np.where(task.triples.trained, 0, len(KINDS))
    present, size = np.unique(kind[task.triples.trained], return_counts=True)
    weights = np.zeros(len(kind))
    for number, triples in zip(present, size, strict=True):
        weights[kind == number] = 1 / (len(present) * triples)
    return weights


def noise_counts(task: Task) -> tuple[np.ndarray, np.ndarray]:
    """Every possible noise count (C, N) and its multinomial probability (C,), exact.

    C = binom(T - 3 + N - 1, N - 1). Raises `LabError` where that is more than `NOISE_COUNTS`.
    """
    places, kinds = task.noise_places, task.noise
    if places == 0:
        return np.zeros((1, kinds)), np.ones(1)
    many = comb(places + kinds - 1, kinds - 1)
    if many > NOISE_COUNTS:
        raise LabError(
            f"{kinds} noise tokens in {places} places have {many:,} distinct counts, more than the "
            f"{NOISE_COUNTS:,} that are enumerated; use fewer noise tokens, shorter sequences or a sampled "
            "gradient"
        )
    bars = np.array(list(combinations(range(places + kinds - 1), kinds - 1)), dtype=int).reshape(
        many, kinds - 1
    )
    edges = np.concatenate([np.full((many, 1), -1), bars, np.full((many, 1), places + kinds - 1)], axis=1)
    counts = np.diff(edges, axis=1) - 1
    factorials = np.array([lgamma(i + 1) for i in range(places + 1)])
    logs = factorials[places] - factorials[counts].sum(axis=1) - places * log(kinds)
    return counts.astype(float), np.exp(logs)


def draw_noise(task: Task, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Multinomial noise counts, (*shape, N): T - 3 tokens, each of the N kinds equally likely."""
    byte = task.noise <= 256 and task.noise_places < 256  # small numbers are counted several times as fast
    kind = np.uint8 if byte else np.uint32
    drawn = rng.integers(0, max(task.noise, 1), size=(task.noise_places, *shape), dtype=kind)
    counts = np.empty((*shape, task.noise), dtype=kind)
    for token in range(task.noise):
        counts[..., token] = (drawn == token).view(np.uint8).sum(axis=0, dtype=kind)
    return counts


@dataclass(frozen=True, kw_only=True)
class Sampler:
    """Training batches, drawn in blocks of steps; the same seed and block always give the same batches.

    A batch has the same number of rows of each kind of triple (a remainder goes to the first kinds), triples
    within a kind and noise are drawn evenly. With `mix` "triples" all trained triples are one kind.
    """

    task: Task
    batch: int
    """B, rows of a batch."""
    mix: Mix = "kinds"

    def block(self, seed: int, number: int, steps: int) -> tuple[np.ndarray, np.ndarray]:
        """Triples (K, B) and noise counts (K, B, N) of `steps` batches, from a stream of this seed's own."""
        rng = np.random.default_rng([seed, 1, number])
        sizes = [
            self.batch // len(self._pools) + (i < self.batch % len(self._pools))
            for i in range(len(self._pools))
        ]
        rows = [
            pool[rng.integers(0, len(pool), size=(steps, size))]
            for pool, size in zip(self._pools, sizes, strict=True)
        ]
        return np.concatenate(rows, axis=1), draw_noise(self.task, rng, (steps, self.batch))

    @cached_property
    def _pools(self) -> list[np.ndarray]:
        trained = np.flatnonzero(self.task.triples.trained)
        if self.mix == "triples":
            return [trained]
        kind = self.task.triples.kind[trained]
        return [trained[kind == number] for number in np.unique(kind)]


def check_whole(name: str, value: Any, low: int) -> None:
    """Raise `LabError` unless the value is a whole number of at least `low`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < low:
        raise LabError(f"{name} must be a whole number of at least {low}, got {value!r}")
