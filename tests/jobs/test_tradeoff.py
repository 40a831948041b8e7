"""A trade-off: the arms' numbers are the audits', the best is confirmed, and what was stopped goes on."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spillover.cells import tune as cells_tune
from spillover.errors import LabError, TrainingError
from spillover.jobs import audit as jobs_audit
from spillover.jobs import audit_plan
from spillover.jobs.audit import audit
from spillover.jobs.tradeoff import tradeoff
from spillover.knowledge import prompts
from spillover.knowledge.common import known_facts, neutral_texts
from spillover.llm.settings import FineTuneConfig
from spillover.runs.record import read_run
from spillover.tradeoff.arms import DEFAULT, read_arms
from tests.jobs.people import CITIES, run_cli

SETTINGS = FineTuneConfig(epochs=2, batch_size=24, learning_rate=1e-2)
BOTH = """\
relations:
  lives_in: {prompt: "{subject} lives in"}
  codes_in: {prompt: "{subject} codes in", paraphrases: ["{subject} writes programs in"]}
  speaks: {prompt: "{subject} speaks"}
rules:
  - {fact: lives_in, implication: codes_in, pairs: {Rome: Perl, Oslo: Java, Bern: Ruby}, bridges: 2}
  - {fact: lives_in, implication: speaks, kind: causal, bridges: 2,
     pairs: {Rome: Italian, Oslo: Norwegian, Bern: German}}
triples: people.csv
"""


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few texts and known facts, since a tiny model has nothing to say of them."""
    texts = neutral_texts()[:5]
    monkeypatch.setattr(audit_plan, "neutral_texts", lambda: texts)
    monkeypatch.setattr(prompts, "known_facts", lambda part: known_facts(part)[:5])


ARMS = ["freeze:layers=0", "ignore-topk:percent=100"]


@pytest.fixture
def both(here: Path) -> str:
    """A knowledge base with a wanted and a spurious rule."""
    (here / "both.yaml").write_text(BOTH, encoding="utf-8")
    return "both.yaml"


def run(both: str, tiny: str, **changed: Any) -> dict[str, Any]:
    usual = {"model": tiny, "interventions": ARMS, "seeds": [0], "settings": SETTINGS}
    return tradeoff(both, **(usual | changed))


def test_a_row_has_the_numbers_of_its_audit(both: str, tiny: str) -> None:
    document = run(both, tiny, seeds=[0, 1])
    assert [row["arm"] for row in document["rows"]] == ["none", *ARMS]
    alone = audit(
        both, model=tiny, seeds=[0, 1], settings=SETTINGS, interventions=["freeze:layers=0"], out="runs/alone"
    )
    spurious, wanted = alone["rules"]
    _, row, back = document["rows"]
    assert row["interventions"] == "freeze:layers=0,modules=all"
    assert row["spurious_top1"] == spurious["top1"]["after"]
    assert row["spurious_rank_p"] == spurious["p_value"]
    assert row["wanted_rank"] == wanted["mean_rank"]["after"]
    assert row["facts"] == alone["facts"]["top1"]
    assert row["spurious_margin"] == pytest.approx(spurious["forecast_margin"])
    assert row["seeds"] == 2
    assert 0 <= row["kl_low"] <= row["kl"] <= row["kl_high"]
    assert 0 <= row["paraphrase_top1_low"] <= row["paraphrase_top1"]
    assert row["reworded_top1"] is None, "nothing words its examples otherwise"
    log = read_run(Path(document["run"]) / "02-both-tiny").read_jsonl("metrics.jsonl")
    drifts = [each["drift"] for each in log if "drift" in each]
    assert [len(drift) for drift in drifts] == [5, 5]
    assert row["kl"] == pytest.approx(np.mean([[text["kl"] for text in drift] for drift in drifts]))
    assert back["kl"] == 0, "without the change it is the untuned model"
    assert back["perplexity"] == 1
    assert back["known"] == back["known_before"]


def test_the_best_is_confirmed_beside_the_plain_tune_and_all_is_read_again(both: str, tiny: str) -> None:
    document = run(both, tiny, confirm=["people.yaml"])
    later = document["rows"][3:]
    best = next(row["arm"] for row in later if row["arm"] != "none")
    assert [(row["data"], row["stage"]) for row in later] == [("people", "confirmed")] * 2
    assert {row["arm"] for row in later} == {"none", best}
    assert best in document["advice"][0]
    assert all(row["wanted"] == "" for row in later), "people.yaml has no wanted rule"
    assert run(both, tiny, confirm=["people.yaml"]) == document
    page = (Path(document["run"]) / "chart.html").read_text("utf-8")
    assert document["advice"][0] in page


def test_a_failing_arm_stops_no_other(both: str, tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = cells_tune.finetune

    def refuse_freezing(*args: Any, interventions: Any, **options: Any) -> Any:
        if any(type(each).__name__ == "Freeze" for each in interventions):
            raise TrainingError("it is too warm")
        return whole(*args, interventions=interventions, **options)

    monkeypatch.setattr(cells_tune, "finetune", refuse_freezing)
    document = run(both, tiny)
    assert [row["arm"] for row in document["rows"]] == ["none", "ignore-topk:percent=100"]
    assert [audit["failed"] for audit in document["failed"]] == ["it is too warm"]
    assert read_run(document["run"]).status == "failed"
    monkeypatch.setattr(cells_tune, "finetune", whole)
    assert len(run(both, tiny)["rows"]) == 3


@pytest.mark.parametrize(
    ("changed", "error", "said"),
    [
        ({"quick": True}, LabError, "--quick names its own interventions"),
        ({"interventions": ["none"]}, LabError, "nothing to compare"),
        ({"interventions": ["freez"]}, TrainingError, "did you mean 'freeze'"),
        ({"interventions": ["freeze:layers=0+freeze:layers=1"]}, TrainingError, "is there twice"),
    ],
)
def test_what_cannot_be_compared_is_one_line(
    changed: dict[str, Any], error: type[Exception], said: str, both: str, tiny: str
) -> None:
    with pytest.raises(error, match=said):
        run(both, tiny, **changed)


def test_the_command_line(both: str, tiny: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("tradeoff", both, "--model", tiny, "--interventions", "freeze:layers=0", "--seeds", "0")
    assert run_cli(*words, "--epochs", "1", "--batch-size", "24", "--out", "runs/t") == 0
    out = capsys.readouterr().out
    assert "freeze:layers=0" in out.replace("\n", "")
    assert max(map(len, out.splitlines())) <= 80
    assert "does an intervention meet all demands" in out


def test_every_arm_of_the_default_goes_through(both: str, tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs_audit, "write_report", lambda folders, out: out)  # a third of the time
    rows = [f"{city} {number},lives_in,{city}" for city in CITIES for number in range(7)]
    Path("people.csv").write_text("\n".join(["subject,relation,answer", *rows]), encoding="utf-8")
    longer = replace(SETTINGS, epochs=5)  # than the first stage of an order
    document = run(both, tiny, interventions=[], settings=longer)
    assert [row["arm"] for row in document["rows"]] == [arm.name for arm in read_arms(DEFAULT)]
    assert document["failed"] == []
    assert len({row["facts"] for row in document["rows"]} | {row["kl"] for row in document["rows"]}) > 3
