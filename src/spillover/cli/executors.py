"""Who computes the cells, from the options that several verbs have."""

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from spillover.cells.plan import Executor

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
