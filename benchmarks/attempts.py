"""Calls of what may go wrong in any way: each comes to an end that can be counted, a hang as well."""

import resource
import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from spillover.errors import SpilloverError

SECONDS = 10
"""What takes longer hangs."""


class Hang(BaseException):
    """Raised where a call takes longer than it may; no library catches it."""


@dataclass(frozen=True, kw_only=True)
class End:
    """How a call ended."""

    how: Literal["fine", "one line", "several lines", "traceback", "hang"]
    """`one line` and `several lines` are complaints: a SpilloverError."""
    value: Any = None
    """What a call that ended fine returned."""
    why: str = ""
    """The complaint; of a traceback or a hang one line, with the last place in our code, if any."""
    trace: str = ""
    """The whole traceback, where there is one."""


def attempt(call: Callable[[], Any], seconds: int = SECONDS) -> End:
    """Call, for so many seconds at most; only in a main thread, as for any alarm."""
    try:
        with _alarm(seconds):
            return End(how="fine", value=call())
    except SpilloverError as error:
        text = str(error)
        return End(how="one line" if text and text.isprintable() else "several lines", why=text)
    except KeyboardInterrupt:
        raise
    except Hang as error:
        return End(how="hang", why=f"more than {seconds} s ({_place(error)})")
    except BaseException as error:  # whatever gets through is what is looked for
        why = f"{type(error).__name__}: {error!s:.200} ({_place(error)})"
        return End(how="traceback", why=why, trace=traceback.format_exc())


def peak_memory() -> float:
    """The most memory (GB) that this process, or one that it waited for, has had."""
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return max(resource.getrusage(whose).ru_maxrss for whose in who) * 1024 / 1e9


@contextmanager
def _alarm(seconds: int) -> Iterator[None]:
    before = signal.signal(signal.SIGALRM, _ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _ring(*_: object) -> None:
    raise Hang


def _place(error: BaseException) -> str:
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename != __file__]
    ours = [frame for frame in frames if "spillover" in frame.filename] or frames
    return f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else "before it began"
