"""Whatever a call does, its end is told."""

import signal
import sys
import time
from typing import NoReturn

import pytest

from benchmarks.attempts import attempt
from spillover.errors import DataError


def fail(error: BaseException) -> NoReturn:
    raise error


class SeveralLines(DataError):
    def __str__(self) -> str:
        return "one\ntwo"


@pytest.mark.parametrize(
    ("call", "how", "why"),
    [
        (lambda: 7, "fine", ""),
        (lambda: fail(DataError("no")), "one line", "no"),
        (lambda: fail(SeveralLines("")), "several lines", "one\ntwo"),
        (lambda: fail(DataError("")), "several lines", ""),
        (lambda: fail(KeyError("x")), "traceback", "KeyError: 'x' (test_attempts.py:"),
        (lambda: sys.exit(3), "traceback", "SystemExit: 3 (test_attempts.py:"),
        (lambda: time.sleep(10), "hang", "more than 1 s (test_attempts.py:"),
    ],
)
def test_the_end_of_a_call(call, how: str, why: str) -> None:
    end = attempt(call, seconds=1)
    assert (end.how, end.why[: len(why)]) == (how, why)
    assert end.value == (7 if how == "fine" else None)
    assert end.trace.startswith("Traceback") == (how == "traceback")
    assert signal.alarm(0) == 0


def test_an_interrupt_is_not_caught() -> None:
    with pytest.raises(KeyboardInterrupt):
        attempt(lambda: fail(KeyboardInterrupt()))
