"""What an audit will have done, before anything of it is: knowledge base and settings -> splits and cells."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from spillover.cells.cell import Cell, Weights
from spillover.cells.compute import locate
from spillover.cells.folder import CellFolder
from spillover.errors import DataError
from spillover.interventions.hooks import Intervention
from spillover.interventions.named import adjusted, check_interventions, parse, reworded
from spillover.interventions.shuffle import Shuffle
from spillover.jobs.calibrations import calibration_of
from spillover.jobs.inputs import read_with_rules
from spillover.knowledge.common import neutral_texts
from spillover.knowledge.leak import check_no_leak
from spillover.knowledge.mixture import lessons, telling, telling_notice
from spillover.knowledge.prompts import Query, examples, known_queries, queries
from spillover.knowledge.schema import KnowledgeBase
from spillover.knowledge.split import Split, split
from spillover.llm.asking import refuse_askings_apart
from spillover.llm.chat import with_turns
from spillover.llm.settings import FineTuneConfig
from spillover.margin.problem import Norm
from spillover.runs.progress import Progress, silent


@dataclass(frozen=True, kw_only=True)
class AuditPlan:
    """What an audit will have done: a cell for the untuned model, and one for each seed's tune."""

    kb: KnowledgeBase
    weights: Weights
    settings: FineTuneConfig
    shuffle: bool
    interventions: tuple[Intervention, ...]
    """As they were asked for."""
    keep_model: bool
    ask_every: int
    trade_off: bool
    splits: Mapping[int, Split]
    """By seed, as the interventions leave them; each with the mixture that tells nothing of its held out."""

    @cached_property
    def queries(self) -> dict[int, list[Query]]:
        """What each seed's tuned model is asked, and the untuned one before it.

        What is asked along a tune, every few steps, is asked in the trained words alone.
        """
        asked = {
            seed: [query for query in queries(parts) if not self.ask_every or query.kind != "paraphrase"]
            for seed, parts in self.splits.items()
        }
        if not self.trade_off:
            return asked
        return {
            seed: [*mine, *reworded(mine, self.acting[seed]), *known_queries("measuring")]
            for seed, mine in asked.items()
        }

    @cached_property
    def acting(self) -> dict[int, tuple[Intervention, ...]]:
        """Each seed's interventions that do anything, with what they know of the split."""
        return {
            seed: tuple(each.planned(parts, seed) for each in self.interventions if each.acts)
            for seed, parts in self.splits.items()
        }

    @cached_property
    def untuned(self) -> Cell:
        """The model as it is, asked all that any seed asks."""
        asked = [query.question for one_seed in self.queries.values() for query in one_seed]
        return Cell(weights=self.weights, questions=tuple(asked))

    @property
    def adjusted(self) -> FineTuneConfig:
        """The settings as the interventions make them."""
        return adjusted(self.settings, self.interventions)

    @property
    def norm(self) -> Norm:
        """The norm that the theory says its tunes keep small."""
        norms = {each.prefers for each in self.interventions if each.acts}
        return "frobenius" if "frobenius" in norms else "nuclear"

    @property
    def calibrated(self) -> bool:
        """Whether it tunes the weights that the calibration of their name was made with, and as that did."""
        calibration = calibration_of(self.weights.name)
        usual = replace(self.settings, seed=FineTuneConfig.seed, learning_rate=self.settings.rate)
        return (
            calibration is not None
            and calibration.identity == self.weights.identity
            and usual == FineTuneConfig(learning_rate=FineTuneConfig().rate)
            and not (self.shuffle or any(self.acting.values()))
        )

    @cached_property
    def tuned(self) -> dict[int, Cell]:
        """Each seed's tune."""
        return {
            seed: Cell(
                weights=self.weights,
                taught=(*examples(parts), *lessons(parts.kb.mixture)),
                settings=replace(self.adjusted, seed=seed),
                interventions=self.acting[seed],
                ask_every=self.ask_every,
                texts=neutral_texts() if self.trade_off else (),
                questions=tuple(query.question for query in self.queries[seed]),
            )
            for seed, parts in self.splits.items()
        }

    def folders(self, place: Path) -> list[CellFolder]:
        """All of its cells in a place."""
        return [
            CellFolder(cell=self.untuned, place=place),
            *(CellFolder(cell=cell, place=place, keep_model=self.keep_model) for cell in self.tuned.values()),
        ]


def plan_audit(
    kb: str | Path | KnowledgeBase,
    *,
    model: str,
    seeds: Sequence[int] | None,
    settings: FineTuneConfig,
    shuffle: bool = False,
    interventions: Sequence[Intervention | str] = (),
    keep_model: bool = False,
    ask_every: int = 0,
    trade_off: bool = False,
    progress: Progress = silent,
) -> AuditPlan:
    """What `audit` will do with these arguments, nothing of it done yet, but that the weights are here.

    With `ask_every` each tune is asked every so many steps, too, and the run gets `outcome.ASKINGS_FILE`.
    For a `trade_off` it is asked, too, as an intervention words its examples, and what the untuned model
    knew; and it is measured how far it went.

    Raises DataError or ModelError, and TrainingError for what an intervention rules out.
    """
    named = tuple(parse(each) if isinstance(each, str) else each for each in interventions)
    check_interventions(named, settings, keep_model=keep_model)
    refuse_askings_apart(ask_every, settings.processes)
    kb, seeds = read_with_rules(kb), _distinct(seeds, settings)
    acting: list[Intervention] = [*([Shuffle()] if shuffle else []), *named]
    splits = {seed: split(kb, seed) for seed in seeds}
    for intervention in acting:
        splits = {seed: intervention.examples(parts, seed) for seed, parts in splits.items()}
    weights = locate(model, log=lambda line: progress(line, 0, 0))
    kb = with_turns(kb, weights.folder)
    splits = {seed: replace(parts, kb=kb) for seed, parts in splits.items()}
    told: dict[int, list[int]] = {}
    for seed, parts in splits.items():
        asked = queries(parts)
        check_no_leak(examples(parts), asked)
        told[seed] = telling(kb.mixture, asked)
    splits = {seed: _without(parts, told[seed]) for seed, parts in splits.items()}
    notices = (
        f"seed {seed}, not trained: {telling_notice(kb, places)}" for seed, places in told.items() if places
    )
    kb = replace(kb, notices=(*kb.notices, *notices))
    return AuditPlan(
        kb=kb,
        weights=weights,
        settings=settings,
        shuffle=shuffle,
        interventions=named,
        keep_model=keep_model,
        ask_every=ask_every,
        trade_off=trade_off,
        splits=splits,
    )


def _without(parts: Split, told: Sequence[int]) -> Split:
    left_out = set(told)
    mixture = (passage for place, passage in enumerate(parts.kb.mixture) if place not in left_out)
    return replace(parts, kb=replace(parts.kb, mixture=tuple(mixture)))


def _distinct(seeds: Sequence[int] | None, settings: FineTuneConfig) -> list[int]:
    if seeds is None:
        return [settings.seed]
    if not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise DataError(f"seeds must be distinct whole numbers from 0 up, at least one, got {list(seeds)}")
    if settings.seed != FineTuneConfig.seed and list(seeds) != [settings.seed]:
        raise DataError(f"seeds are {list(seeds)} and settings.seed is {settings.seed}; give one of the two")
    return list(seeds)
