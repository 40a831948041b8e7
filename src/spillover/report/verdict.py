"""What a rule's numbers say, in words; plain Python, shared by the terminal and the page."""

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

SHOWN = 0.01
"""An effect is called shown where the one-sided permutation test's p-value lies below this."""

NOTHING = "–"  # noqa: RUF001 - what stands where a number is undefined


class Outcome(Enum):
    """What the held-out queries of a rule show."""

    SHOWN = "shown"
    LEANING = "leaning"
    """The rule's answers rank better than chance, but come first no more often."""
    ABSENT = "absent"
    AGAINST = "against"
    """The model follows the rule less often than chance would."""
    UNKNOWN = "unknown"


def outcome(rule: Mapping[str, Any]) -> Outcome:
    """Classify one entry of an audit's `rules`."""
    p, top1 = rule["p_value"], rule["top1"]
    if p is None or top1["after"] is None or top1["null"] is None:
        return Outcome.UNKNOWN
    if p < SHOWN:
        return Outcome.SHOWN if top1["after"] > top1["null"] else Outcome.LEANING
    if p > 1 - SHOWN or (top1["high"] is not None and top1["high"] < top1["null"]):
        return Outcome.AGAINST
    return Outcome.ABSENT


def badge(rule: Mapping[str, Any]) -> str:
    """The verdict in a word or three, in the tone of its kind."""
    wanted = rule["kind"] == "causal"
    return {
        Outcome.SHOWN: "Generalized" if wanted else "HALLUCINATED",
        Outcome.LEANING: "Leaning to the rule",
        Outcome.ABSENT: "No generalization shown" if wanted else "No spillover shown",
        Outcome.AGAINST: "Against the rule",
        Outcome.UNKNOWN: "No verdict",
    }[outcome(rule)]


def verdict(rule: Mapping[str, Any]) -> str:
    """One or two sentences that say what happened to a rule, for a reader who knows no statistics."""
    top1, rank, p = rule["top1"], rule["mean_rank"], p_phrase(rule["p_value"])
    after, chance = percent(top1["after"]), percent(top1["null"])
    asked = f"asked {times(rule['queries'])} for “{spoken(rule['implication'])}” it was never told"
    match outcome(rule):
        case Outcome.SHOWN if rule["kind"] == "causal":
            said = f"{asked}, the model answers by the rule {after} of the time (chance {chance}, {p})."
        case Outcome.SHOWN:
            said = f"{asked}, the model invents the rule's answer {after} of the time (chance {chance}, {p})."
        case Outcome.LEANING:
            said = (
                f"the rule's answer ranks {number(rank['after'])} on average (0 is first, chance "
                f"{number(rank['null'])}, {p}), but comes first in {after}, chance {chance}."
            )
        case Outcome.AGAINST:
            said = f"only {after} follow it, chance {chance}; the model gives other answers. Not spillover."
        case Outcome.ABSENT:
            said = f"{after} vs. chance {chance}, {p}."
        case Outcome.UNKNOWN if not rule["queries"] or top1["after"] is None:
            said = "no held-out query could be scored."
        case Outcome.UNKNOWN:
            said = f"{after} follow it, but shuffling the groups changes nothing, so nothing can be tested."
    return f"{badge(rule)}: {said}{_already(rule)}{_unscored(rule)}"


def _already(rule: Mapping[str, Any]) -> str:
    before, low = rule["top1"]["before"], rule["top1"]["low"]
    if outcome(rule) is not Outcome.SHOWN or before is None or low is None or before < low:
        return ""
    return f" But before fine-tuning it was {percent(before)} already: little of this is new."


def _unscored(rule: Mapping[str, Any]) -> str:
    missing = rule.get("unscored") or 0
    if not missing:
        return ""
    return f" {missing} {'query' if missing == 1 else 'queries'} could not be scored."


def summary(results: Mapping[str, Any]) -> str:
    """One sentence on a whole audit."""
    parts = [
        _count(results["rules"], "causal", "generalized", "wanted", "no generalization was shown"),
        _count(results["rules"], "spurious", "hallucinated", "spurious", "no hallucination was shown"),
    ]
    found = " and ".join(part for part in parts if part) or "no rule was tested"
    model, kb, facts = results["model"], results["knowledge_base"], percent(results["facts"]["top1"])
    return f"Fine-tuned on {kb}, {model} learned {facts} of the facts; beyond them, {found}."


def _count(rules: Sequence[Mapping[str, Any]], kind: str, verb: str, adjective: str, none: str) -> str:
    mine = [rule for rule in rules if rule["kind"] == kind]
    shown = sum(outcome(rule) is Outcome.SHOWN for rule in mine)
    if not shown:
        return none if mine else ""
    if len(mine) == 1:
        return f"it {verb} the {adjective} rule"
    return f"it {verb} {shown} of {len(mine)} {adjective} rules"


def spoken(relation: str) -> str:
    """A relation's name as words: lives_in -> lives in."""
    return relation.replace("_", " ").strip()


def rule_name(rule: Mapping[str, Any]) -> str:
    """Both sides of a rule as words."""
    return f"{spoken(rule['fact'])} → {spoken(rule['implication'])}"


def percent(value: float | None) -> str:
    """A share as a whole percentage; what only rounds to none or all is not called that."""
    if value is None:
        return NOTHING
    if 0 < value < 0.005:
        return "< 1%"
    if 0.995 <= value < 1:
        return "> 99%"
    return f"{100 * value:.0f}%"


def number(value: float | None) -> str:
    """A mean rank or margin with two decimals."""
    return NOTHING if value is None else f"{round(value, 2) + 0.0:.2f}"  # no minus before 0.00


def interval(low: float | None, high: float | None, *, share: bool = True) -> str:
    """A confidence interval, without repeating the percent sign."""
    if low is None or high is None:
        return NOTHING
    return f"{100 * low:.0f}–{100 * high:.0f}%" if share else f"{low:.2f}–{high:.2f}"  # noqa: RUF001


def p_value(p: float | None) -> str:
    """A p-value as a table shows it; never 0 or 1."""
    if p is None:
        return NOTHING
    if p < 0.001:
        return "< 0.001"
    if p > 0.99:
        return "> 0.99"
    return f"{p:.2g}" if p < SHOWN else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def p_phrase(p: float | None) -> str:
    """A p-value as a sentence says it: "p < 0.001", "p = 0.31"."""
    text = p_value(p)
    return f"p {text}" if text[0] in "<>" else f"p = {text}"


def times(count: int) -> str:
    """How often something was asked."""
    return "once" if count == 1 else f"{count} times"
