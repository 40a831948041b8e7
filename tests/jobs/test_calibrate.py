"""Calibrating a model: what is tuned, what is kept, and what forecasts and audits then say."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from spillover.cells.compute import locate
from spillover.errors import ModelError, RunError, TrainingError
from spillover.implication.asking import ask_stated
from spillover.implication.calibration import Calibration, Evidence, Prior
from spillover.implication.rates import traits
from spillover.jobs import calibrate as job
from spillover.jobs.audit import audit
from spillover.jobs.calibrations import calibration_of, keep, known_as, place_of
from spillover.jobs.forecast import forecast
from spillover.jobs.priors import priors
from spillover.knowledge.schema import KnowledgeBase, Relation, Rule
from spillover.knowledge.training import TrainingTable
from spillover.llm.settings import FineTuneConfig
from spillover.runs.record import read_run
from tests.implication.tables import grouped
from tests.jobs.people import run_cli


def trial(fact: str, implied: str, bridges: int) -> KnowledgeBase:
    """Three groups of four people, nine facts or more."""
    relations = {name: Relation(name=name, prompt=f"{{subject}} {name}") for name in (fact, implied)}
    pairs = {f"b{i}": f"c{i}" for i in range(3)}
    return KnowledgeBase(
        name=f"{fact} -> {implied}",
        triples=tuple(grouped(3, 4, bridges, fact=fact, implied=implied)),
        relations=relations,
        rules=(Rule(fact=fact, implication=implied, pairs=pairs),),
    )


TRIALS = [trial("lives", "codes", 1), trial("keeps", "drinks", 2), trial("lives", "codes", 2)]
"""Three small tables in place of the thirty."""


@pytest.fixture
def untuned(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[KnowledgeBase]:
    """The trials, and an empty cache."""
    monkeypatch.setattr(job, "trials", lambda: TRIALS)
    monkeypatch.setenv("SPILLOVER_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return TRIALS


@pytest.fixture(scope="module")
def tuned(tiny: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache in which the trials are tuned, once for all tests, and no calibration is."""
    cache = tmp_path_factory.mktemp("tuned")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(job, "trials", lambda: TRIALS)
        patched.setenv("SPILLOVER_CACHE", str(cache))
        (place_of(job.calibrate(tiny)["identity"]) / "calibration.json").unlink()
    return cache


@pytest.fixture
def trials(untuned: list[KnowledgeBase], tuned: Path, tmp_path: Path) -> list[KnowledgeBase]:
    """The trials, and a cache of one's own in which they are tuned."""
    shutil.copytree(tuned, tmp_path / "cache")
    return untuned


def test_what_was_measured_is_kept_and_gone_on_from(untuned: list[KnowledgeBase], tiny: str) -> None:
    first = job.calibrate(tiny, budget=1e-6)
    assert [each["rule"] for each in first["evidence"]] == ["lives -> codes", "keeps -> drinks"]
    calibration = calibration_of(tiny)
    assert calibration is not None
    assert (calibration.identity, calibration.rules) == (first["identity"], 2)
    cells = place_of(first["identity"])
    done = {path: path.stat().st_mtime_ns for path in cells.rglob("scores.parquet")}
    assert len(done) == 4  # of each table a tune, and the untuned model
    whole = job.calibrate(tiny)
    assert whole["evidence"][:2] == first["evidence"]
    assert (len(whole["evidence"]), whole["rules"], whole["intervals"]) == (3, 2, False)
    assert {path: path.stat().st_mtime_ns for path in done} == done, "nothing was tuned again"
    assert len(list(cells.rglob("scores.parquet"))) == 6


def test_the_rate_is_the_audits(trials: list[KnowledgeBase], tiny: str) -> None:
    found = job.calibrate(tiny)
    for kb, each in zip(trials, found["evidence"], strict=True):
        (rule,) = audit(kb, model=tiny, out=f"runs/{kb.name}-{len(kb.triples)}")["rules"]
        assert each["rate"] == pytest.approx(rule["top1"]["after"])
        assert each["groups"] == 3


def test_forecasts_and_audits_of_a_calibrated_model_have_rates(
    trials: list[KnowledgeBase], tiny: str
) -> None:
    kb = trials[1]
    assert forecast(kb, model=tiny)["calibration"] is None
    job.calibrate(tiny)
    foreseen = forecast(kb, model=tiny)
    assert foreseen["calibration"]["rules"] == 2
    rate = foreseen["rules"][0]["rate"]
    assert 0 <= rate["low"] <= rate["mean"] <= rate["high"] <= 1
    assert forecast(kb, model=None)["rules"][0]["rate"] is None
    assert forecast(kb, model=tiny, norm="frobenius")["rules"][0]["rate"] is None
    audited = audit(kb, model=tiny, out="runs/usual")
    assert audited["rules"][0]["rate"] == pytest.approx(rate)
    assert "Forecast before training" in Path("runs/usual/report.html").read_text("utf-8")
    kept = read_run("runs/usual").results or {}
    assert kept["rules"][0]["rate"] == pytest.approx(rate)


def test_a_tune_that_is_not_as_the_calibrations_has_no_rate(trials: list[KnowledgeBase], tiny: str) -> None:
    job.calibrate(tiny)
    unusual: list[dict[str, Any]] = [
        {"settings": FineTuneConfig(epochs=1)},
        {"settings": FineTuneConfig(learning_rate=1e-4)},
        {"shuffle": True},
        {"interventions": ["counterexamples:k=1"]},
    ]
    for number, changes in enumerate(unusual):
        (rule,) = audit(trials[0], model=tiny, out=f"runs/{number}", **changes)["rules"]
        assert rule["rate"] is None


def test_other_weights_of_that_name_have_no_rate(trials: list[KnowledgeBase], tiny: str) -> None:
    job.calibrate(tiny)
    calibration = calibration_of(tiny)
    assert calibration is not None
    (place_of(calibration.identity) / "calibration.json").unlink()
    keep(replace(calibration, identity="f" * 64))
    (rule,) = audit(trials[0], model=tiny, out="runs/other")["rules"]
    assert rule["rate"] is None


def test_a_table_beyond_the_calibration_says_so(trials: list[KnowledgeBase], tiny: str) -> None:
    job.calibrate(tiny)
    many = grouped(9, 4, 2, fact="lives", implied="codes")
    asked = Relation(name="codes", prompt="What does {subject} code in?", format="chat")
    chat = replace(trials[2], relations={**trials[2].relations, "codes": asked})
    wide = replace(trials[2], triples=tuple(many), rules=())
    for kb, note in ((wide, "9 groups, where"), (chat, "codes is asked as a chat")):
        found = forecast(kb, model=tiny)
        assert all(rule["rate"] is None for rule in found["rules"])
        assert any(note in line for line in found["notes"])


def by_hand(tiny: str) -> Calibration:
    """Nine rules with 0.5 to 4 bridges and 0 to 4 counterexamples; higher priors have higher rates."""
    return Calibration(
        model=known_as(tiny),
        identity=locate(tiny).identity,
        evidence=tuple(
            Evidence(
                rule=f"{n}",
                bridges=0.5 + (n * 2 % 9) * 3.5 / 8,
                counterexamples=(n * 4 % 9) / 2,
                rate=0.1 + n / 12,
                groups=3,
                relations=2,
                prior=Prior(nats=n / 2, rank=0, shared=True),
            )
            for n in range(9)
        ),
    )


def test_a_model_that_is_asked_has_nearer_rates(untuned: list[KnowledgeBase], tiny: str) -> None:
    kb, weights = untuned[1], locate(tiny)
    calibration = by_hand(tiny)
    keep(calibration)
    plain = forecast(kb, model=tiny)
    assert (plain["calibration"]["asked"], plain["rules"][0]["prior"]) == (False, None)
    assert plain["calibration"]["error"] == pytest.approx(calibration.error)
    found = forecast(kb, model=tiny, ask_model=True)
    (rule,) = found["rules"]
    table = TrainingTable.whole(kb)
    (asked,) = ask_stated(table)
    (own,) = priors(table, [asked], weights)
    assert own is not None
    assert rule["prior"] == pytest.approx(vars(own))
    expected = calibration.rate(traits(replace(asked, prior=own), 2))
    assert rule["rate"]["mean"] == pytest.approx(expected.mean)
    assert rule["rate"]["mean"] != pytest.approx(plain["rules"][0]["rate"]["mean"], abs=1e-3)
    assert found["calibration"]["asked"]
    assert found["calibration"]["error"] == pytest.approx(calibration.error_asked)
    audited = audit(kb, model=tiny, out="runs/asked")
    assert audited["rules"][0]["rate"] == pytest.approx(rule["rate"])
    (place_of(weights.identity) / "calibration.json").unlink()
    keep(replace(calibration, identity="f" * 64))
    with pytest.raises(ModelError, match="other weights than it was calibrated with"):
        forecast(kb, model=tiny, ask_model=True)


def test_advice_speaks_in_rates(trials: list[KnowledgeBase], tiny: str, capsys) -> None:
    keep(by_hand(tiny))
    found = forecast(trials[1], model=tiny, advice=True, target=0.01)
    steps = [step for option in found["rules"][0]["advice"]["options"] for step in option["steps"]]
    assert steps
    assert all(0 <= step["rate"]["mean"] <= 1 for step in steps)


def test_the_command_prints_a_table_and_a_document(trials: list[KnowledgeBase], tiny: str, capsys) -> None:
    assert run_cli("calibrate", "--model", tiny, "--budget", "1h") == 0
    printed = capsys.readouterr().out
    assert "keeps -> drinks" in " ".join(printed.split()) or "keeps → drinks" in printed
    assert "Too few rules for intervals" in " ".join(printed.split())
    assert max(map(len, printed.splitlines())) <= 80
    assert run_cli("calibrate", "--model", tiny, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert list(document) == [
        "model",
        "identity",
        "rules",
        "evidence",
        "error",
        "error_asked",
        "intervals",
        "seconds",
    ]


def test_what_cannot_be_is_one_line(trials: list[KnowledgeBase], tiny: str) -> None:
    with pytest.raises(TrainingError, match="budget must be a time above 0"):
        job.calibrate(tiny, budget=0)
    with pytest.raises(ModelError):
        job.calibrate("no-such-model")
    found = job.calibrate(tiny)
    path = place_of(found["identity"]) / "calibration.json"
    damaged = json.loads(path.read_text()) | {"evidence": [{"rule": 5}]}
    path.write_text(json.dumps(damaged))
    with pytest.raises(RunError, match=r"calibration.json is damaged at evidence"):
        calibration_of(tiny)
