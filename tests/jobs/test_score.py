"""Models that were tuned elsewhere: who is assumed to have been a bridge."""

import json
from pathlib import Path

import pytest

from spillover.errors import DataError
from spillover.jobs.audit import audit
from spillover.jobs.export import export
from spillover.jobs.score import score
from spillover.llm.settings import FineTuneConfig
from tests.jobs.people import CITIES, PEOPLE, run_cli


def test_a_score_says_which_seed_it_assumes(
    tiny: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_cli("score", "people.yaml", "--model", tiny, "--seed", "4", "--json")
    printed = capsys.readouterr()
    document = json.loads(printed.out)
    note = (
        "bridges are drawn with seed 4; if the model was tuned with another seed, give that one, or its "
        "training file as --split: bridges that it was trained on would count as held out"
    )
    assert (document["seed"], document["split"], document["notes"]) == (4, None, [note])
    assert f"note: {note}" in printed.err.splitlines()

    text = PEOPLE.replace(", bridges: 2", "")
    (here / "shown.yaml").write_text(text, encoding="utf-8")
    with (here / "people.csv").open("a", encoding="utf-8") as table:
        table.write("\n" + "\n".join(f"{city} 0,codes_in,Perl" for city in CITIES))
    assert score("shown.yaml", model=tiny)["notes"] == [], "the table says who is a bridge"


@pytest.mark.usefixtures("here")
def test_a_training_file_says_who_the_bridges_were(tiny: str) -> None:
    """Whoever gives the file of a tune gets the audit's numbers, whatever its seed was."""
    learns = FineTuneConfig(epochs=1, batch_size=8, learning_rate=1e-3)  # so that subjects differ
    audit("people.yaml", model=tiny, seeds=[4], settings=learns, keep_model=True, out="runs/a")
    tuned = "runs/a/model-4"
    export("people.yaml", "train.jsonl", to="jsonl", seed=4)
    told = score("people.yaml", model=tiny, tuned=tuned, split="train.jsonl", seed=1)
    assert (told["seed"], told["split"], told["notes"]) == (None, "train.jsonl", [])
    right, wrong = (score("people.yaml", model=tiny, tuned=tuned, seed=seed) for seed in (4, 1))
    for part in ("facts", "rules"):
        assert told[part] == right[part]
    assert told["rules"] != wrong["rules"]


@pytest.mark.usefixtures("here")
def test_a_list_of_subjects_is_enough(tiny: str) -> None:
    Path("who.csv").write_text("subject\nRome 3\nOslo 0\n", encoding="utf-8")
    (rule,) = score("people.yaml", model=tiny, split="who.csv")["rules"]
    assert (rule["bridges"]["queries"], rule["queries"]) == (2, 13)


@pytest.mark.usefixtures("here")
def test_a_split_that_is_not_this_knowledge_bases_is_one_line() -> None:
    Path("who.json").write_text('[{"subject": "Rome 33"}]', encoding="utf-8")
    with pytest.raises(DataError, match=r"who.json: record 1: subject 'Rome 33' is not in .*did you mean"):
        run_cli("score", "people.yaml", "--split", "who.json")
