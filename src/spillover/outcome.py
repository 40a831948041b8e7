"""Scores in, a run's table and every reported number out.

The table (`scores.parquet`) has one row per query and candidate; every reported number is computed
from it alone, so that anyone can compute it again. No torch.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from spillover.errors import RunError
from spillover.knowledge.checks import SUBJECT
from spillover.knowledge.prompts import Query
from spillover.knowledge.schema import Relation, Rule
from spillover.runs.record import Run, RunView
from spillover.runs.stats import holm, mean_interval, permutation_test, rank_matrix, top1_matrix

_Matrix = Callable[[np.ndarray], np.ndarray]

_WHO = ["seed", "subject"]  # whom one tuned model was told of

SCORES = pa.schema(
    [
        ("seed", pa.int32()),
        ("phase", pa.string()),  # before | after
        ("query", pa.int32()),  # counts within a seed and phase
        ("kind", pa.string()),  # prompts.Kind
        ("rule", pa.int32()),  # index of the rule; null for what is of none
        ("relation", pa.string()),
        ("subject", pa.string()),
        ("group", pa.string()),  # the subject's fact answer; null for facts
        ("prompt", pa.string()),  # its words; a chat's turns around them are in its cell
        ("candidate", pa.string()),
        ("right", pa.bool_()),
        ("logprob", pa.float64()),  # null where it could not be scored
        ("reason", pa.string()),  # why it could not be scored, else null
        ("rank", pa.float64()),  # 0-based, ties share their middle rank; null where unscored
    ]
)


def score_table(
    queries: Sequence[Query],
    logprobs: Sequence[np.ndarray],
    reasons: Sequence[Sequence[str | None]] | None = None,
    *,
    seed: int,
    phase: str,
) -> pa.Table:
    """The rows of one scoring pass, in the order of the queries and their candidates.

    `reasons` says for each candidate why it could not be scored, where it is known.
    """
    reasons = reasons or [[None] * len(query.candidates) for query in queries]
    rows: list[dict[str, Any]] = []
    for number, (query, values, why) in enumerate(zip(queries, logprobs, reasons, strict=True)):
        ranks = rank_matrix(values[None, :])[0]
        common = {
            "seed": seed,
            "phase": phase,
            "query": number,
            "kind": query.kind,
            "rule": query.rule,
            "relation": query.relation,
            "subject": query.subject,
            "group": query.group,
            "prompt": query.words,
        }
        rows.extend(
            common
            | {
                "candidate": candidate,
                "right": candidate == query.answer,
                "logprob": None if np.isnan(value) else float(value),
                "reason": reason,
                "rank": None if np.isnan(rank) else float(rank),
            }
            for candidate, value, reason, rank in zip(query.candidates, values, why, ranks, strict=True)
        )
    return pa.Table.from_pylist(rows, schema=SCORES)


SCORES_FILE = "scores.parquet"
"""The table's file in a run folder."""

ASKINGS = SCORES.append(pa.field("step", pa.int32()))
"""What was answered along a tune, after each of some steps; the phase is `during`."""

ASKINGS_FILE = "askings.parquet"


def read_scores(run: Run | RunView) -> pa.Table:
    """A run's scores. Raises RunError where they are not there, unreadable, or not of these columns."""
    table, path = run.read_parquet(SCORES_FILE), run.path(SCORES_FILE)
    for field in SCORES:
        if field.name not in table.column_names:
            if field.name == "reason":  # of version 0.1
                continue
            raise RunError(f"{path} is damaged: it has no column {field.name!r}")
        if (found := table.field(field.name).type) != field.type:
            raise RunError(f"{path} is damaged: its column {field.name!r} is of {found}, not of {field.type}")
    if not table.num_rows:
        raise RunError(f"{path} is damaged: it has no rows")
    return table


def outcome(
    scores: pa.Table, rules: Sequence[Rule], relations: Mapping[str, Relation] | None = None
) -> dict[str, Any]:
    """The `facts` and `rules` entries of the audit's JSON document, less its forecast (NaN where undefined).

    `facts`: {"top1", "least", "queries"}, the share of all trained facts that the tuned model answers
    rightly, over all seeds and in the worst of them. Each entry of `rules`:

    - fact, implication, kind, queries, candidates, unscored (held-out queries), unscorable (candidates and
      why, {"candidate", "reason"}).
    - facts, bridges: {"top1", "least", "queries"} of what was trained for this rule: the facts of its bridges
      and held-out subjects, and the bridges' implications. Where either is low, nothing is known of the rule.
    - mean_rank, top1: of the held-out implications, `before` and `after` tuning, a subject counting once; the
      95% interval of the value after (`low`, `high`); its mean when the subjects' groups are dealt out anew
      (`null`); the share of deals at least as good (`p_value`) and at most as good (`p_worse`), and both
      corrected for the rules (Holm; `p_adjusted`, `p_worse_adjusted`).
    - p_value: the mean rank's.
    - paraphrases: of each wording that was asked and never trained {"wording", "mean_rank", "top1"}, the two
      as above but for the correction; other_words: the two of all these wordings, a subject counting once,
      corrected as above, and not there where there are none. A wording is named as in
      `relations`, or by its prompt.

    Where there is no `after` phase (an untuned model scored alone), `after` is NaN and all others are those
    of `before`. What a trade-off asks beside (rows of other kinds) changes nothing.
    """
    last = "after" if "after" in scores["phase"].unique().to_pylist() else "before"
    facts = scores.filter((pc.field("kind") == "fact") & (pc.field("phase") == last))
    # so many deals that a corrected p can always be small
    permutations = max(10_000, 1_000 * len(rules))
    entries = [
        _rule_outcome(scores.filter(pc.field("rule") == n), facts, rule, last, permutations)
        for n, rule in enumerate(rules)
    ]
    if relations is not None:
        for entry in entries:
            wordings = relations[entry["implication"]].paraphrases[: len(entry["paraphrases"])]
            for said, wording in zip(entry["paraphrases"], wordings, strict=True):
                said["wording"] = wording
    for side in (entries, [entry["other_words"] for entry in entries if "other_words" in entry]):
        for measure in ("mean_rank", "top1"):
            for p, adjusted in (("p_value", "p_adjusted"), ("p_worse", "p_worse_adjusted")):
                corrected = holm([entry[measure][p] for entry in side]).tolist()
                for entry, value in zip(side, corrected, strict=True):
                    entry[measure][adjusted] = value
    return {"facts": _learned(facts), "rules": entries}


def ingredients(log: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What the tunes of a training log (`llm.trainer`) were made of, of all seeds together.

    For every relation, and for the text beside the table (relation None): its share of the `examples`, of
    their `tokens` that are predicted, and of the `loss`, summed over the tune.
    """
    totals: dict[str, dict[str, float]] = {}
    for row in log:
        for relation, amounts in row.get("ingredients", {}).items():
            total = totals.setdefault(relation, dict.fromkeys(amounts, 0.0))
            for what, amount in amounts.items():
                total[what] += amount
    sums = {what: sum(each[what] for each in totals.values()) for what in ("examples", "tokens", "loss")}
    return [
        {"relation": relation or None}
        | {what: total[what] / whole if whole else float("nan") for what, whole in sums.items()}
        for relation, total in totals.items()
    ]


def rules_of(rules: Sequence[Mapping[str, Any]]) -> list[Rule]:
    """The rules of a document's `rules`, as much of them as `outcome` needs."""
    return [Rule(fact=rule["fact"], implication=rule["implication"], kind=rule["kind"]) for rule in rules]


def _rule_outcome(
    scores: pa.Table, facts: pa.Table, rule: Rule, last: str, permutations: int
) -> dict[str, Any]:
    """One entry of `rules`, uncorrected, from the rule's own rows and all facts of the last phase."""
    other = scores.filter(pc.field("kind") == "paraphrase")
    scores = scores.filter(pc.field("kind").isin(["bridge", "held_out"]))
    mine = scores.filter(pc.field("phase") == last)
    rule_facts = facts.filter(pc.field("relation") == rule.fact)
    held_out = scores.filter(pc.field("kind") == "held_out")
    asked, numbers = _asked(held_out, phase=last), _measures(held_out, last, permutations)
    queries, candidates = asked.logprobs.shape
    return {
        "fact": rule.fact,
        "implication": rule.implication,
        "kind": rule.kind,
        "facts": _learned(rule_facts.join(mine.select(_WHO), keys=_WHO, join_type="left semi")),
        "bridges": _learned(mine.filter(pc.field("kind") == "bridge")),
        "queries": queries,
        "candidates": candidates,
        "unscored": int(np.isnan(_right(asked, rank_matrix)).sum()),
        "unscorable": _unscorable(mine),
        **numbers,
        "p_value": numbers["mean_rank"]["p_value"],
        "paraphrases": [
            {"wording": wording, **_measures(rows, last, permutations)} for wording, rows in _wordings(other)
        ],
        **({"other_words": _measures(other, last, permutations)} if other.num_rows else {}),
    }


def _wordings(scores: pa.Table) -> list[tuple[str, pa.Table]]:
    """The rows of each wording, which a subject is asked in one order; it is named by its prompt."""
    prompts: dict[str, list[str]] = {}
    for row in scores.select(["subject", "prompt"]).to_pylist():
        of_subject = prompts.setdefault(row["subject"], [])
        if row["prompt"] not in of_subject:
            of_subject.append(row["prompt"])
    return [
        (
            same[0].replace(next(iter(prompts)), SUBJECT),
            scores.filter(pc.field("prompt").isin(same)),
        )
        for same in zip(*prompts.values(), strict=True)
    ]


def _measures(scores: pa.Table, last: str, permutations: int) -> dict[str, Any]:
    """`mean_rank` and `top1` of these rows, uncorrected."""
    before, asked = _asked(scores, phase="before"), _asked(scores, phase=last)
    candidates = asked.logprobs.shape[1]
    numbers: dict[str, Any] = {}
    measures: tuple[tuple[str, _Matrix, float, Literal["low", "high"]], ...] = (
        ("mean_rank", rank_matrix, float(candidates - 1), "low"),
        ("top1", top1_matrix, 1.0, "high"),
    )
    for name, matrix, worst, better in measures:
        interval = mean_interval(_right(asked, matrix), 0.0, worst, asked.subjects)
        test = permutation_test(
            matrix(asked.logprobs),
            asked.answers,
            asked.seeds,
            asked.subjects,
            better=better,
            permutations=permutations,
        )
        numbers[name] = {
            "before": mean_interval(_right(before, matrix), 0.0, worst, before.subjects).mean,
            "after": interval.mean if last == "after" else float("nan"),
            "low": interval.low,
            "high": interval.high,
            "null": test.null,
            "p_value": test.p_value,
            "p_worse": test.p_worse,
        }
    return numbers


def _unscorable(scores: pa.Table) -> list[dict[str, str]]:
    """{"candidate", "reason"} of each candidate that could not be scored after at least one prompt."""
    if "reason" not in scores.column_names:  # version 0.1
        return []
    found = scores.filter(pc.field("reason").is_valid()).select(["candidate", "reason"])
    rows = found.group_by(["candidate", "reason"], use_threads=False).aggregate([])
    return rows.sort_by([("candidate", "ascending"), ("reason", "ascending")]).to_pylist()


def _learned(scores: pa.Table) -> dict[str, Any]:
    """The share of these queries, of any relations, whose right answer comes first; in the seed where it is
    least; and their number.
    """
    asked = [_asked(scores, relation=relation) for relation in scores["relation"].unique().to_pylist()]
    credits_Q = np.concatenate([np.empty(0), *(_right(part, top1_matrix) for part in asked)])
    seeds_Q = np.concatenate([np.empty(0, int), *(part.seeds for part in asked)])
    shares = [mean_interval(credits_Q[seeds_Q == seed], 0.0, 1.0).mean for seed in np.unique(seeds_Q)]
    return {
        "top1": mean_interval(credits_Q, 0.0, 1.0).mean,
        "least": float(np.min(shares)) if shares else float("nan"),
        "queries": len(credits_Q),
    }


@dataclass(frozen=True, kw_only=True)
class _Answered:
    """Queries that share their candidates, as arrays."""

    logprobs: np.ndarray
    """(Q, C), candidates sorted by name"""
    answers: np.ndarray
    """(Q,): the column of the right candidate"""
    seeds: np.ndarray
    """(Q,)"""
    subjects: np.ndarray
    """(Q,)"""


def _asked(scores: pa.Table, **wanted: str) -> _Answered:
    """The queries whose columns hold the wanted values."""
    for column, value in wanted.items():
        scores = scores.filter(pc.field(column) == value)
    rows = scores.sort_by([(name, "ascending") for name in ("seed", "query", "candidate")])
    shape = (-1, max(1, len(rows["candidate"].unique())))
    return _Answered(
        logprobs=rows["logprob"].to_numpy().reshape(shape),  # null becomes NaN
        answers=rows["right"].to_numpy().reshape(shape).argmax(axis=1),
        seeds=rows["seed"].to_numpy().reshape(shape)[:, 0],
        subjects=rows["subject"].to_numpy().reshape(shape)[:, 0],
    )


def _right(answered: _Answered, matrix: _Matrix) -> np.ndarray:
    """The right candidate's entry of `matrix` (ranks or top-1 credits), (Q,)."""
    return matrix(answered.logprobs)[np.arange(len(answered.answers)), answered.answers]
