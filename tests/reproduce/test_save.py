import csv
import io
import json
import re
from dataclasses import dataclass, replace

import numpy as np
import pytest
from filelock import FileLock

from spillover.errors import LabError, RunError
from spillover.reproduce import FIGURES, load
from spillover.reproduce.figure import Check, spread
from spillover.reproduce.save import FILES, reproduce, results_of, write_findings
from spillover.runs import environment
from spillover.runs.record import Run, read_run
from spillover.symbolic.experiment import Experiment, Setting, Training
from spillover.symbolic.model import Model
from spillover.symbolic.task import Task

from .conftest import SMALL, trained


def table(folder):
    return list(csv.DictReader(io.StringIO((folder / "table.csv").read_text())))


@pytest.mark.parametrize("name", FIGURES)
def test_every_reproduction_is_written_whole(name, tmp_path):
    figure, settings, histories = trained(name)
    findings = figure.findings(settings, histories)
    results = results_of(figure.name, figure.claim, settings, figure.seeds(settings), findings)
    with Run.start(tmp_path, command="reproduce", arguments={}, passed={}, seeds=[], hashes={}) as run:
        write_findings(run, findings, results)
    assert {path.name for path in tmp_path.iterdir()} == {*FILES, "manifest.json", ".lock"}
    assert (results["name"], results["seeds"]) == (name, list(figure.seeds(settings)))
    assert results["settings"].keys() >= SMALL[name].keys()
    assert [check["verdict"] for check in results["checks"]] == [check.verdict for check in findings.checks]
    page = (tmp_path / "chart.html").read_text()
    assert not re.findall(r"""(?:src|href)=["']?http""", page)
    for text in (results["claim"], results["checks"][0]["statement"]):
        assert text.replace("'", "&#39;") in page
    picture = (tmp_path / "chart.svg").read_text()
    assert 'aria-roledescription="' in picture
    assert "NaN" not in picture
    assert (tmp_path / "chart.pdf").read_bytes()[:5] == b"%PDF-"
    rows = table(tmp_path)
    assert len(rows) == len(findings.rows)
    assert "nan" not in (tmp_path / "table.csv").read_text()


@dataclass(frozen=True, kw_only=True)
class Tiny:
    seeds: int = 1
    steps: int = 40


@pytest.fixture
def tiny():
    """A real figure's findings on two experiments that train in no time."""

    def experiments(settings):
        task = Task(groups=3, noise=1, length=4)
        training = Training(steps=settings.steps, seeds=tuple(range(settings.seeds)), records=10)
        pair = (Setting(model=Model(d_h=4)), Setting(model=Model(ov="merged")))
        exact = replace(training, gradient="exact")
        return [
            Experiment(task=task, settings=pair, training=training),
            Experiment(task=task, settings=pair[1:], training=exact),
        ]

    return replace(load("dynamics"), settings=Tiny, experiments=experiments)


def test_a_finished_folder_is_only_read(tiny, tmp_path):
    first = reproduce(tiny, tmp_path / "a")
    assert first["run"] == str(tmp_path / "a")
    assert {"torch", "numpy"} <= first["packages"].keys()
    view = read_run(tmp_path / "a")
    assert (view.status, view.manifest["command"]) == ("complete", "reproduce")
    assert view.manifest["arguments"] == {"name": "dynamics", "seeds": 1, "steps": 40}
    assert view.results is not None
    assert first.items() >= view.results.items()
    assert view.results.keys() == {"name", "claim", "checks", "settings", "seeds", "seconds"}
    assert not (tmp_path / "a" / "state").exists()
    calls = []
    again = reproduce(tiny, tmp_path / "a", progress=lambda *told: calls.append(told))
    assert again == first
    assert not calls
    reproduce(tiny, tmp_path / "a", fresh=True, progress=lambda *told: calls.append(told))
    assert calls[0] == ("dynamics", 0, 80)
    assert calls[-1] == ("dynamics", 80, 80)
    other = reproduce(tiny, tmp_path / "a", settings=Tiny(steps=20))
    assert other["settings"]["steps"] == 20
    (tmp_path / "a" / "table.csv").unlink()
    reproduce(tiny, tmp_path / "a", settings=Tiny(steps=20))
    assert (tmp_path / "a" / "table.csv").exists()


def as_version_0_1(folder):
    """Rewrite a finished reproduction as that version left it: result.json, written last, and no manifest."""
    manifest = read_run(folder).manifest
    made_with = {entry: manifest[entry] for entry in environment.ENTRIES}
    result = {"format": 1, **manifest["results"], **made_with}
    (folder / "result.json").write_text(json.dumps(result))
    (folder / "manifest.json").unlink()


def test_a_folder_of_version_0_1_is_only_read(tiny, tmp_path):
    first = reproduce(tiny, tmp_path / "a")
    as_version_0_1(tmp_path / "a")
    calls = []
    assert reproduce(tiny, tmp_path / "a", progress=lambda *told: calls.append(told)) == first
    assert not calls
    assert not (tmp_path / "a" / "manifest.json").exists()
    reproduce(tiny, tmp_path / "a", settings=Tiny(steps=20), progress=lambda *told: calls.append(told))
    assert calls[-1] == ("dynamics", 40, 40)
    assert not (tmp_path / "a" / "result.json").exists()
    assert read_run(tmp_path / "a").manifest["arguments"]["steps"] == 20


def test_one_that_version_0_1_left_unfinished_goes_on(tiny, tmp_path):
    def interrupt(_, done, __):
        if done > 40:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reproduce(tiny, tmp_path / "a", progress=interrupt)
    (tmp_path / "a" / "manifest.json").unlink()
    calls = []
    reproduce(tiny, tmp_path / "a", progress=lambda *told: calls.append(told[1]))
    assert calls[0] == 40


def test_an_interrupted_one_goes_on(tiny, tmp_path):
    def interrupt(_, done, __):
        if done > 40:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reproduce(tiny, tmp_path / "a", progress=interrupt)
    assert read_run(tmp_path / "a").status == "incomplete"
    assert list((tmp_path / "a" / "state").glob("*.safetensors"))
    calls = []
    whole = reproduce(tiny, tmp_path / "a", progress=lambda *told: calls.append(told[1]))
    assert calls[0] == 40  # the first experiment is not trained again
    assert len(read_run(tmp_path / "a").manifest["resumed_at"]) == 1
    unbroken = reproduce(tiny, tmp_path / "b")
    assert whole["checks"] == unbroken["checks"]
    assert (tmp_path / "a" / "table.csv").read_bytes() == (tmp_path / "b" / "table.csv").read_bytes()


def test_other_peoples_folders_are_left_alone(tiny, tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(RunError, match=r"holds 'thesis.tex' and no manifest.json; give --out"):
        reproduce(tiny, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(RunError, match="is a file"):
        reproduce(tiny, tmp_path / "thesis.tex")
    (tmp_path / "busy").mkdir()
    with (
        FileLock(tmp_path / "busy" / ".lock", is_singleton=False),
        pytest.raises(RunError, match="another process"),
    ):
        reproduce(tiny, tmp_path / "busy")


def test_an_audit_is_never_replaced(tiny, tmp_path):
    with Run.start(tmp_path, command="audit", arguments={}, passed={}, seeds=[0], hashes={}) as run:
        run.finish({"facts": 1}, 1)
    for fresh in (False, True):
        with pytest.raises(RunError, match="holds another run: the command was 'audit', now 'reproduce'"):
            reproduce(tiny, tmp_path, fresh=fresh)
    assert read_run(tmp_path).results == {"facts": 1}


def test_settings_that_cannot_be(tmp_path):
    figure = load("bridges")
    with pytest.raises(LabError, match="seeds must be a whole number of at least 1, got 0"):
        reproduce(figure, tmp_path / "run", settings=replace(figure.settings(), seeds=0))
    with pytest.raises(LabError, match="group 0 has 9 bridges and only 8 subjects"):
        reproduce(figure, tmp_path / "run", settings=replace(figure.settings(), bridges=(9,)))
    assert not (tmp_path / "run").exists()
    with pytest.raises(LabError, match="no reproduction 'theorem-4'; it can be dynamics, rank-sweep"):
        load("theorem-4")


def test_words_for_numbers_and_verdicts():
    assert spread([1.0, 2.0, 3.0], 1) == "2.0 [1.0, 3.0]"
    assert spread([-1e-9]) == "0.000 [0.000, 0.000]"
    assert spread([1.0, np.nan]) == spread([]) == "undefined"
    verdicts = [
        Check(statement="", holds=holds, measured="", kind=kind).verdict
        for kind in ("expectation", "question")
        for holds in (True, False)
    ]
    assert verdicts == ["holds", "does not hold", "yes", "no"]
