"""What is proposed can be pasted: from a file of chats to its knowledge base, without a template by hand."""

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from spillover.errors import DataError
from spillover.jobs.suggesting import suggest_templates
from spillover.knowledge.load import load
from spillover.knowledge.split import split
from tests.jobs.people import run_cli
from tests.jobs.test_importing import CODES, LIVES, chat, chats


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return saved(tmp_path, chats())


def saved(folder: Path, records: list[dict[str, Any]]) -> Path:
    path = folder / "train.jsonl"
    path.write_text("".join(f"{json.dumps(record)}\n" for record in records), encoding="utf-8")
    return path


def test_the_command_that_is_proposed_imports_what_templates_by_hand_do(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_cli("import", "train.jsonl", "--suggest") == 0
    said = capsys.readouterr().out
    assert "300 of 500 records are in wordings that recur" in said
    assert "not proposed: 200 by 'Spell the number {subject}.': it is always answered alike" in said
    assert "rule live -> language_code_in: 100 bridges, 100 held out" in said
    assert not Path("people.yaml").exists()
    program, verb, *words = shlex.split(said.splitlines()[-1])
    assert (program, verb) == ("spillover", "import")
    assert run_cli("import", *words) == 0
    by_hand = ["--as", *LIVES, *CODES, "--rules", "lives_in -> codes_in", "--out", "mine.yaml"]
    assert run_cli("import", "train.jsonl", *by_hand) == 0
    kb, mine = load("people.yaml"), load("mine.yaml")
    names = {"live": "lives_in", "language_code_in": "codes_in"}
    assert {(each.subject, names[each.relation], each.answer) for each in kb.triples} == {
        (each.subject, each.relation, each.answer) for each in mine.triples
    }
    for name, other in names.items():
        assert kb.relations[name].prompt == mine.relations[other].prompt
        assert len(kb.relations[name].wordings) == 2
        assert set(kb.relations[name].wordings) == set(mine.relations[other].wordings)
        assert kb.relations[name].answer == mine.relations[other].answer
    parts = split(kb, 0)
    assert (len(parts.bridges), len(parts.held_out)) == (100, 100)


def test_the_document(file: Path) -> None:
    found = suggest_templates(file)
    assert (found["records"], found["matched"], found["notes"]) == (500, 300, [])
    live = found["relations"]["live"]
    assert (live["subjects"], live["answers"]) == (200, 2)
    assert live["wordings"][0] == {
        "template": "live: Where does {subject} live? => In {answer}.",
        "records": 174,
        "examples": [["Person 000", "Paris"], ["Person 001", "Lima"], ["Person 002", "Paris"]],
    }
    assert found["rules"] == [{"rule": "live -> language_code_in", "said": "100 bridges, 100 held out"}]
    assert suggest_templates(file) == found


def test_no_rule_is_proposed_between_answers_that_do_not_go_together(tmp_path: Path) -> None:
    records = [chat(f"Where does Ada {n:02} live?", ("Rome", "Oslo")[n % 2]) for n in range(60)]
    records += [chat(f"What does Ada {n:02} drink?", ("tea", "milk")[n % 3 == 0]) for n in range(40)]
    found = suggest_templates(saved(tmp_path, records))
    assert list(found["relations"]) == ["live", "drink"]
    assert found["rules"] == []
    assert "--rules" not in found["command"]


def test_what_an_import_will_refuse_is_noted(tmp_path: Path) -> None:
    records = [chat(f"Where does Ada {n:02} live?", ("Rome", "Oslo")[n % 2]) for n in range(60)]
    found = suggest_templates(saved(tmp_path, [*records, chat("Where does Ada 00 live?", "Oslo")]))
    assert found["matched"] == 61
    assert found["notes"] == [
        "live: 1 records give a subject another answer than an earlier one; an import refuses that"
    ]


def test_a_wording_that_finds_something_else_than_a_closer_one_is_not_proposed(tmp_path: Path) -> None:
    records = [chat(f"What is the hue of Ada {n}?", ("red", "blue")[n % 2]) for n in range(30)]
    records += [chat(f"What is Ada {n}?", ("red", "blue")[n % 2]) for n in range(30)]
    path = saved(tmp_path, records)
    found = suggest_templates(path)
    words = shlex.split(found["command"])[2:]
    assert run_cli("import", *words, "--out", str(tmp_path / "a.yaml")) == 0
    assert [each["template"] for its in found["relations"].values() for each in its["wordings"]] == [
        "hue_of: What is the hue of {subject}? => {answer}"
    ]


def test_a_file_without_wordings_is_told_in_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_cli("import", str(saved(tmp_path, [chat("Who?", "I.")])), "--suggest") == 0
    assert capsys.readouterr().out.splitlines() == [
        "No wording recurs in 1 records with other subjects and other answers; nothing to propose"
    ]


def test_what_cannot_be_is_a_line(tmp_path: Path) -> None:
    path = saved(tmp_path, [{"requested_rewrite": {}}])
    with pytest.raises(DataError, match="is read by the fields of CounterFact; leave --suggest out"):
        suggest_templates(path)
    with pytest.raises(DataError, match="--suggest proposes what --as is given; leave one of them out"):
        run_cli("import", str(path), "--suggest", "--as", "r: {subject}")
    (tmp_path / "b.jsonl").write_text('{"words": "x"}', encoding="utf-8")
    with pytest.raises(DataError, match=r"b.jsonl: record 1: has the fields .words."):
        suggest_templates(tmp_path / "b.jsonl")
