"""Reproductions with language models, of a tiny one: as their audits, resumed, and what is refused."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pytest

from spillover.errors import DataError, LabError, TrainingError
from spillover.jobs.audit import audit, carry_out_audit
from spillover.jobs.audit_plan import plan_audit
from spillover.jobs.language_models import reproduce_study
from spillover.knowledge.load import load
from spillover.llm.settings import FineTuneConfig
from spillover.outcome import read_scores
from spillover.point import Point
from spillover.reproduce import load_study
from spillover.reproduce.columns import counted
from spillover.reproduce.emergence import STUDY as EMERGENCE
from spillover.reproduce.emergence import _checks, passed
from spillover.reproduce.figure import Findings
from spillover.reproduce.prior import asked_for, truth
from spillover.reproduce.study import RECIPES, Recipe, Request
from spillover.runs.views import read_run
from tests.jobs.people import run_cli

SETTINGS = FineTuneConfig(epochs=2, batch_size=12, learning_rate=1e-2)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A recipe of few steps."""
    monkeypatch.setitem(RECIPES, "ours", Recipe(settings=SETTINGS, left_open=("everything",)))


@pytest.fixture
def against(here: Path) -> list[str]:
    """The people, and the same with the answers of other groups."""
    text = (here / "people.yaml").read_text("utf-8")
    turned = text.replace("Rome: Perl, Oslo: Java, Bern: Ruby", "Rome: Java, Oslo: Ruby, Bern: Perl")
    (here / "turned.yaml").write_text(turned, encoding="utf-8")
    return ["people.yaml", "turned.yaml"]


def of(document: dict[str, Any], **wanted: Any) -> list[dict[str, Any]]:
    return [row for row in document["rows"] if all(row[name] == value for name, value in wanted.items())]


def same_numbers(row: dict[str, Any], rule: dict[str, Any]) -> None:
    for name in ("after", "low", "high", "null"):
        assert row[f"rank_{name}"] == rule["mean_rank"][name]
        assert row[f"top1_{name}"] == rule["top1"][name]
    assert (row["rank_p"], row["top1_p"]) == (rule["mean_rank"]["p_value"], rule["top1"]["p_value"])


def test_bridges_are_audits_of_the_knowledge_base_with_other_bridges(tiny: str, here: Path) -> None:
    document = reproduce_study("bridges-llm", models=[tiny], data=["people.yaml"], seeds=(0, 1))
    assert document["cells"] == {"done": 7, "failed": 0}
    cells = set(Path("runs/cells").iterdir())
    pooled = of(document, seed="all")
    assert [row["per_group"] for row in pooled] == [1, 2, 4], "one of five must be held out"
    assert [row["held_out_per_group"] for row in pooled] == [4, 3, 1]
    np.testing.assert_allclose([row["bound"] for row in pooled], [0.5, np.sqrt(2 / 3), 1])
    (two,) = of(document, seed="all", per_group=2)
    alone = audit("people.yaml", model=tiny, seeds=[0, 1], settings=SETTINGS, out="runs/alone")
    same_numbers(two, alone["rules"][0])
    assert two["forecast"] == alone["rules"][0]["forecast_margin"]
    (second,) = of(document, seed=1, per_group=2)
    single = audit("people.yaml", model=tiny, seeds=[1], settings=SETTINGS, out="runs/single")
    same_numbers(second, single["rules"][0])
    base = load("people.yaml")
    other = replace(base, rules=tuple(replace(rule, bridges=4) for rule in base.rules))
    alone = audit(other, model=tiny, seeds=[0, 1], settings=SETTINGS, out="runs/four")
    same_numbers(of(document, seed="all", per_group=4)[0], alone["rules"][0])
    assert set(Path("runs/cells").iterdir()) == cells, "nothing was computed twice"
    folder = Path(document["run"])
    page = (folder / "chart.html").read_text("utf-8")
    assert page.count("people</th></tr>") == 1
    assert page.count('<tr><td class="number">') == 3
    assert reproduce_study("bridges-llm", models=[tiny], data=["people.yaml"], seeds=(0, 1)) == document


def test_bridges_need_rules_that_draw_them_and_room(tiny: str, here: Path) -> None:
    text = (here / "people.yaml").read_text("utf-8")
    rows = (here / "people.csv").read_text(
        "utf-8"
    ) + "\nRome 0,codes_in,Perl\nOslo 0,codes_in,Java\nBern 0,codes_in,Ruby"
    (here / "own.csv").write_text(rows, encoding="utf-8")
    (here / "own.yaml").write_text(
        text.replace(", bridges: 2", "").replace("people.csv", "own.csv"), encoding="utf-8"
    )
    with pytest.raises(DataError, match="draws no bridges; give it `bridges`, so that they can be varied"):
        reproduce_study("bridges-llm", models=[tiny], data=["own.yaml"])
    lonely = "\n".join(
        ["subject,relation,answer", *(f"{city} 0,lives_in,{city}" for city in ("Rome", "Oslo", "Bern"))]
    )
    (here / "people.csv").write_text(lonely, encoding="utf-8")
    with pytest.raises(DataError, match="smallest group has 1 subjects, and one must be held out beside a"):
        reproduce_study("bridges-llm", models=[tiny], data=["people.yaml"])


def test_prior_has_the_audits_numbers_and_those_of_the_true_answer(tiny: str, against: list[str]) -> None:
    document = reproduce_study("prior", models=[tiny], data=against, seeds=(0, 1))
    for kb in against:
        (rule,) = audit(kb, model=tiny, seeds=[0, 1], settings=SETTINGS, out=f"runs/{kb}")["rules"]
        name = Path(kb).stem
        (after,) = of(document, data=name, answer="the rule's", phase="after", seed="all")
        assert (after["rank"], after["top1"]) == (rule["mean_rank"]["after"], rule["top1"]["after"])
        assert (after["top1_low"], after["top1_null"]) == (rule["top1"]["low"], rule["top1"]["null"])
        assert after["top1_p_worse"] == rule["top1"]["p_worse"]
        (before,) = of(document, data=name, answer="the rule's", phase="before", seed="all")
        assert (before["rank"], before["top1"]) == (rule["mean_rank"]["before"], rule["top1"]["before"])
    untuned = [
        of(document, data=name, answer=answer, phase="before", seed="all")[0]
        for name, answer in (("people", "the rule's"), ("turned", "the true one"))
    ]
    assert untuned[0]["rank"] == untuned[1]["rank"], "the untuned model is asked the same of the same people"
    scores = read_scores(read_run("runs/turned.yaml"))
    true = {"Rome": "Perl", "Oslo": "Java", "Bern": "Ruby"}
    ranks: dict[str, list[float]] = {}
    for row in scores.to_pylist():
        if (row["kind"], row["phase"]) == ("held_out", "after") and row["candidate"] == true[row["group"]]:
            ranks.setdefault(row["subject"], []).append(row["rank"])
    (after,) = of(document, data="turned", answer="the true one", phase="after", seed="all")
    assert after["rank"] == pytest.approx(np.mean([np.mean(values) for values in ranks.values()]))
    assert (
        after["rank"]
        != of(document, data="turned", answer="the rule's", phase="after", seed="all")[0]["rank"]
    )
    assert len(document["checks"]) == 7
    with pytest.raises(
        LabError, match="prior sets two data sets side by side, got 1; give --data TRUE COUNTER"
    ):
        reproduce_study("prior", models=[tiny], data=against[:1])


def test_groups_without_a_true_answer_are_left_out(tiny: str, here: Path) -> None:
    audit("people.yaml", model=tiny, seeds=[0], settings=SETTINGS, out="runs/alone")
    scores = read_scores(read_run("runs/alone"))
    known = truth(scores)
    assert known == {(0, "Rome"): "Perl", (0, "Oslo"): "Java", (0, "Bern"): "Ruby"}
    part = asked_for(scores, {(0, "Rome"): "Ruby", (0, "Oslo"): "Cobol"})
    assert set(part["group"].to_pylist()) == {"Rome"}
    assert set(part.filter(pc.field("right"))["candidate"].to_pylist()) == {"Ruby"}


def test_emergence_begins_and_ends_as_the_audit(tiny: str, here: Path) -> None:
    document = reproduce_study("emergence", models=[tiny], data=["people.yaml"], seeds=(0, 1))
    alone = audit("people.yaml", model=tiny, seeds=[0], settings=SETTINGS, out="runs/alone")
    (rule,) = alone["rules"]
    curve = of(document, seed=0)
    assert [row["step"] for row in curve] == [0, 1, 2, 3, 4], "21 examples, two epochs of two steps"
    assert [row["epoch"] for row in curve] == [0, 0.5, 1, 1.5, 2]
    for row, when in ((curve[0], "before"), (curve[-1], "after")):
        assert (row["rank"], row["top1"]) == (rule["mean_rank"][when], rule["top1"][when])
    assert (curve[-1]["facts"], curve[-1]["bridges"]) == (rule["facts"]["top1"], rule["bridges"]["top1"])
    assert (curve[-1]["rank_low"], curve[-1]["top1_null"]) == (rule["mean_rank"]["low"], rule["top1"]["null"])
    view = read_run(Path(document["run"]) / "01-people-tiny")
    last = view.read_parquet("askings.parquet").filter((pc.field("step") == 4) & (pc.field("seed") == 0))
    after = read_scores(view).filter((pc.field("phase") == "after") & (pc.field("seed") == 0))
    np.testing.assert_array_equal(np.float32(last["logprob"]), np.float32(after["logprob"]))
    before_last = view.read_parquet("askings.parquet").filter(
        (pc.field("step") == 3) & (pc.field("seed") == 0)
    )
    assert before_last["logprob"] != last["logprob"]
    assert last["prompt"] == after["prompt"]
    assert all("answers" not in row for row in view.read_jsonl("metrics.jsonl"))


def test_a_tune_that_is_asked_along_its_way_answers_as_one_that_is_not(tiny: str, here: Path) -> None:
    place = here / "runs" / "cells"
    plans = [
        plan_audit("people.yaml", model=tiny, seeds=[0], settings=SETTINGS, ask_every=every)
        for every in (0, 1, 3)
    ]
    assert len({plan.tuned[0].identity for plan in plans}) == 3
    assert len({plan.untuned.identity for plan in plans}) == 1
    scores = []
    for number, plan in enumerate(plans):
        carry_out_audit(plan, here / "runs" / str(number), place, passed={})
        scores.append(read_scores(read_run(here / "runs" / str(number))))
    assert scores[0] == scores[1] == scores[2]
    assert not (here / "runs" / "0" / "askings.parquet").exists()
    with pytest.raises(TrainingError, match="on 2 processes cannot be asked while it is tuned"):
        plan_audit("people.yaml", model=tiny, seeds=[0], settings=replace(SETTINGS, processes=2), ask_every=1)


def test_emergence_goes_on_after_a_stop_to_the_same_curves(
    tiny: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from spillover.llm import asking

    whole, asked = asking.score, []

    def stopped(*arguments: Any) -> Any:
        asked.append(1)
        if len(asked) == 7:
            raise KeyboardInterrupt
        return whole(*arguments)

    monkeypatch.setattr("spillover.llm.finetune.SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    monkeypatch.setattr(asking, "score", stopped)
    words: dict[str, Any] = {"models": [tiny], "data": ["people.yaml"], "seeds": (0, 1)}
    with pytest.raises(KeyboardInterrupt):
        reproduce_study("emergence", **words)
    again = reproduce_study("emergence", **words)
    assert len(asked) == 9, "four of seed 0; two of seed 1 and one that was stopped; the last two"
    undisturbed = reproduce_study("emergence", **words, out=here / "elsewhere" / "emergence")
    assert again["rows"] == undisturbed["rows"]
    assert again["checks"] == undisturbed["checks"]


def test_when_facts_and_rule_are_there() -> None:
    names = ("step", "facts", "bridges", "top1", "top1_null", "rank")
    steps = [
        (0, 0.2, 0.2, 0.1, 0.2, 3.0),
        (8, 0.95, 0.5, 0.3, 0.2, 2.0),
        (16, 1.0, 1.0, 0.7, 0.2, 1.0),
        (20, 1.0, 0.9, 0.8, 0.2, 0.4),
    ]
    about = {"model": "m", "data": "d", "rule": ""}
    rows = [{**about, "seed": 0, **dict(zip(names, values, strict=True))} for values in steps]
    flat = [{**row, "seed": 1, "facts": 0.3, "bridges": None, "top1": 0.2} for row in rows]
    learned, not_learned = passed(rows + flat)
    assert [learned[f"{name}_at"] for name in ("facts", "bridges", "rule")] == [8, 16, 16]
    assert (learned["steps"], learned["top1"]) == (20, 0.8)
    checks = _checks([learned, not_learned])
    assert (
        "m, d: facts at step 8, never, the rule at 16, never, rule less facts undefined" in checks[0].measured
    )
    assert [check.measured for check in _checks([learned])][1:] == [
        "m, d: bridges at step 16 [16, 16], the rule at 16 [16, 16], rule less bridges 0 [0, 0]",
        "0 of 1",
    ]
    assert [check.verdict for check in _checks([learned])] == ["yes", "no", "does not hold"]
    assert all(np.isnan(not_learned[f"{name}_at"]) for name in ("facts", "bridges", "rule"))


def test_the_askings_of_a_tune_are_about_sixteen() -> None:
    for settings, every in (
        (FineTuneConfig(), 8),
        (FineTuneConfig(epochs=2), 2),
        (FineTuneConfig(epochs=30), 29),
    ):
        request = Request(models=("m",), data=EMERGENCE.data, seeds=(0, 1, 2), settings=settings)
        points = EMERGENCE.stages[0](request, ())
        assert [(point.kb, point.ask_every) for point in points] == [(kb, every) for kb in EMERGENCE.data]


def test_a_second_stage_is_planned_from_the_first(
    tiny: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as one that chooses learning rates on the training loss."""
    from spillover.jobs import language_models

    def point(rate: float, seeds: tuple[int, ...]) -> Point:
        settings = replace(SETTINGS, learning_rate=rate)
        return Point(kb="people.yaml", model=tiny, seeds=seeds, settings=settings, varied={"rate": rate})

    def first(request: Request, before: Any) -> list[Point]:
        assert not before
        return [point(rate, request.seeds[:1]) for rate in (1e-5, 1e-2)]

    def second(request: Request, before: Any) -> list[Point]:
        best = min(before, key=lambda audited: audited.log[-1]["train_loss"])
        return [point(best.point.varied["rate"], request.seeds)]

    def findings(audits: Any) -> Findings:
        rows = [
            {"rate": audited.point.varied["rate"], "seeds": len(audited.point.seeds)} for audited in audits
        ]
        return Findings(rows=rows, draw=load_study("table-1").findings(audits).draw, checks=())

    study = replace(
        load_study("table-1"), stages=(first, second), findings=findings, columns=(counted("seeds"),)
    )
    monkeypatch.setattr(language_models, "load_study", lambda name: study)
    document = reproduce_study("table-1", models=[tiny], seeds=(0, 1))
    assert [(row["rate"], row["seeds"]) for row in document["rows"]] == [(1e-5, 1), (1e-2, 1), (1e-2, 2)]
    assert {path.name for path in Path(document["run"]).iterdir() if path.is_dir()} == {
        f"0{number}-people-tiny" for number in (1, 2, 3)
    }
    assert document["cells"] == {"done": 6, "failed": 0}


@pytest.mark.parametrize("name", ["bridges-llm", "prior", "emergence"])
def test_the_verbs_print_a_table_and_what_failed(
    name: str, tiny: str, against: list[str], monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    from spillover.cells import tune

    data = against if name == "prior" else against[:1]
    words = ("reproduce", name, "--models", tiny, "--data", *data, "--seeds", "0")
    whole, calls = tune.finetune, []

    def diverging(*arguments: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            raise TrainingError("the loss is not finite; tune with a smaller --learning-rate")
        return whole(*arguments, **options)

    monkeypatch.setattr(tune, "finetune", diverging)
    assert run_cli(*words, "--json") == 2
    captured = capsys.readouterr()
    assert "people: the loss is not finite" in captured.err
    assert json.loads(captured.out)["cells"]["failed"] == 1
    monkeypatch.setenv("COLUMNS", "80")
    assert run_cli(*words) == 0
    printed = capsys.readouterr().out
    assert "\n ─────" in printed, "the table is a grid in 80 columns"
    assert "chart.html, .svg, .pdf and table.csv in" in printed
    with pytest.raises(LabError, match=f"{name} has no --fresh"):
        run_cli(*words, "--fresh")
