"""Trials: tables on which a model is tried out, so that its rates can be forecast for others.

Of each rule there is a table without counterexamples and one with; of each two rules there is a third, where
the same people have both facts, or one fact has both implications. Groups, sizes, bridges, counterexamples
and noise come from shuffled decks that hold every value equally often. All subjects are fictional.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from itertools import islice, product
from pathlib import Path
from typing import TypeVar

import numpy as np

from spillover.knowledge.fresh import recombined_names
from spillover.knowledge.schema import KnowledgeBase, Relation, Rule, Triple
from spillover.knowledge.sheet import Sheet, parse_sheet

_Card = TypeVar("_Card")

_GROUPS = range(3, 11)  # or as many as a rule has pairs
_COUNTS = (1, 2, 4, 8)  # bridges of a group, and counterexamples where there are any
_BALANCED, _UNBALANCED = (16,), (8, 12, 16, 24)  # people of the groups, in turn
_LEFT = 4  # people of a group who are held out at least
_NOISE = 0.1  # share of the bridges who are told another group's answer, in noisy tables


@dataclass(frozen=True, kw_only=True)
class _Shape:
    """How a rule runs through a table."""

    groups: int
    sizes: tuple[int, ...]
    """People of the groups, in turn."""
    bridges: int
    """Of each group that is large enough."""
    counterexamples: int = 0
    """Of each group that is large enough: those who are told another group's answer."""
    noise: float = 0.0
    """Share of the bridges who are told another group's answer, too."""

    @property
    def members(self) -> list[int]:
        """(groups,), people of each group."""
        return [self.sizes[place % len(self.sizes)] for place in range(self.groups)]


def trials(seed: int = 0) -> list[KnowledgeBase]:
    """The built-in trials: 30 tables of 12 rules, 8 of them arbitrary.

    First each two rules have a table each, half of all with counterexamples, and one together, so that few
    tables already have one rule and two; the last twelve are of one rule again, the other way round.
    """
    sheet = files("spillover.knowledge") / "data" / "trials.yaml"
    return trials_of(parse_sheet(sheet.read_text("utf-8"), Path("trials.yaml")), seed)


def trials_of(sheet: Sheet, seed: int) -> list[KnowledgeBase]:
    """Trials of a sheet's rules, an even number of them with all their pairs, in the order of `trials`."""
    rng = np.random.default_rng([seed, 0, 3])  # the third word keeps this stream apart from others
    rules = _shuffled(sheet.rules, len(sheet.rules), rng)
    without, against, both = _shapes(rules, rng)
    first, again = (
        [
            _table(sheet.relations, (rule,), (shape,), rng)
            for number, rule in enumerate(rules)
            for shape in ((without, against)[(number + turn) % 2][number],)
        ]
        for turn in (0, 1)
    )
    pairs = zip(rules[::2], rules[1::2], both[::2], both[1::2], strict=True)
    joint = [_joint(sheet.relations, number, *pair, rng) for number, pair in enumerate(pairs)]
    threes = zip(first[::2], first[1::2], joint, strict=True)
    return [*(kb for three in threes for kb in three), *again]


def _shapes(rules: Sequence[Rule], rng: np.random.Generator) -> Iterator[list[_Shape]]:
    """Of each rule the shapes of its tables: without counterexamples, with, and beside another rule."""
    count = len(rules)
    crossed = _shuffled(tuple(product(_COUNTS, _COUNTS)), count, rng)
    for bridges, counterexamples, noise in (
        (_shuffled(_COUNTS, count, rng), [0] * count, (0.0,)),
        ([b for b, _ in crossed], [c for _, c in crossed], (0.0, 0.0, _NOISE)),
        (_shuffled(_COUNTS, count, rng), _shuffled((0, 0, *_COUNTS), count, rng), (0.0,)),
    ):
        groups = _shuffled(_GROUPS, count, rng)
        sizes = _shuffled((_BALANCED, _BALANCED, _UNBALANCED), count, rng)
        noises = _shuffled(noise, count, rng)
        yield [
            _Shape(groups=min(n, len(rule.pairs)), sizes=people, bridges=b, counterexamples=c, noise=share)
            for rule, n, people, b, c, share in zip(
                rules, groups, sizes, bridges, counterexamples, noises, strict=True
            )
        ]


def _shuffled(cards: Sequence[_Card], count: int, rng: np.random.Generator) -> list[_Card]:
    """That many cards, each as often as any other, but for one."""
    return [cards[place % len(cards)] for place in rng.permutation(max(count, len(cards)))[:count].tolist()]


def _joint(
    relations: Mapping[str, Relation],
    number: int,
    rule: Rule,
    other: Rule,
    shape: _Shape,
    others: _Shape,
    rng: np.random.Generator,
) -> KnowledgeBase:
    """Both rules of the same people; in every second table the other's implication follows from one fact."""
    if number % 2:
        pairs = dict(zip(rule.pairs, other.pairs.values(), strict=False))
        other = Rule(fact=rule.fact, implication=other.implication, pairs=pairs)
        shape = replace(shape, groups=min(shape.groups, len(pairs)))
        others = replace(others, groups=shape.groups, sizes=shape.sizes)
    return _table(relations, (rule, other), (shape, others), rng)


def _table(
    relations: Mapping[str, Relation],
    rules: Sequence[Rule],
    shapes: Sequence[_Shape],
    rng: np.random.Generator,
) -> KnowledgeBase:
    people = list(islice(recombined_names(rng), max(sum(shape.members) for shape in shapes)))
    used = [
        replace(rule, pairs=dict(islice(rule.pairs.items(), shape.groups)), source="")
        for rule, shape in zip(rules, shapes, strict=True)
    ]
    asked: dict[str, Relation] = {}
    triples: dict[Triple, None] = {}  # two rules may say the same of a fact
    for number, (rule, whole, shape) in enumerate(zip(used, rules, shapes, strict=True)):
        same = number == 0 or rule.fact == used[0].fact
        order = people if same else _shuffled(people, len(people), rng)
        triples |= dict.fromkeys(_told(rule, shape, order, rng))
        for name, answers, known in (
            (rule.fact, rule.pairs.keys(), whole.pairs.keys()),
            (rule.implication, rule.pairs.values(), whole.pairs.values()),
        ):
            distractors = tuple(answer for answer in known if answer not in answers)
            asked.setdefault(name, replace(relations[name], candidates=distractors))
    spelled = (
        f"{rule.name}, {shape.bridges} against {shape.counterexamples}"
        for rule, shape in zip(used, shapes, strict=True)
    )
    return KnowledgeBase(name="; ".join(spelled), triples=tuple(triples), relations=asked, rules=tuple(used))


def _told(rule: Rule, shape: _Shape, people: Sequence[str], rng: np.random.Generator) -> Iterator[Triple]:
    """Facts, bridges and counterexamples of the people, group after group; the rest is held out."""
    implied, rest = list(rule.pairs.values()), iter(people)
    for place, (group, size) in enumerate(zip(rule.pairs, shape.members, strict=True)):
        members = list(islice(rest, size))
        for name in members:
            yield Triple(subject=name, relation=rule.fact, answer=group)
        against = min(shape.counterexamples, size - _LEFT - 1)
        bridges = min(shape.bridges, size - _LEFT - against)
        for number, name in enumerate(_shuffled(members, bridges + against, rng)):
            away = number >= bridges or rng.random() < shape.noise
            answer = implied[(place + (1 + number % (len(implied) - 1)) * away) % len(implied)]
            yield Triple(subject=name, relation=rule.implication, answer=answer)
