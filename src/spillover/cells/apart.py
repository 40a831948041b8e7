"""Cells in processes of their own on this machine.

A child is given its cell in one line of standard input, and says in one line of standard output how it
ended, both JSON. Its input stays open as long as its parent lives, and when it ends the child leaves at once,
so that a parent that was killed leaves nobody behind who goes on writing.
"""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from spillover import errors
from spillover.cells.cell import Cell
from spillover.cells.folder import CellFolder
from spillover.errors import RunError, SpilloverError
from spillover.runs.progress import Progress

_TRIES = 3  # a child that was killed is replaced, so many in all


class Processes:
    """The executor that gives every cell a process, `workers` of them at a time."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._children: set[subprocess.Popen[str]] = set()

    def __call__(
        self, folders: Sequence[CellFolder], progress: Progress
    ) -> Iterator[tuple[CellFolder, SpilloverError | None]]:
        """Each cell as it ends; see `plan.Executor`."""
        pool = ThreadPoolExecutor(self.workers)
        try:
            ends = {pool.submit(self._compute, folder): folder for folder in folders}
            for end in as_completed(ends):
                yield ends[end], end.result()
        finally:  # also where whoever asked leaves before the end
            pool.shutdown(wait=False, cancel_futures=True)
            for child in tuple(self._children):
                child.kill()
            pool.shutdown()

    def _compute(self, folder: CellFolder) -> SpilloverError | None:
        threads = max(1, (os.cpu_count() or 1) // self.workers)
        order = {"cell": folder.cell.document(), "place": str(folder.place), "keep_model": folder.keep_model}
        for _ in range(_TRIES):
            with subprocess.Popen(
                [sys.executable, "-m", "spillover.cells"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, "OMP_NUM_THREADS": str(threads)},
            ) as child:
                self._children.add(child)
                told = _converse(child, json.dumps(order))
                self._children.discard(child)
            if told:
                kind, text = json.loads(told)
                return getattr(errors, kind)(text) if kind else None
        return RunError(f"{folder.path}: the process was killed {_TRIES} times; is there memory enough?")


def _converse(child: Any, order: str) -> str:
    """What the child says at its end; nothing if it was killed."""
    try:
        child.stdin.write(order + "\n")
        child.stdin.flush()
    except BrokenPipeError:  # killed before it heard
        return ""
    return child.stdout.read()


def serve() -> None:
    """Be such a child."""
    line = sys.stdin.readline()
    if not line:  # whoever started it was killed before it said what to do
        return
    order = json.loads(line)
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    folder = CellFolder(
        cell=Cell.of(order["cell"]), place=Path(order["place"]), keep_model=order["keep_model"]
    )
    kind, text = None, ""
    try:
        folder.compute()
    except SpilloverError as error:
        kind, text = type(error).__name__, str(error)
    print(json.dumps([kind, text]))


def _leave_with_parent() -> None:
    sys.stdin.read()
    os._exit(1)
