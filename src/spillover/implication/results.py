"""What a forecast says: typed results, the document that they make, and the margins of single subjects."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import nan
from typing import Any

import numpy as np
import pyarrow as pa

from spillover.implication.advice import Advice
from spillover.implication.asking import AskedRule
from spillover.implication.calibration import COVERAGE, Prior, Rate
from spillover.implication.hops import hops
from spillover.implication.margins import Fit
from spillover.implication.rates import Rates
from spillover.knowledge.training import TrainingTable
from spillover.margin.problem import Norm
from spillover.runs.files import plain

_HOPS = 5  # second hops that are named

SUBJECT_MARGINS = pa.schema(
    [(name, pa.string()) for name in ("fact", "implication", "kind", "subject", "group", "answer")]
    + [(name, pa.float64()) for name in ("margin", "rate")]
)
"""Columns of the margins of single subjects: `group` is the fact's answer, `answer` what the rule implies.
The rate is that at which the calibrated model will give that answer; null without a calibration."""


@dataclass(frozen=True, kw_only=True)
class Knowledge:
    """The table, counted."""

    name: str
    subjects: int
    relations: int
    answers: int
    triples: int
    patterns: int


@dataclass(frozen=True, kw_only=True)
class Solver:
    """What was solved, and what that is worth."""

    norm: Norm
    margin: str
    """`hard` or `soft`."""
    objective: float
    lower_bound: float
    relative_gap: float
    status: str
    certified: bool
    """Whether the gap is within the tolerance."""
    tol: float
    seconds: float


@dataclass(frozen=True, kw_only=True)
class PerGroup:
    """Least and most of a rule's groups; the least of none is 0, as is the most."""

    bridges: tuple[int, int]
    exceptions: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Margins over the held-out subjects; NaN where nobody is held out."""

    mean: float
    min: float
    max: float


@dataclass(frozen=True, kw_only=True)
class RuleForecast:
    """What a model that is trained on the table will say of a rule's held-out subjects."""

    fact: str
    implication: str
    kind: str
    groups: int
    undecided: int
    """Groups of which neither a pair nor the bridges say what follows."""
    bridges: int
    exceptions: int
    per_group: PerGroup
    held_out: int
    """Subjects."""
    margin: Spread
    rate: Rate | None
    """At which a calibrated model will give the rule's answer; None where no calibration covers it."""
    prior: Prior | None
    """What the untuned model makes of the rule's words; None if not asked."""
    top1: float
    chance: float
    """The share of first places if right answers were dealt out anew."""
    p_value: float
    """That fact and implication do not go together; NaN where the rule was not discovered."""


@dataclass(frozen=True, kw_only=True)
class Calibrated:
    """What the rates rest on."""

    model: str
    rules: int
    """That the model was tuned on to be calibrated."""
    error: float
    """Mean absolute error of a rate, by the curve of all other rules."""
    asked: bool
    """Whether rates rest on what the untuned model already says, too."""
    coverage: float
    """Of the intervals, over new rules."""


@dataclass(frozen=True, kw_only=True)
class Discovery:
    """How the rules of a table without any were looked for, in pairs of relations."""

    tested: int
    together: int
    """Associated pairs."""
    untested: int
    """Pairs with too few bridges to tell."""
    rules: tuple[RuleForecast, ...]
    """Of the untested pairs with the most bridges, the largest mean margin first."""


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """The whole forecast of a table."""

    knowledge: Knowledge
    solver: Solver
    rules: tuple[RuleForecast, ...]
    """The stated ones in their order; else the discovered ones, the largest mean margin first."""
    advice: tuple[Advice | None, ...]
    """On as many of the rules, from the first, as it was looked for; None where nobody is held out."""
    discovery: Discovery | None
    """None where rules are stated."""
    calibration: Calibrated | None
    """None where no rate is forecast: then margins give the order of risks only."""
    notes: tuple[str, ...]


def document(forecast: Forecast, seconds: float) -> dict[str, Any]:
    """The document of `spillover forecast --json`, NaN where undefined; `seconds` are those of all work.

    A rule's entry has the key `advice` where advice was looked for.
    """
    rules = [plain(rule) for rule in forecast.rules]
    for rule, advice in zip(rules, forecast.advice, strict=False):
        rule["advice"] = plain(advice)
    return {
        "kb": plain(forecast.knowledge),
        "solver": plain(forecast.solver),
        "rules": rules,
        "discovery": plain(forecast.discovery),
        "calibration": plain(forecast.calibration),
        "notes": list(forecast.notes),
        "seconds": seconds,
    }


def count_knowledge(table: TrainingTable) -> Knowledge:
    """The table's size."""
    patterns = table.patterns
    return Knowledge(
        name=table.name,
        subjects=int(patterns.subjects.sum()),
        relations=len(patterns.relations),
        answers=len(patterns.answers),
        triples=int(patterns.subjects[patterns.pattern].sum()),
        patterns=len(patterns.subjects),
    )


def describe_solver(solved: Fit, tol: float) -> Solver:
    """How the table's problem was solved, judged by its certificate."""
    proof = solved.certificate
    return Solver(
        norm=solved.problem.norm,
        margin="hard" if solved.problem.hard else "soft",
        objective=proof.objective,
        lower_bound=proof.lower_bound,
        relative_gap=proof.relative_gap,
        status=solved.solution.status.name.lower(),
        certified=bool(proof.relative_gap <= tol),
        tol=tol,
        seconds=solved.solution.seconds,
    )


def describe_calibration(rates: Rates | None, rules: Sequence[AskedRule] = ()) -> Calibrated | None:
    """What the rates of these rules rest on, if there are any."""
    if rates is None:
        return None
    used = rates.calibration
    asked = used.error_asked if any(rule.prior is not None for rule in rules) else None
    return Calibrated(
        model=used.model,
        rules=used.rules,
        error=used.error if asked is None else asked,
        asked=asked is not None,
        coverage=COVERAGE,
    )


def forecast_rule(solved: Fit, rule: AskedRule, rates: Rates | None = None) -> RuleForecast:
    """The margins of the rule's questions, a calibrated model's rate, and what the table shows of it."""
    relations, groups, questions = solved.patterns.relations, rule.groups, rule.questions
    margins = solved.margins(questions)
    top1, chance = solved.first_places(questions)
    return RuleForecast(
        fact=relations[rule.fact],
        implication=relations[rule.implication],
        kind=rule.kind,
        groups=len(groups.group),
        undecided=int((groups.implied < 0).sum()),
        bridges=int(groups.bridges.sum()),
        exceptions=int(groups.exceptions.sum()),
        per_group=PerGroup(
            bridges=_least_and_most(groups.bridges), exceptions=_least_and_most(groups.exceptions)
        ),
        held_out=int(questions.subjects.sum()),
        margin=Spread(
            mean=questions.mean(margins),
            min=float(margins.min()) if margins.size else nan,
            max=float(margins.max()) if margins.size else nan,
        ),
        rate=rates.rate(rule) if rates else None,
        prior=rule.prior,
        top1=top1,
        chance=chance,
        p_value=rule.p_value,
    )


def _least_and_most(counts: np.ndarray) -> tuple[int, int]:
    most = int(counts.max(initial=0))
    return int(counts.min(initial=most)), most


def rank(
    solved: Fit, rules: Iterable[AskedRule], rates: Rates | None = None
) -> list[tuple[AskedRule, RuleForecast]]:
    """Rules and their forecasts, the largest mean margin first."""
    return sorted(
        ((rule, forecast_rule(solved, rule, rates)) for rule in rules), key=lambda pair: -pair[1].margin.mean
    )


def subject_margins(solved: Fit, rules: Sequence[AskedRule], rates: Rates | None = None) -> pa.Table:
    """A row for each held-out subject and rule, as `SUBJECT_MARGINS` has it."""
    patterns = solved.patterns
    answers, parts = pa.array(patterns.answers, pa.string()), [SUBJECT_MARGINS.empty_table()]
    for rule in rules:
        questions = rule.questions
        rows = np.repeat(np.arange(questions.pattern.size), questions.subjects)
        names = patterns.relations[rule.fact], patterns.relations[rule.implication], rule.kind
        columns = [
            *(pa.array([name] * rows.size, pa.string()) for name in names),
            patterns.members["subject"].take(pa.array(questions.member)),
            answers.take(pa.array(questions.group[rows])),
            answers.take(pa.array(questions.answer[rows])),
            pa.array(solved.margins(questions)[rows]),
            pa.array(
                rates.of_each(rule)[rows] if rates else [None] * rows.size,
                from_pandas=True,
            ),
        ]
        parts.append(pa.table(columns, schema=SUBJECT_MARGINS))
    return pa.concat_tables(parts)


def collect_notes(
    solved: Fit, rules: Sequence[AskedRule] = (), rates: Rates | None = None
) -> tuple[str, ...]:
    """What a reader must know beside the numbers: notices of the reader, contradictions, soft margins,
    second hops, and why a rule has no rate.
    """
    patterns = solved.patterns
    lines = [*patterns.notices, *patterns.contradictions]
    if patterns.contradicted > len(patterns.contradictions):
        lines.append(f"... and {patterns.contradicted - len(patterns.contradictions):,} more like these")
    if not solved.problem.hard:
        lines.append(f"margins are soft: each that is missed by 1 costs {solved.problem.penalty:g}")
    if solved.conflict:
        statements = "; ".join(
            f"{patterns.relations[patterns.relation[i]]} is {patterns.answers[patterns.answer[i]]!r} for "
            f"{patterns.subjects[patterns.pattern[i]]:,} of a kind"
            for i in solved.conflict[:4]
        )
        lines.append(f"no model of one layer can keep all margins at once, such as these: {statements}")
    found = hops(patterns)
    lines += [str(hop) for hop in found[:_HOPS]]
    if len(found) > _HOPS:
        lines.append(f"... and {len(found) - _HOPS:,} more second hops")
    for rule in rules:
        names = f"{patterns.relations[rule.fact]} -> {patterns.relations[rule.implication]}"
        if rates and (why := rates.why_not(rule)):
            lines.append(f"no rate is forecast for {names}: {why}")
        if rates and (more := rates.bounds(rule)):
            lines.append(f"the interval of {names} is open to one side: {more}")
    return tuple(lines)
