"""Does discovery find the rules of a table, and nothing else? `python -m benchmarks.discovery`.

Random tables count how often anything is found: at most alpha of them should show a false association.
Planted tables have six relations: the first decides the second and the third the fourth, but for a share of
noise; all other pairs are independent. Half a minute on one core.
"""

import time
from itertools import product

import numpy as np
import pyarrow as pa

from spillover.implication.discovery import Association, associations
from spillover.knowledge.patterns import Patterns
from spillover.runs.stats import Interval, mean_interval

ALPHA = 0.05
RANDOM, PLANTED = 1_000, 40
BRIDGES = (1, 2, 4, 8)
GROUPS = (3, 5, 10)
NOISE = (0.0, 0.1, 0.3)
RULES = ((0, 1), (2, 3))


def patterns(table_SR: np.ndarray) -> Patterns:
    """A table of subjects by relations as patterns, one for each subject; -1 is unknown."""
    subject, relation = np.nonzero(table_SR >= 0)
    return Patterns(
        relations=tuple(f"r{number:03}" for number in range(table_SR.shape[1])),
        answers=tuple(f"a{number:06}" for number in range(int(table_SR.max()) + 1)),
        subjects=np.ones(len(table_SR), dtype=np.int64),
        pattern=subject,
        relation=relation,
        answer=table_SR[subject, relation],
        members=pa.table(
            {"subject": list(map(str, range(len(table_SR)))), "pattern": np.arange(len(table_SR))}
        ),
    )


def random_table(rng: np.random.Generator) -> np.ndarray:
    """Six independent relations of random size, density and skew, (S, R)."""
    subjects = int(rng.integers(5, 200))
    columns = []
    for _ in range(6):
        answers = int(rng.integers(2, 15))
        shares = rng.dirichlet(np.full(answers, rng.choice([0.5, 2.0, 100.0])))
        columns.append(rng.choice(answers, size=subjects, p=shares))
    return np.where(rng.random((subjects, 6)) < rng.uniform(0.3, 1), np.stack(columns, axis=1), -1)


def planted_table(groups: int, bridges: int, noise: float, rng: np.random.Generator) -> np.ndarray:
    """`bridges` subjects in every group of either rule; a share of `noise` answers at random, (S, R)."""
    table_SR = rng.integers(groups, size=(groups * bridges, 6))
    for fact, implication in RULES:
        table_SR[:, fact] = rng.permutation(np.repeat(np.arange(groups), bridges))
        noisy = rng.random(groups * bridges) < noise
        table_SR[:, implication] = np.where(noisy, table_SR[:, implication], table_SR[:, fact])
    return table_SR


def main() -> None:
    """Print false positives and power, with 95% intervals, and what large tables cost."""
    rng = np.random.default_rng(0)
    false = [_false(associations(patterns(random_table(rng)))) for _ in range(RANDOM)]
    print(f"tables with a false association, at most {ALPHA:.0%} wanted (95% interval)")
    print(f"  {RANDOM} random tables of 15 pairs: {_shown(mean_interval(false, 0, 1))}")
    power: dict[tuple[int, float, int], str] = {}
    false = []
    for groups, noise, bridges in product(GROUPS, NOISE, BRIDGES):
        hits, testable = [], False
        for _ in range(PLANTED):
            found = associations(patterns(planted_table(groups, bridges, noise, rng)))
            planted = [one for one in found if one.relations in RULES]
            hits.append(float(np.mean([one.adjusted <= ALPHA for one in planted])))
            testable |= any(one.testable for one in planted)
            false.append(_false([one for one in found if one.relations not in RULES]))
        interval = mean_interval(hits, 0, 1, draws=4_000)
        power[groups, noise, bridges] = _shown(interval) if testable else "too few"
    print(f"  {len(false)} tables with two rules:     {_shown(mean_interval(false, 0, 1))}\n")
    print(f"rules found, of 2 in each of {PLANTED} tables of 15 pairs (95% interval)")
    print("groups noise " + "".join(f"{bridges:>7} a group  " for bridges in BRIDGES))
    for groups, noise in product(GROUPS, NOISE):
        cells = "".join(f"{power[groups, noise, bridges]:>17}" for bridges in BRIDGES)
        print(f"{groups:>6} {noise:>5.0%}{cells}")
    print("\nseconds for large tables")
    for subjects, relations, answers in ((300, 100, 10), (100_000, 5, 100)):
        table_SR = rng.integers(answers, size=(subjects, relations))
        table_SR[rng.random(table_SR.shape) < 0.3] = -1
        table = patterns(table_SR)
        started = time.perf_counter()
        pairs = associations(table)
        seconds = time.perf_counter() - started
        print(f"  {subjects:>7,} subjects, {relations} relations, {len(pairs):,} pairs: {seconds:.1f}")


def _false(found: list[Association]) -> float:
    return float(any(one.adjusted <= ALPHA for one in found))


def _shown(interval: Interval) -> str:
    return f"{interval.mean:.2f} [{interval.low:.2f} {interval.high:.2f}]".replace("0.", ".")


if __name__ == "__main__":
    main()
