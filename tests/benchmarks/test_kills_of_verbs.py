"""What a kill leaves is seen: a half-written page, other numbers; and a report that is killed leaves none."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.kills_of_verbs import OLD, PAGE, Verb, campaign, run_campaign, two_writers, verbs
from spillover.jobs.audit import audit
from spillover.llm.settings import FineTuneConfig
from tests.tiny_models import save_tiny_model

SETTINGS = FineTuneConfig(epochs=1, batch_size=24)
WRITER = """
import os, time
from pathlib import Path
Path("begun").touch()
with open({where!r}, "w") as page:
    page.write("new")
    page.flush()
    time.sleep(0.4)
    page.write("er")
os.replace({where!r}, "report.html")
"""
"""Writes a page in two halves."""


def writer(where: str, folder: Path) -> Verb:
    report = verbs(folder)["report"]
    return replace(
        report,
        program=(sys.executable, "-c", WRITER.format(where=where)),
        words=(),
        begun=lambda place: (place / "begun").exists(),
    )


def test_a_page_that_is_written_at_once_survives(tmp_path: Path) -> None:
    tally = campaign(tmp_path / "report", writer("aside", tmp_path), kills=4)
    assert tally.differences == []
    assert tally.kills == 4
    assert tally.ends >= 1


def test_a_page_that_is_half_written_is_seen(tmp_path: Path) -> None:
    tally = campaign(tmp_path / "report", writer(PAGE, tmp_path), kills=20)
    assert len(tally.differences) == 1
    assert tally.differences[0].endswith("report.html is neither the old page nor the new")


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("print(os.getpid())", "differs from the undisturbed one"),
        ("sys.exit('disturbed-' in os.getcwd())", "ended with 1"),
    ],
)
def test_another_end_is_seen(tmp_path: Path, code: str, found: str) -> None:
    verb = Verb(
        program=(sys.executable, "-c", f"import os, sys; open('begun', 'w').close(); {code}"),
        words=(),
        begun=lambda place: (place / "begun").exists(),
        end=lambda place: (place / "stdout").read_text("utf-8"),
    )
    tally = campaign(tmp_path, verb, kills=50)
    assert len(tally.differences) == 1
    assert found in tally.differences[0]


def test_an_interpreter_that_is_half_started_gets_no_gentle_signal(tmp_path: Path) -> None:
    code = """
import signal, sys, time
for gentle in (signal.SIGINT, signal.SIGTERM):
    signal.signal(gentle, lambda *_: sys.exit("half started"))
open("begun", "w").close()
time.sleep(0.2)
"""
    verb = Verb(
        program=(sys.executable, "-c", code),
        words=(),
        begun=lambda place: (place / "begun").exists(),
        end=lambda place: 0,
    )
    tally = campaign(tmp_path, verb, kills=12)
    assert tally.differences == []
    assert tally.kills == 12


def test_two_who_write_one_folder_and_both_fail_are_seen(tmp_path: Path) -> None:
    code = "import sys, os; sys.exit(2 if 'meeting' in os.getcwd() else 0)"
    verb = Verb(program=(sys.executable, "-c", code), words=(), begun=lambda place: True, end=lambda place: 0)
    tally = two_writers(tmp_path, verb, meetings=1)
    assert any("neither did the work" in line for line in tally.differences)


def test_a_report_survives_kills(tmp_path: Path) -> None:
    found = verbs(tmp_path)
    model = str(save_tiny_model(tmp_path / "model", "llama"))
    audit("country-code", model=model, settings=SETTINGS, out=tmp_path / "reported" / "run")
    tally = run_campaign(tmp_path, found, "report", 1)
    assert tally.differences == []
    assert tally.kills == 1
    page = (tmp_path / "report" / "disturbed-1" / PAGE).read_text("utf-8")
    assert page != OLD
