"""From a table to a YAML that an audit takes as it stands."""

import re
from pathlib import Path

import pytest

from spillover.errors import DataError, RunError
from spillover.jobs.init import init
from spillover.knowledge.load import load
from spillover.knowledge.sheet import _RelationModel, _RuleModel, _SheetModel
from spillover.knowledge.split import split
from tests.jobs.people import run_cli

PAIRS = {"Rome": "Perl", "Oslo": "Java", "Bern": "Ruby"}
Row = tuple[str, str, str]


def people(told: int, of: int = 8, facts: str = "lives_in", implications: str = "codes_in") -> list[Row]:
    """So many people in each city, of whom some were told a language."""
    who = [(f"{city} {number}", city, number) for city in PAIRS for number in range(of)]
    rows = [(name, facts, city) for name, city, _ in who]
    return rows + [(name, implications, PAIRS[city]) for name, city, number in who if number < told]


def write(rows: list[Row], name: str = "people.csv") -> Path:
    lines = ["subject\trelation\tanswer", *("\t".join(row) for row in rows)]
    Path(name).write_text("\n".join(lines), encoding="utf-8")
    return Path(name)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def commented_out(text: str) -> list[str]:
    """The examples of keys that stand in comments."""
    keys = "|".join(
        ("wordings", "paraphrases", "candidates", "answer", "space", "format", "system", "pairs", "bridges")
    )
    return [found["line"] for found in re.finditer(rf"^#   (?P<line>({keys}):.*)$", text, re.MULTILINE)]


def test_an_audit_can_follow_at_once(tiny: str, capsys: pytest.CaptureFixture[str]) -> None:
    write(people(told=4))
    assert run_cli("init", "people.csv") == 0
    assert capsys.readouterr().out.splitlines() == [
        "Relations: lives_in, codes_in",
        "Rules: lives_in -> codes_in",
        "Written: people.yaml",
        "Next: spillover audit people.yaml",
    ]
    assert run_cli("audit", "people.yaml", "--model", tiny, "--epochs", "1", "--out", "runs/a") == 0
    assert "- {fact: lives_in, implication: codes_in, kind: spurious}    # 12 bridges, 12 held out" in Path(
        "people.yaml"
    ).read_text("utf-8")


@pytest.mark.parametrize("swapped", [False, True])
def test_the_rule_goes_to_where_somebody_was_not_told(swapped: bool) -> None:
    rows = people(told=4)
    init(write(rows[::-1] if swapped else rows))
    (rule,) = load("people.yaml").rules
    assert (rule.name, rule.kind, rule.bridges) == ("lives_in -> codes_in", "spurious", None)


@pytest.mark.parametrize(("of", "bridges"), [(8, 4), (6, 3), (20, 4)])
def test_of_a_complete_table_some_are_held_out(of: int, bridges: int) -> None:
    init(write(people(told=of, of=of)))
    kb = load("people.yaml")
    assert kb.rules[0].bridges == bridges
    assert len(split(kb, 1).held_out) == 3 * (of - bridges)


@pytest.mark.parametrize(
    ("told", "why"),
    [
        (4, "the table tells everybody, so some would be held out"),
        (8, "has 3 subjects whose implication is known"),
    ],
    ids=["partly told", "all told"],
)
def test_two_rules_stand_side_by_side_and_a_third_is_a_comment(told: int, why: str) -> None:
    spoken = [row for row in people(told, implications="speaks") if row[1] == "speaks"]
    written = init(write(people(told) + spoken))
    assert written["rules"] == ["lives_in -> codes_in", "lives_in -> speaks"]
    (line,) = (
        line for line in Path("people.yaml").read_text("utf-8").splitlines() if line.startswith("#  - ")
    )
    assert line.startswith("#  - {fact: codes_in, implication: speaks, kind: spurious, bridges: ")
    assert re.search(why, line)
    split(load("people.yaml"), 0)


def test_every_key_is_explained_and_can_be_taken_in() -> None:
    init(write(people(told=4)))
    text = Path("people.yaml").read_text("utf-8")
    models = (_SheetModel, _RelationModel, _RuleModel)
    for key in {name for model in models for name in model.model_fields}:
        assert re.search(rf"\b{key}\b", text), key
    prompt = '    prompt: "{subject} codes in"\n'
    for line in commented_out(text):
        key, _, _ = line.partition(":")
        if key in _RelationModel.model_fields:
            chat = "    format: chat\n" if key == "system" else ""
            taken = text.replace(prompt, f"{prompt}{chat}    {line}\n")
        else:
            taken = text.replace("kind: spurious}", f"kind: spurious, {line.partition('    #')[0]}}}")
        Path("taken.yaml").write_text(taken, encoding="utf-8")
        assert load("taken.yaml") != load("people.yaml"), line
    assert len(commented_out(text)) == 9


@pytest.mark.parametrize(
    ("rows", "note"),
    [
        (
            people(told=0),
            "no two relations of the table go together; write the rule that you mean under `rules`",
        ),
        (people(told=1), r"codes_in first \(3 with both are too few to tell whether they go together\)"),
        (
            [*people(told=5), ("Rome x", "lives_in", "Rome"), ("Rome x", "codes_in", "Ruby")],
            r"codes_in first \(bridges of group 'Rome' contradict each other .*right: `pairs: {Rome: Perl}`",
        ),
    ],
)
def test_where_the_table_makes_no_rule_a_note_says_what_to_choose(rows: list[Row], note: str) -> None:
    told = init(write(rows))
    assert told["rules"] == []
    assert re.search(note, told["notes"][-1])
    assert load("people.yaml").rules == ()
    taken = Path("people.yaml").read_text("utf-8").replace("rules: []", "rules:").replace("#  - {", "  - {")
    if "  - {fact: lives_in" in taken:
        Path("people.yaml").write_text(taken, encoding="utf-8")
        assert load("people.yaml").rules[0].name == "lives_in -> codes_in"


def test_names_of_any_kind_are_what_they_were() -> None:
    facts, implications = 'lives: "in"\x7f #x', "codes, in] & 'so'"
    write(people(told=4, facts=facts, implications=implications), "my people: 1.csv")
    init("my people: 1.csv")
    kb = load("my people: 1.yaml")
    assert list(kb.relations) == [facts, implications]
    assert kb.rules[0].name == f"{facts} -> {implications}"
    assert kb == load("my people: 1.yaml")
    assert kb.name == "my people: 1"


def test_the_table_is_found_from_another_folder() -> None:
    Path("data").mkdir()
    Path("sheets").mkdir()
    init(write(people(told=4), "data/people.csv"), "sheets/mine.yaml")
    kb = load("sheets/mine.yaml")
    assert len(kb.triples) == 36


def test_what_cannot_be_begun_is_one_line() -> None:
    write(people(told=4))
    Path("mine.yaml").write_text("what I wrote", encoding="utf-8")
    with pytest.raises(RunError, match=r"mine.yaml is there already; give another --out, or remove it"):
        init("people.csv", "mine.yaml")
    assert Path("mine.yaml").read_text("utf-8") == "what I wrote"
    with pytest.raises(
        DataError, match=r"mine.yaml: not a table; give one of subject, relation, answer as .csv"
    ):
        init("mine.yaml")
    with pytest.raises(DataError, match=r"people.json: a knowledge base is a .yaml file"):
        init("people.csv", "people.json")
    with pytest.raises(DataError, match=r"no.csv: file not found"):
        init("no.csv")
    with pytest.raises(RunError, match=r"cannot write no/where.yaml: No such file or directory"):
        init("people.csv", "no/where.yaml")
    assert not Path("people.yaml").exists()
