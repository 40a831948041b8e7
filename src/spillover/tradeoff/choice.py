"""Rows -> what is asked of an intervention, which rows no other beats, and which one to take."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from spillover.report.verdict import LEARNED, number, p_value, percent
from spillover.reproduce.figure import Row
from spillover.tradeoff.arms import PLAIN

UNSEEN = 0.05
"""The permutation test sees no spillover where p lies above this in every seed."""

LEAST_FACTS, MOST_RANK = 0.95, 0.5
"""Facts that must be known, and the mean rank up to which a wanted rule counts as kept."""


@dataclass(frozen=True, kw_only=True)
class Demands:
    """Which of the four demands a row meets; a kind of rule that the data does not have demands nothing."""

    removed: bool
    kept: bool
    learned: bool
    harmless: bool

    @property
    def met(self) -> int:
        """How many."""
        return self.removed + self.kept + self.learned + self.harmless

    @property
    def missed(self) -> str:
        """Which are not, in words."""
        words = {
            "the spurious rule is still seen": self.removed,
            "the wanted rule is lost": self.kept,
            "facts are missing": self.learned,
            "it harms more than the plain tune": self.harmless,
        }
        return ", ".join(word for word, holds in words.items() if not holds)


def demands(row: Row, plain: Row) -> Demands:
    """What a row meets, beside the plain tune of the same data. What is undefined meets nothing."""
    return Demands(
        removed=not row["spurious"] or row["spurious_p_seeds"] > UNSEEN,
        kept=not row["wanted"] or row["wanted_rank"] <= MOST_RANK,
        learned=row["facts"] >= LEAST_FACTS,
        harmless=row["kl"] <= plain["kl"],
    )


def plain_of(row: Row, rows: Sequence[Row]) -> Row:
    """The plain tune of the same model and data."""
    return next(
        other
        for other in rows
        if (other["arm"], other["model"], other["data"]) == (PLAIN, row["model"], row["data"])
    )


def left(row: Row) -> float:
    """What is left of the spurious rule: first places in excess of chance, none below it."""
    return max(0.0, row["spurious_top1"] - row["spurious_top1_null"])


def front(rows: Sequence[Row]) -> list[Row]:
    """Those that no other row of the same model and data beats: none has less of the spurious rule, more of
    the wanted one, as many facts and as little harm."""
    return [row for row in rows if not any(_beats(other, row) for other in rows)]


def _beats(other: Row, row: Row) -> bool:
    if (other["model"], other["data"]) != (row["model"], row["data"]):
        return False
    pairs = [(a, b) for a, b in zip(_worths(other), _worths(row), strict=True) if not math.isnan(b)]
    return all(a >= b for a, b in pairs) and any(a > b for a, b in pairs)


def _worths(row: Row) -> tuple[float, ...]:
    """More is better in each; NaN where the data has no such rule."""
    spurious = -left(row) if row["spurious"] else math.nan
    return spurious, row["wanted_top1"], min(row["facts"], LEAST_FACTS), -row["kl"]


def best(rows: Sequence[Row]) -> Row | None:
    """The arm of one model and data that meets most demands; of those the one with the least left of the
    spurious rule. One that has a `caveat` comes after all others. None where nothing but the plain tune is
    there.
    """
    others = [row for row in rows if row["arm"] != PLAIN]

    def worth(row: Row) -> tuple[bool, int, float]:
        return not caveat(row), demands(row, plain_of(row, rows)).met, -left(row)

    return max(others, key=worth, default=None)


def caveat(row: Row) -> str:
    """What to know of a row in which the spurious rule is gone and was never taught; else nothing."""
    if row["bridges"] >= LEARNED or row["spurious_p_seeds"] <= UNSEEN:
        return ""
    return "so few bridges are learned that nothing is known of the rules"


def recommendation(rows: Sequence[Row], elsewhere: Sequence[Row] = ()) -> list[str]:
    """Which intervention to take, in a sentence, and then on what evidence.

    `elsewhere` are the rows of the chosen one, unchanged, on other data, and of the plain tune there.
    """
    row = best(rows)
    if row is None:
        return []
    plain = plain_of(row, rows)
    found = demands(row, plain)
    again = {
        other["data"]: (demands(other, plain_of(other, elsewhere)).missed, caveat(other))
        for other in elsewhere
        if other["arm"] == row["arm"]
    }
    seeds = f"over {row['seeds']} seeds" if row["seeds"] > 1 else "in one seed"
    if not found.missed and any(map(any, again.values())):
        said = f"{row['arm']} meets all four demands on {row['data']} {seeds}, and not everywhere."
    elif not found.missed:
        said = f"Take {row['arm']}: it meets all four demands {seeds}."
    else:
        said = f"No intervention meets all four demands. Closest comes {row['arm']}: {found.missed}."
    confirmed = [
        f"Unchanged on {data}: {missed or 'all four'}{but and f'; {but}'}."
        for data, (missed, but) in again.items()
    ]
    learned = (
        f"Facts {percent(row['facts'])} (plain {percent(plain['facts'])}), bridges {percent(row['bridges'])} "
        f"(plain {percent(plain['bridges'])})"
    )
    but = caveat(row)
    parts = [said, *confirmed, f"{learned}{but and f': {but}'}."]
    if row["spurious"]:
        parts.append(
            f"Of the spurious rule the answer comes first for {percent(row['spurious_top1'])} of held-out "
            f"subjects, chance {percent(row['spurious_top1_null'])}, least p over the seeds "
            f"{p_value(row['spurious_p_seeds'])} (plain {percent(plain['spurious_top1'])}); in other words "
            f"{percent(row['paraphrase_top1'])}, chance {percent(row['paraphrase_top1_null'])}."
        )
    if row["wanted"]:
        parts.append(
            f"The wanted rule has mean rank {number(row['wanted_rank'])} "
            f"(plain {number(plain['wanted_rank'])})."
        )
    parts.append(f"KL on neutral text {row['kl']:.3f} nats a token (plain {plain['kl']:.3f}).")
    return parts
