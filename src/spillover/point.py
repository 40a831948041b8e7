"""One audit of many: a sweep and a study are made of such points."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from spillover.interventions.hooks import Intervention
from spillover.knowledge.schema import KnowledgeBase
from spillover.llm.settings import FineTuneConfig


@dataclass(frozen=True, kw_only=True)
class Point:
    """What an audit is about; the names are those of `jobs.audit.audit`."""

    kb: str | KnowledgeBase
    model: str
    seeds: tuple[int, ...]
    settings: FineTuneConfig
    shuffle: bool = False
    interventions: tuple[Intervention | str, ...] = ()
    ask_every: int = 0
    """Steps between askings during each tune; 0: the model is only asked after it."""
    keep_model: bool = False
    varied: Mapping[str, Any]
    """What tells it from the other points."""
