import json
import subprocess
import sys
from dataclasses import replace
from functools import partial

import pytest

import spillover.reproduce
from spillover.reproduce import FIGURES, LANGUAGE_MODELS, load
from tests.reproduce.conftest import SMALL


@pytest.fixture
def small(monkeypatch):
    """Reproductions with small settings, in place of the real ones."""

    def smaller(name):
        figure = load(name)
        return replace(figure, settings=partial(figure.settings, **SMALL[name]))

    monkeypatch.setattr(spillover.reproduce, "load", smaller)


def test_help_loads_nothing_heavy():
    code = (
        "import sys; from spillover.cli import app; app(['--help'], result_action='return_value'); "
        "loaded = {'torch', 'altair', 'transformers', 'numpy'} & set(sys.modules); "
        "sys.exit(str(loaded) if loaded else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "symbolic" in done.stdout
    assert "reproduce" in done.stdout


WORLD = ("--groups", 3, "--noise", 2, "--length", 5, "--seeds", 2, "--steps", 30)


def test_symbolic_prints_a_table_in_80_columns(command):
    code, out, _ = command("symbolic", *WORLD, "--ov", "factorized", "merged", "--d-h", 2, 3)
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    for text in ("d_h = 2", "d_h = 3", "merged", "held-out", "1.099", "least and most"):
        assert text in out


def test_symbolic_json_is_one_document(command):
    code, out, _ = command("symbolic", *WORLD, "--bridges", 4, "--json")
    document = json.loads(out)
    assert code == 0
    assert document["task"] == {
        "groups": 3,
        "subjects": [4] * 3,
        "bridges": [[4] * 3],
        "noise": 2,
        "length": 5,
    }
    assert (document["run"], document["seeds"], document["step"]) == (None, [0, 1], 30)
    (setting,) = document["settings"]
    assert (setting["ov"], setting["d_h"], setting["attention"]) == ("factorized", 128, "linear")
    assert setting["held_out_loss"] == {"mean": None, "least": None, "most": None}  # nothing is held out
    loss = setting["train_loss"]
    assert 0 < loss["least"] <= loss["mean"] <= loss["most"]


@pytest.mark.parametrize("optimizer", ["gd", "normalized_gd"])
@pytest.mark.parametrize("gradient", ["sampled", "exact"])
@pytest.mark.parametrize("attention", ["linear", "softmax"])
def test_symbolic_takes_every_choice(command, optimizer, gradient, attention):
    choices = ("--optimizer", optimizer, "--gradient", gradient, "--attention", attention)
    code, out, _ = command("symbolic", *WORLD, *choices, "--json")
    assert code == 0
    assert json.loads(out)["optimizer"]["rule"] == optimizer


def test_symbolic_goes_on_in_its_folder(command, tmp_path):
    first = command("symbolic", *WORLD, "--out", tmp_path / "run", "--json")
    assert json.loads(first[1])["run"] == str(tmp_path / "run")
    again = command("symbolic", *WORLD, "--out", tmp_path / "run", "--json")
    assert json.loads(again[1]) == json.loads(first[1])
    code, out, err = command("symbolic", *WORLD, "--lr", 0.1, "--out", tmp_path / "run")
    assert (code, out) == (2, "")
    assert "argument 'optimizer.learning_rate' was 0.005, now 0.1; use another --out" in err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--d-h", 0), "d_h must be a whole number of at least 1, got 0"),
        (("--bridges", 5), "group 0 has 5 bridges and only 4 subjects; take fewer bridges"),
        (("--length", 2), "length must be a whole number of at least 3, got 2"),
        (("--groups", 1), "groups must be a whole number of at least 2, got 1"),
        (("--noise", 0), "no noise tokens; set noise to at least 1, or length to 3"),
        (("--seeds", 0), "seeds must be a whole number of at least 1, got 0"),
        (("--steps", 0), "steps must be a whole number of at least 1, got 0"),
        (("--lr", "nan"), "the learning rate must be a positive number, got nan"),
        (("--device", "tpu"), "device 'tpu' is none that torch knows"),
        (("--ov", "split"), 'Invalid value "split" for --ov'),
        (("--noise", 40, "--length", 40, "--gradient", "exact"), "distinct counts, more than"),
    ],
)
def test_bad_settings_are_one_sentence(command, arguments, sentence):
    code, out, err = command("symbolic", *arguments)
    assert (code, out) == (2, "")
    assert sentence in err
    assert err.startswith("spillover: ")
    assert err.count("\n") == 1


def test_a_run_that_diverges_says_so(command):
    code, out, err = command("symbolic", *WORLD, "--optimizer", "gd", "--lr", 1e30)
    assert (code, out) == (2, "")
    assert "lower its learning rate" in err.splitlines()[-1]


def test_reproduce_names_what_there_is(command):
    code, out, _ = command("reproduce", "--list")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == [*FIGURES, *LANGUAGE_MODELS]
    code, out, _ = command("reproduce", "--list", "--json")
    assert [row["name"] for row in json.loads(out)] == [*FIGURES, *LANGUAGE_MODELS]
    for arguments, sentence in (
        ((), "say what to reproduce: dynamics"),
        (("dynamic",), "no reproduction 'dynamic'; it can be dynamics"),
    ):
        code, out, err = command("reproduce", *arguments)
        assert (code, out) == (2, "")
        assert sentence in err


def test_reproduce_prints_checks_and_exits_0_whether_or_not_they_hold(command, small, tmp_path):
    code, out, _ = command("reproduce", "rank-sweep", "--out", tmp_path / "a")
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    assert "does not hold" in out  # ten steps teach nothing
    assert "d_h = 4 works" in out
    code, out, _ = command("reproduce", "rank-sweep", "--out", tmp_path / "a", "--json")
    document = json.loads(out)
    assert code == 0
    assert document["run"] == str(tmp_path / "a")
    assert {"name", "claim", "checks", "settings", "seeds", "seconds", "packages"} <= document.keys()
    assert {"statement", "kind", "holds", "verdict", "measured"} == document["checks"][0].keys()


def test_reproduce_all_makes_a_folder_for_each(command, small, tmp_path, monkeypatch):
    two = {name: FIGURES[name] for name in ("rank-sweep", "bridges")}
    monkeypatch.setattr(spillover.reproduce, "FIGURES", two)
    code, out, _ = command("reproduce", "all", "--out", tmp_path, "--json")
    assert code == 0
    assert [document["name"] for document in json.loads(out)] == list(two)
    assert {path.name for path in tmp_path.iterdir()} == set(two)


# Interrupted


@pytest.fixture
def interrupted(monkeypatch):
    """Every training is interrupted as it starts."""

    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("spillover.jobs.lab.train", stop)
    monkeypatch.setattr("spillover.reproduce.figure.train", stop)


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("symbolic",), None),
        (("symbolic", "--out", "mine"), "the same command with --out mine goes on from there"),
        (("reproduce", "bridges"), "the same command with --out runs/bridges goes on from there"),
        (
            ("reproduce", "bridges", "--out", "my run"),
            "the same command with --out 'my run' goes on from there",
        ),
        (("reproduce", "all"), "the same command with --out runs goes on from there"),
        (("reproduce", "all", "--out", "mine"), "the same command with --out mine goes on from there"),
        (
            ("reproduce", "bridges", "--fresh"),
            "the same command without --fresh with --out runs/bridges goes on from there",
        ),
    ],
)
@pytest.mark.usefixtures("interrupted")
def test_an_interrupt_says_how_to_go_on(command, tmp_path, monkeypatch, arguments, hint):
    monkeypatch.chdir(tmp_path)
    code, out, err = command(*arguments)
    assert (code, out) == (130, "")
    assert err.splitlines()[-1] == ("; ".join(["interrupted", hint]) if hint else "interrupted")


# Listed


def test_runs_lists_what_the_lab_and_the_reproductions_wrote(command, small, tmp_path):
    command("reproduce", "bridges", "--out", tmp_path / "figure")
    command("symbolic", *WORLD, "--ov", "factorized", "merged", "--d-h", 2, 3, "--out", tmp_path / "lab")
    code, out, _ = command("runs", tmp_path)
    words = " ".join(out.split())
    assert code == 0
    assert "checks hold" in words
    assert "3 groups" in words
    views = json.loads(command("runs", tmp_path, "--json")[1])
    assert [(view["manifest"]["command"], view["status"]) for view in views] == [
        ("symbolic", "complete"),
        ("reproduce", "complete"),
    ]
    code, out, err = command("report", tmp_path / "lab", "--out", tmp_path / "report.html")
    assert (code, out) == (2, "")
    assert err.endswith("lab is a run of `spillover symbolic`; a report takes audits alone\n")
