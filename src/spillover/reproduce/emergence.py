"""`emergence`: when does a language model have the rule, before or after the facts and the bridges?"""

from collections.abc import Iterator, Sequence
from math import ceil, nan
from typing import Any

import altair as alt
import pyarrow as pa
import pyarrow.compute as pc

from spillover.knowledge.load import load
from spillover.knowledge.prompts import examples
from spillover.knowledge.split import split
from spillover.llm.settings import LEAST_EPOCHS
from spillover.outcome import SCORES
from spillover.point import Point
from spillover.report.charts import NULL, Chart
from spillover.report.verdict import defined
from spillover.reproduce.columns import Column, counted, share, valued
from spillover.reproduce.figure import Check, Findings, Row, spread
from spillover.reproduce.measured import CURVE, curve_name, grouped, measured
from spillover.reproduce.save import LEAST_AND_MOST
from spillover.reproduce.study import Audited, Request, Study
from spillover.reproduce.style import curves, data, titled
from spillover.symbolic.summary import mean_least_most

ASKINGS = 16
"""Times that a tune of the fewest epochs is asked, at even steps."""

KNOWN = 0.95
"""Share of first places from which on facts, or bridges, are called learned."""


def points(request: Request, _: Sequence[Audited]) -> list[Point]:
    """Every model on every data set, asked along the way."""
    settings = request.settings
    epochs = LEAST_EPOCHS if settings.epochs == "auto" else settings.epochs
    found = []
    for model in request.models:
        for kb in request.data:
            taught = len(examples(split(load(kb), request.seeds[0])))
            steps = epochs * ceil(taught / settings.batch_size)
            found.append(
                Point(
                    kb=kb,
                    model=model,
                    seeds=request.seeds,
                    settings=settings,
                    ask_every=ceil(steps / ASKINGS),
                    varied={"kb": kb, "model": model},
                )
            )
    return found


def findings(audits: Sequence[Audited]) -> Findings:
    """A row for each seed and step."""
    rows = [row for audited in audits for row in _rows(audited)]
    return Findings(rows=rows, draw=lambda: _chart(rows), checks=_checks(passed(rows)))


def _rows(audited: Audited) -> Iterator[Row]:
    for seed in audited.point.seeds:
        epochs = {row["step"]: row["epoch"] for row in audited.log if row["seed"] == seed}
        for step, scores in _asked(audited, seed, max(epochs)):
            for rule in measured(_as_last(scores), audited):
                yield {
                    "model": audited.point.model,
                    "data": audited.kb,
                    "rule": rule["implication"] if len(audited.rules) > 1 else "",
                    "seed": seed,
                    "step": step,
                    "epoch": epochs.get(step, 0.0),
                    "facts": rule["facts"]["top1"],
                    "bridges": rule["bridges"]["top1"],
                    "top1": rule["top1"]["after"],
                    "top1_low": rule["top1"]["low"],
                    "top1_high": rule["top1"]["high"],
                    "top1_null": rule["top1"]["null"],
                    "rank": rule["mean_rank"]["after"],
                    "rank_low": rule["mean_rank"]["low"],
                    "rank_high": rule["mean_rank"]["high"],
                    "rank_null": rule["mean_rank"]["null"],
                }


def _asked(audited: Audited, seed: int, last: int) -> Iterator[tuple[int, pa.Table]]:
    """A seed's scores by step: of the untuned model, along the tune, and after its last step."""
    mine = pc.field("seed") == seed
    yield 0, audited.scores.filter(mine & (pc.field("phase") == "before"))
    along = audited.askings.filter(mine & (pc.field("step") < last))
    for step in sorted(along["step"].unique().to_pylist()):
        yield step, along.filter(pc.field("step") == step)
    yield last, audited.scores.filter(mine & (pc.field("phase") == "after"))


def _as_last(scores: pa.Table) -> pa.Table:
    """The same as if the tune had ended there."""
    place = SCORES.get_field_index("phase")
    return scores.select(SCORES.names).set_column(
        place, SCORES.field(place), pa.array(["after"] * len(scores), pa.string())
    )


def passed(rows: Sequence[Row]) -> list[Row]:
    """A row for each tune: how it ended, and the first asked step at which facts and bridges are learned
    (`KNOWN`) and the rule is there: first places half way from chance to where they end. NaN where never.
    """
    return [
        {
            **{name: row[name] for name in ("model", "data", "rule", "seed")},
            "steps": row["step"],
            **{name: row[name] for name in ("facts", "bridges", "top1", "top1_null", "rank")},
            "facts_at": _first(curve, "facts", KNOWN),
            "bridges_at": _first(curve, "bridges", KNOWN),
            "rule_at": _first(curve, "top1", _half_way(row)),
        }
        for curve in grouped(rows, *CURVE, "seed")
        for row in [curve[-1]]
    ]


def _half_way(row: Row) -> float:
    """Between chance and where the tune ended; NaN where it ended no better than chance."""
    end, chance = row["top1"], row["top1_null"]
    return (end + chance) / 2 if defined(end) and defined(chance) and end > chance else nan


def _first(curve: Sequence[Row], name: str, level: float) -> float:
    return next((row["step"] for row in curve if defined(row[name]) and row[name] >= level), nan)


def _checks(tunes: Sequence[Row]) -> list[Check]:
    sets = grouped(tunes, *CURVE)
    known = sum(row["facts"] >= KNOWN and row["bridges"] >= KNOWN for row in tunes)
    return [
        *(
            Check(
                statement=f"are the {name} learned ({KNOWN:.0%} first) before the rule is there (half way "
                "from chance to its end)?",
                holds=all(row["rule_at"] > row[f"{name}_at"] for row in tunes),
                measured="; ".join(
                    f"{curve_name(rows[0])}: {name} at step {_steps(rows, f'{name}_at')}, the rule at "
                    f"{_steps(rows, 'rule_at')}, rule less {name} "
                    f"{spread([row['rule_at'] - row[f'{name}_at'] for row in rows], 0)}"
                    for rows in sets
                ),
                kind="question",
            )
            for name in ("facts", "bridges")
        ),
        Check(
            statement=f"facts and bridges are learned ({KNOWN:.0%} first) in every tune",
            holds=known == len(tunes),
            measured=f"{known} of {len(tunes)}",
        ),
    ]


def _steps(rows: Sequence[Row], name: str) -> str:
    """The spread of a step over the seeds; each one's where some have none."""
    if all(defined(row[name]) for row in rows):
        return spread([row[name] for row in rows], 0)
    return ", ".join(_at(row[name]) for row in rows)


def _at(step: float) -> str:
    return f"{step:.0f}" if defined(step) else "never"


_LINES = {
    "facts": ("facts", "#5f6b76"),
    "bridges": ("bridges", "#e69f00"),
    "top1": ("held-out", "#d55e00"),
}


def _chart(rows: Sequence[Row]) -> Chart:
    """Shares of first places and held-out mean ranks over the steps, a line of panels for each data set."""
    lines = [alt.hconcat(_shares(part), _ranks(part), spacing=30) for part in grouped(rows, *CURVE)]
    return titled(
        alt.vconcat(*lines),
        "What is known along the tune",
        "Lines: means of the seeds, with least to most; dotted: chance, the same with the groups shuffled",
    )


def _along(rows: Sequence[Row], field: str, **labels: Any) -> list[Row]:
    """A field over the steps, over the seeds; a tune that has ended stays where it ended."""
    tunes = grouped(rows, "seed")
    return [
        {
            **labels,
            "step": step,
            **mean_least_most(
                [[row[field] for row in tune if row["step"] <= step][-1] for tune in tunes], "value"
            ),
        }
        for step in sorted({row["step"] for row in rows})
    ]


_X = alt.X("step:Q", title="training step", axis=alt.Axis(grid=False, tickCount=6))


def _shares(rows: Sequence[Row]) -> Chart:
    what = [row for field, (name, _) in _LINES.items() for row in _along(rows, field, what=name)]
    names, colours = zip(*_LINES.values(), strict=True)
    colour = alt.Color(
        "what:N",
        scale=alt.Scale(domain=names, range=colours),
        legend=alt.Legend(
            title=None, orient="bottom", symbolType="stroke", symbolOpacity=1, symbolStrokeWidth=3
        ),
    )
    return alt.layer(
        curves(what, x=_X, y="value", y_title="first (share)", colour=colour, y_domain=[0, 1]),
        _chance(rows, "top1_null"),
    ).properties(width=310, height=220, title=curve_name(rows[0]))


def _ranks(rows: Sequence[Row]) -> Chart:
    colour = alt.Color("what:N", scale=alt.Scale(domain=["held-out"], range=["#d55e00"]), legend=None)
    ranks = _along(rows, "rank", what="held-out")
    return alt.layer(
        curves(ranks, x=_X, y="value", y_title="held-out mean rank (0 is first)", colour=colour),
        _chance(rows, "rank_null"),
    ).properties(width=310, height=220)


def _chance(rows: Sequence[Row], field: str) -> alt.Chart:
    return (
        alt.Chart(data(_along(rows, field)))
        .mark_line(color=NULL, strokeDash=[1, 3], strokeWidth=1.5)
        .encode(x=_X, y="value:Q")
    )


def _step(field: str, name: str) -> Column:
    return Column(name=name, text=lambda row: _at(row[field]))


STUDY = Study(
    name="emergence",
    claim="A tune is asked along its way: does the rule appear while the facts are learned, or only after "
    "they are?",
    data=("city-language", "country-code"),
    stages=(points,),
    findings=findings,
    columns=(
        Column(name="model and data set", text=curve_name, numbers=False),
        counted("seed"),
        counted("steps"),
        _step("facts_at", "facts at"),
        _step("bridges_at", "bridges at"),
        _step("rule_at", "rule at"),
        share("facts", narrow=None),
        share("bridges", narrow=None),
        share("top1", "first"),
        share("top1_null", "chance"),
        valued("rank", "mean rank", narrow="rank"),
    ),
    brackets=LEAST_AND_MOST,
    shown=passed,
)
