"""What an audit leaves behind: a folder of its own, its time, how to run it again, what it trained on."""

import json
import shlex
import sys
from dataclasses import replace
from datetime import datetime
from math import isnan
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from spillover import cli
from spillover.cells import tune as cells_tune
from spillover.errors import DataError, MarginError, RunError
from spillover.jobs import audit as audit_module
from spillover.jobs import margins
from spillover.jobs.audit import audit
from spillover.jobs.score import score
from spillover.knowledge.load import load
from spillover.llm.finetune import FineTuneConfig
from spillover.report.page import command_line, write_report
from spillover.runs import record
from spillover.runs.record import list_runs, read_run
from tests.jobs.people import run_cli


@pytest.fixture
def untuned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Audits that learn nothing, in no time."""
    monkeypatch.setattr(cells_tune, "finetune", lambda net, *rest, **options: net)


def run_folders() -> list[Path]:
    """What is in runs/ besides the cells that the runs share."""
    return sorted(path for path in Path("runs").iterdir() if path.name != "cells")


# To run it again


def called(command: str) -> dict[str, Any]:
    """What the command gives to the verb, as the command line's own parser reads it."""
    program, *words = shlex.split(command)
    assert program == "spillover"
    verb, bound, *_ = cli.app.parse_args(words, exit_on_error=False, print_error=False)
    assert verb is cli.audits.audit
    return dict(bound.arguments)


@pytest.mark.parametrize(
    ("words", "given"),
    [
        (["people.yaml"], {"kb": "people.yaml", "seeds": (0,)}),
        (["country-code"], {"kb": "country-code", "seeds": (0,)}),
        (["people.yaml", "--seeds", "0", "1", "--out", "mine"], {"kb": "people.yaml", "seeds": (0, 1)}),
        (
            ["people.yaml", "--lora", "2", "--epochs", "3", "--learning-rate", "0.01", "--batch-size", "4"],
            {
                "kb": "people.yaml",
                "seeds": (0,),
                "lora": 2,
                "epochs": 3,
                "learning_rate": 0.01,
                "batch_size": 4,
            },
        ),
        (
            ["people.yaml", "--shuffle", "--keep-model"],
            {"kb": "people.yaml", "seeds": (0,), "shuffle": True, "keep_model": True},
        ),
        (
            ["people.yaml", "--intervention", "merged-ov:rest=trained", "early-stop:facts=0.3"],
            {
                "kb": "people.yaml",
                "seeds": (0,),
                "interventions": ("merged-ov:rest=trained", "early-stop:facts=0.3"),
            },
        ),
    ],
)
@pytest.mark.usefixtures("here", "untuned")
def test_an_audit_of_the_command_line_can_be_run_again(
    tiny: str, words: list[str], given: dict[str, Any]
) -> None:
    run_cli("audit", *words, "--model", tiny, "--json")
    (view,) = list_runs("mine" if "--out" in words else "runs") or [read_run("mine")]
    command = command_line(view.manifest)
    assert command is not None
    assert called(command) == {"model": tiny, **given}
    assert shlex.split(command)[-1] in write_report([view.folder], "again.html").read_text("utf-8")


@pytest.mark.parametrize(
    ("kb", "options", "given"),
    [
        ("people.yaml", {}, {"kb": "people.yaml", "seeds": (0,)}),
        (Path("people.yaml"), {"seeds": (2, 1)}, {"kb": "people.yaml", "seeds": (2, 1)}),
        ("country-code", {"shuffle": True}, {"kb": "country-code", "seeds": (0,), "shuffle": True}),
        (
            "people.yaml",
            {"settings": FineTuneConfig(lora=2, seed=3), "keep_model": True, "out": "mine"},
            {"kb": "people.yaml", "seeds": (3,), "lora": 2, "keep_model": True},
        ),
    ],
)
@pytest.mark.usefixtures("here", "untuned")
def test_an_audit_of_python_can_be_run_again_on_the_command_line(
    tiny: str, kb: str | Path, options: dict[str, Any], given: dict[str, Any]
) -> None:
    results = audit(kb, model=tiny, **options)
    command = command_line(read_run(results["run"]).manifest)
    assert command is not None
    assert called(command) == {"model": tiny, **given}


@pytest.mark.usefixtures("here", "untuned")
def test_a_file_that_looks_like_an_option_stays_a_file(tiny: str) -> None:
    Path("people.yaml").rename("--people.yaml")
    results = audit("--people.yaml", model=tiny)
    command = command_line(read_run(results["run"]).manifest)
    assert command is not None
    assert called(command)["kb"] == "./--people.yaml"


@pytest.mark.parametrize(
    ("options", "settings"),
    [
        ({}, FineTuneConfig()),
        ({"shuffle": True, "seeds": (1, 0)}, FineTuneConfig(lora=2)),
        ({}, FineTuneConfig(warmup=0.2, epochs=3)),
    ],
)
@pytest.mark.parametrize("in_code", [False, True])
@pytest.mark.usefixtures("here", "untuned")
def test_what_the_command_line_cannot_say_is_said_in_python(
    tiny: str, options: dict[str, Any], settings: FineTuneConfig, in_code: bool
) -> None:
    kb = load("people.yaml") if in_code else "people.yaml"
    results = audit(kb, model=tiny, settings=settings, **options)
    text = command_line(read_run(results["run"]).manifest)
    assert text is not None
    if not in_code and settings.warmup == FineTuneConfig.warmup:
        assert text.startswith("spillover audit people.yaml ")
        return
    assert ("# kb: the KnowledgeBase 'people', made in code" in text) is in_code
    calls: list[Any] = []
    stub = SimpleNamespace(audit=lambda *given, **named: calls.append((given, named)))
    stub.FineTuneConfig = FineTuneConfig
    _, _, *call = text.splitlines()
    exec("\n".join(call), {"spillover": stub, "kb": kb})  # noqa: S102 - our own words
    ((given, named),) = calls
    assert given == (kb,)
    assert named.pop("settings", FineTuneConfig()) == settings
    assert named == {"model": tiny, "seeds": list(options.get("seeds", [0]))} | (
        {"shuffle": True} if "shuffle" in options else {}
    )


def test_a_run_that_does_not_say_where_its_data_were_has_no_command() -> None:
    """Runs that version 0.1.0 started from Python recorded the data's name alone, no path."""
    assert command_line({"command": "audit", "passed": {}, "arguments": {"kb": "people", "clip": 1}}) is None


# The folder


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("../../x", "x"),
        ("/etc/passwd", "etc-passwd"),
        ("a\nb\x1b[31mc", "a-b-31mc"),
        ("..", "unnamed"),
        ("\u202e\u200b", "unnamed"),
        ("people 名前", "people-名前"),
        ("n" * 300, "n" * 80),
    ],
)
@pytest.mark.usefixtures("untuned")
def test_a_name_never_leaves_the_folder_of_runs(tiny: str, here: Path, name: str, folder: str) -> None:
    before = {path.name for path in here.iterdir()}
    results = audit(replace(load("people.yaml"), name=name), model=tiny)
    assert {path.name for path in here.iterdir()} - before == {"runs"}
    (made,) = run_folders()
    assert made.name.startswith(f"{folder}-tiny-2")
    assert results["run"] == str(Path("runs") / made.name)


@pytest.mark.usefixtures("here", "untuned")
def test_audits_of_the_same_second_have_their_own_folders(tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_module, "datetime", SimpleNamespace(now=lambda: datetime(2026, 1, 2, 3, 4, 5)))
    folders = [audit("people.yaml", model=tiny)["run"] for _ in range(3)]
    assert folders == [f"runs/people-tiny-20260102-030405{more}" for more in ("", "-2", "-3")], (
        "none read another's results"
    )


@pytest.mark.usefixtures("here", "untuned")
def test_a_place_for_runs_that_is_a_file_is_one_clear_line(tiny: str) -> None:
    Path("runs").touch()
    with pytest.raises(RunError, match="cannot make a run folder in runs: File exists; use --out"):
        audit("people.yaml", model=tiny)


# Its time


@pytest.mark.usefixtures("here")
def test_seconds_add_up_over_a_resume_and_ctrl_c_says_where_to_go_on(
    tiny: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 0.0

    def tune(net: Any, *rest: Any, on_step: Any, **options: Any) -> Any:
        nonlocal now
        now += 10
        on_step(1, 2)
        now += 100
        if kill:
            raise kill
        return net

    monkeypatch.setattr(record, "monotonic", lambda: now)
    monkeypatch.setattr(cells_tune, "finetune", tune)
    monkeypatch.setattr(sys, "argv", ["spillover", "audit", "people.yaml", "--model", tiny])
    kill: BaseException | None = KeyboardInterrupt()
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == 130
    (folder,) = run_folders()
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == f"interrupted; the same command with --out {folder} goes on from there"
    assert read_run(folder).manifest["seconds"] == 110

    kill = OSError("as a kill, of which nothing more is written")
    with pytest.raises(OSError, match="as a kill"):
        audit("people.yaml", model=tiny, out=folder)
    assert read_run(folder).manifest["seconds"] == 120
    kill = None
    results = audit("people.yaml", model=tiny, out=folder)
    manifest = read_run(folder).manifest
    assert results["seconds"] == manifest["seconds"] == 230
    assert len(manifest["resumed_at"]) == 2
    assert manifest["resumed_at"][1][:19].replace("T", " ") in (folder / "report.html").read_text("utf-8")


def test_other_words_are_asked_beside_and_change_nothing_else(
    tiny: str, untuned: None, tmp_path: Path
) -> None:
    kb = load("country-code")
    wordings = kb.relations["codes_in"].paraphrases
    bare = {name: replace(relation, paraphrases=()) for name, relation in kb.relations.items()}
    (alone,) = audit(replace(kb, relations=bare), model=tiny, out=tmp_path / "bare")["rules"]
    before_there_were_any = "53fdddd1481c4a8a6d980e1805e2dbcd319330f2bfa229b7bef0f77e8b403725"
    assert read_run(tmp_path / "bare").manifest["hashes"]["data"] == before_there_were_any
    (rule,) = audit(kb, model=tiny, out=tmp_path / "run")["rules"]
    assert tuple(said["wording"] for said in rule["paraphrases"]) == wordings
    assert set(rule["other_words"]) == {"mean_rank", "top1"}
    assert {name: rule[name] for name in alone if name != "paraphrases"} == {
        name: value for name, value in alone.items() if name != "paraphrases"
    }
    page = (tmp_path / "run" / "report.html").read_text("utf-8")
    assert all(f"In other words, “{wording}”: " in page for wording in wordings)


# Its seeds


@pytest.mark.usefixtures("here", "untuned")
def test_the_seed_of_the_settings_is_the_seed(tiny: str) -> None:
    audit("people.yaml", model=tiny, settings=FineTuneConfig(seed=3), out="run")
    assert read_run("run").manifest["seeds"] == [3]
    audit("people.yaml", model=tiny, settings=FineTuneConfig(seed=3), seeds=[3], out="run")
    with pytest.raises(DataError, match=r"seeds are \[0, 1\] and settings.seed is 3; give one of the two"):
        audit("people.yaml", model=tiny, settings=FineTuneConfig(seed=3), seeds=[0, 1], out="other")
    assert not Path("other").exists()


# Its numbers


@pytest.mark.usefixtures("here", "untuned")
def test_undefined_is_nan_in_python_and_null_in_json(
    tiny: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*rest: Any, **options: Any) -> None:
        raise MarginError("too large for a forecast")

    monkeypatch.setattr(margins, "forecast", refuse)
    for results in (audit("people.yaml", model=tiny, out="run"), audit("people.yaml", model=tiny, out="run")):
        assert isnan(results["rules"][0]["forecast_margin"])
        assert isinstance(results["rules"][0]["top1"]["after"], float)
    assert read_run("run").manifest["results"]["rules"][0]["forecast_margin"] is None

    scored = score("people.yaml", model=tiny)
    assert scored["tuned"] is None, "which is no number"
    assert isnan(scored["rules"][0]["forecast_margin"])
    for words in (["audit", "people.yaml", "--out", "run"], ["score", "people.yaml"]):
        run_cli(*words, "--model", tiny, "--json")
        document = json.loads(capsys.readouterr().out)
        assert document["rules"][0]["forecast_margin"] is None
        run_cli(*words, "--model", tiny)
        assert "nan" not in capsys.readouterr().out
