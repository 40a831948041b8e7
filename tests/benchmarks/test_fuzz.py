"""A small campaign of fuzz finds nothing, and one finds whatever is there to find."""

import time
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import strategies as st

from benchmarks import fuzz
from benchmarks.fuzz_inputs import KINDS, Kind
from spillover.errors import DataError


def test_nothing_gets_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz, "SECONDS", 60)  # other tests run beside it
    tallies = fuzz.campaign(tmp_path, examples=80, seed=1)
    assert [line for tally in tallies.values() for line in tally.wrong] == []
    assert set(tallies) == set(KINDS)
    assert sum(tally.tried for tally in tallies.values()) >= 60
    assert tallies["whole tables"].ends["read"] >= 10
    assert tallies["knowledge bases"].ends["refused"] >= 5


def fail(error: BaseException) -> NoReturn:
    raise error


class SeveralLines(DataError):
    def __str__(self) -> str:
        return "one\ntwo"


@pytest.mark.parametrize(
    ("act", "end", "why"),
    [
        (lambda *_: "", "read", ""),
        (lambda *_: fail(DataError("no")), "refused", ""),
        (lambda *_: "a row is lost", "wrong", "a row is lost"),
        (lambda *_: fail(SeveralLines("")), "several lines", r"one\ntwo"),
        (lambda *_: fail(KeyError("x")), "traceback", "KeyError: 'x' (test_fuzz.py:"),
        (lambda *_: time.sleep(10), "hang", "more than"),
    ],
)
def test_what_is_wrong_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, act, end: str, why: str
) -> None:
    monkeypatch.setattr(fuzz, "SECONDS", 1)
    monkeypatch.setitem(KINDS, "trial", Kind(share=1, inputs=st.just("x"), act=act))
    said: list[str] = []
    tally = fuzz.campaign(tmp_path, examples=1, kinds=["trial"], say=said.append)["trial"]
    assert tally.tried == 1
    assert tally.wrong == said
    if why:
        assert said[0].startswith(f"{end}: ")
        assert why in said[0]
    else:
        assert (said, tally.ends) == ([], {end: 1})
