"""Does the forecast order what a language model invents? `python -m benchmarks.risk FOLDER`.

SmolLM2-135M is tuned on 32 knowledge bases: two arbitrary rules, each with 1, 2, 4 or 8 bridges and 0, 2,
4 or 8 counterexamples in every group of twenty. Takes about an hour on two cores; what is finished in the
folder is only read again.
"""

import sys
from itertools import product
from pathlib import Path

import altair as alt
import numpy as np
import vl_convert

from spillover.jobs.audit import audit
from spillover.jobs.forecast import forecast
from spillover.knowledge.load import load
from spillover.knowledge.schema import KnowledgeBase, Rule, Triple
from spillover.runs.correlation import rank_correlation

RULES = ("country-code", "sport-music")
BRIDGES = (1, 2, 4, 8)
COUNTEREXAMPLES = (0, 2, 4, 8)
SETTINGS = tuple(product(RULES, BRIDGES, COUNTEREXAMPLES))

_CHART = Path(__file__).parent.parent / "docs" / "risk.svg"
_LINE = "{rule:<14}{bridges:>8}{exceptions:>8}{margin:>9.3f}{top1:>8.2f}{null:>8.2f}{rank:>7.2f}{facts:>7.2f}"


def knowledge(name: str, bridges: int, counterexamples: int) -> KnowledgeBase:
    """A built-in rule whose groups each have that many bridges and subjects that break the rule.

    Which subjects these are is drawn once per rule, so the settings are nested. Those that break it are
    spread over the other groups' implications.
    """
    base = load(name)
    (rule,) = base.rules
    implications = list(rule.pairs.values())
    rng = np.random.default_rng(0)
    added = []
    for place, group in enumerate(rule.pairs):
        order = rng.permutation([t.subject for t in base.triples if t.answer == group]).tolist()
        for number, subject in enumerate(order[: bridges + counterexamples]):
            away = 0 if number < bridges else 1 + (number - bridges) % (len(implications) - 1)
            answer = implications[(place + away) % len(implications)]
            added.append(Triple(subject=subject, relation=rule.implication, answer=answer))
    drawn = Rule(fact=rule.fact, implication=rule.implication, kind=rule.kind, pairs=rule.pairs)
    return KnowledgeBase(
        name=f"{name}-{bridges}-{counterexamples}",
        triples=(*base.triples, *added),
        relations=base.relations,
        rules=(drawn,),
    )


def measure(folder: Path, rule: str, bridges: int, counterexamples: int) -> dict[str, float | str]:
    """One setting: the forecast's mean margin and what the tuned model says of the held-out subjects."""
    kb = knowledge(rule, bridges, counterexamples)
    tuned = audit(kb, out=folder / kb.name)
    (measured,) = tuned["rules"]
    (expected,) = forecast(kb)["rules"]
    return {
        "rule": rule,
        "bridges": bridges,
        "exceptions": counterexamples,
        "margin": expected["margin"]["mean"],
        "top1": measured["top1"]["after"],
        "null": measured["top1"]["null"],
        "rank": measured["mean_rank"]["after"],
        "facts": tuned["facts"]["top1"],
    }


def ordering(points: list[dict], measured: list[float]) -> str:
    """Spearman's correlation of margin and measurement over the settings, its interval and p-value.

    The interval is the 95% bootstrap's over settings, the p-value one-sided from permutations.
    """
    found = rank_correlation([point["margin"] for point in points], measured, alternative="greater")
    return (
        f"{found.value:.2f} [{found.low:.2f}, {found.high:.2f}], p = {found.p_value:.4f}, "
        f"{len(points)} settings"
    )


def main() -> None:
    """Measure every setting, print the table and the correlations, and draw the chart."""
    if len(sys.argv) != 2:
        sys.exit("give a folder for the runs: python -m benchmarks.risk FOLDER")
    print(f"{'rule':<14} bridges counter   margin   top-1  chance   rank  facts")
    points = []
    for setting in SETTINGS:
        points.append(measure(Path(sys.argv[1]), *setting))
        print(_LINE.format(**points[-1]), flush=True)
    for name, of in (
        ("top-1", lambda point: point["top1"]),
        ("top-1 minus chance", lambda point: point["top1"] - point["null"]),
        ("mean rank, reversed", lambda point: -point["rank"]),
    ):
        for rules in (RULES, *((rule,) for rule in RULES)):
            mine = [point for point in points if point["rule"] in rules]
            print(f"margin and {name}, {', '.join(rules)}: {ordering(mine, [of(point) for point in mine])}")
    _CHART.write_text(vl_convert.vegalite_to_svg(chart(points).to_json()))


def chart(points: list[dict]) -> alt.LayerChart | alt.FacetChart:
    """Measured top-1 over the forecast margin, a point for each setting, and blind chance."""
    base = alt.Chart(alt.Data(values=points))
    dots = base.mark_point(filled=True, size=70, opacity=0.85).encode(
        x=alt.X("margin:Q", title="forecast margin, before training", axis=alt.Axis(grid=False)),
        y=alt.Y("top1:Q", title="held-out top-1 of the tuned model", axis=alt.Axis(format="%", grid=False)),
        shape=alt.Shape("rule:N", title=None),
        color=alt.Color(
            "exceptions:O",
            title="counterexamples of a group",
            scale=alt.Scale(domain=list(COUNTEREXAMPLES), range=["#0072b2", "#56b4e9", "#e69f00", "#d55e00"]),
        ),
    )
    blind = base.mark_rule(color="#999", strokeDash=[3, 3]).encode(y="mean(null):Q")
    return alt.layer(blind, dots).properties(width=420, height=300).configure_view(stroke=None)


if __name__ == "__main__":
    main()
