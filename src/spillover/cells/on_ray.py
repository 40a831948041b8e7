"""Cells on a Ray cluster: an existing one by its address, or one that is started here and ends with us.

A cell travels as JSON, its scores and its log come back, and whoever asked records them: no disk is shared.
Each worker finds the weights by their name or folder, and refuses others than the cell's.
"""

import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from spillover.cells.cell import Cell, Weights
from spillover.cells.compute import compute, locate
from spillover.cells.folder import CellFolder
from spillover.errors import ModelError, RunError, SpilloverError
from spillover.runs.progress import Progress
from spillover.runs.record import Run

_TRIES = 3  # a cell whose worker was lost is run again, so often in all


@dataclass(frozen=True, kw_only=True)
class OnRay:
    """The executor on a Ray cluster."""

    address: str | None = None
    """Of an existing cluster; None starts one on this machine."""
    cpus: float = 1
    """CPUs that a cell is given, and threads that it computes with."""
    gpus: float = 0
    """GPUs that a cell is given."""
    workers: int | None = None
    """Cells at a time, on a cluster that is started here; None: as many as the machine has room for."""

    def __call__(
        self, folders: Sequence[CellFolder], progress: Progress
    ) -> Iterator[tuple[CellFolder, SpilloverError | None]]:
        """Each cell as it ends; see `plan.Executor`."""
        if any(folder.keep_model for folder in folders):
            raise RunError("weights do not travel back from a cluster; leave out --keep-model, or --on ray")
        with self._cluster() as ray:
            work = ray.remote(
                num_cpus=self.cpus, num_gpus=self.gpus, max_retries=_TRIES - 1, retry_exceptions=False
            )(compute_there)
            slots = max(1, int(ray.cluster_resources().get("CPU", 1) / self.cpus))
            waiting, running = list(folders), dict[Any, tuple[CellFolder, Run]]()
            try:
                while waiting or running:
                    while waiting and len(running) < slots + 1:  # one more than fit, so that none is idle
                        folder = waiting.pop(0)
                        try:
                            run = folder.open()
                        except SpilloverError as error:
                            yield folder, error
                            continue
                        if run.complete:
                            yield folder, None
                            continue
                        running[work.remote(folder.cell.document())] = folder, run
                    done, _ = ray.wait(list(running))
                    for reference in done:
                        folder, run = running.pop(reference)
                        yield folder, _record(ray, reference, folder, run)
            finally:
                for _, run in running.values():
                    run.close()

    @contextmanager
    def _cluster(self) -> Iterator[Any]:
        try:
            import ray  # pyright: ignore[reportMissingImports] - an extra
        except ImportError as error:
            raise RunError("--on ray needs Ray; install it with `pip install spillover[ray]`") from error
        here: dict[str, Any] = {}
        if not self.address and self.workers:
            here["num_cpus"] = math.ceil(self.workers * self.cpus)
        try:
            ray.init(self.address, include_dashboard=False, log_to_driver=False, **here)
        except Exception as error:  # whatever a cluster that is not there leads Ray to
            raise RunError(f"no Ray cluster at {self.address or 'this machine'}: {error}") from error
        try:
            yield ray
        finally:
            ray.shutdown()


def compute_there(document: Mapping[str, Any]) -> tuple[pa.Table, list[dict[str, Any]]]:
    """A cell's scores and its training log, computed wherever this is called."""
    cell = Cell.of(document)
    cell = replace(cell, weights=_found(cell.weights), tuned=cell.tuned and _found(cell.tuned))
    log: list[dict[str, Any]] = []

    def keep(history: list[dict[str, Any]]) -> None:
        log[:] = history

    with tempfile.TemporaryDirectory(prefix="spillover-") as scratch:
        return compute(cell, scratch=Path(scratch), on_log=keep), log


def _found(weights: Weights) -> Weights:
    """The same weights as they are on this machine."""
    here = locate(str(weights.folder) if weights.folder.is_dir() else weights.name)
    if here.identity != weights.identity:
        raise ModelError(
            f"model {weights.name} is another one on a worker than here; give each machine the same files"
        )
    return here


def _record(ray: Any, reference: Any, folder: CellFolder, run: Run) -> SpilloverError | None:
    """The end of a cell, written down; why it failed, if it did."""
    try:
        with run:
            table, log = _fetched(ray, reference, folder)
            if log:
                folder.log(run, log)
            folder.record(run, table)
    except SpilloverError as error:
        return error
    return None


def _fetched(ray: Any, reference: Any, folder: CellFolder) -> tuple[pa.Table, list[dict[str, Any]]]:
    """What a worker computed. Raises the SpilloverError that it failed with."""
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, SpilloverError):
            raise error.cause from None
        raise RunError(str(error.cause)) from error
    except ray.exceptions.RayError as error:
        times = f" {_TRIES} times" if isinstance(error, ray.exceptions.WorkerCrashedError) else ""
        raise RunError(f"{folder.path}: its worker was lost{times}: {type(error).__name__}") from error
