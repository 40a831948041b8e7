"""The benchmark of rates: what it writes of a table, that it goes on, and how it judges."""

from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from benchmarks import rate_figures, rates
from spillover.cells.plan import one_after_another
from spillover.implication.calibration import FEWEST_RULES, Evidence
from spillover.jobs.calibrations import calibration_of
from spillover.knowledge.schema import KnowledgeBase
from tests.jobs.test_calibrate import trial
from tests.tiny_models import save_tiny_model


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[KnowledgeBase]:
    """Two small tables, a tiny model, and files of one's own."""
    found = [trial("lives", "codes", 1), trial("keeps", "drinks", 2)]
    for module in (rates, rate_figures):
        monkeypatch.setattr(module, "tables", lambda part: found)
        monkeypatch.setattr(module, "rates_file", lambda part: tmp_path / f"{part}.parquet")
    tiny = save_tiny_model(tmp_path / "tiny", "llama", max_position_embeddings=256)
    monkeypatch.setattr(rates, "DEFAULT_MODEL", str(tiny))
    monkeypatch.setattr(rates, "Processes", lambda workers: one_after_another)
    return found


def test_tables_are_counted_and_those_that_are_done_are_not_tuned_again(
    small: list[KnowledgeBase], tmp_path: Path
) -> None:
    whole = list(small)
    del small[1:]
    rates.measure("build", tmp_path / "cells")
    first = pq.read_table(tmp_path / "build.parquet").to_pylist()
    assert [(row["group"], row["seed"]) for row in first] == [
        (f"b{i}", seed) for seed in (0, 1) for i in range(3)
    ]
    assert {row["table"] for row in first} == {"lives -> codes"}
    for row in first:
        assert (row["bridges"], row["counterexamples"], row["held_out"], row["candidates"]) == (1, 0, 3, 3)
        assert 0 <= row["first"] <= 3
        assert 0 <= row["prior_rank"] <= 2
    small[:] = whole
    rates.measure("build", tmp_path / "other cells")
    both = pq.read_table(tmp_path / "build.parquet").to_pylist()
    assert both[: len(first)] == first
    assert {row["table"] for row in both[len(first) :]} == {"keeps -> drinks"}
    points = rate_figures.points("build")
    assert [(point.table, point.bridges, point.seen.rule) for point in points] == [
        ("lives -> codes", 1, "lives -> codes"),
        ("keeps -> drinks", 2, "keeps -> drinks"),
    ]
    for point, row in zip(points, (first, both[len(first) :]), strict=True):
        assert point.seen.rate == sum(each["first"] for each in row) / sum(each["held_out"] for each in row)
        assert (point.seen.bridges, point.seen.counterexamples) == (pytest.approx(point.bridges), 0)


def test_the_calibration_that_is_shipped_is_what_was_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SPILLOVER_CACHE", str(tmp_path))
    shipped = calibration_of()
    assert shipped is not None
    assert shipped.rules > 2 * FEWEST_RULES
    measured = [{(row["table"], row["rule"]) for row in _rows(part)} for part in rates.measured_parts()]
    assert len(shipped.evidence) == sum(map(len, measured))
    whole = rates.tables
    monkeypatch.setattr(
        rate_figures, "tables", lambda part: whole(part)[:2]
    )  # all of them take half a minute
    anew = [point.seen for part in rates.measured_parts() for point in rate_figures.points(part)]
    assert all(any(_alike(each, it) for each in shipped.evidence) for it in anew)


def _rows(part: str) -> list[dict]:
    return pq.read_table(rates.rates_file(part)).to_pylist()


def _alike(one: Evidence, other: Evidence) -> bool:
    near = pytest.approx((other.bridges, other.counterexamples), abs=1e-9)
    alike = replace(other, bridges=one.bridges, counterexamples=one.counterexamples)
    return one == alike and (one.bridges, one.counterexamples) == near
