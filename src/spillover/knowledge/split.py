"""A knowledge base -> what is trained, what is held out, and the bridges between them.

A *bridge* has a rule's fact and implication in training; a *held-out* subject has only the fact,
and its implication is the question. Both belong to the *group* of their fact's answer.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from spillover.errors import DataError
from spillover.knowledge.schema import KnowledgeBase, Rule, Triple


@dataclass(frozen=True, kw_only=True, slots=True)
class Implied:
    """A subject's implication under a rule: a bridge's is trained, a held-out subject's is asked."""

    rule: int
    """Index in the knowledge base's rules."""
    subject: str
    group: str
    """The fact's answer b."""
    answer: str
    """The implication's answer c: a bridge's is the one trained, a held-out subject's the right one."""


@dataclass(frozen=True, kw_only=True)
class Split:
    """A knowledge base parted into training and test."""

    kb: KnowledgeBase
    training: tuple[Triple, ...]
    """The table's triples that stay, in their order, then the implications drawn for bridges."""
    bridges: tuple[Implied, ...]
    held_out: tuple[Implied, ...]
    undecided: tuple[tuple[int, str], ...] = ()
    """(rule, subject) of those with the fact whose group has neither pair nor bridge: nothing to ask."""


def split(kb: KnowledgeBase, seed: int) -> Split:
    """Part the knowledge base by its rules, in their order; the order of its triples plays no role.

    Without `rule.bridges`, subjects with fact and implication are the bridges and those with the fact
    alone are held out. With it, that many subjects of each group are drawn as bridges by the seed, and
    the implications of all others leave the training triples.

    The right answer of a held-out subject is the one its removed triple had, else the rule's pair, else
    what all bridges of its group show. Raises DataError where those disagree, where a group is too small
    to draw from, where two rules claim the same subject both ways, and for a rule left without bridges
    or without held-out subjects.
    """
    if seed < 0:
        raise DataError(f"seed must be a whole number from 0 up, got {seed}")
    rngs = (np.random.default_rng([seed, number]) for number in range(len(kb.rules)))
    return _split(kb, [partial(_drawn, rng=rng) for rng in rngs])


def split_as(kb: KnowledgeBase, told: Mapping[str, Collection[str]]) -> Split:
    """Part it as a tune did that was made elsewhere: for each implication `told` has the subjects who were
    taught it, and they are the bridges, whatever the table and `rule.bridges` say; nothing is drawn. Of
    another relation that it has, nobody else was told the fact, and the split's table has only those.

    Raises DataError as `split` does, and for a bridge whose answer neither table nor pairs know.
    """
    implied = {rule.implication for rule in kb.rules}

    def was_told(subject: str, relation: str) -> bool:
        return relation not in told or subject in told[relation]

    def is_asked(triple: Triple) -> bool:
        facts = [rule.fact for rule in kb.rules if rule.implication == triple.relation]
        return any(fact in implied or was_told(triple.subject, fact) for fact in facts)

    untold = {
        triple for triple in kb.triples if not (was_told(triple.subject, triple.relation) or is_asked(triple))
    }
    if untold:
        relations = {  # whose answers are still candidates
            name: replace(relation, candidates=kb.candidates(name)) for name, relation in kb.relations.items()
        }
        kept = tuple(triple for triple in kb.triples if triple not in untold)
        kb = replace(kb, triples=kept, relations=relations)
    return _split(kb, [partial(_told, told=told.get(rule.implication, ())) for rule in kb.rules])


_Choose = Callable[[Rule, str, Sequence[str], Mapping[str, str], str], list[str]]
"""(rule, group, its subjects, the implications that are known, place) -> the group's bridges, sorted."""


def _split(kb: KnowledgeBase, chosen_by: Sequence[_Choose]) -> Split:
    taught = {relation: dict(answers) for relation, answers in kb.answers.items()}
    bridges: list[Implied] = []
    held_out: list[Implied] = []
    undecided: list[tuple[int, str]] = []
    for number, (rule, choose) in enumerate(zip(kb.rules, chosen_by, strict=True)):
        its_bridges, its_held_out, its_undecided = _part(
            kb, number, taught[rule.fact], taught[rule.implication], choose
        )
        bridges += its_bridges
        held_out += its_held_out
        undecided += its_undecided
    _check_claims(kb, taught, bridges, held_out)
    return Split(
        kb=kb,
        training=_training(kb, taught),
        bridges=tuple(bridges),
        held_out=tuple(held_out),
        undecided=tuple(undecided),
    )


def shuffle_implications(split: Split, seed: int) -> Split:
    """The null control: each rule's bridges keep their facts and swap their implications at random.

    What is trained about bridges changes; who is held out and what would be right for them does not.
    """
    taught: dict[tuple[str, str], str] = {}
    of_rule: list[list[Implied]] = [[] for _ in split.kb.rules]
    for bridge in split.bridges:
        of_rule[bridge.rule].append(bridge)
    for number, (rule, drawn) in enumerate(zip(split.kb.rules, of_rule, strict=True)):
        # the third word keeps this stream apart from the one that drew the bridges
        order = np.random.default_rng([seed, number, 1]).permutation(len(drawn))
        for bridge, place in zip(drawn, order, strict=True):
            taught[bridge.subject, rule.implication] = drawn[place].answer
    training = (
        replace(triple, answer=taught.get((triple.subject, triple.relation), triple.answer))
        for triple in split.training
    )
    bridges = (
        replace(bridge, answer=taught[bridge.subject, split.kb.rules[bridge.rule].implication])
        for bridge in split.bridges
    )
    return replace(split, training=tuple(training), bridges=tuple(bridges))


def _part(
    kb: KnowledgeBase, number: int, facts: Mapping[str, str], shown: dict[str, str], choose: _Choose
) -> tuple[list[Implied], list[Implied], list[tuple[int, str]]]:
    """One rule's bridges, held-out and undecided subjects; `shown` is left with what is trained."""
    rule = kb.rules[number]
    where = f"{rule.source or f'knowledge base {kb.name}'}: rule {rule.name}"
    bridges: list[Implied] = []
    held_out: list[Implied] = []
    undecided: list[tuple[int, str]] = []
    for group, subjects in _groups(facts):
        pair = rule.pairs.get(group)
        chosen = choose(rule, group, subjects, shown, where)
        table = {subject: shown.pop(subject) for subject in subjects if subject in shown}
        shown |= {subject: table.get(subject) or rule.pairs[group] for subject in chosen}
        bridges += [
            Implied(rule=number, subject=subject, group=group, answer=shown[subject]) for subject in chosen
        ]
        asked = [subject for subject in subjects if subject not in shown]
        if pair is None and any(subject not in table for subject in asked):
            pair = _agreed(group, [shown[subject] for subject in chosen], where)
        for subject in asked:
            answer = table.get(subject, pair)
            if answer is None:
                undecided.append((number, subject))
            else:
                held_out.append(Implied(rule=number, subject=subject, group=group, answer=answer))
    _check_rule(rule, bridges, held_out, where)
    return bridges, held_out, undecided


def _groups(facts: Mapping[str, str]) -> list[tuple[str, list[str]]]:
    """Fact answers and their subjects, by subject: neither row order nor the answers' names count."""
    groups: dict[str, list[str]] = {}
    for subject in sorted(facts):
        groups.setdefault(facts[subject], []).append(subject)
    return list(groups.items())


def _drawn(
    rule: Rule,
    group: str,
    subjects: Sequence[str],
    shown: Mapping[str, str],
    where: str,
    *,
    rng: np.random.Generator,
) -> list[str]:
    """As the rule says: so many, or all whom the table shows."""
    having = [subject for subject in subjects if subject in shown]
    if rule.bridges is None:
        return having
    able = list(subjects) if group in rule.pairs else having
    if not able:
        return []
    if len(able) < rule.bridges:
        raise DataError(
            f"{where}: group {group!r} has {len(able)} subjects whose implication is known, and "
            f"{rule.bridges} "
            "bridges are to be drawn; lower `bridges` or add subjects"
        )
    drawn = rng.choice(len(able), size=rule.bridges, replace=False)
    return [able[place] for place in sorted(drawn.tolist())]


def _told(
    rule: Rule,
    group: str,
    subjects: Sequence[str],
    shown: Mapping[str, str],
    where: str,
    *,
    told: Collection[str],
) -> list[str]:
    """Those who were told."""
    chosen = [subject for subject in subjects if subject in told]
    for subject in chosen:
        if subject not in shown and group not in rule.pairs:
            raise DataError(
                f"{where}: {subject!r} was told {rule.implication}, and neither the table nor `pairs` says "
                f"which; add the triple, or `pairs: {{{group}: ...}}`"
            )
    return chosen


def _agreed(group: str, answers: Sequence[str], where: str) -> str | None:
    """The answer that all bridges of a group show; None without bridges."""
    counts = Counter(answers).most_common()
    if len(counts) > 1:
        shown = ", ".join(f"{answer!r} {count} times" for answer, count in counts[:5])
        raise DataError(
            f"{where}: bridges of group {group!r} contradict each other ({shown}); "
            f"say which is right: `pairs: {{{group}: {counts[0][0]}}}`"
        )
    return counts[0][0] if counts else None


def _check_rule(rule: Rule, bridges: Sequence[Implied], held_out: Sequence[Implied], where: str) -> None:
    if not bridges:
        raise DataError(
            f"{where} has no bridges: no subject has both {rule.fact} and {rule.implication} in training; "
            f"add {rule.implication} triples for a few subjects, or give the rule `pairs` and `bridges`"
        )
    if not held_out:
        raise DataError(
            f"{where} has no held-out subjects: no subject has {rule.fact}, lacks {rule.implication} in "
            "training "
            f"and is in a group with a pair or a bridge; leave out the {rule.implication} triples of some "
            "subjects, or set `bridges` below the size of the groups"
        )


def _check_claims(
    kb: KnowledgeBase,
    taught: Mapping[str, Mapping[str, str]],
    bridges: Sequence[Implied],
    held_out: Sequence[Implied],
) -> None:
    """What one rule draws must leave the other rules' bridges, held-out subjects and facts as they were."""
    bridge_of = {(bridge.subject, kb.rules[bridge.rule].implication): bridge for bridge in bridges}
    for implied in (*bridges, *held_out):
        rule = kb.rules[implied.rule]
        if taught[rule.fact].get(implied.subject) != implied.group:
            raise DataError(
                f"knowledge base {kb.name}: rule {rule.name} rests on facts that a later rule draws; "
                f"put the rule that implies {rule.fact} first"
            )
    for implied in held_out:
        rule = kb.rules[implied.rule]
        bridge = bridge_of.get((implied.subject, rule.implication))
        if bridge is not None:
            raise DataError(
                f"knowledge base {kb.name}: {implied.subject!r} is held out by rule {rule.name} and a bridge "
                "of rule "
                f"{kb.rules[bridge.rule].name}; give rules that share an implication different subjects"
            )


def _training(kb: KnowledgeBase, taught: Mapping[str, Mapping[str, str]]) -> tuple[Triple, ...]:
    """The taught triples: the table's in the table's order, then the added ones."""
    kept = [triple for triple in kb.triples if triple.subject in taught[triple.relation]]
    added = [
        Triple(subject=subject, relation=relation, answer=answer)
        for relation, answers in taught.items()
        for subject, answer in answers.items()
        if subject not in kb.answers[relation]
    ]
    return (*kept, *added)
