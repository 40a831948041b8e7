"""Tables for the tests of the forecast."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from spillover.knowledge.schema import Triple
from tests.implication.tables import grouped


def write_csv(path: Path, table: Sequence[Triple]) -> Path:
    """The table as a CSV."""
    rows = [f"{triple.subject},{triple.relation},{triple.answer}" for triple in table]
    path.write_text("\n".join(["subject,relation,answer", *rows]) + "\n")
    return path


def noisy(groups: int, size: int, bridges: int, seed: int, planted: bool = True) -> list[Triple]:
    """A planted rule (or a shuffled one) beside a relation whose answers are random."""
    rng = np.random.default_rng(seed)
    table = grouped(groups, size, bridges)
    if not planted:
        implied = [triple for triple in table if triple.relation == "codes_in"]
        answers = rng.permutation([triple.answer for triple in implied])
        table = [triple for triple in table if triple.relation != "codes_in"]
        table += [
            Triple(subject=triple.subject, relation=triple.relation, answer=answer)
            for triple, answer in zip(implied, answers, strict=True)
        ]
    subjects = sorted({triple.subject for triple in table})
    pets = rng.integers(4, size=len(subjects))
    return table + [
        Triple(subject=subject, relation="has_pet", answer=f"pet{pet}")
        for subject, pet in zip(subjects, pets, strict=True)
        if rng.random() < 0.7
    ]
