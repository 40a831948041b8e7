"""A sweep for the terminal: one line for each audit and rule, what varies in front."""

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

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
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("audit", overflow="fold", max_width=20)
    table.add_column("rule", overflow="fold", max_width=18)
    for name in ("facts", "first", "chance", "p"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", overflow="fold")
    for audit in results["audits"]:
        label = Text("\n".join(label_parts(audit)))
        if "failed" in audit:
            table.add_row(label, "", "", "", "", "", Text("failed", style="red"))
            continue
        for rule, verdict in zip(audit["rules"], verdicts(audit), strict=True):
            top1 = rule["top1"]
            table.add_row(
                label,
                Text(rule_name(rule)),
                percent(audit["facts"]["top1"]),
                f"{percent(top1['after'])}\n{interval(top1['low'], top1['high'])}",
                percent(top1["null"]),
                p_value(own_p(rule, "top1")),
                Text(verdict.badge),
            )
            label = Text()
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
    return "none" if value is None else str(value)
