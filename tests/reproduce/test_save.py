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
from spillover.reproduce import figure as figure_module
from spillover.reproduce.figure import Check, run, spread
from spillover.reproduce.save import FILES, reproduce, save, train_into
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
    done = figure_module.Reproduction(figure=figure, settings=settings, findings=findings, seconds=1.5)
    result = save(done, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(FILES)
    assert result == json.loads((tmp_path / "result.json").read_text())
    assert (result["name"], result["seeds"], result["seconds"]) == (name, list(range(settings.seeds)), 1.5)
    assert result["settings"].keys() >= SMALL[name].keys()
    assert {"torch", "numpy"} <= result["packages"].keys()
    assert [check["verdict"] for check in result["checks"]] == [check.verdict for check in findings.checks]
    page = (tmp_path / "chart.html").read_text()
    assert not re.findall(r"""(?:src|href)=["']?http""", page)
    for text in (result["claim"], result["checks"][0]["statement"]):
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
    assert not (tmp_path / "a" / "state").exists()
    calls = []
    again = reproduce(tiny, tmp_path / "a", progress=lambda *told: calls.append(told))
    assert again == first
    assert not calls
    reproduce(tiny, tmp_path / "a", fresh=True, progress=lambda *told: calls.append(told))
    assert calls[-1] == ("dynamics", 80, 80)
    other = reproduce(tiny, tmp_path / "a", settings=Tiny(steps=20))
    assert other["settings"]["steps"] == 20
    (tmp_path / "a" / "table.csv").unlink()
    reproduce(tiny, tmp_path / "a", settings=Tiny(steps=20))
    assert (tmp_path / "a" / "table.csv").exists()


def test_an_interrupted_one_goes_on(tiny, tmp_path):
    def interrupt(_, done, __):
        if done > 40:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reproduce(tiny, tmp_path / "a", progress=interrupt)
    assert not (tmp_path / "a" / "result.json").exists()
    assert list((tmp_path / "a" / "state").glob("*.safetensors"))
    calls = []
    whole = reproduce(tiny, tmp_path / "a", progress=lambda *told: calls.append(told[1]))
    assert calls[0] == 40  # the first experiment is not trained again
    unbroken = reproduce(tiny, tmp_path / "b")
    assert whole["checks"] == unbroken["checks"]
    assert (tmp_path / "a" / "table.csv").read_bytes() == (tmp_path / "b" / "table.csv").read_bytes()


def test_other_peoples_folders_are_left_alone(tiny, tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(RunError, match=r"holds 'thesis.tex', which is not of such a run; give --out"):
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


def test_settings_that_cannot_be():
    figure = load("bridges")
    with pytest.raises(LabError, match="seeds must be a whole number of at least 1, got 0"):
        run(figure, replace(figure.settings(), seeds=0))
    with pytest.raises(LabError, match="group 0 has 9 bridges and only 8 subjects"):
        run(figure, replace(figure.settings(), bridges=(9,)))
    with pytest.raises(LabError, match="no reproduction 'theorem-4'; it can be dynamics, rank-sweep"):
        load("theorem-4")


def test_training_into_a_folder_keeps_its_numbers_and_goes_on(tiny, tmp_path):
    experiment = tiny.experiments(Tiny())[0]
    alone, _ = train_into(None, experiment)
    kept, _ = train_into(tmp_path / "run", experiment)
    assert np.array_equal(kept.weights[0], alone.weights[0])
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        ".lock",
        "result.json",
        "state.safetensors",
        "table.csv",
    ]
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert [one["ov"] for one in result["settings"]] == ["factorized", "merged"]
    rows = table(tmp_path / "run")
    assert len(rows) == 2 * 11
    again, _ = train_into(tmp_path / "run", experiment)
    assert np.array_equal(again.weights[0], kept.weights[0])
    longer = replace(experiment, training=replace(experiment.training, steps=50))
    with pytest.raises(LabError, match="state of another experiment"):
        train_into(tmp_path / "run", longer)


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
