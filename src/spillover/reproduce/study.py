"""What a reproduction with language models is: points in, audits back; rows, a chart and checks out.

What is here knows no jobs: `jobs/language_models.py` has the points of any study tuned and asked.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa

from spillover.llm.names import DEFAULT_MODEL
from spillover.llm.settings import FineTuneConfig
from spillover.outcome import ASKINGS_FILE, read_scores
from spillover.point import Point
from spillover.reproduce.columns import Column
from spillover.reproduce.figure import Findings, Row
from spillover.runs.views import RunView


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How the models are tuned."""

    settings: FineTuneConfig
    left_open: tuple[str, ...]
    """What the paper does not say, and what is done here."""


_OURS_TOO = (
    "the wording of prompts, the names and the distractors: our own, ten candidates as in the paper",
    "precision: float32 weights and optimizer; on a GPU bfloat16 products",
)

RECIPES = {
    "ours": Recipe(
        settings=FineTuneConfig(),
        left_open=(
            "epochs: until the training loss says that facts and bridges are learned, eight at least",
            *_OURS_TOO,
        ),
    ),
    "paper": Recipe(
        settings=FineTuneConfig(learning_rate=1e-5, epochs=8, batch_size=8, warmup=0.0),
        left_open=(
            "the learning rate of each model, 3e-6 to 3e-5 in the code that it builds on: 1e-5 for all",
            "Adam's moments, 0.9 and 0.999, and its weight decay, none",
            *_OURS_TOO,
        ),
    ),
}
"""`ours` tunes until it is learned; `paper` is as the paper and the code that it builds on say."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a study is asked for."""

    models: tuple[str, ...]
    data: tuple[str, ...]
    seeds: tuple[int, ...]
    settings: FineTuneConfig


@dataclass(frozen=True, kw_only=True, eq=False)
class Audited:
    """A point whose audit is done."""

    point: Point
    kb: str
    """The knowledge base's name."""
    facts: Mapping[str, Any]
    """The `facts` of the audit's document."""
    rules: Sequence[Mapping[str, Any]]
    """Its `rules`."""
    run: RunView

    @cached_property
    def scores(self) -> pa.Table:
        """Every score; `outcome.SCORES`. Raises RunError where they are damaged."""
        return read_scores(self.run)

    @cached_property
    def log(self) -> list[dict[str, Any]]:
        """The training log of all seeds, a row for each step. Raises RunError where it is damaged."""
        return self.run.read_jsonl("metrics.jsonl")

    @cached_property
    def askings(self) -> pa.Table:
        """What was answered during the tunes; `outcome.ASKINGS`. Raises RunError where there is nothing."""
        return self.run.read_parquet(ASKINGS_FILE)


Stage = Callable[[Request, Sequence[Audited]], Sequence[Point]]
"""The points of a stage, given the audits of those before it. Raises DataError or LabError."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Study:
    """A reproduction with language models that can be run."""

    name: str
    claim: str
    """What the paper says, or what is asked, in a sentence or two."""
    data: tuple[str, ...]
    """Its knowledge bases, unless others are asked for."""
    models: tuple[str, ...] = (DEFAULT_MODEL,)
    stages: tuple[Stage, ...]
    """One, or more where what is tuned next depends on what came out; a stage begins when all audits of those
    before it are done."""
    findings: Callable[[Sequence[Audited]], Findings]
    """Of all stages' audits that are done, one at least. The rows are table.csv and the document's `rows`."""
    columns: tuple[Column, ...]
    """The table for people."""
    brackets: str = "95% intervals"
    """What its numbers in brackets are, and those of the checks."""
    shown: Callable[[Sequence[Row]], Sequence[Row]] = lambda rows: rows
    """From the rows (of findings, or of a document) those of that table."""
