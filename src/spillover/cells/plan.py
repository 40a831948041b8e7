"""Cells that are needed -> cells that are done: what is missing is computed, once, by whichever executor."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from traceback import clear_frames
from typing import Protocol

from spillover.cells.folder import CellFolder, State
from spillover.errors import BusyError, SpilloverError
from spillover.runs.progress import Progress, silent

_PATIENCE = 0.5  # seconds between looks at a cell that another process computes


class Executor(Protocol):
    """Computes cells, here or elsewhere, in any order."""

    def __call__(
        self, folders: Sequence[CellFolder], progress: Progress
    ) -> Iterator[tuple[CellFolder, SpilloverError | None]]:
        """Each cell as soon as it is done, or with the reason why it is not; none stops the others."""
        ...


def one_after_another(
    folders: Sequence[CellFolder], progress: Progress = silent
) -> Iterator[tuple[CellFolder, SpilloverError | None]]:
    """The executor of this process."""
    for folder in folders:
        try:
            folder.compute(progress)
        except SpilloverError as error:
            _release(error)
            yield folder, error
        else:
            yield folder, None


def _release(error: BaseException | None) -> None:
    """Let go of what an error's frames hold, a model among it: the error is kept, and others need room."""
    while error is not None:
        clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def carry_out(
    folders: Iterable[CellFolder],
    *,
    executor: Executor = one_after_another,
    on_done: Callable[[CellFolder], None] = lambda folder: None,
    progress: Progress = silent,
) -> dict[CellFolder, SpilloverError]:
    """Have every cell computed that is not done yet; returns those that failed, and why.

    Cells that another process is computing are waited for. `on_done` is told of each cell that is done, those
    that were before among them.
    """
    waiting = list(dict.fromkeys(folders))
    total, failed = len(waiting), dict[CellFolder, SpilloverError]()
    while waiting:
        missing: list[CellFolder] = []
        for folder in waiting:
            if folder.state is State.DONE:
                on_done(folder)
            else:
                missing.append(folder)
        waiting = []
        for folder, error in executor(tuple(missing), progress):
            if error is None:
                on_done(folder)
            elif isinstance(error, BusyError):
                waiting.append(folder)
            else:
                failed[folder] = error
            missing.remove(folder)
            progress("cells", total - len(waiting) - len(missing), total)
        if waiting:
            time.sleep(_PATIENCE)
    return failed
