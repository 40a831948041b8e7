"""spillover measures, forecasts and controls what fine-tuning teaches a language model beyond its data.

The public names are loaded when they are first used: `import spillover` imports neither torch nor
transformers.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spillover.errors import SpilloverError
    from spillover.jobs.audit import audit
    from spillover.jobs.calibrate import calibrate
    from spillover.jobs.callback import SpilloverCallback
    from spillover.jobs.export import export
    from spillover.jobs.forecast import forecast
    from spillover.jobs.importing import import_records
    from spillover.jobs.init import init
    from spillover.jobs.score import score
    from spillover.jobs.sweep import sweep
    from spillover.jobs.tradeoff import tradeoff
    from spillover.knowledge.load import load as load_knowledge
    from spillover.knowledge.schema import KnowledgeBase, Relation, Rule, Triple
    from spillover.llm.settings import FineTuneConfig
    from spillover.report.page import write_report
    from spillover.runs.record import list_runs, read_run

__version__ = "0.1.0"

__all__ = [
    "FineTuneConfig",
    "KnowledgeBase",
    "Relation",
    "Rule",
    "SpilloverCallback",
    "SpilloverError",
    "Triple",
    "audit",
    "calibrate",
    "export",
    "forecast",
    "import_records",
    "init",
    "list_runs",
    "load_knowledge",
    "read_run",
    "score",
    "sweep",
    "tradeoff",
    "write_report",
]

_HOMES = {
    "FineTuneConfig": ("spillover.llm.settings", "FineTuneConfig"),
    "KnowledgeBase": ("spillover.knowledge.schema", "KnowledgeBase"),
    "Relation": ("spillover.knowledge.schema", "Relation"),
    "Rule": ("spillover.knowledge.schema", "Rule"),
    "SpilloverCallback": ("spillover.jobs.callback", "SpilloverCallback"),
    "SpilloverError": ("spillover.errors", "SpilloverError"),
    "Triple": ("spillover.knowledge.schema", "Triple"),
    "audit": ("spillover.jobs.audit", "audit"),
    "calibrate": ("spillover.jobs.calibrate", "calibrate"),
    "export": ("spillover.jobs.export", "export"),
    "forecast": ("spillover.jobs.forecast", "forecast"),
    "import_records": ("spillover.jobs.importing", "import_records"),
    "init": ("spillover.jobs.init", "init"),
    "list_runs": ("spillover.runs.record", "list_runs"),
    "load_knowledge": ("spillover.knowledge.load", "load"),
    "read_run": ("spillover.runs.record", "read_run"),
    "score": ("spillover.jobs.score", "score"),
    "sweep": ("spillover.jobs.sweep", "sweep"),
    "tradeoff": ("spillover.jobs.tradeoff", "tradeoff"),
    "write_report": ("spillover.report.page", "write_report"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'spillover' has no attribute {name!r}")
    module, attribute = _HOMES[name]
    value = getattr(import_module(module), attribute)
    globals()[name] = value
    return value
