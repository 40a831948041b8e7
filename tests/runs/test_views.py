"""What a reader sees of run folders, those of version 0.1 among them."""

import io
import json
import re

import pytest
from rich.console import Console

from spillover.errors import RunError
from spillover.report.tables import runs_table
from spillover.runs.views import list_runs, read_run
from tests.report.fixture import of_version_0_1, results
from tests.runs.folder import manifest, start


def console_text(table):
    console = Console(width=80, file=io.StringIO(), record=True)
    console.print(table)
    return console.export_text()


def test_a_run_that_finishes_while_it_is_read_is_complete(tmp_path, monkeypatch):
    """The first look at the manifest says running; by the time the lock is free it is complete."""
    with start(tmp_path) as run:
        stale = dict(run.manifest)
        run.finish({}, 1)
    looks = iter([stale, manifest(tmp_path)])
    monkeypatch.setattr("spillover.runs.files.read_json", lambda path: next(looks))
    assert read_run(tmp_path).status == "complete"


def test_a_folder_without_a_manifest_is_no_run(tmp_path):
    with pytest.raises(RunError, match=r"is not a run: it has no manifest.json"):
        read_run(tmp_path)


def test_list_is_newest_first_and_names_the_broken(tmp_path):
    assert list_runs(tmp_path / "nowhere") == []
    for name in ("b-first", "a-second"):
        start(tmp_path / name).close()
    (tmp_path / "c-broken").mkdir()
    (tmp_path / "c-broken" / "manifest.json").write_text("{")
    (tmp_path / "not-a-run").mkdir()
    (tmp_path / "file").touch()
    views = list_runs(tmp_path)
    assert [view.folder.name for view in views] == ["a-second", "b-first", "c-broken"]
    assert [view.status for view in views] == ["incomplete", "incomplete", "broken"]
    assert "not valid JSON" in (views[-1].reason or "")


@pytest.mark.parametrize(
    ("command", "found", "what"),
    [
        ("audit", {"rules": []}, "it has no results.model"),
        ("audit", results() | {"rules": {}}, "results.rules is {}, not a list"),
        ("audit", results() | {"rules": [{}]}, r"it has no results.rules\[0\].fact"),
        (
            "audit",
            results() | {"rules": [results()["rules"][0] | {"kind": "odd"}]},
            r"rules\[0\].kind is 'odd', not 'causal' or 'spurious'",
        ),
        ("audit", results() | {"facts": {"top1": "1", "queries": 3}}, "top1 is '1', not a number or null"),
        (
            "reproduce",
            {"name": "x", "claim": "y", "checks": [1], "seconds": 1},
            "checks.0. is 1, not a mapping",
        ),
        ("sweep", {"run": "x", "cells": [], "audits": []}, "results.cells is .., not a mapping"),
        ("symbolic", {}, "it has no results.seconds"),
        ("bake", {}, "its command is 'bake', and spillover has none of that name"),
    ],
)
def test_results_of_another_shape_are_broken_and_the_list_goes_on(tmp_path, command, found, what):
    for name, run in (("odd", {"command": command, "results": found}), ("whole", {"results": results()})):
        (tmp_path / name).mkdir()
        text = json.dumps({"format_version": 1, "status": "complete", "started": "2026"} | run)
        (tmp_path / name / "manifest.json").write_text(text)
    odd, whole = sorted(list_runs(tmp_path), key=lambda view: view.folder)
    assert (odd.status, whole.status) == ("broken", "complete")
    assert re.search(rf"manifest.json is damaged: .*{what}.*; restore that file, or remove", odd.reason or "")
    text = console_text(runs_table([odd, whole]))
    assert "broken" in text
    assert "codes in 59% (20%)" in text


def test_a_number_that_has_changed_since_is_told(tmp_path):
    with start(tmp_path / "run") as run:
        run.finish(results(), 1)
    assert [view.status for view in list_runs(tmp_path)] == ["complete"]
    found = manifest(tmp_path / "run")
    found["results"]["rules"][0]["top1"]["after"] = 0.5
    (tmp_path / "run" / "manifest.json").write_text(json.dumps(found))
    (view,) = list_runs(tmp_path)
    assert "its results are not those that were written" in (view.reason or "")
    with pytest.raises(RunError, match="its results are not those that were written"):
        _ = start(tmp_path / "run").results


@pytest.mark.parametrize("target", ["nowhere", "manifest.json"])
def test_a_manifest_that_is_a_link_to_nothing_is_broken(tmp_path, target):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "manifest.json").symlink_to(target)
    assert [view.status for view in list_runs(tmp_path)] == ["broken"]
    with pytest.raises(RunError, match=r"manifest.json"):
        start(tmp_path / "run")


# Of version 0.1

RESULT = {
    "format": 1,
    "name": "bridges",
    "claim": "Any number of bridges will do.",
    "checks": [
        {"statement": "it does", "kind": "expectation", "holds": True, "verdict": "holds", "measured": "2"}
    ],
    "settings": {"seeds": 2, "steps": 10, "bridges": [0, 1]},
    "seeds": [0, 1],
    "seconds": 1.5,
    "code_revision": None,
    "packages": {"spillover": "0.1.0"},
    "python": "3.11.7",
    "platform": "Linux",
}
"""What version 0.1 wrote last into the folder of a reproduction, which had no manifest."""


def write_result(folder, **changes):
    folder.mkdir(parents=True)
    (folder / "result.json").write_text(json.dumps(RESULT | changes))
    return folder


def test_a_reproduction_of_version_0_1_is_a_complete_run(tmp_path):
    folder = write_result(tmp_path / "bridges")
    start(tmp_path / "new").close()
    old = list_runs(tmp_path)[-1]
    assert old == read_run(folder)
    assert (old.folder, old.status) == (folder, "complete")
    assert old.manifest["command"] == "reproduce"
    assert old.manifest["arguments"] == {"name": "bridges", "seeds": 2, "steps": 10, "bridges": [0, 1]}
    assert old.manifest["packages"] == {"spillover": "0.1.0"}
    assert old.results == {
        name: RESULT[name] for name in ("name", "claim", "checks", "settings", "seeds", "seconds")
    }
    assert [path.name for path in folder.iterdir()] == ["result.json"]


def test_a_manifest_counts_for_more_than_an_old_result(tmp_path):
    write_result(tmp_path / "run")
    start(tmp_path / "run", command="reproduce", replace="other", known={"result.json"}).close()
    assert (tmp_path / "run" / "result.json").exists()
    assert read_run(tmp_path / "run").status == "incomplete"


@pytest.mark.parametrize(
    "changes", [{"format": 2}, {"name": None}, {"checks": {}}, {"settings": [1]}, {"seconds": "long"}]
)
def test_a_result_of_something_else_is_no_run(tmp_path, changes):
    folder = write_result(tmp_path / "theirs", **changes)
    assert list_runs(tmp_path) == []
    with pytest.raises(RunError, match=r"is not a run: it has no manifest.json"):
        read_run(folder)
    (folder / "result.json").write_text("{")
    assert list_runs(tmp_path) == []


def test_an_audit_of_version_0_1_is_read(tmp_path):
    """Its manifest has the format that is still written."""
    (tmp_path / "audit").mkdir()
    found = results() | {"rules": [of_version_0_1(rule) for rule in results()["rules"]]}
    old = {"format_version": 1, "status": "complete", "command": "audit", "results": found}
    (tmp_path / "audit" / "manifest.json").write_text(json.dumps(old))
    (view,) = list_runs(tmp_path)
    assert (view.status, view.results, view.manifest) == ("complete", found, old)
