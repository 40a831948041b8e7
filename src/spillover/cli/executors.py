"""What options that several verbs have mean: who computes the cells, and how a model is tuned."""

from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from spillover.cells.plan import Executor
    from spillover.llm.settings import FineTuneConfig

Where = Literal["local", "ray"]
"""This machine, or a Ray cluster."""


def executor(
    on: Where, workers: int | None, *, address: str | None = None, cpus: float = 1, gpus: float = 0
) -> "Executor":
    """The executor that these options name. Raises RunError for a number of workers below 1."""
    if on == "ray":
        from spillover.cells.on_ray import OnRay

        return OnRay(address=address, cpus=cpus, gpus=gpus, workers=workers)
    from spillover.jobs.sweep import workers as local_workers

    return local_workers(1 if workers is None else workers)


def settings(**given: Any) -> "FineTuneConfig":
    """The settings of a tune, as by default where an option was not given (None)."""
    from spillover.llm.settings import FineTuneConfig

    return FineTuneConfig(**{name: value for name, value in given.items() if value is not None})
