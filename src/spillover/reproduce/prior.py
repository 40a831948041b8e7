"""`prior`: does what a model knows help it to a rule, and resist a rule against it?"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from spillover.errors import LabError
from spillover.point import Point
from spillover.report.charts import Chart
from spillover.report.verdict import SHOWN, interval, number, p_phrase, percent
from spillover.report.verdict import outcome as verdict
from spillover.reproduce.columns import Column, named, p_of, share, valued
from spillover.reproduce.figure import Check, Findings, Row
from spillover.reproduce.measured import ALL, all_learned, gap, held_out_ranks, measured, pooled
from spillover.reproduce.study import Audited, Request, Study
from spillover.reproduce.style import first_and_rank, titled

RULES, TRUE = "the rule's", "the true one"
"""Which answer is looked for."""

Truth = Mapping[tuple[int, str], str]
"""(rule, group) -> the answer that is true of the group."""


def points(request: Request, _: Sequence[Audited]) -> list[Point]:
    """Every model on both data sets. Raises LabError where they are not two."""
    if len(request.data) != 2:
        raise LabError(
            f"prior sets two data sets side by side, got {len(request.data)}; "
            "give --data TRUE COUNTERFACTUAL, whose facts have the same answers"
        )
    return [
        Point(
            kb=kb,
            model=model,
            seeds=request.seeds,
            settings=request.settings,
            varied={"model": model, "against": kb != request.data[0]},
        )
        for model in request.models
        for kb in request.data
    ]


def findings(audits: Sequence[Audited]) -> Findings:
    """A row for each answer that is looked for, before and after, of all seeds and of each."""
    pairs: dict[str, dict[bool, Audited]] = {}
    for audited in audits:
        pairs.setdefault(audited.point.model, {})[audited.point.varied["against"]] = audited
    rows = [row for pair in pairs.values() for row in _rows(pair)]
    of_all = pooled(rows)
    return Findings(rows=rows, draw=lambda: _chart(of_all), checks=_checks(of_all, pairs))


def _rows(pair: Mapping[bool, Audited]) -> Iterator[Row]:
    for audited in pair.values():
        yield from _rows_of(audited, audited.scores, RULES)
    if len(pair) == 2:
        yield from _rows_of(pair[True], asked_for(pair[True].scores, truth(pair[False].scores)), TRUE)


def _rows_of(audited: Audited, scores: pa.Table, answer: str) -> Iterator[Row]:
    """The rows of one answer: what its scores call right."""
    for seed in (ALL, *audited.point.seeds):
        mine = scores if seed == ALL else scores.filter(pc.field("seed") == seed)
        for phase in ("before", "after"):
            asked = mine.filter((pc.field("kind") == "held_out") & (pc.field("phase") == phase))
            for rule, found in zip(audited.rules, measured(asked, audited), strict=True):
                yield {
                    "model": audited.point.model,
                    "data": audited.kb,
                    "kind": rule["kind"],
                    "rule": rule["implication"] if len(audited.rules) > 1 else "",
                    "answer": answer,
                    "phase": phase,
                    "seed": seed,
                    "queries": found["queries"],
                    "facts": rule["facts"]["top1"],
                    "bridges": rule["bridges"]["top1"],
                    **_numbers(found, phase),
                    "verdict": verdict(rule).value,
                }


def _numbers(rule: Mapping[str, Any], phase: str) -> dict[str, float]:
    names = {"": phase, "_low": "low", "_high": "high", "_null": "null", "_p": "p_value"}
    return {
        f"{short}{name}": rule[measure][field]
        for short, measure in (("rank", "mean_rank"), ("top1", "top1"))
        for name, field in ({**names, "_p_worse": "p_worse"}).items()
    }


def truth(scores: pa.Table) -> Truth:
    """What these scores call right of each group's held-out subjects."""
    right = scores.filter((pc.field("kind") == "held_out") & pc.field("right"))
    return {(row["rule"], row["group"]): row["candidate"] for row in right.to_pylist()}


def asked_for(scores: pa.Table, answers: Truth) -> pa.Table:
    """The held-out queries of groups that have such an answer, with it as the right one."""
    scores = scores.filter(pc.field("kind") == "held_out")
    columns = (scores[name].to_pylist() for name in ("rule", "group", "candidate"))
    right = [answers.get((rule, group)) == candidate for rule, group, candidate in zip(*columns, strict=True)]
    place = scores.schema.get_field_index("right")
    scores = scores.set_column(place, scores.schema.field(place), pa.array(right, pa.bool_()))
    keys = ["seed", "phase", "query"]
    return scores.join(scores.filter(pc.field("right")).select(keys), keys=keys, join_type="left semi")


def _checks(rows: Sequence[Row], pairs: Mapping[str, Mapping[bool, Audited]]) -> list[Check]:
    against = {(row["model"], row["data"]) for row in rows if row["answer"] == TRUE}

    def part(answer: str, phase: str, *, resisted: bool) -> list[Row]:
        return [
            row
            for row in rows
            if (row["answer"], row["phase"]) == (answer, phase)
            and ((row["model"], row["data"]) in against) == resisted
        ]

    checks = [
        _check(
            "with what it knows: the rule's answer is first more often than chance",
            "top1_p",
            part(RULES, "after", resisted=False),
            kind="expectation",
        ),
        _check(
            "against what it knows: is the rule's answer first more often than chance?",
            "top1_p",
            part(RULES, "after", resisted=True),
        ),
        _check(
            "against what it knows: is the rule's answer first less often than chance?",
            "top1_p_worse",
            part(RULES, "after", resisted=True),
        ),
        _check(
            "against what it knows: is the true answer first more often than chance, before tuning?",
            "top1_p",
            part(TRUE, "before", resisted=True),
        ),
        _check(
            "against what it knows: is the true answer first more often than chance, after tuning?",
            "top1_p",
            part(TRUE, "after", resisted=True),
        ),
    ]
    gaps = {
        model: gap(pair[False], pair[True], held_out_ranks) for model, pair in pairs.items() if len(pair) == 2
    }
    if gaps:
        checks.append(
            Check(
                statement="what it knows helps: the same subjects rank the rule's answer better with it",
                holds=all(found.low > 0 for found in gaps.values()),
                measured="; ".join(
                    f"{model}: {found.mean:.2f} ranks better [{found.low:.2f}, {found.high:.2f}]"
                    for model, found in gaps.items()
                ),
            )
        )
    tuned = [row for row in rows if (row["answer"], row["phase"]) == (RULES, "after")]
    checks.append(all_learned(tuned))
    return [check for check in checks if check]


def _check(statement: str, p: str, rows: Sequence[Row], *, kind: Any = "question") -> Check | None:
    if not rows:
        return None
    return Check(
        statement=f"{statement} (p < {SHOWN})"
        if kind == "expectation"
        else f"{statement[:-1]} (p < {SHOWN})?",
        holds=all(row[p] < SHOWN for row in rows),
        measured="; ".join(
            f"{row['model']}, {row['data']}: {percent(row['top1'])} "
            f"[{interval(row['top1_low'], row['top1_high'])}], chance {percent(row['top1_null'])}, "
            f"{p_phrase(row[p])}"
            for row in rows
        ),
        kind=kind,
    )


_WHEN = {"before tuning": "#9cc8e3", "after tuning": "#0072b2"}


def _chart(rows: Sequence[Row]) -> Chart:
    """Shares of first places and mean ranks, before and after, with chance as a tick."""
    several = len({row["model"] for row in rows}) > 1
    lines = [
        {
            **row,
            "what": f"{row['model']}, {_what(row)}" if several else _what(row),
            "when": f"{row['phase']} tuning",
        }
        for row in rows
    ]
    return titled(
        first_and_rank(lines, side="when", colours=_WHEN),
        "What held-out subjects are answered",
        "Dots: all seeds, with 95% interval; grey ticks: chance, the same with the groups shuffled",
    )


def _what(row: Row) -> str:
    """Whose answer in which data set."""
    return ", ".join(filter(None, (row["data"], row["rule"], row["answer"])))


STUDY = Study(
    name="prior",
    claim="A rule that agrees with what a model knows, against one that contradicts it: people of a city "
    "speak its language, or another one.",
    data=("city-language", "city-language-counterfactual"),
    stages=(points,),
    findings=findings,
    columns=(
        named("model"),
        Column(name="data set, answer", text=_what, numbers=False),
        Column(name="tuning", text=lambda row: row["phase"]),
        share("facts", narrow=None),
        share("bridges", narrow=None),
        Column(
            name="first",
            text=lambda row: percent(row["top1"]),
            interval=lambda row: interval(row["top1_low"], row["top1_high"]),
        ),
        share("top1_null", "chance"),
        p_of("top1_p"),
        Column(
            name="mean rank",
            text=lambda row: number(row["rank"]),
            interval=lambda row: interval(row["rank_low"], row["rank_high"], share=False),
            narrow="rank",
        ),
        valued("rank_null", "chance"),
        p_of("rank_p"),
    ),
    shown=pooled,
)
