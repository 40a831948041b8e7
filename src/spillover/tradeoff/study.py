"""The trade-off as a study: every arm tuned on the data, the best confirmed on other data, rows and words."""

from collections.abc import Sequence
from functools import cache

from spillover.interventions.named import spell
from spillover.point import Point
from spillover.report.verdict import interval, number, p_value, percent
from spillover.reproduce.columns import Column, named, share, valued
from spillover.reproduce.figure import Check, Findings, Row
from spillover.reproduce.study import Audited, Request, Study
from spillover.tradeoff.arms import PLAIN, Arm
from spillover.tradeoff.chart import chart
from spillover.tradeoff.choice import (
    LEAST_FACTS,
    MOST_RANK,
    UNSEEN,
    best,
    demands,
    front,
    plain_of,
    recommendation,
)
from spillover.tradeoff.numbers import row_of

NAME = "tradeoff"
"""Of the study, and of its run."""

CHOSEN, CONFIRMED = "chosen", "confirmed"
"""What a row was tuned for: to choose an arm, or to see whether the chosen one does the same elsewhere."""


def study(arms: Sequence[Arm], confirm: Sequence[str]) -> Study:
    """The trade-off of these arms, of which the best is confirmed, unchanged, on other knowledge bases."""
    row_for = cache(row_of)  # stages and findings look at the same audits

    def points(request: Request, _: Sequence[Audited]) -> list[Point]:
        return [
            _point(request, model, kb, arm, CHOSEN)
            for model in request.models
            for kb in request.data
            for arm in arms
        ]

    def confirmations(request: Request, tried: Sequence[Audited]) -> list[Point]:
        """The best arm of each model, beside the plain tune."""
        chosen = []
        for model in request.models:
            row = best([row_for(audited) for audited in tried if audited.point.model == model])
            chosen += [(model, arm) for arm in arms if row and arm.name in (PLAIN, row["arm"])]
        return [_point(request, model, kb, arm, CONFIRMED) for kb in confirm for model, arm in chosen]

    return Study(
        name=NAME,
        claim="A tune teaches more than its facts. Which intervention removes the rules that are not wanted, "
        "keeps those that are, learns the facts, and leaves the rest of the model alone?",
        data=(),
        stages=(points, confirmations) if confirm else (points,),
        findings=lambda audits: _findings(list(map(row_for, audits))),
        columns=COLUMNS,
    )


def _point(request: Request, model: str, kb: str, arm: Arm, stage: str) -> Point:
    return Point(
        kb=kb,
        model=model,
        seeds=request.seeds,
        settings=request.settings,
        interventions=arm.interventions,
        trade_off=True,
        varied={"arm": arm.name, "interventions": list(map(spell, arm.interventions)), "stage": stage},
    )


def _findings(rows: Sequence[Row]) -> Findings:
    judged = [(row, demands(row, plain_of(row, rows))) for row in rows]
    best_ones = front(rows)
    rows = [
        {**row, "front": row in best_ones, "demands": found.met, "missed": found.missed}
        for row, found in judged
    ]
    chosen, confirmed = ([row for row in rows if row["stage"] == stage] for stage in (CHOSEN, CONFIRMED))
    return Findings(
        rows=rows, draw=lambda: chart(chosen), checks=_checks(rows), advice=recommendation(chosen, confirmed)
    )


def _checks(rows: Sequence[Row]) -> list[Check]:
    """Whether any arm meets all demands, and whether the chosen one does so elsewhere."""
    others = [row for row in rows if row["arm"] != PLAIN]
    what = (
        f"p > {UNSEEN} for the spurious rule in every seed, mean rank of the wanted one at most {MOST_RANK}, "
        f"facts at least {LEAST_FACTS:.0%}, KL no more than the plain tune's"
    )
    checks = []
    for stage, asked in (
        (CHOSEN, "does an intervention meet all demands"),
        (CONFIRMED, "unchanged elsewhere"),
    ):
        mine = [row for row in others if row["stage"] == stage]
        if mine:
            all_met = [row for row in mine if not row["missed"]]
            measured = "; ".join(
                f"{row['data']}, {row['arm']}: {row['missed'] or 'all four'}"
                for row in (mine if stage == CONFIRMED else all_met)
            )
            checks.append(
                Check(
                    statement=f"{asked} ({what})?" if stage == CHOSEN else f"does the chosen one, {asked}?",
                    holds=bool(all_met) if stage == CHOSEN else len(all_met) == len(mine),
                    measured=measured or "none does",
                    kind="question",
                )
            )
    return checks


def _of(name: str, *, narrow: str, heading: str, rank: bool = False) -> Column:
    """A measure of a rule with its interval."""
    field, text = (f"{name}_rank", number) if rank else (f"{name}_top1", percent)
    return Column(
        name=heading,
        text=lambda row: text(row[field]),
        interval=lambda row: interval(row[f"{field}_low"], row[f"{field}_high"], share=not rank),
        narrow=narrow,
    )


COLUMNS = (
    Column(name="data", text=lambda row: f"{row['model']}, {row['data']}, {row['stage']}", numbers=False),
    named("arm", "intervention"),
    share("facts"),
    share("bridges", narrow=None),
    _of("wanted", narrow="wanted", heading="wanted rank", rank=True),
    _of("spurious", narrow="spu-\nrious", heading="spurious first"),
    share("spurious_top1_null", "chance"),
    Column(name="least p", text=lambda row: p_value(row["spurious_p_seeds"]), narrow="p"),
    share("paraphrase_top1", "other words", narrow=None),
    share("reworded_top1", "as it asks", narrow=None),
    Column(
        name="KL",
        text=lambda row: number(row["kl"]),
        interval=lambda row: interval(row["kl_low"], row["kl_high"], share=False),
    ),
    valued("perplexity", "perpl. ×", narrow=None),
    share("known", "known", narrow=None),
    Column(name="seconds", text=lambda row: f"{row['seconds']:.0f}", narrow=None),
    Column(name="examples", text=lambda row: f"{row['examples']:.0f}", narrow=None),
)
"""The table for people."""
