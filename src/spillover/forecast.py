"""The forecast: a table of triples -> what fine-tuning on it will teach beyond it, before any training."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from math import isfinite, log
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from spillover.errors import MarginError, RunError
from spillover.implication.advice import advise
from spillover.implication.discovery import Association, associations
from spillover.implication.margins import Fit, Settings, fit
from spillover.implication.queries import Groups, Queries, groups, held_out, held_out_by, places
from spillover.knowledge.builtin import BUILTIN, file_at, load_builtin
from spillover.knowledge.patterns import Patterns, patterns_of
from spillover.knowledge.read import described, read_described, read_knowledge_base
from spillover.knowledge.schema import KnowledgeBase, Rule, Triple
from spillover.knowledge.split import Split, split
from spillover.margin.problem import Norm
from spillover.margin.solution import SolverState
from spillover.runs.files import plain, write_parquet
from spillover.runs.progress import Progress, silent

ALPHA = 0.05
"""Chance that a table in which no relations go together shows any rule."""

DISCOVERED, UNTESTED = "discovered", "untested"
"""Kinds of rules that nobody stated: the table shows an association, or has too few bridges to tell."""

_FORECAST = 20  # untested pairs of relations that are forecast, those with the most bridges
_ADVISED = 10  # discovered rules that get advice, those with the largest margins


QUERIES = pa.schema(
    [(name, pa.string()) for name in ("fact", "implication", "kind", "subject", "group", "answer")]
    + [("margin", pa.float64())]
)
"""Columns of the margins of single subjects: `group` is the fact's answer, `answer` what the rule implies."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Trained:
    """What is trained on, and the rules whose implications are asked."""

    name: str
    patterns: Patterns
    rules: tuple[Rule, ...]
    split: Split | None = None
    """Says who is held out; None: whoever has a rule's fact and not its implication."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Asked:
    """A rule of the table as what is asked of it."""

    fact: int
    implication: int
    kind: str
    groups: Groups
    queries: Queries
    p_value: float = float("nan")


def forecast(
    kb: str | Path | KnowledgeBase | Split = "demo",
    *,
    norm: Norm = "nuclear",
    penalty: float | None = None,
    tol: float = 1e-4,
    time_limit: float = np.inf,
    seed: int = 0,
    advice: bool = False,
    target: float | None = None,
    queries: str | Path | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """The margin of every held-out implication that training on the table will leave the model with.

    Returns the document of `spillover forecast --json` (NaN where undefined). `norm`, `penalty`, `tol` and
    `time_limit` are those of `implication.margins.Settings`. Where a rule draws its bridges, the table is
    split by `seed` as an audit does it; a table without rules has those that `associations` discovers.
    `advice` adds to each rule (of discovered ones, the first ten) what would bring its mean margin below
    `target` (a wanted one: up to it). `queries` is a Parquet file to write, a row for each held-out subject
    and rule.

    Raises `DataError` for a table that cannot be read or is too large, `MarginError` for settings out of
    range, and `RunError` where `queries` cannot be written.
    """
    started = time.monotonic()
    settings = Settings(norm=norm, penalty=penalty, tol=tol, time_limit=time_limit)
    if target is not None and not isfinite(target):
        raise MarginError(f"the target must be a number, got {target}; margins of training are 1 or more")
    table = _read(kb, seed, progress)
    solved = fit(table.patterns, settings, progress=_closing(progress, tol))
    found = [] if table.rules else _associations(table, seed, progress)
    stated = [_ask(table, rule, number) for number, rule in enumerate(table.rules)]
    together = [one for one in found if one.adjusted <= ALPHA]
    few = _too_few_to_tell(table.patterns, found)
    rules = [(_rule(solved, one), one) for one in stated] or _ranked(solved, _both_ways(table, together))
    untested = _ranked(solved, _both_ways(table, few[:_FORECAST]))
    if advice:
        for document, one in rules[: len(stated) or _ADVISED]:
            document["advice"] = _advice(solved, one, settings, target, progress)
    if queries is not None:
        _write_queries(Path(queries), _query_table(solved, [one for _, one in rules]))
    patterns, proof = table.patterns, solved.certificate
    return plain(
        {
            "kb": {
                "name": table.name,
                "subjects": int(patterns.subjects.sum()),
                "relations": len(patterns.relations),
                "answers": len(patterns.answers),
                "triples": int(patterns.subjects[patterns.pattern].sum()),
                "patterns": len(patterns.subjects),
            },
            "solver": {
                "norm": norm,
                "margin": "hard" if solved.problem.hard else "soft",
                "objective": proof.objective,
                "lower_bound": proof.lower_bound,
                "relative_gap": proof.relative_gap,
                "status": solved.solution.status.name.lower(),
                "certified": bool(proof.relative_gap <= tol),
                "tol": tol,
                "seconds": solved.solution.seconds,
            },
            "rules": [document for document, _ in rules],
            "discovery": None
            if table.rules
            else {
                "tested": sum(one.testable for one in found),
                "together": len(together),
                "untested": len(few),
                "rules": [document for document, _ in untested],
            },
            "notes": _notes(table, solved),
            "seconds": time.monotonic() - started,
        }
    )


def _read(kb: str | Path | KnowledgeBase | Split, seed: int, progress: Progress) -> _Trained:
    progress("read the table", 0, 1)
    table = _table(kb, seed)
    progress("read the table", 1, 1)
    # a rule may be about what no triple says, and a right answer may be one that nobody else has
    relations = {name for rule in table.rules for name in (rule.fact, rule.implication)}
    answers = {name for rule in table.rules for name in rule.pairs.values()}
    answers |= {one.answer for one in table.split.held_out} if table.split else set()
    patterns = replace(
        table.patterns,
        relations=(*table.patterns.relations, *sorted(relations - set(table.patterns.relations))),
        answers=(*table.patterns.answers, *sorted(answers - set(table.patterns.answers))),
    )
    return replace(table, patterns=patterns)


def _table(kb: str | Path | KnowledgeBase | Split, seed: int) -> _Trained:
    if isinstance(kb, str | Path):
        if str(kb) in BUILTIN:
            return _table(load_builtin(str(kb)), seed)
        file = described(file_at(kb))
        if not any(rule.bridges for rule in file.rules):
            return _Trained(name=file.name, patterns=read_described(file), rules=file.rules)
        kb = read_knowledge_base(kb)
    if isinstance(kb, KnowledgeBase):
        if not any(rule.bridges for rule in kb.rules):
            return _Trained(name=kb.name, patterns=_patterns_of(kb.triples, kb), rules=kb.rules)
        kb = split(kb, seed)
    patterns = _patterns_of(kb.training, kb.kb)
    return _Trained(name=kb.kb.name, patterns=patterns, rules=kb.kb.rules, split=kb)


def _patterns_of(triples: Sequence[Triple], kb: KnowledgeBase) -> Patterns:
    return replace(patterns_of(triples), notices=kb.notices)


def _ask(table: _Trained, rule: Rule, number: int) -> _Asked:
    patterns = table.patterns
    answer = places(patterns.answers)
    fact, implication = (patterns.relations.index(name) for name in (rule.fact, rule.implication))
    pairs = {answer[b]: answer[c] for b, c in rule.pairs.items() if b in answer}
    found = groups(patterns, fact, implication, pairs)
    queries = (
        held_out_by(table.split, number, patterns)
        if table.split
        else held_out(patterns, fact, implication, found)
    )
    return _Asked(fact=fact, implication=implication, kind=rule.kind, groups=found, queries=queries)


def _associations(table: _Trained, seed: int, progress: Progress) -> list[Association]:
    def told(done: int, pairs: int) -> None:
        progress("look for rules", done, pairs)

    return associations(table.patterns, alpha=ALPHA, seed=seed, progress=told)


def _too_few_to_tell(patterns: Patterns, found: Sequence[Association]) -> list[Association]:
    """Pairs that no number of their bridges could show to go together, the most bridges first. A relation
    with one answer is left out: whatever is said of it follows from nothing.
    """
    various = np.array([len(patterns.answers_of(name)) > 1 for name in patterns.relations])
    few = [one for one in found if not one.testable and various[list(one.relations)].all()]
    return sorted(few, key=lambda one: -one.bridges)


def _both_ways(table: _Trained, found: Sequence[Association]) -> list[_Asked]:
    """Each pair of relations as a rule in both directions, where somebody is held out."""
    asked = []
    for one in found:
        for fact, implication in (one.relations, one.relations[::-1]):
            shown = groups(table.patterns, fact, implication, {})
            queries = held_out(table.patterns, fact, implication, shown)
            if queries.pattern.size:
                asked.append(
                    _Asked(
                        fact=fact,
                        implication=implication,
                        kind=DISCOVERED if one.testable else UNTESTED,
                        groups=shown,
                        queries=queries,
                        p_value=one.adjusted,
                    )
                )
    return asked


def _rule(solved: Fit, asked: _Asked) -> dict[str, Any]:
    """The rule's entry in the document."""
    relations, found, queries = solved.patterns.relations, asked.groups, asked.queries
    margins = solved.margins(queries)
    top1, chance = solved.first_places(queries)
    return {
        "fact": relations[asked.fact],
        "implication": relations[asked.implication],
        "kind": asked.kind,
        "groups": len(found.group),
        "undecided": int((found.implied < 0).sum()),
        "bridges": int(found.bridges.sum()),
        "exceptions": int(found.exceptions.sum()),
        "per_group": {
            name: [int(counts.min(initial=counts.max(initial=0))), int(counts.max(initial=0))]
            for name, counts in (("bridges", found.bridges), ("exceptions", found.exceptions))
        },
        "held_out": int(queries.subjects.sum()),
        "margin": {
            "mean": queries.mean(margins),
            "min": float(margins.min()) if margins.size else float("nan"),
            "max": float(margins.max()) if margins.size else float("nan"),
        },
        "top1": top1,
        "chance": chance,
        "p_value": asked.p_value,
    }


def _ranked(solved: Fit, asked: Sequence[_Asked]) -> list[tuple[dict[str, Any], _Asked]]:
    """Entries and their rules, the largest mean margin first."""
    rules = [(_rule(solved, one), one) for one in asked]
    return sorted(rules, key=lambda rule: -rule[0]["margin"]["mean"])


def _advice(
    solved: Fit, asked: _Asked, settings: Settings, target: float | None, progress: Progress
) -> dict[str, Any] | None:
    """What would change the rule; None where nobody is held out."""
    if not asked.queries.pattern.size:
        return None
    name = f"advice on {solved.patterns.relations[asked.implication]}"
    looked_at = 0

    def told() -> None:
        nonlocal looked_at
        looked_at += 1
        progress(name, looked_at, looked_at + 1)

    found = advise(
        solved,
        asked.fact,
        asked.implication,
        asked.groups,
        wanted=asked.kind == "causal",
        target=target,
        settings=settings,
        progress=told,
    )
    if looked_at:
        progress(name, looked_at, looked_at)
    return asdict(found)


def _query_table(solved: Fit, asked: Sequence[_Asked]) -> pa.Table:
    """A row for each held-out subject and rule: its margin, and what would be right."""
    patterns = solved.patterns
    answers, parts = pa.array(patterns.answers, pa.string()), [QUERIES.empty_table()]
    for one in asked:
        queries = one.queries
        rows = np.repeat(np.arange(queries.pattern.size), queries.subjects)
        rule = patterns.relations[one.fact], patterns.relations[one.implication], one.kind
        columns = [
            *(pa.array([name] * rows.size, pa.string()) for name in rule),
            patterns.members["subject"].take(pa.array(queries.member)),
            answers.take(pa.array(queries.group[rows])),
            answers.take(pa.array(queries.answer[rows])),
            pa.array(solved.margins(queries)[rows]),
        ]
        parts.append(pa.table(columns, schema=QUERIES))
    return pa.concat_tables(parts)


def _write_queries(path: Path, table: pa.Table) -> None:
    try:
        write_parquet(path, table)
    except OSError as error:
        raise RunError(
            f"cannot write the margins to {path}: {error.strerror}; give --queries another file"
        ) from error


def _notes(table: _Trained, solved: Fit) -> list[str]:
    """What a reader must know beside the numbers."""
    patterns, notes = table.patterns, list(table.patterns.contradictions)
    if patterns.contradicted > len(notes):
        notes.append(f"... and {patterns.contradicted - len(notes):,} more like these")
    if not solved.problem.hard:
        notes.append(f"margins are soft: each that is missed by 1 costs {solved.problem.penalty:g}")
    if solved.conflict:
        told = "; ".join(
            f"{patterns.relations[patterns.relation[i]]} is {patterns.answers[patterns.answer[i]]!r} for "
            f"{patterns.subjects[patterns.pattern[i]]:,} of a kind"
            for i in solved.conflict[:4]
        )
        notes.append(f"no model of one layer can keep all margins at once, such as these: {told}")
    return [*patterns.notices, *notes]


def _closing(progress: Progress, tol: float) -> Callable[[SolverState], None]:
    """Tell how far the relative gap has closed, in hundredths of its logarithm."""
    furthest = 0

    def told(now: SolverState) -> None:
        nonlocal furthest
        if 0 < now.relative_gap < 1:
            furthest = max(furthest, min(100, int(100 * log(now.relative_gap) / log(min(tol, 0.5)))))
        elif now.relative_gap <= 0:
            furthest = 100
        progress("solve", furthest, 100)

    return told
