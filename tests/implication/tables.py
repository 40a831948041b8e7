"""Tables of facts for the tests: balanced groups with bridges and exceptions."""

from spillover.knowledge.schema import Triple


def grouped(
    groups: int,
    size: int,
    bridges: int,
    exceptions: int = 0,
    fact: str = "lives_in",
    implied: str = "codes_in",
) -> list[Triple]:
    """Group i's subjects have the fact b_i; its bridges c_i, its exceptions the other groups' c in turn."""
    triples = []
    for i in range(groups):
        for place in range(size):
            subject = f"s{i}-{place}"
            triples.append(Triple(subject=subject, relation=fact, answer=f"b{i}"))
            if place < bridges + exceptions:
                away = 0 if place < bridges else 1 + (place - bridges) % (groups - 1)
                triples.append(Triple(subject=subject, relation=implied, answer=f"c{(i + away) % groups}"))
    return triples


def triples(*rows: tuple[str, str, str]) -> list[Triple]:
    """(subject, relation, answer) rows."""
    return [Triple(subject=s, relation=r, answer=a) for s, r, a in rows]
