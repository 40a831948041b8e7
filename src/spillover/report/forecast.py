"""A forecast in words and as a table for the terminal, in 80 columns."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from spillover.errors import RunError
from spillover.report.sheet import Column, Sheet
from spillover.report.tables import HEADINGS
from spillover.report.verdict import NOTHING, interval, number, p_value, percent, rule_name, spoken
from spillover.runs.views import RunView

CLEAR = 0.05
"""A mean margin this far from 0 is called a forecast; nearer, the table leaves the question open."""

_DISCOVERED = ("Found in the table: relations that go together, wanted or not", "yellow")
_FEW = ("Too few bridges to tell from chance, yet enough to teach", "yellow")
_SHOWN, _SHOWN_FEW = 15, 5  # rules of a kind
_LEGEND = (
    "margin: how far the right answer's logit lies above every other one's, for subjects that were "
    "never told it, where training margins are 1 or more (mean, least and most). first: how often it "
    "comes first among the implication's answers. chance: the same with the subjects' groups shuffled. "
    "These are the margins that the training of a one-layer model heads for; for a language model they "
    "rank the risk"
)
_ORDER_ONLY = ": order only; how often takes a calibration (spillover calibrate)."
_RATED = (
    ". rate: how often {model} will give the rule's answer once it is tuned on the table as an audit does "
    "it, with an interval that covers {coverage:.0%} of new rules (calibrated on {rules} rules, mean error "
    "{error}{asking})."
)


def forecast_table(results: Mapping[str, Any]) -> RenderableType:
    """The document of `spillover forecast --json`: every rule's margins, sentences, advice, and the proof."""
    kb, discovery = results["kb"], results["discovery"]
    counts = (
        f"{_counted(kb['subjects'], 'subjects')} ({_counted(kb['patterns'], 'kinds')})",
        *(_counted(kb[name], name) for name in ("relations", "answers", "triples")),
    )
    proven = Text(proof(results["solver"]), style="" if results["solver"]["certified"] else "bold red")
    parts: list[RenderableType] = [
        Text(f"What fine-tuning on {kb['name']} will teach beyond it", style="bold"),
        Text(", ".join(counts)),
    ]
    parts += [] if results["solver"]["certified"] else [proven]
    for kind, heading in {**HEADINGS, "discovered": _DISCOVERED}.items():
        parts += _section(heading, [rule for rule in results["rules"] if rule["kind"] == kind], _SHOWN)
    if discovery:
        parts += [] if discovery["together"] else [Text(), Text(_nothing_found(discovery))]
        taught = [rule for rule in discovery["rules"] if rule["margin"]["mean"] >= CLEAR]
        parts += _section(_FEW, taught, _SHOWN_FEW)
        if taught:
            parts += [Text("State one as a rule in a YAML file to have advice on it.")]
    parts += [Text(), proven] if results["solver"]["certified"] else [Text()]
    parts += [Text(f"Note: {note}") for note in results["notes"]]
    used = results["calibration"]
    rated = _rated(used) if used else _ORDER_ONLY
    return Group(*parts, Text(), Text(_LEGEND + rated, style="dim"))


def _rated(used: Mapping[str, Any]) -> str:
    asking = ", with what it associates untuned" if used["asked"] else "; nearer with --ask-model"
    return _RATED.format(**{**used, "error": percent(used["error"]), "asking": asking})


def _section(
    heading: tuple[str, str], rules: Sequence[Mapping[str, Any]], shown: int
) -> list[RenderableType]:
    if not rules:
        return []
    parts: list[RenderableType] = [
        Text(),
        Text(heading[0], style=f"bold {heading[1]}"),
        _rules(rules[:shown]),
    ]
    for rule in rules[:shown]:
        parts.append(Padding(Text(sentence(rule)), (0, 0, 0, 2)))
        parts += [Padding(Text(f"- {line}"), (0, 0, 0, 4)) for line in advice(rule)]
    if len(rules) > shown:
        parts.append(Text(f"... and {len(rules) - shown:,} more, with smaller margins (--json has them)"))
    return parts


def _nothing_found(discovery: Mapping[str, Any]) -> str:
    if discovery["tested"]:
        return f"No relations go together beyond chance ({_counted(discovery['tested'], 'pairs')} tested)."
    return "No pair of relations has the bridges to tell whether they go together."


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
    rated = f" Rate: {rate(rule['rate'])}." if rule.get("rate") else ""
    return f"“{implication}” {follows} “{fact}”: {because}{against}.{rated}"


def rate(forecast: Mapping[str, Any]) -> str:
    """How often, with its interval."""
    return f"{percent(forecast['mean'])} ({interval(forecast['low'], forecast['high'])})"


def _per_group(rule: Mapping[str, Any], what: str) -> str:
    least, most = rule["per_group"][what]
    counted = _counted(most, what) if least == most else f"{least:,} to {_counted(most, what)}"
    return f"{counted} per group"


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what[:-1] if count == 1 else what}"


def advice(rule: Mapping[str, Any]) -> list[str]:
    """Each option in a sentence, with the forecast after it."""
    found = rule.get("advice")
    if found is None:
        return []
    target = f"{'at least' if rule['kind'] == 'causal' else 'below'} {found['target']:g}"
    if found["reached"]:
        return [f"already {target}: nothing to change"]
    return [_option(option, target) for option in found["options"]]


def _option(option: Mapping[str, Any], target: str) -> str:
    added, sign = {
        "counterexamples": ("{} counterexample{} per group", "more"),
        "unknowns": ("“unknown” as the answer of {} subject{} per group", "more"),
        "fewer bridges": ("{} bridge{} fewer per group", "fewer"),
        "more bridges": ("{} bridge{} more per group", "more"),
    }[option["change"]]
    step = option["enough"] or (option["steps"][-1] if option["steps"] else None)
    if step is None:
        return f"{option['change']}: no group has a subject to spare"
    change = added.format(step["per_group"], "" if step["per_group"] == 1 else "s")
    change += f" ({step['subjects']} facts {sign} in all)"
    doubt = "" if step["certified"] else " (not certified)"
    rated = f"; rate {rate(step['rate'])}" if step.get("rate") else ""
    if option["enough"]:
        return f"{change}: margin {number(step['margin'])}, {target}{doubt}{rated}"
    return f"{change}: margin still {number(step['margin'])}, not {target}{doubt}{rated}"


def proof(solver: Mapping[str, Any]) -> str:
    """What the numbers rest on: the certified interval and its gap."""
    if solver["objective"] is None:
        return f"NOT certified: no point that keeps every margin was found in {solver['seconds']:.1f} s."
    norm = {"nuclear": "nuclear norm", "frobenius": "½‖W‖²"}[solver["norm"]]
    least = f"the least {norm}" + ("" if solver["margin"] == "hard" else " plus the price of missed margins")
    interval = f"[{solver['lower_bound']:.6g}, {solver['objective']:.6g}]"
    certified = "Certified" if solver["certified"] else "NOT certified to the tolerance"
    return (
        f"{certified}: {least} lies in {interval}, relative gap {solver['relative_gap']:.1e}, "
        f"{solver['seconds']:.1f} s."
    )


def _rules(rules: Sequence[Mapping[str, Any]]) -> Sheet:
    names = ["bridges", "held out", "margin", "least, most", "first", "chance"]
    names += ["p"] if any(rule["p_value"] is not None for rule in rules) else []
    table = Sheet([Column(name="rule", most=24), *(Column(name=name, numbers=True) for name in names)])
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
        table.add_row(rule_name(rule), *cells[: len(names)])
    return table


def calibration_table(results: Mapping[str, Any]) -> RenderableType:
    """The document of `spillover calibrate --json`: what was expected of each table, and what came."""
    names = ("groups", "bridges", "against", "prior", "rate")
    table = Sheet([Column(name="rule", most=40), *(Column(name=name, numbers=True) for name in names)])
    for found in results["evidence"]:
        measured = Text(percent(found["rate"]), style="bold")
        counts = (f"{found['groups']}", *(f"{found[name]:.1f}" for name in ("bridges", "counterexamples")))
        nats = NOTHING if found["prior"] is None else number(found["prior"]["nats"])
        table.add_row(found["rule"], *counts, nats, measured)
    said = (
        f"Calibrated on {_counted(results['rules'], 'rules')}: each rule's rates, by what the others show, "
        f"are off by {percent(results['error'])} on average."
    )
    if results["error_asked"] is not None:
        asked = percent(results["error_asked"])
        said += f" With --ask-model, which reads what it associates untuned, by {asked}."
    if not results["intervals"]:
        said += " Too few rules for intervals; a larger --budget goes on from here."
    legend = (
        "bridges, against: subjects of a group with the rule's answer, and with another. prior: nats by "
        "which the untuned model finds the rule's answer likelier told the group's own fact. rate: how "
        "often the tuned model gave it."
    )
    heading = Text(f"How often {results['model']} follows a rule", style="bold")
    return Group(heading, table, Text(said), Text(), Text(legend, style="dim"))


def forecast_section(view: RunView) -> dict[str, Any] | None:
    """What was forecast before training, for the first seed: each rule's numbers in words, beside what was
    measured, and the proof.
    """
    measured = {(rule["fact"], rule["implication"]): rule for rule in (view.results or {}).get("rules", [])}
    try:
        first, *others = view.read_json("forecast.json")
        if "solver" not in first:  # a table too large for a forecast
            return {"rules": [], "proof": "; ".join(first["notes"]), "seeds": 1}
        rules = [
            {
                **rule,
                "sentence": sentence(rule),
                "measured": measured.get((rule["fact"], rule["implication"])),
            }
            for rule in first["rules"]
        ]
        return {"rules": rules, "proof": proof(first["solver"]), "seeds": 1 + len(others)}
    except (RunError, LookupError, TypeError, ValueError):
        return None
