"""A sweep for the terminal: one line for each audit and rule, what varies in front."""

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from spillover.report.sheet import Column, Sheet
from spillover.report.tables import mapping
from spillover.report.verdict import interval, own_p, p_value, percent, rule_name, spoken, verdicts

_LEGEND = (
    "first: how often the rule's answer is the model's first choice, asked about subjects whose answer was "
    "never in the training data, with its 95% interval. chance: the same with the subjects' groups shuffled."
)


def sweep_table(results: Mapping[str, Any]) -> RenderableType:
    """The document of a sweep, in 80 columns."""
    cells = results["cells"]
    failures = f", {cells['failed']} failed" if cells["failed"] else ""
    texts = [Column(name="audit", most=20), Column(name="rule", most=18)]
    numbers = [Column(name=name, numbers=True) for name in ("facts", "first", "chance", "p")]
    table = Sheet([*texts, *numbers, Column()])
    for audit in results["audits"]:
        label = tuple(label_parts(audit))
        if "failed" in audit:
            table.add_row(label, "", "", "", "", "", Text("failed", style="red"))
            continue
        for rule, verdict in zip(audit["rules"], verdicts(audit), strict=True):
            top1 = rule["top1"]
            table.add_row(
                label,
                rule_name(rule),
                percent(audit["facts"]["top1"]),
                (percent(top1["after"]), interval(top1["low"], top1["high"])),
                percent(top1["null"]),
                p_value(own_p(rule, "top1")),
                verdict.badge,
            )
            label = ""
    audits = len(results["audits"])
    title = f"{audits} audit{'s' if audits != 1 else ''} of {cells['done']} cells{failures}"
    return Group(Text(title, style="bold"), table, Text(_LEGEND, style="dim"))


def label_parts(audit: Mapping[str, Any]) -> list[str]:
    """What tells an audit from the others of its sweep: its knowledge base, and each entry that varies."""
    varied = mapping(audit["varied"])
    parts = [audit["knowledge_base"]] + ([audit["model"]] if "model" in varied else [])
    return parts + [
        f"{spoken(name)}: {_word(value)}" for name, value in varied.items() if name not in ("kb", "model")
    ]


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return " + ".join(map(_word, value)) or "none"
    return "none" if value is None else str(value)
