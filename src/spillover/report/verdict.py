"""What a rule's numbers say, in words; plain Python, shared by the terminal, the page and the gates.

A number is undefined where it is None (read from JSON) or NaN (in Python). Runs of version 0.1 have no p of
top-1, nor what was learned for each rule: they are read by what they do have, and the sentence says so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from math import floor, isnan
from typing import Any, Literal, TypeGuard

SHOWN = 0.01
"""An effect is called shown where the one-sided permutation test's p-value, corrected for the audit's rules,
lies below this."""

LEARNED = 0.8
"""A rule has a verdict where the tuned model answers at least this share of its facts and of its bridges.

A model that was not taught the bridges cannot have the rule from them, and one that does not know the facts
cannot apply it: what it then says of held-out subjects tells nothing of the rule. Tunes that teach end above
0.95, tunes that fail near chance (0.2 to 0.4), so the place of the threshold between the two hardly matters.
"""

NOTHING = "–"  # noqa: RUF001 - what stands where a number is undefined

Measure = Literal["mean_rank", "top1"]


class Outcome(Enum):
    """What the held-out queries of a rule show."""

    SHOWN = "shown"
    """The rule's answers come first more often than chance."""
    LEANING = "leaning"
    """The rule's answers rank better than chance, but do not come first more often."""
    ABSENT = "absent"
    AGAINST = "against"
    """The rule's answers come first less often than chance, and rank no better."""
    UNLEARNED = "unlearned"
    """The tuned model does not know what it was trained on, so nothing is known of the rule."""
    UNKNOWN = "unknown"
    """Nothing was scored, or nothing can be tested."""

    @property
    def is_known(self) -> bool:
        """Whether something is known of the rule, so that there is a verdict."""
        return self not in (Outcome.UNLEARNED, Outcome.UNKNOWN)


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What is said of a rule."""

    outcome: Outcome
    badge: str
    """A word or three, in the tone of the rule's kind."""
    sentence: str
    """One or a few sentences for a reader who knows no statistics; it goes on after `badge` and a colon."""


def verdicts(results: Mapping[str, Any]) -> list[Verdict]:
    """The verdict on each rule of an audit's document, in its order."""
    return [
        verdict(rule, correction=correction(results), elsewhere="tuned" in results)
        for rule in results["rules"]
    ]


def mixed(results: Mapping[str, Any]) -> str:
    """Of what else than the table's triples the tune was made; nothing where it was of these alone."""
    beside = [each for each in results.get("ingredients") or () if each["relation"] is None]
    if not beside:
        return ""
    shares = ", ".join(f"{percent(beside[0][what])} of the {word}" for what, word in SHARES.items())
    return f"Trained beside the table: {shares}"


def correction(results: Mapping[str, Any]) -> str:
    """What to add to a p-value of an audit's document: for how many rules it is corrected, if for several."""
    tests = sum(defined(rule["top1"].get("p_adjusted")) for rule in results["rules"])
    return f", corrected for {tests} rules" if tests > 1 else ""


def verdict(rule: Mapping[str, Any], *, correction: str = "", elsewhere: bool = False) -> Verdict:
    """The verdict on one entry of an audit's `rules`; `correction` is said of its p-values.

    `elsewhere`: the model was not tuned here, so the advice where it learned nothing is another.
    """
    found = outcome(rule)
    if found is Outcome.UNLEARNED:
        sentence = f"{shortfall(rule)}, so nothing is known of the rule. {_CHECK if elsewhere else _TRAIN}"
    else:
        sentence = _finding(rule, found, correction)
    after = (
        _already(rule) if found is Outcome.SHOWN else "",
        _in_other_words(rule, found) if found.is_known else "",
        _unscored(rule),
        _recorded(rule),
    )
    return Verdict(outcome=found, badge=_badge(found, rule["kind"]), sentence=sentence + "".join(after))


_TRAIN = "Train it longer (more epochs), or with another learning rate or other prompts."
_CHECK = (
    "Is it the right model or adapter for this base, tuned on these prompts and on the bridges of this seed?"
)


def outcome(rule: Mapping[str, Any]) -> Outcome:
    """Classify one entry of an audit's `rules`."""
    top1, rank = rule["top1"], own_p(rule, "mean_rank")
    if not (defined(top1["after"]) and defined(top1["null"]) and defined(rank)):
        return Outcome.UNKNOWN
    if shortfall(rule):
        return Outcome.UNLEARNED
    if "p_value" in top1:
        first, worse = own_p(rule, "top1"), top1.get("p_worse_adjusted")
        shown, against = defined(first) and first < SHOWN, defined(worse) and worse < SHOWN
    else:  # version 0.1: the interval tells which side of chance top-1 is on
        shown = rank < SHOWN and defined(top1["low"]) and top1["low"] > top1["null"]
        against = defined(top1["high"]) and top1["high"] < top1["null"]
    if shown:
        return Outcome.SHOWN
    if rank < SHOWN:
        return Outcome.LEANING
    return Outcome.AGAINST if against else Outcome.ABSENT


def shortfall(rule: Mapping[str, Any]) -> str:
    """What the tuned model lacks for a verdict on the rule, to start a sentence with; empty where nothing."""
    if "facts" not in rule:  # version 0.1
        return ""
    known = {name: rule[name]["least"] for name in ("facts", "bridges")}
    missing = [name for name, share in known.items() if not defined(share)]
    if missing:
        return f"none of the rule's {' and '.join(missing)} could be scored"
    if min(known.values()) >= LEARNED:
        return ""
    seed = " of the worst seed" if any(rule[name]["top1"] != known[name] for name in known) else ""
    facts, bridges = (f"{floor(round(100 * share, 6))}%" for share in known.values())  # 79.9% is not 80%
    return (
        f"of what it was trained on, the model{seed} answers {facts} of the facts and {bridges} of the "
        f"bridges, and a verdict needs {LEARNED:.0%} of each"
    )


def own_p(rule: Mapping[str, Any], measure: Measure) -> float | None:
    """The p-value of one measure, corrected for the audit's rules; None where there is none.

    Version 0.1 recorded one, uncorrected, which is the mean rank's.
    """
    numbers = rule[measure]
    recorded = rule["p_value"] if measure == "mean_rank" else None
    p = numbers.get("p_adjusted", numbers.get("p_value", recorded))
    return p if defined(p) else None


def defined(value: float | None) -> TypeGuard[float]:
    """Whether a number is there: neither None (as in JSON) nor NaN (as in Python)."""
    return value is not None and not isnan(value)


def _badge(found: Outcome, kind: str) -> str:
    wanted = kind == "causal"
    return {
        Outcome.SHOWN: "Generalized" if wanted else "HALLUCINATED",
        Outcome.LEANING: "Leaning to the rule",
        Outcome.ABSENT: "No generalization shown" if wanted else "No spillover shown",
        Outcome.AGAINST: "Against the rule",
        Outcome.UNLEARNED: "No verdict",
        Outcome.UNKNOWN: "No verdict",
    }[found]


def _finding(rule: Mapping[str, Any], found: Outcome, correction: str) -> str:
    """What the held-out queries show; each number is followed by its own p-value."""
    top1, rank = rule["top1"], rule["mean_rank"]
    after, chance = percent(top1["after"]), percent(top1["null"])
    first = _tested(own_p(rule, "top1"))
    match found:
        case Outcome.SHOWN:
            did = "answers by the rule" if rule["kind"] == "causal" else "invents the rule's answer"
            return (
                f"asked {times(rule['queries'])} for “{spoken(rule['implication'])}” it was never told, "
                f"the model {did} {after} of the time (chance {chance}{first}{correction})."
            )
        case Outcome.LEANING:
            ranked = _tested(own_p(rule, "mean_rank")) + correction
            return (
                f"the rule's answer ranks {number(rank['after'])} on average (0 is first, chance "
                f"{number(rank['null'])}{ranked}), but comes first in {after} (chance {chance}{first})."
            )
        case Outcome.AGAINST:
            worse = _tested(top1.get("p_worse_adjusted"))
            return (
                f"only {after} follow it (chance {chance}{worse}{correction}); "
                "the model gives other answers. Not spillover."
            )
        case Outcome.ABSENT:
            return f"{after} vs. chance {chance}{first}{correction}."
    if not rule["queries"] or not defined(top1["after"]):
        return "no held-out query could be scored."
    return f"{after} follow it, but shuffling the groups changes nothing, so nothing can be tested."


def _tested(p: float | None) -> str:
    return f", {p_phrase(p)}" if defined(p) else ""


def _already(rule: Mapping[str, Any]) -> str:
    before, low = rule["top1"]["before"], rule["top1"]["low"]
    if not (defined(before) and defined(low)) or before < low:
        return ""
    return f" But before fine-tuning it was {percent(before)} already: little of this is new."


def _in_other_words(rule: Mapping[str, Any], found: Outcome) -> str:
    """Whether the verdict holds in the wordings that were never trained, too."""
    words = rule.get("other_words")
    if not words or not defined(words["top1"]["after"]):
        return ""
    first = own_p(words, "top1")
    seen = defined(first) and first < SHOWN
    asked = f"{percent(words['top1']['after'])}, chance {percent(words['top1']['null'])}{_tested(first)}"
    if found is Outcome.SHOWN:
        so = "so, too" if seen else "no spillover is seen: this holds for the trained wording alone"
    else:
        so = "it is seen, so the trained wording alone misleads" if seen else "so, too"
    return f" Asked in other words: {so} ({asked})."


def _unscored(rule: Mapping[str, Any]) -> str:
    missing = rule.get("unscored") or 0
    if not missing:
        return ""
    return f" {missing} {'query' if missing == 1 else 'queries'} could not be scored."


def _recorded(rule: Mapping[str, Any]) -> str:
    if "facts" in rule:
        return ""
    return " Measured by version 0.1: it did not record whether the rule's bridges were learned."


def not_scored(rule: Mapping[str, Any]) -> str:
    """The candidates that could not be scored, by reason; empty where all could or nothing is recorded."""
    reasons: dict[str, list[str]] = {}
    for candidate in rule.get("unscorable") or ():
        reasons.setdefault(candidate["reason"], []).append(f"“{candidate['candidate']}”")
    text = "; ".join(f"{', '.join(names)} ({reason})" for reason, names in reasons.items())
    return f"Not scored: {text}." if text else ""


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
    found = [outcome(rule) for rule in rules if rule["kind"] == kind]
    shown = found.count(Outcome.SHOWN)
    open_ones = sum(not outcome.is_known for outcome in found)

    def of(count: int) -> str:
        return f"the {adjective} rule" if len(found) == 1 else f"{count} of {len(found)} {adjective} rules"

    parts = [f"it {verb} {of(shown)}"] if shown else []
    parts += [f"there is no verdict on {of(open_ones)}"] if open_ones else []
    return ", and ".join(parts) or (none if found else "")


def spoken(relation: str) -> str:
    """A relation's name as words: lives_in -> lives in."""
    return relation.replace("_", " ").strip()


def rule_name(rule: Mapping[str, Any]) -> str:
    """Both sides of a rule as words."""
    return f"{spoken(rule['fact'])} → {spoken(rule['implication'])}"


def percent(value: float | None) -> str:
    """A share as a whole percentage; what only rounds to none or all is not called that."""
    if not defined(value):
        return NOTHING
    if 0 < value < 0.005:
        return "< 1%"
    if 0.995 <= value < 1:
        return "> 99%"
    return f"{100 * value:.0f}%"


SHARES = {"examples": "examples", "tokens": "trained tokens", "loss": "loss"}
"""What is told of an ingredient, and how."""


def number(value: float | None) -> str:
    """A mean rank or margin with two decimals."""
    return f"{round(value, 2) + 0.0:.2f}" if defined(value) else NOTHING  # no minus before 0.00


def interval(low: float | None, high: float | None, *, share: bool = True) -> str:
    """A confidence interval, without repeating the percent sign."""
    if not (defined(low) and defined(high)):
        return NOTHING
    return f"{100 * low:.0f}–{100 * high:.0f}%" if share else f"{low:.2f}–{high:.2f}"  # noqa: RUF001


def p_value(p: float | None) -> str:
    """A p-value as a table shows it; never 0 or 1."""
    if not defined(p):
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
