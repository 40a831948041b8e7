"""A table loses no digit, however narrow the terminal."""

import re

import pytest
from rich.console import Console

from spillover.report.forecast import calibration_table, forecast_table
from spillover.report.lab import lab_table
from spillover.report.sheet import Column, Sheet
from spillover.report.sweep import sweep_table
from spillover.report.tables import audit_table
from tests.report.fixture import results

MEASURES = ("train_loss", "train_accuracy", "held_out_loss", "held_out_accuracy", "train_margin",
            "held_out_margin", "nuclear", "effective_rank")  # fmt: skip


def sweep():
    failed = {**results(), "varied": {"lora": None}, "failed": "no room"}
    audits = [{**results(), "varied": {"lora": 2}}, failed]
    return {"cells": {"done": 5, "failed": 1}, "audits": audits}


def lab():
    measures = {name: {"mean": 0.526, "least": 0.314, "most": 1234.0} for name in MEASURES}
    setting = {"ov": "factorized", "d_h": 128, "attention": "linear", **measures}
    about = {"seeds": [0, 1], "gradient": "exact", "step": 1000, "seconds": 3.0, "run": "runs/x"}
    return {**about, "task": {"groups": 20}, "guess": 2.996, "settings": [setting]}


def forecast():
    from spillover.jobs.forecast import forecast

    return forecast("demo")


def rated():
    """The same forecast of a calibrated model."""
    found = forecast()
    about = {"model": "smollm2-135m", "rules": 12, "error": 0.083, "asked": True, "coverage": 0.9}
    return found | {
        "calibration": about,
        "rules": [rule | {"rate": {"mean": 0.61, "low": 0.42, "high": 0.78}} for rule in found["rules"]],
    }


def calibration():
    evidence = [
        {
            "rule": f"likes_{n} -> sings_{n}",
            "bridges": 0.7 * n,
            "counterexamples": 0.8 * n,
            "rate": 0.08 * n,
            "groups": n,
            "relations": 2,
            "prior": {"nats": n - 5.5, "rank": 1.0, "shared": True} if n % 2 else None,
        }
        for n in range(3, 11)
    ]
    errors = {"error": 0.112, "error_asked": 0.083}
    return {"model": "smollm2-135m", "rules": 8, "evidence": evidence, **errors, "intervals": False}


TABLES = {
    "audit": (audit_table, results),
    "sweep": (sweep_table, sweep),
    "lab": (lab_table, lab),
    "forecast": (forecast_table, forecast),
    "rates": (forecast_table, rated),
    "calibration": (calibration_table, calibration),
}


def shown(renderable, width: int) -> str:
    console = Console(width=width, color_system=None, legacy_windows=False)
    with console.capture() as captured:
        console.print(renderable)
    return captured.get()


@pytest.mark.parametrize("width", [24, 40, 60, 80])
@pytest.mark.parametrize("name", TABLES)
def test_every_number_is_whole_in_any_width(name, width):
    table, document = TABLES[name]
    renderable = table(document())
    wide, narrow = (shown(renderable, columns) for columns in (200, width))
    assert max(map(len, narrow.splitlines())) <= width
    assert "…" not in narrow
    texts = [text.replace("95% interval", "") for text in (wide, narrow)]  # a heading, or one in each row
    numbers = [sorted(re.findall(r"\d[\d.,]*\d|\d", text)) for text in texts]
    assert len(numbers[0]) > 15
    assert numbers[0] == numbers[1]


def test_a_narrow_row_is_a_paragraph_of_its_texts_and_numbers():
    sheet = Sheet([Column(name="rule"), Column(name="top\n1", numbers=True), Column(), Column(name="p")])
    sheet.add_row("lives in → speaks", ("91%", "83–96%"), "first", "")  # noqa: RUF001
    assert shown(sheet, 20).splitlines() == [
        "lives in → speaks, ",
        "first",
        "  top 1  91%, 83–96%",  # noqa: RUF001
        "",
    ]
