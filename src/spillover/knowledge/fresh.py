"""Subjects that occur nowhere: of whom nothing is taught and nothing is asked."""

from collections.abc import Iterator
from itertools import islice

import numpy as np

from spillover.errors import DataError
from spillover.knowledge.alike import fold
from spillover.knowledge.builtin import fictional_names
from spillover.knowledge.split import Split


def fresh_subjects(split: Split, count: int, seed: int) -> tuple[str, ...]:
    """That many fictional names, each once: first and last names of the built-in tables, recombined.

    None is, or looks like, a subject of the knowledge base, of what is taught, or of a built-in table. The
    seed draws them; fewer are the first of more. Raises DataError where there are not as many.
    """
    triples = (*split.kb.triples, *split.training)
    taken = {fold(triple.subject) for triple in triples}
    # the third word keeps this stream apart from those of `split`
    strangers = recombined_names(np.random.default_rng([seed, 0, 2]))
    found = tuple(islice((name for name in strangers if fold(name) not in taken), count))
    if len(found) < count:
        raise DataError(f"{count} fresh subjects were asked for, and there are {len(found)}; ask for fewer")
    return found


def recombined_names(rng: np.random.Generator) -> Iterator[str]:
    """First and last names of the built-in tables in new pairs, each once, in an order that `rng` draws."""
    names = fictional_names()
    firsts, lasts = zip(*(name.split(" ", 1) for name in names), strict=True)
    taken = {fold(name) for name in names}
    for place in rng.permutation(len(firsts) * len(lasts)).tolist():
        name = f"{firsts[place // len(lasts)]} {lasts[place % len(lasts)]}"
        if fold(name) not in taken:
            taken.add(fold(name))
            yield name
