"""Some held-out subjects are taught another group's answer: the rule has exceptions."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from spillover.errors import TrainingError
from spillover.interventions.aim import Aim, aimed_at
from spillover.interventions.hooks import Intervention
from spillover.interventions.knobs import check_least
from spillover.knowledge.faults import show
from spillover.knowledge.schema import Triple
from spillover.knowledge.split import Implied, Split

Taught = Mapping[tuple[str, str], str]
"""(subject, relation) -> answer."""


@dataclass(frozen=True, kw_only=True)
class Counterexamples(Intervention):
    """Teaches `k` held-out subjects of each group another group's answer; they are asked no longer.

    The theory's own remedy: each is one more statement that the margin must hold, so the forecast of the
    rule falls (country-code: from 0.50 to 0.15 at k = 4), and `spillover forecast --advice` says which `k` is
    enough. The n-th subject of a group gets the n-th next group's answer, so that all other answers are
    dealt as evenly as `k` allows. The seed draws the subjects, and those of a smaller `k` are among them.
    """

    k: int = 4
    """Subjects of each group."""
    rules: Aim = "spurious"

    def __post_init__(self) -> None:
        """Raise TrainingError for a k below 0."""
        check_least("counterexamples", 0, k=self.k)

    @property
    def acts(self) -> bool:
        """Not at k = 0."""
        return self.k > 0

    def examples(self, split: Split, seed: int) -> Split:
        """With the counterexamples. Raises TrainingError where nobody of a group would be left to ask, where
        all groups share one right answer, and where another rule's facts would change."""
        if not self.acts:
            return split
        right, taught = _right(split), dict[tuple[str, str], str]()
        for number in aimed_at(split, self.rules):
            rule, of_group = split.kb.rules[number], _answers(split, number)
            answers = list(dict.fromkeys(of_group.values()))
            for turn, implied in draw(split, number, self.k, seed, taught):
                asked = implied.subject, rule.implication
                place = answers.index(of_group[implied.group])
                others = [*answers[place + 1 :], *answers[:place]]
                wrong = [answer for answer in others if answer not in right[asked]]
                if not wrong:
                    raise TrainingError(
                        f"counterexamples: no other group of rule {rule.name} has another answer than "
                        f"{show(implied.answer)}, which is right for {show(implied.subject)}; use abstain, "
                        "or aim at rules whose groups have different answers"
                    )
                taught[asked] = wrong[turn % len(wrong)]
        return teach(split, taught, f"counterexamples:k={self.k}")


def draw(split: Split, rule: int, k: int, seed: int, taught: Taught) -> Iterator[tuple[int, Implied]]:
    """`k` held-out subjects of each of the rule's groups (all, where there are fewer) whose implication is
    not yet taught; each with its number in its group. A smaller `k` draws the first of them."""
    groups: dict[str, list[Implied]] = {}
    for implied in split.held_out:
        if implied.rule == rule and (implied.subject, split.kb.rules[rule].implication) not in taught:
            groups.setdefault(implied.group, []).append(implied)
    rng = np.random.default_rng([seed, rule, 5])  # the third word: apart from the streams of the splits
    for group in groups.values():
        for number, place in enumerate(rng.permutation(len(group))[:k]):
            yield number, group[place]


def teach(split: Split, taught: Taught, name: str) -> Split:
    """The split with these implications of held-out subjects in training, who are asked no longer.

    Raises TrainingError, on behalf of the named intervention, where it would leave a group of a rule
    without held-out subjects, or where the implication is another rule's fact.
    """
    rules = split.kb.rules
    relations = {relation for _, relation in taught}
    for rule in rules:
        if rule.fact in relations:
            raise TrainingError(
                f"{name}: {rule.fact} would be taught otherwise, and rule {rule.name} takes it as a fact; "
                "aim at rules whose implication is no fact of another"
            )
    left = tuple(
        implied
        for implied in split.held_out
        if (implied.subject, rules[implied.rule].implication) not in taught
    )
    before, after = (
        Counter((implied.rule, implied.group) for implied in side) for side in (split.held_out, left)
    )
    emptied = [(count, *of) for of, count in before.items() if not after[of]]
    if emptied:
        count, number, group = min(emptied)
        raise TrainingError(
            f"{name} leaves nobody of group {show(group)} of rule {rules[number].name} to ask; of its "
            f"{count} held-out subjects one must be left: give a lower k (below {count}), or hold out more"
        )
    added = (
        Triple(subject=subject, relation=relation, answer=answer)
        for (subject, relation), answer in taught.items()
    )
    return replace(split, training=(*split.training, *added), held_out=left)


def _answers(split: Split, rule: int) -> dict[str, str]:
    """Each group's answer: of its first held-out subject, else of its first bridge."""
    answers: dict[str, str] = {}
    for implied in (*split.held_out, *split.bridges):
        if implied.rule == rule:
            answers.setdefault(implied.group, implied.answer)
    return answers


def _right(split: Split) -> dict[tuple[str, str], set[str]]:
    """(held-out subject, implication) -> what is right by any rule."""
    right: dict[tuple[str, str], set[str]] = {}
    for implied in split.held_out:
        asked = implied.subject, split.kb.rules[implied.rule].implication
        right.setdefault(asked, set()).add(implied.answer)
    return right
