"""A forecast in words and as a table for the terminal, in 80 columns."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from spillover.report.tables import HEADINGS
from spillover.report.verdict import NOTHING, number, p_value, percent, rule_name, spoken

CLEAR = 0.05
"""A mean margin this far from 0 is called a forecast; nearer, the table leaves the question open."""

_DISCOVERED = ("Found in the table: relations that go together, wanted or not", "yellow")
_UNTESTED = ("Too few bridges to tell from chance, yet enough to teach", "yellow")
_SHOWN = 5  # of those
_LEGEND = (
    "margin: how far the right answer's logit lies above every other one's, for subjects that were "
    "never told it, where training margins are 1 or more (mean, least and most). first: how often it "
    "comes out first. chance: the same with the subjects' groups shuffled. Training takes a "
    "one-layer model to these margins; for a language model they rank the risk."
)


def forecast_table(results: Mapping[str, Any]) -> RenderableType:
    """The document of `spillover forecast --json`: every rule's margins, sentences, advice, and the proof."""
    kb = results["kb"]
    size = (
        f"{kb['subjects']:,} subjects ({kb['patterns']:,} kinds), {kb['relations']:,} relations, "
        f"{kb['answers']:,} answers, {kb['triples']:,} triples"
    )
    parts: list[RenderableType] = [
        Text(f"What fine-tuning on {kb['name']} will teach beyond it", style="bold"),
        Text(size),
    ]
    kinds = {**HEADINGS, "discovered": _DISCOVERED}
    sections = [
        (heading, [rule for rule in results["rules"] if rule["kind"] == kind])
        for kind, heading in kinds.items()
    ]
    taught = [rule for rule in results["untested"] if rule["margin"]["mean"] >= CLEAR]
    sections.append((_UNTESTED, taught[:_SHOWN]))
    for (heading, colour), rules in sections:
        if not rules:
            continue
        parts += [Text(), Text(heading, style=f"bold {colour}"), _rules(rules)]
        for rule in rules:
            parts.append(Padding(Text(sentence(rule)), (0, 0, 0, 2)))
            parts += [Padding(Text(f"- {line}"), (0, 0, 0, 4)) for line in advice(rule)]
    if not (results["rules"] or results["untested"]):
        parts += [Text(), Text("No implication is held out: there is nothing to forecast.")]
    parts += [Text(), Text(proof(results["solver"]))]
    parts += [Text(f"Note: {note}") for note in results["notes"]]
    return Group(*parts, Text(), Text(_LEGEND, style="dim"))


def sentence(rule: Mapping[str, Any]) -> str:
    """What will happen to the rule, and why."""
    margin, fact, implication = rule["margin"]["mean"], spoken(rule["fact"]), spoken(rule["implication"])
    if margin is None:
        return f"“{implication}” after “{fact}”: nothing to forecast, no held-out subject has a right answer."
    follows = (
        "will follow" if margin >= CLEAR else "will not follow" if margin <= -CLEAR else "is left open by"
    )
    because = f"margin {number(margin)} from {_per_group(rule, 'bridges')}"
    against = f", against {_per_group(rule, 'exceptions')}" if rule["exceptions"] else ""
    return f"“{implication}” {follows} “{fact}”: {because}{against}."


def _per_group(rule: Mapping[str, Any], what: str) -> str:
    shown, count = rule["groups"] - rule["undecided"], rule[what]
    if shown and count % shown == 0 and shown == rule["groups"]:
        return f"{_counted(count // shown, what)} per group"
    return f"{_counted(count, what)} in {shown:,} of {rule['groups']:,} groups"


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what[:-1] if count == 1 else what}"


def advice(rule: Mapping[str, Any]) -> list[str]:
    """Each option in a sentence, with the forecast after it."""
    return [_option(option) for option in rule.get("advice", ())]


def _option(option: Mapping[str, Any]) -> str:
    added = {
        "counterexamples": "{} counterexample{} per group",
        "unknowns": "“unknown” as the answer of {} subject{} per group",
        "fewer bridges": "{} bridge{} fewer per group",
        "more bridges": "{} bridge{} more per group",
    }[option["change"]]
    wanted = option["change"] == "more bridges"
    target = f"{'at least' if wanted else 'below'} {option['target']:g}"
    step = option["enough"] or (option["steps"][-1] if option["steps"] else None)
    if step is None:
        return f"{option['change']}: there are none to change"
    change = added.format(step["per_group"], "" if step["per_group"] == 1 else "s")
    change += f" ({step['subjects']} facts in all)"
    if option["enough"]:
        return f"{change}: margin {number(step['margin'])}, {target}"
    return f"{change}: margin still {number(step['margin'])}, not {target}"


def proof(solver: Mapping[str, Any]) -> str:
    """What the numbers rest on: the certified interval and its gap."""
    if solver["objective"] is None:
        return f"NOT certified: no point that keeps every margin was found in {solver['seconds']:.1f} s."
    least = f"the least {solver['norm']} norm ({solver['margin']} margin)"
    interval = f"[{solver['lower_bound']:.6g}, {solver['objective']:.6g}]"
    certified = "Certified" if solver["certified"] else "NOT certified to the tolerance"
    return (
        f"{certified}: {least} lies in {interval}, relative gap {solver['relative_gap']:.1e}, "
        f"{solver['seconds']:.1f} s."
    )


def _rules(rules: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("rule", overflow="fold", max_width=24)
    for name in ("bridges", "held out", "margin", "least, most", "first", "chance", "p"):
        if name != "p" or any(rule["p_value"] is not None for rule in rules):
            table.add_column(name, justify="right", no_wrap=True)
    for rule in rules:
        margin = rule["margin"]
        spread = NOTHING if margin["min"] is None else f"{number(margin['min'])}, {number(margin['max'])}"
        cells = [
            f"{rule['bridges']:,}",
            f"{rule['held_out']:,}",
            Text(number(margin["mean"]), style="bold"),
            spread,
            percent(rule["top1"]),
            percent(rule["chance"]),
            p_value(rule["p_value"]),
        ]
        table.add_row(Text(rule_name(rule)), *cells[: len(table.columns) - 1])
    return table
