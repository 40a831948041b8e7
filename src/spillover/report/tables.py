"""Tables for the terminal: readable without the paper, in 80 columns."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from spillover.report.verdict import (
    Outcome,
    interval,
    number,
    outcome,
    p_value,
    percent,
    rule_name,
    spoken,
    verdict,
)
from spillover.runs.record import RunView

__all__ = ["audit_table", "runs_table", "verdict"]

HEADINGS = {
    "causal": ("Wanted: the implication really follows from the fact (causal)", "cyan"),
    "spurious": ("Unwanted: nothing connects the two but the examples (spurious)", "red"),
}
_LEGEND = (
    "first: how often the rule's answer is the model's first choice, asked about subjects whose answer "
    "was never in the training data. rank: its mean place among the candidates (0 is first). "
    "chance: the same with the subjects' groups shuffled. p: how often shuffling ranks it as well."
)


def audit_table(results: Mapping[str, Any]) -> RenderableType:
    """The document of an audit or a score: facts, then wanted and spurious rules apart, with verdicts."""
    facts, untuned = results["facts"], "tuned" in results and results["tuned"] is None
    known = f"Facts {'known' if untuned else 'learned'}: {percent(facts['top1'])} of {facts['queries']}"
    parts: list[RenderableType] = [Text(_title(results), style="bold"), Text(known)]
    for kind, (heading, colour) in HEADINGS.items():
        rules = [rule for rule in results["rules"] if rule["kind"] == kind]
        if rules:
            parts += [Text(), Text(heading, style=f"bold {colour}"), _rules(rules)]
            parts += [] if untuned else [_sentence(rule, colour, named=len(rules) > 1) for rule in rules]
    if results["rules"]:
        parts += [Text(), Text(_LEGEND, style="dim")]
    else:
        parts += [Text(), Text("No rule was tested.")]
    return Group(*parts)


def _title(results: Mapping[str, Any]) -> str:
    model, kb, tuned = results["model"], results["knowledge_base"], results.get("tuned")
    if "tuned" not in results:
        return f"{model} fine-tuned on {kb}"
    return (
        f"{model} before, {tuned} after, asked about {kb}" if tuned else f"{model} untuned, asked about {kb}"
    )


def _rules(rules: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("rule", overflow="fold", max_width=26)
    table.add_column("")
    for name in ("before", "after", "95% interval", "chance", "p"):
        table.add_column(name, justify="right", no_wrap=True)
    for index, rule in enumerate(rules):
        top1, rank = rule["top1"], rule["mean_rank"]
        table.add_row(
            Text(rule_name(rule)),
            "first",
            percent(top1["before"]),
            Text(percent(top1["after"]), style="bold"),
            interval(top1["low"], top1["high"]),
            percent(top1["null"]),
            "",
        )
        table.add_row(
            Text(f"{rule['candidates']} candidates", style="dim"),
            "rank",
            number(rank["before"]),
            number(rank["after"]),
            interval(rank["low"], rank["high"], share=False),
            number(rank["null"]),
            p_value(rule["p_value"]),
            end_section=index < len(rules) - 1,
        )
    return table


def _sentence(rule: Mapping[str, Any], colour: str, *, named: bool) -> RenderableType:
    label, _, rest = verdict(rule).partition(": ")
    style = f"bold {colour}" if outcome(rule) is Outcome.SHOWN else "bold"
    name = f"{rule_name(rule)}: " if named else ""
    text = Text.assemble((name, "dim"), (label, style), f": {rest}")
    return Padding(text, (0, 0, 0, 2))


def runs_table(views: Iterable[RunView]) -> Table:
    """The runs of a folder, one row each, with every rule's first-choice share and chance."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    for name in ("run", "status", "started", "data, model", "found (chance)"):
        table.add_column(name, overflow="fold", min_width=18 if name.startswith("found") else 10)
    for view in views:
        arguments = _mapping(view.manifest.get("arguments"))
        results = _mapping(view.manifest.get("results"))
        table.add_row(
            Text(view.folder.name),
            Text(view.status, style="green" if view.status == "complete" else "yellow"),
            Text(str(view.manifest.get("started") or "")[:16].replace("T", "\n")),
            Text("\n".join(str(arguments[name]) for name in ("kb", "model") if arguments.get(name))),
            Text(_headline(results) or view.reason or ""),
        )
    return table


def _headline(results: Mapping[str, Any]) -> str:
    return "\n".join(
        f"{spoken(rule['implication'])} {percent(rule['top1']['after'])} ({percent(rule['top1']['null'])})"
        for rule in results.get("rules", [])
    )


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
