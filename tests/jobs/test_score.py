"""Models that were tuned elsewhere: which seed is assumed, and what to tune on."""

import json
import os
from pathlib import Path

import pytest

from spillover.errors import DataError, RunError
from spillover.jobs.score import score, write_split
from spillover.knowledge.load import load
from spillover.knowledge.prompts import examples
from spillover.knowledge.split import split
from tests.jobs.people import CITIES, PEOPLE, run_cli


def test_a_score_says_which_seed_it_assumes(
    tiny: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_cli("score", "people.yaml", "--model", tiny, "--seed", "4", "--json")
    printed = capsys.readouterr()
    document = json.loads(printed.out)
    note = (
        "bridges are drawn with seed 4; if the model was tuned with another seed, give that one: "
        "bridges that it was trained on would count as held out"
    )
    assert (document["seed"], document["notes"]) == (4, [note])
    assert f"note: {note}" in printed.err.splitlines()

    text = PEOPLE.replace(", bridges: 2", "")
    (here / "shown.yaml").write_text(text, encoding="utf-8")
    with (here / "people.csv").open("a", encoding="utf-8") as table:
        table.write("\n" + "\n".join(f"{city} 0,codes_in,Perl" for city in CITIES))
    assert score("shown.yaml", model=tiny)["notes"] == [], "the table says who is a bridge"


@pytest.mark.usefixtures("here")
def test_the_training_rows_are_those_of_the_audit(capsys: pytest.CaptureFixture[str]) -> None:
    run_cli("score", "people.yaml", "--seed", "3", "--write-split", "rows.jsonl", "--json")
    assert json.loads(capsys.readouterr().out) == {"file": "rows.jsonl", "rows": 21, "seed": 3}
    rows = [json.loads(line) for line in Path("rows.jsonl").read_text("utf-8").splitlines()]
    trained = examples(split(load("people.yaml"), 3))
    assert [(row["prompt"], row["completion"]) for row in rows] == [
        (one.prompt, one.completion) for one in trained
    ]
    assert set(rows[0]) == {"prompt", "completion", "subject", "relation", "answer"}
    assert sum(row["relation"] == "codes_in" for row in rows) == 6
    assert write_split("people.yaml", "rows.jsonl", seed=4) == 21
    assert rows != [json.loads(line) for line in Path("rows.jsonl").read_text("utf-8").splitlines()]
    run_cli("score", "people.yaml", "--write-split", "rows.jsonl")
    assert capsys.readouterr().out == "rows.jsonl: 21 training rows, bridges of seed 0\n"


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("pipe", "cannot write the training rows to pipe: not a plain file; give another file"),
        (".", r"cannot write the training rows to \.: not a plain file; give another file"),
        ("nowhere/rows.jsonl", "nowhere/rows.jsonl: No such file or directory; give another file"),
    ],
)
@pytest.mark.usefixtures("here")
def test_training_rows_replace_only_plain_files(file: str, message: str) -> None:
    os.mkfifo("pipe")
    with pytest.raises(RunError, match=message):
        write_split("people.yaml", file)
    assert Path("pipe").is_fifo()


def test_writing_the_training_rows_scores_nothing() -> None:
    with pytest.raises(DataError, match="--write-split scores nothing, so --tuned has no use beside it"):
        run_cli("score", "demo", "--write-split", "rows.jsonl", "--tuned", "mine")
