"""Cells in processes of their own on this machine.

A child is given a cell in one line of standard input, says in one line of standard output how it ended, both
JSON, and waits for the next, since starting costs seconds of imports. Its input stays open as long as its
parent lives, and when it ends the child leaves at once, so that a parent that was killed leaves nobody behind
who goes on writing.
"""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from spillover import errors
from spillover.cells.cell import Cell
from spillover.cells.folder import CellFolder
from spillover.errors import RunError, SpilloverError
from spillover.runs.progress import Progress

_TRIES = 3  # a child that was killed is replaced, so many in all


class Processes:
    """The executor of several processes, `workers` of them, that take one cell after another."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._children: set[subprocess.Popen[str]] = set()
        self._idle: SimpleQueue[subprocess.Popen[str]] = SimpleQueue()

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
            while self._children:
                self._bury(next(iter(self._children)))
            self._idle = SimpleQueue()

    def _compute(self, folder: CellFolder) -> SpilloverError | None:
        order = {"cell": folder.cell.document(), "place": str(folder.place), "keep_model": folder.keep_model}
        for _ in range(_TRIES):
            child = self._child()
            reply = _converse(child, json.dumps(order))
            if reply:
                self._idle.put(child)
                kind, text = json.loads(reply)
                return getattr(errors, kind)(text) if kind else None
            self._bury(child)
        return RunError(f"{folder.path}: the process was killed {_TRIES} times; is there memory enough?")

    def _child(self) -> subprocess.Popen[str]:
        """One that waits for a cell, else a new one."""
        try:
            return self._idle.get_nowait()
        except Empty:
            pass
        threads = max(1, (os.cpu_count() or 1) // self.workers)
        child = subprocess.Popen(
            [sys.executable, "-m", "spillover.cells"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": str(threads)},
            start_new_session=True,  # an interrupt from the keyboard is for us to answer
        )
        self._children.add(child)
        return child

    def _bury(self, child: subprocess.Popen[str]) -> None:
        """Of one that was killed, wait for the end and close what led to it."""
        self._children.discard(child)
        with suppress(BrokenPipeError), child:
            pass


def _converse(child: Any, order: str) -> str:
    """What the child says of the cell at its end; nothing if it was killed."""
    try:
        child.stdin.write(order + "\n")
        child.stdin.flush()
    except BrokenPipeError:  # killed before it heard
        return ""
    return child.stdout.readline()


def serve() -> None:
    """Be such a child: take one cell after another until the parent ends."""
    orders: SimpleQueue[str] = SimpleQueue()
    threading.Thread(target=_listen, args=(orders,), daemon=True).start()
    while True:
        print(json.dumps(_obey(json.loads(orders.get()))), flush=True)


def _listen(orders: "SimpleQueue[str]") -> None:
    for line in sys.stdin:
        if line.endswith("\n"):  # else its parent was killed while it wrote
            orders.put(line)
    os._exit(0)


def _obey(order: dict[str, Any]) -> tuple[str | None, str]:
    """Compute a cell; the kind and the text of the error that it ended with, if it did."""
    folder = CellFolder(
        cell=Cell.of(order["cell"]), place=Path(order["place"]), keep_model=order["keep_model"]
    )
    try:
        folder.compute()
    except SpilloverError as error:
        return type(error).__name__, str(error)
    return None, ""
