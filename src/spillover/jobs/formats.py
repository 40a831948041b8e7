"""Whether a model that was tuned elsewhere was asked as it was trained: its trained answers say so."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from spillover.cells.folder import Answered
from spillover.errors import ModelError
from spillover.knowledge.prompts import Query, Question, queries
from spillover.knowledge.schema import Format, Relation
from spillover.knowledge.split import Split
from spillover.llm.chat import with_turns
from spillover.report.verdict import percent
from spillover.runs.stats import rank_matrix, unbounded_mean_interval

LEAST_GAIN = 0.1
"""Nats by which the trained answers must be likelier in the other format, at the lower end of the 95%
interval, before the one that was asked is called in doubt."""


@dataclass(frozen=True, kw_only=True)
class OtherFormat:
    """The trained facts and bridges of a split, asked as it says and in the other format."""

    format: Format
    """The other one."""
    asked: Sequence[Query]
    """As the knowledge base says."""
    otherwise: Sequence[Query]
    """The same, in the same order, in the other format."""

    @classmethod
    def of(cls, parts: Split, model: Path, tuned: Path) -> Self | None:
        """That of a split in one format throughout; None of another, and where the model has no chat."""
        asked = _taught(parts)
        formats = {parts.kb.relations[query.relation].format for query in asked}
        if len(formats) != 1:
            return None
        other: Format = "plain" if formats == {"chat"} else "chat"
        relations = {name: _in(other, relation) for name, relation in parts.kb.relations.items()}
        try:
            kb = with_turns(replace(parts.kb, relations=relations), model, tuned)
        except ModelError:
            return None
        return cls(format=other, asked=asked, otherwise=_taught(replace(parts, kb=kb)))

    def found(self, answers: Mapping[Question, Answered]) -> dict[str, Any]:
        """How the model gives its trained answers: {"format", "top1", "top1_as_asked", "gain"}.

        `gain` is by how many nats they are likelier in the other format: its mean over the queries, `low` and
        `high` (95%, bootstrap).
        """
        mine, its = (_right(side, answers) for side in (self.asked, self.otherwise))
        gain = unbounded_mean_interval([b - a for (a, _), (b, _) in zip(mine, its, strict=True)])
        return {
            "format": self.format,
            "top1": float(np.mean([first for _, first in its])),
            "top1_as_asked": float(np.mean([first for _, first in mine])),
            "gain": {"mean": gain.mean, "low": gain.low, "high": gain.high},
        }


def warning(found: Mapping[str, Any]) -> str | None:
    """A line for people where the other format is the one that was trained, as far as can be seen."""
    gain = found["gain"]
    if not gain["low"] > LEAST_GAIN:
        return None
    return (
        f"the tuned model gives its trained answers as {found['format']} rather than as asked here: "
        f"{percent(found['top1'])} of them come first, against {percent(found['top1_as_asked'])}, and they "
        f"are {gain['mean']:.1f} [{gain['low']:.1f}, {gain['high']:.1f}] nats likelier; "
        f"set format: {found['format']}"
    )


def _in(format: Format, relation: Relation) -> Relation:
    """The relation with the same words in that format."""
    return replace(relation, format=format, system="", space="one", turns=None)


def _taught(parts: Split) -> list[Query]:
    return [query for query in queries(parts) if query.kind in ("fact", "bridge")]


def _right(asked: Sequence[Query], answers: Mapping[Question, Answered]) -> list[tuple[float, bool]]:
    """Of each query the right answer's log-probability, and whether it alone comes first."""
    found = []
    for query in asked:
        logs = answers[query.question].logprobs
        place = query.candidates.index(query.answer)
        found.append((float(logs[place]), bool(rank_matrix([logs])[0, place] == 0)))
    return found
