"""What an audit is asked for: data, model, seeds, how it is tuned.

Sweeps and reproductions list such points, and `jobs` has an audit carried out for each.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from spillover.interventions.hooks import Intervention
from spillover.knowledge.schema import KnowledgeBase
from spillover.llm.settings import FineTuneConfig


@dataclass(frozen=True, kw_only=True)
class Point:
    """One audit among several."""

    kb: str | KnowledgeBase
    """A built-in name, a path, or the knowledge base itself."""
    model: str
    seeds: tuple[int, ...]
    settings: FineTuneConfig
    shuffle: bool = False
    interventions: tuple[Intervention, ...] = ()
    ask_every: int = 0
    """Steps between askings during each tune; 0: it is only asked after it."""
    trade_off: bool = False
    """Whether it is asked what a trade-off needs beside, too."""
    varied: Mapping[str, Any] = field(default_factory=dict)
    """What tells it from the other points, by name."""
