"""Second hops: what follows from two facts that were told apart, where identity facts link them.

Told that r1 of a is b, that r2 of b is c and that b is b, the least nuclear norm answers r2 of a with c;
without the identity it leaves that open (`reproduce two-hop`).
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc

from spillover.implication.questions import places
from spillover.knowledge.patterns import Patterns


@dataclass(frozen=True, kw_only=True)
class Hop:
    """A relation that is answered by way of another."""

    first: str
    second: str
    identity: str
    """The relation that says of names that they are themselves."""
    subjects: int
    """Who was told the first relation, and not the second."""

    def __str__(self) -> str:
        return (
            f"a second hop: {self.subjects:,} subjects may be answered {self.second} by way of {self.first}, "
            f"since {self.identity} says of its answers that they are themselves; no rule asks for that"
        )


def hops(patterns: Patterns) -> list[Hop]:
    """Every second hop that identity facts open, the one of most subjects first."""
    answers = places(patterns.answers)
    named = patterns.members.filter(pc.field("subject").isin(patterns.answers)).to_pylist()
    first = np.searchsorted(patterns.pattern, np.arange(len(patterns.subjects) + 1))

    def told(of: int) -> list[tuple[int, int]]:
        """(relation, answer) of a pattern's statements."""
        part = slice(first[of], first[of + 1])
        return list(zip(patterns.relation[part].tolist(), patterns.answer[part].tolist(), strict=True))

    identity = dict[int, int]()  # of an answer that is said to be itself, the relation that says so
    second = dict[int, set[int]]()  # the other relations that it was told
    for row in named:
        name, of = answers[row["subject"]], row["pattern"]
        says = [relation for relation, answer in told(of) if answer == name]
        if says:
            identity[name] = says[0]
            second[name] = {relation for relation, answer in told(of) if answer != name}
    found = Counter[tuple[int, int, int]]()
    linked = np.flatnonzero(np.isin(patterns.answer, list(identity)))
    for of, relation, name in zip(
        *(part[linked].tolist() for part in (patterns.pattern, patterns.relation, patterns.answer)),
        strict=True,
    ):
        known = {each for each, _ in told(of)}
        if relation != identity[name]:
            for each in second[name] - known:
                found[relation, each, identity[name]] += int(patterns.subjects[of])
    return [
        Hop(
            first=patterns.relations[one],
            second=patterns.relations[other],
            identity=patterns.relations[link],
            subjects=count,
        )
        for (one, other, link), count in found.most_common()
    ]
