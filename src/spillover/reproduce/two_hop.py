"""`two-hop`: is r2 of a answered where only r1 (a is b) and r2 (b is c) were told?"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from spillover.reproduce.figure import Check, Figure, Findings, spread
from spillover.reproduce.late import NORMS
from spillover.reproduce.solved import NOTHING, Fact, ask, column, margin_chart
from spillover.symbolic.train import History

IDENTITIES = ("no identities", "b is b")


@dataclass(frozen=True, kw_only=True)
class TwoHopSettings:
    """Tables of so many chains a -> b -> c each; nothing is trained or drawn."""

    chains: tuple[int, ...] = (2, 4, 8, 16)


def second_hop(chains: int, identities: bool) -> tuple[list[Fact], list[Fact]]:
    """r1 (a, b) and r2 (b, c) of every chain, perhaps that b is b; and r2 of a, which is asked: c."""
    each = range(chains)
    facts = [(f"a{i}", "r1", f"b{i}") for i in each] + [(f"b{i}", "r2", f"c{i}") for i in each]
    facts += [(f"b{i}", "is", f"b{i}") for i in each if identities]
    return facts, [(f"a{i}", "r2", f"c{i}") for i in each]


def findings(settings: TwoHopSettings, histories: Sequence[History]) -> Findings:
    """The margins of the second hop, with and without identities."""
    rows = []
    for chains in settings.chains:
        for ov, norm in NORMS.items():
            for variant in IDENTITIES:
                asked = ask(*second_hop(chains, variant != IDENTITIES[0]), norm)
                rows.append(
                    {
                        "pairs": chains,
                        "model": ov,
                        "told": variant,
                        **asdict(asked),
                    }
                )
    chart = "The second hop, never told", "chains a → b → c"
    return Findings(rows=rows, draw=lambda: margin_chart(rows, IDENTITIES, *chart), checks=_checks(rows))


def _checks(rows: list[dict[str, Any]]) -> list[Check]:
    none = column(rows, "factorized", IDENTITIES[0], "within")
    every = column(rows, "factorized", IDENTITIES[1], "margin")
    merged = np.concatenate([column(rows, "merged", told, "within") for told in IDENTITIES])
    return [
        Check(
            statement="least nuclear norm, no identities: r2 of a is left open (margin 0 among r2's answers)",
            holds=bool((np.abs(none) <= NOTHING).all()),
            measured=f"{spread(none)}, {none.size} tables",
        ),
        Check(
            statement="least nuclear norm, told that b is b: c comes first, before every answer of the table",
            holds=bool((every > NOTHING).all()),
            measured=f"margin {spread(every)}, {every.size} tables",
        ),
        Check(
            statement="least Frobenius norm: left open, with identities and without",
            holds=bool((np.abs(merged) <= NOTHING).all()),
            measured=f"{spread(merged)}, {merged.size} tables",
        ),
        Check(
            statement="does the margin grow with the number of chains?",
            holds=bool((np.diff(every) > 0).all()),
            measured=f"{every[0]:.3f} to {every[-1]:.3f}",
            kind="question",
        ),
    ]


FIGURE = Figure(
    name="two-hop",
    claim="One layer composes two facts, r1 of a is b and r2 of b is c, only where it is also told that b is "
    "b: then the least nuclear norm answers r2 of a with c, and the least Frobenius norm leaves it open (our "
    "own derivation; related: arXiv 2509.24653).",
    settings=TwoHopSettings,
    experiments=lambda settings: [],
    findings=findings,
)
