"""Things that go by several names or ids -> each under one name."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from scipy.cluster.hierarchy import DisjointSet


@dataclass(frozen=True, kw_only=True, slots=True)
class Thing:
    """What several ids or names stand for."""

    ids: tuple[str, ...]
    name: str
    """The name that is used most."""
    others: tuple[str, ...]
    """Other names that were used, sorted."""


def things(called: Mapping[str, Counter[str]], aliases: Mapping[str, Collection[str]]) -> Iterator[Thing]:
    """The things that ids stand for: one is another's if its name is an alias of the other's.

    `called` has how often each id goes by which name, `aliases` what else it may be called.
    """
    owners: dict[str, list[str]] = {}
    for identity, names in called.items():
        for name in names:
            owners.setdefault(name, []).append(identity)
    same = DisjointSet(called)
    for identity, names in aliases.items():
        for alias in set(names) - called[identity].keys():
            for other in owners.get(alias, ()):
                same.merge(identity, other)
    for identities in same.subsets():
        times = sum((called[identity] for identity in identities), Counter[str]())
        name = min(times, key=lambda name: (-times[name], name))
        yield Thing(ids=tuple(sorted(identities)), name=name, others=tuple(sorted({*times} - {name})))
