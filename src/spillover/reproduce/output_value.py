"""`output-value`: does the paper's mechanism show in a language model? Heads' products merged, or factorized.

In one layer, gradient descent on the factors of W_OV fills in the implications that were never trained on,
and on the merged matrix leaves them empty (Theorems 1 and 2). Here the same is done to every head of a
language model: its product is trained as one matrix or as two factors, alone or with everything else.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

from spillover.interventions.hooks import Intervention
from spillover.interventions.output_value import FactorizedOV, MergedOV
from spillover.point import Point
from spillover.report.charts import Chart
from spillover.report.verdict import SHOWN, p_phrase, percent
from spillover.reproduce.columns import (
    RANK,
    RANK_CHANCE,
    TOP1,
    TOP1_CHANCE,
    TOP1_P,
    Column,
    counted,
    named,
    share,
)
from spillover.reproduce.figure import Check, Findings, Row
from spillover.reproduce.measured import all_learned, gap, held_out_firsts, held_out_ranks, pooled, rows_of
from spillover.reproduce.study import Audited, Request, Study
from spillover.reproduce.style import MODELS, first_and_rank, titled

ALONE, WHOLE = "alone", "with the rest"
"""What of the model is trained beside the products."""

_ACTING: dict[tuple[str, str], tuple[Intervention, ...]] = {
    ("factorized", ALONE): (FactorizedOV(),),
    ("merged", ALONE): (MergedOV(rest="frozen"),),
    ("factorized", WHOLE): (),  # the plain tune
    ("merged", WHOLE): (MergedOV(rest="trained"),),
}

RATES = {ALONE: (1e-4, 2e-4, 4e-4, 8e-4), WHOLE: (1e-4, 2e-4, 4e-4)}
"""Learning rates that are tried."""


def rates(request: Request, _: Sequence[Audited]) -> list[Point]:
    """Every tune at each rate, with the first seed on the first data set."""
    return [
        _point(request, model, request.data[0], product, beside, rate, request.seeds[:1], stage="rate")
        for model in request.models
        for product, beside in _ACTING
        for rate in RATES[beside]
    ]


def points(request: Request, tried: Sequence[Audited]) -> list[Point]:
    """Every tune at its own rate, with all seeds on all data sets."""
    return [
        _point(request, model, kb, product, beside, _fastest(model, product, beside, tried), request.seeds)
        for model in request.models
        for kb in request.data
        for product, beside in _ACTING
    ]


def _point(
    request: Request,
    model: str,
    kb: str,
    product: str,
    beside: str,
    rate: float,
    seeds: tuple[int, ...],
    stage: str = "measure",
) -> Point:
    return Point(
        kb=kb,
        model=model,
        seeds=seeds,
        settings=replace(request.settings, learning_rate=rate),
        interventions=_ACTING[product, beside],
        varied={"product": product, "trained": beside, "rate": rate, "stage": stage},
    )


def _fastest(model: str, product: str, beside: str, tried: Sequence[Audited]) -> float:
    """The rate at which the training loss was low after the fewest steps; of equals, where it was lowest.

    Held-out answers are not looked at.
    """
    mine = [
        audited
        for audited in tried
        if audited.point.model == model
        and (audited.point.varied["product"], audited.point.varied["trained"]) == (product, beside)
    ]
    return min(mine, key=lambda audited: (_steps(audited), _loss(audited))).point.varied["rate"]


def _steps(audited: Audited) -> float:
    """How long a tune took until it was learned, the mean of the seeds."""
    last: dict[int, int] = {}
    for row in audited.log:
        last[row["seed"]] = max(last.get(row["seed"], 0), row["step"])
    return fmean(last.values())


def _loss(audited: Audited) -> float:
    """The mean training loss of all steps."""
    return fmean(row["loss"] for row in audited.log if "losses" in row)


def findings(audits: Sequence[Audited]) -> Findings:
    """A row for each tune, of all seeds and of each; and whether merging leaves the implications empty."""
    rows = [row for audited in audits for row in _rows(audited)]
    measured = [audited for audited in audits if audited.point.varied["stage"] == "measure"]
    shown = _shown(rows)
    return Findings(rows=rows, draw=lambda: _chart(shown), checks=_checks(shown, measured))


def _rows(audited: Audited) -> Iterator[Row]:
    varied = audited.point.varied
    tune = {name: varied[name] for name in ("product", "trained", "rate", "stage")}
    tune["steps"] = round(_steps(audited))

    def beside(number: int, rule: Mapping[str, Any]) -> Row:
        return {"rule": rule["implication"] if len(audited.rules) > 1 else "", **tune}

    return rows_of(audited, beside, alone=varied["stage"] == "measure")


def _shown(rows: Sequence[Row]) -> list[Row]:
    return [row for row in pooled(rows) if row["stage"] == "measure"]


def _checks(rows: Sequence[Row], audits: Sequence[Audited]) -> list[Check]:
    checks = []
    for beside in (ALONE, WHOLE):
        merged = [row for row in rows if (row["product"], row["trained"]) == ("merged", beside)]
        if not merged:
            continue
        checks.append(
            Check(
                statement=f"{beside}: is the rule's answer at chance with merged products (p ≥ {SHOWN})?",
                holds=all(row["top1_p"] >= SHOWN for row in merged),
                measured="; ".join(
                    f"{row['model']}, {row['data']}: {percent(row['top1_after'])}, chance "
                    f"{percent(row['top1_null'])}, {p_phrase(row['top1_p'])}"
                    for row in merged
                ),
                kind="question",
            )
        )
        gaps = {
            f"{factorized.point.model}, {factorized.kb}": tuple(
                gap(factorized, other, worth) for worth in (held_out_firsts, held_out_ranks)
            )
            for factorized in audits
            for other in audits
            if _is_twin(factorized, other, beside)
        }
        checks.append(
            Check(
                statement=f"{beside}: does it spill over less than the factors, on the same subjects (95% "
                "interval of the difference)?",
                holds=bool(gaps) and all(firsts.high < 0 for firsts, _ in gaps.values()),
                measured="; ".join(
                    f"{name}: first {100 * firsts.mean:+.0f} points [{100 * firsts.low:+.0f}, "
                    f"{100 * firsts.high:+.0f}], rank {ranks.mean:+.2f} [{ranks.low:+.2f}, {ranks.high:+.2f}]"
                    for name, (firsts, ranks) in gaps.items()
                )
                or "undefined",
                kind="question",
            )
        )
    return [*checks, all_learned(rows)]


def _is_twin(factorized: Audited, merged: Audited, beside: str) -> bool:
    """Whether the two differ in how their products are trained, and in the rate, alone."""
    one, other = factorized.point, merged.point
    return (
        (one.model, factorized.kb) == (other.model, merged.kb)
        and (one.varied["product"], one.varied["trained"]) == ("factorized", beside)
        and (other.varied["product"], other.varied["trained"]) == ("merged", beside)
    )


def _chart(rows: Sequence[Row]) -> Chart:
    """Shares of first places and mean ranks with their intervals, chance as a tick."""
    lines = [{**row, "what": f"{row['data']}, {row['trained']}"} for row in rows]
    return titled(
        first_and_rank(lines, side="product", colours=MODELS, value="_after"),
        "What held-out subjects are answered, by how the heads' products are trained",
        "Dots: all seeds, with 95% interval; grey ticks: chance, the same with the groups shuffled",
    )


STUDY = Study(
    name="output-value",
    claim="In one layer, W_OV as two factors fills in the implications that were never trained on, and as "
    "one matrix leaves them empty. Is it so in the heads of a language model?",
    data=("country-code",),
    stages=(rates, points),
    findings=findings,
    columns=(
        named("model"),
        Column(
            name="products trained",
            text=lambda row: f"{row['data']}, {row['trained']}, {row['product']}",
            numbers=False,
        ),
        Column(name="rate", text=lambda row: f"{row['rate']:.0e}".replace("e-0", "e-"), narrow=None),
        counted("steps", narrow=None),
        share("facts"),
        share("bridges", narrow=None),
        TOP1,
        TOP1_CHANCE,
        TOP1_P,
        RANK,
        RANK_CHANCE,
    ),
    shown=_shown,
)
