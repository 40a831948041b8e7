"""What a study is: a reproduction with language models, made of audits.

What is here knows which audits a study needs and what it makes of their results; `jobs/study.py` has them
computed, each cell once, and keeps the record.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from spillover.llm.settings import FineTuneConfig
from spillover.llm.sources import DEFAULT_MODEL
from spillover.point import Point
from spillover.reproduce.figure import Findings, Row

Cell = tuple[str, ...]
"""A text, or two below one another: a number and its interval."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How the models are tuned."""

    settings: FineTuneConfig
    left_open: tuple[str, ...]
    """What the paper does not say, and what is done here."""

    def with_adapters(self, rank: int | None) -> Self:
        """The recipe for adapters of that rank: they start from a product of zero and have their own rate."""
        if rank is None:
            return self
        adapters = f"adapters, which the paper has none of: rank {rank}, at their own learning rate"
        settings = replace(self.settings, lora=rank, learning_rate=None)
        return replace(self, settings=settings, left_open=(*self.left_open, adapters))


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
class Options:
    """What a study is about, unless its user says otherwise."""

    models: tuple[str, ...] = (DEFAULT_MODEL,)
    data: tuple[str, ...] = ("country-code",)
    seeds: tuple[int, ...] = (0, 1, 2)
    recipe: str = "ours"
    lora: int | None = None
    keep_model: bool = False

    @property
    def how(self) -> Recipe:
        """The recipe that it names."""
        return RECIPES[self.recipe].with_adapters(self.lora)

    def point(self, *, kb: Any, model: str, **others: Any) -> Point:
        """An audit by this recipe and these seeds; `others` are more of a point's fields."""
        usual = {"settings": self.how.settings, "seeds": self.seeds, "keep_model": self.keep_model}
        return Point(kb=kb, model=model, **usual | others)


@dataclass(frozen=True, kw_only=True)
class Audited:
    """A point whose audit is done."""

    point: Point
    folder: Path
    """The audit's run folder."""
    results: Mapping[str, Any]
    """Its `knowledge_base`, `facts` and `rules`, as the document of `spillover sweep --json` has them."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A study's rows as a reader sees them: in sections, a name in front of each row."""

    section: Callable[[Row], str]
    name: Callable[[Row], str]
    columns: Mapping[tuple[str, ...], Callable[[Row], Cell]]
    """By the heading, which may have two lines as what is below it has."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Study:
    """A reproduction with language models."""

    name: str
    claim: str
    """What the paper says, or what is asked, in a sentence or two."""
    options: Options
    stages: Sequence[Callable[[Options, Sequence[Audited]], Sequence[Point]]]
    """Which audits it needs, one stage after the other: each is given what those before it found."""
    findings: Callable[[Options, Sequence[Audited]], Findings]
    table: Table
    latex: Callable[[Sequence[Row]], str] | None = None
