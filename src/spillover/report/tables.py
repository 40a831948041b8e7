"""Tables for the terminal: readable without the paper, in 80 columns."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from spillover.report.sheet import Column, Sheet
from spillover.report.verdict import (
    Outcome,
    Verdict,
    correction,
    interval,
    mixed,
    not_scored,
    number,
    outcome,
    own_p,
    p_value,
    percent,
    rule_name,
    spoken,
    times,
    verdicts,
)
from spillover.runs.record import RunView

HEADINGS = {
    "causal": ("Wanted: the implication really follows from the fact (causal)", "cyan"),
    "spurious": ("Unwanted: nothing connects the two but the examples (spurious)", "red"),
}
_LEGEND = (
    "first: how often the rule's answer is the model's first choice, asked about subjects whose answer "
    "was never in the training data. rank: its mean place among the candidates (0 is first). "
    "chance: the same with the subjects' groups shuffled. p: how often shuffling does as well{}. "
    "facts, bridges: how often the right answer comes first where it was trained."
)


def audit_table(results: Mapping[str, Any]) -> RenderableType:
    """The document of an audit or a score: facts, then wanted and spurious rules apart, with verdicts."""
    facts, untuned = results["facts"], "tuned" in results and results["tuned"] is None
    known = f"Facts {'known' if untuned else 'learned'}: {percent(facts['top1'])} of {facts['queries']}"
    parts: list[RenderableType] = [Text(_title(results), style="bold"), Text(known)]
    parts += [Text(sentence) for sentence in [mixed(results)] if sentence]
    judged = list(zip(results["rules"], verdicts(results), strict=True))
    for kind, (heading, colour) in HEADINGS.items():
        mine = [(rule, verdict) for rule, verdict in judged if rule["kind"] == kind]
        if not mine:
            continue
        parts += [Text(), Text(heading, style=f"bold {colour}"), _rules([rule for rule, _ in mine], untuned)]
        for rule, verdict in mine:
            name = f"{rule_name(rule)}: " if len(mine) > 1 else ""
            sentences = [] if untuned else [_sentence(name, verdict, colour)]
            sentences += [Text(name + not_scored(rule), style="dim")] if not_scored(rule) else []
            parts += [Padding(text, (0, 0, 0, 2)) for text in sentences]
    if judged:
        legend = _LEGEND.format(correction(results))
        if any(rule.get("paraphrases") for rule, _ in judged):
            legend += " In quotes: the same in other words."
        parts += [Text(), Text(legend, style="dim")]
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


def _rules(rules: Sequence[Mapping[str, Any]], untuned: bool) -> Sheet:
    numbers = [Column(name=name, numbers=True) for name in ("before", "after", "95% interval", "chance", "p")]
    table = Sheet([Column(name="rule", most=26), Column(), *numbers])
    for rule in rules:
        top1, rank = rule["top1"], rule["mean_rank"]
        table.add_row(
            rule_name(rule),
            "first",
            percent(top1["before"]),
            Text(percent(top1["after"]), style="bold"),
            interval(top1["low"], top1["high"]),
            percent(top1["null"]),
            p_value(own_p(rule, "top1")),
        )
        table.add_row(
            Text(f"{rule['candidates']} candidates", style="dim"),
            "rank",
            number(rank["before"]),
            number(rank["after"]),
            interval(rank["low"], rank["high"], share=False),
            number(rank["null"]),
            p_value(own_p(rule, "mean_rank")),
        )
        for said in rule.get("paraphrases") or ():
            asked = said["top1"]
            table.add_row(
                Text(f"“{said['wording']}”", style="dim"),
                "first",
                percent(asked["before"]),
                percent(asked["after"]),
                interval(asked["low"], asked["high"]),
                percent(asked["null"]),
                p_value(asked["p_value"]),
            )
        for name in ("facts", "bridges") if "facts" in rule else ():
            known = percent(rule[name]["top1"])
            asked = Text(f"asked {times(rule[name]['queries'])}", style="dim")
            table.add_row(asked, name, *((known, "") if untuned else ("", known)), "", "", "")
        table.end_section()
    return table


def _sentence(name: str, verdict: Verdict, colour: str) -> Text:
    style = f"bold {colour}" if verdict.outcome is Outcome.SHOWN else "bold"
    return Text.assemble((name, "dim"), (verdict.badge, style), f": {verdict.sentence}")


def runs_table(views: Iterable[RunView]) -> Sheet:
    """The runs of a folder, one row each: of an audit every rule's first-choice share and chance, of a
    reproduction how many of its checks hold, of the lab what was trained.
    """
    names = ("run", "status", "started", "data, model", "found (chance)")
    table = Sheet([Column(name=name, least=18 if name.startswith("found") else 10) for name in names])
    for view in views:
        results = mapping(view.manifest.get("results"))
        table.add_row(
            view.folder.name,
            Text(view.status, style="green" if view.status == "complete" else "yellow"),
            tuple(str(view.manifest.get("started") or "")[:16].split("T")),
            tuple(_subject(view.manifest)),
            tuple(_headline(results)) or view.reason or "",
        )
    return table


def _subject(manifest: Mapping[str, Any]) -> list[str]:
    """What a run is about: an audit's data and model, a reproduction's name, the lab's world and models."""
    arguments = mapping(manifest.get("arguments"))
    if manifest.get("command") != "symbolic":
        return [str(arguments[name]) for name in ("name", "kb", "model") if arguments.get(name)]
    columns = ", ".join(map(str, arguments.get("d_h", [])))
    models = [
        line
        for ov in arguments.get("ov", [])
        for line in ([str(ov), f"d_h = {columns}"] if ov == "factorized" else [str(ov)])
    ]
    return [f"{arguments.get('groups')} groups", *models]


def _headline(results: Mapping[str, Any]) -> list[str]:
    lines = [f"{spoken(rule['implication'])} {_found(rule)}" for rule in results.get("rules", [])]
    checks, questions = (
        [check["holds"] for check in results.get("checks", []) if (check["kind"] == "question") is asked]
        for asked in (False, True)
    )
    if checks:
        lines.append(f"{sum(checks)} of {len(checks)} checks hold")
    if questions:
        lines.append(f"yes to {sum(questions)} of {len(questions)} questions")
    return lines


def _found(rule: Mapping[str, Any]) -> str:
    if not outcome(rule).is_known:
        return "(no verdict)"
    return f"{percent(rule['top1']['after'])} ({percent(rule['top1']['null'])})"


def mapping(value: Any) -> Mapping[str, Any]:
    """The value if it is a mapping, else an empty one: a manifest may hold anything."""
    return value if isinstance(value, Mapping) else {}
