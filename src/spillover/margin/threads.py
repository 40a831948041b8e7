"""Who does what is large: two threads, a half each, and one thread for every product of linear algebra.

Two threads inside a small product, waiting for each other, can cost fiftyfold.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from contextlib import AbstractContextManager
from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController

LARGE = 500_000
"""Numbers from which a second thread pays."""


def in_halves(rows: int, pool: Executor | None) -> tuple[list[slice], Callable[..., Iterable[Any]]]:
    """The parts in which to do so many rows, and the `map` over them.

    Two halves by the threads of `pool`; without one (what is not `LARGE`), all rows by whoever asks.
    """
    if pool is None:
        return [slice(0, rows)], map
    return [slice(0, rows // 2), slice(rows // 2, rows)], pool.map


def one_blas_thread() -> AbstractContextManager:
    """Within this, every product takes one thread; what is large enough for two is split by its own code."""
    return _libraries().limit(limits=1, user_api="blas")


@cache
def _libraries() -> ThreadpoolController:
    """Looking for them takes milliseconds."""
    return ThreadpoolController()
