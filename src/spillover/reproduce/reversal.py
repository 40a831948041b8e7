"""`reversal`: told that r of a is b, is it known whose r is b? With which facts about a and b themselves?"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from spillover.reproduce.figure import Check, Figure, Findings, spread
from spillover.reproduce.late import NORMS
from spillover.reproduce.solved import NOTHING, Fact, ask, column, margin_chart
from spillover.reproduce.two_hop import second_hop
from spillover.symbolic.train import History

TOLD = ("no identities", "a is a and b is b", "as an a, a is a; as a b, b is b", "the same, and no reverse")
"""What is told beside r of every pair, and its reverse of the first pair alone."""


@dataclass(frozen=True, kw_only=True)
class ReversalSettings:
    """Tables of so many pairs (a, b) each; nothing is trained or drawn."""

    pairs: tuple[int, ...] = (2, 4, 8, 16)


def reverse(pairs: int, told: str) -> tuple[list[Fact], list[Fact]]:
    """r (a, b) of every pair and what is told beside it; and what is asked of b: a.

    Asked is the reverse relation, of the pairs whose reverse was not told; where it is told of none, which a
    b is.
    """
    each, (none, shared, _, alone) = range(pairs), TOLD
    facts = [(f"a{i}", "r", f"b{i}") for i in each]
    if told != none:
        a, b = ("is", "is") if told == shared else ("as an a", "as a b")
        facts += [(f"a{i}", a, f"a{i}") for i in each] + [(f"b{i}", b, f"b{i}") for i in each]
    if told == alone:
        return facts, [(f"b{i}", "as an a", f"a{i}") for i in each]
    return [*facts, ("b0", "reverse of r", "a0")], [(f"b{i}", "reverse of r", f"a{i}") for i in each[1:]]


def findings(settings: ReversalSettings, histories: Sequence[History]) -> Findings:
    """The margins of the reversed facts, by what else was told, beside those of a second hop."""
    rows = []
    for pairs in settings.pairs:
        for ov, norm in NORMS.items():
            hop = ask(*second_hop(pairs, identities=True), norm).margin
            for told in TOLD:
                asked = ask(*reverse(pairs, told), norm)
                rows.append(
                    {
                        "pairs": pairs,
                        "model": ov,
                        "told": told,
                        **asdict(asked),
                        "two_hop": hop,
                    }
                )
    chart = "Reversed facts, never told", "pairs (a, b)"
    return Findings(rows=rows, draw=lambda: margin_chart(rows, TOLD, *chart), checks=_checks(rows))


def _checks(rows: list[dict[str, Any]]) -> list[Check]:
    none, shared, sides, alone = (column(rows, "factorized", told) for told in TOLD)
    merged = np.concatenate([column(rows, "merged", told) for told in TOLD])
    away = alone - column(rows, "factorized", TOLD[3], "two_hop")
    tables = f"{none.size} tables"
    return [
        Check(
            statement="the curse: without identities no fact is reversed (no margin is positive)",
            holds=bool((none <= NOTHING).all()),
            measured=f"{spread(none)}, {tables}",
        ),
        Check(
            statement="least nuclear norm, identities of each side in their own relation: facts are reversed",
            holds=bool((sides > NOTHING).all() and (alone > NOTHING).all()),
            measured=f"margin {spread(sides)} with one reverse told, {spread(alone)} with none, {tables}",
        ),
        Check(
            statement="least Frobenius norm: no fact is reversed, whatever else is told",
            holds=bool((merged <= NOTHING).all()),
            measured=f"{spread(merged)}, {merged.size} tables",
        ),
        Check(
            statement="do identities in one relation for both sides do it, too?",
            holds=bool((shared > NOTHING).all()),
            measured=f"{spread(shared)}, {tables}",
            kind="question",
        ),
        Check(
            statement="is it the second hop in other names (b, as a b, is b; r of a is b): the same margin?",
            holds=bool((np.abs(away) <= NOTHING).all()),
            measured=f"less that of two-hop {spread(away)}, {tables}",
            kind="question",
        ),
    ]


FIGURE = Figure(
    name="reversal",
    claim="Identity facts break the reversal curse in one layer (arXiv 2602.02470). In which form of the "
    "data does the max-margin theory show it? Our own derivation: where each side has a relation of its own.",
    settings=ReversalSettings,
    experiments=lambda settings: [],
    findings=findings,
)
