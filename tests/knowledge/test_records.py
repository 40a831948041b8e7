"""Training files in the fields of their own formats, and what is wrong with one in a line."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from spillover.errors import DataError
from spillover.knowledge.records import SUFFIXES, read_records
from spillover.knowledge.schema import Triple
from spillover.knowledge.templates import found_by, parse_template

ASKED, ANSWERED = "Where does Ada live?", "In Paris."
USER, ASSISTANT = {"role": "user", "content": ASKED}, {"role": "assistant", "content": ANSWERED}
EXCHANGES: dict[str, tuple[dict[str, Any], tuple[str, str, str], str]] = {
    "messages": (
        {"messages": [{"role": "system", "content": "Be brief."}, USER, ASSISTANT]},
        ("Be brief.", ASKED, ANSWERED),
        "chat",
    ),
    "messages of parts": (
        {"messages": [USER | {"content": [{"type": "text", "text": ASKED}]}, ASSISTANT]},
        ("", ASKED, ANSWERED),
        "chat",
    ),
    "conversational prompt and completion": (
        {"prompt": [USER], "completion": [ASSISTANT]},
        ("", ASKED, ANSWERED),
        "chat",
    ),
    "prompt and completion": (
        {"prompt": "Ada lives in", "completion": " Paris"},
        ("", "Ada lives in", " Paris"),
        "plain",
    ),
    "Alpaca": (
        {"instruction": "Say where she lives.", "input": "Ada", "output": ANSWERED},
        ("", "Say where she lives.\nAda", ANSWERED),
        "chat",
    ),
    "Alpaca of LLaMA-Factory": (
        {"instruction": ASKED, "input": "", "output": ANSWERED, "system": "Be brief.", "history": []},
        ("Be brief.", ASKED, ANSWERED),
        "chat",
    ),
    "ShareGPT": (
        {"conversations": [{"from": "human", "value": ASKED}, {"from": "gpt", "value": ANSWERED}]},
        ("", ASKED, ANSWERED),
        "chat",
    ),
    "question and answer": ({"question": ASKED, "answer": ANSWERED}, ("", ASKED, ANSWERED), "chat"),
}


@pytest.mark.parametrize(("entry", "exchange", "kind"), EXCHANGES.values(), ids=EXCHANGES)
def test_every_format_is_read_by_its_own_fields(
    entry: dict[str, Any], exchange: tuple[str, str, str], kind: str, tmp_path: Path
) -> None:
    lines, array, table = (tmp_path / name for name in ("a.jsonl", "a.json", "a.parquet"))
    lines.write_text(json.dumps(entry) + "\n\n" + json.dumps(entry) + "\n", encoding="utf-8")
    array.write_text(json.dumps([entry, entry]), encoding="utf-8")
    of_parts = any(isinstance(turn.get("content"), list) for turn in entry.get("messages", ()))
    if not of_parts:  # a Parquet column is of one type
        parquet.write_table(pa.Table.from_pylist([entry, entry]), table)
    for path in (lines, array) if of_parts else (lines, array, table):
        found = list(read_records(path))
        assert [record.exchange for record in found] == [exchange] * 2
        assert [record.format for record in found] == [kind] * 2
        assert found[1].place == f"{path}: record 2"


def test_a_separated_table(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('question,answer\n"Where, then, is Ada?",Paris\n', encoding="utf-8")
    (tmp_path / "a.tsv").write_text("prompt\tcompletion\nAda lives in\t Paris\n", encoding="utf-8")
    (one,), (other,) = (list(read_records(tmp_path / name)) for name in ("a.csv", "a.tsv"))
    assert one.exchange == ("", "Where, then, is Ada?", "Paris")
    assert other.exchange == ("", "Ada lives in", " Paris")


def test_a_header_with_spaces_and_a_column_that_stands_there_twice(tmp_path: Path) -> None:
    path, table = tmp_path / "a.csv", tmp_path / "a.parquet"
    path.write_text("question, answer,,\nWho?,I.,,\n", encoding="utf-8")
    assert [record.exchange for record in read_records(path)] == [("", "Who?", "I.")]
    path.write_text("question,answer,answer\nWho?,I.,you\n", encoding="utf-8")
    parquet.write_table(pa.table([["Who?"], ["I."], ["you"]], names=["question", "answer", "answer"]), table)
    for twice in (path, table):
        with pytest.raises(DataError, match=r"a\.\w+: column 'answer' stands there 2 times; keep one"):
            list(read_records(twice))


def test_a_history_in_a_cell(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    rows = ["", "[]", '"[[""Hello."", ""Hi.""]]"']
    path.write_text("\n".join(["instruction,output,history", *(f"Who?,I.,{row}" for row in rows)]), "utf-8")
    asked = [("user", "Who?"), ("assistant", "I.")]
    assert [list(record.turns) for record in read_records(path)] == [
        asked,
        asked,
        [("user", "Hello."), ("assistant", "Hi."), *asked],
    ]
    path.write_text("instruction,output,history\nWho?,I.,['Hello.' 'Hi.']\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"record 1: history is .*; it must be a list of pairs"):
        list(read_records(path))


def test_cells_with_line_ends_of_other_scripts_and_other_encodings(tmp_path: Path) -> None:
    path, said = tmp_path / "a.csv", list[str]()
    path.write_text('question,answer\r\nWho\u2028is it?,"A\x0b,\r\nB"\r\n', encoding="utf-16", newline="")
    assert [record.exchange for record in read_records(path, said.append)] == [
        ("", "Who\u2028is it?", "A\x0b,\r\nB")
    ]
    assert said == [f"{path}: read as UTF-16"]
    path.write_text("question,answer\nWho,I,you\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"record 1, line 2: 3 cells where the header has 2; put cells"):
        list(read_records(path))


def test_an_array_is_read_one_by_one(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(f"[{json.dumps({'question': 'Who?', 'answer': 'I.'})}, {{", encoding="utf-8")
    records = read_records(path)
    assert next(records).exchange == ("", "Who?", "I.")
    with pytest.raises(DataError, match=r"a\.json: record 2: not readable as JSON"):
        next(records)


def test_a_record_of_more_turns_is_no_exchange(tmp_path: Path) -> None:
    entries = [
        {"messages": [USER, ASSISTANT, USER, ASSISTANT]},
        {"instruction": ASKED, "output": ANSWERED, "history": [["Hello.", "Hello."]]},
        {"messages": [USER]},
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, entries)), encoding="utf-8")
    found = list(read_records(tmp_path / "a.jsonl"))
    assert [record.exchange for record in found] == [None] * 3
    assert [len(record.turns) for record in found] == [4, 4, 1]


FAULTS = {
    "no JSON": ('{"prompt": ', r"a.jsonl: record 1: not readable as JSON \(.*\); write one object per line"),
    "no object": ("[1]", r"a.jsonl: record 1: got \[1\]; a record must be an object with fields"),
    "no format": ('{"words": "x"}', r"a.jsonl: record 1: has the fields 'words'; it must have messages; or"),
    "no turns": ('{"messages": []}', r"record 1: messages is \[\], it must be a list of messages"),
    "no message": ('{"messages": [{"role": "user"}]}', "message 1 is .*; it must have role and content"),
    "no text": ('{"question": "Who?", "answer": 7}', "record 1: answer is 7; write text in quotes"),
    "half a surrogate pair": (
        r'{"question": "Who?", "answer": "\ud800"}',
        "record 1: answer .* holds half a surrogate pair; remove it",
    ),
    "no text in a part": (
        '{"messages": [{"role": "user", "content": [{"text": 5}]}]}',
        "record 1: message 1 is 5; write text in quotes",
    ),
    "a history of a number": (
        '{"instruction": "Who?", "output": "I.", "history": 7}',
        r"record 1: history is 7; it must be a list of pairs \[asked, answered\]",
    ),
    "a history of numbers": (
        '{"instruction": "Who?", "output": "I.", "history": [5]}',
        r"record 1: history is \[5\]; it must be a list of pairs",
    ),
    "a history of numbers in pairs": (
        '{"instruction": "Who?", "output": "I.", "history": [["Who?", 5]]}',
        "record 1: history is 5; write text in quotes",
    ),
    "not UTF-8": (b'{"question": "\xff"}', "record 1: not readable as JSON"),
}


@pytest.mark.parametrize(("text", "said"), FAULTS.values(), ids=FAULTS)
def test_a_fault_is_a_line_with_file_and_record(text: str | bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError, match=said) as caught:
        list(read_records(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_empty_file_must_hold_records(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"\n")
    with pytest.raises(DataError, match=rf"a\{suffix}: file is empty; it must hold records$"):
        list(read_records(path))


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_text("no such thing", encoding="utf-8")
    late = {"text": ["Ada."], "date": pa.array([2**62], pa.timestamp("us"))}
    parquet.write_table(pa.table(late), tmp_path / "late.parquet")
    (tmp_path / "a.json").write_text('{"messages": []}', encoding="utf-8")
    (tmp_path / "a.csv").write_text('question,answer\n"Who,Ada\n', encoding="utf-8")
    for name, said in (
        ("a.parquet", "not readable as Parquet"),
        ("late.parquet", r"not readable as Parquet \(date value out of range\)"),
        ("a.json", "not a JSON array"),
        ("a.csv", r"a\.csv:2: not readable as CSV"),
        ("a.txt", "unknown kind of file '.txt'; allowed are .jsonl"),
        ("none.jsonl", "file not found"),
    ):
        with pytest.raises(DataError, match=said):
            list(read_records(tmp_path / name))


@pytest.mark.parametrize(
    ("template", "asked", "answered", "said"),
    [
        ("r: Where does {subject} live?", ASKED, "Paris", ("Ada", "Paris")),
        ("r: Where does {subject} live? => In {answer}.", f" {ASKED}", "In Paris.\n", ("Ada", "Paris")),
        ("r: Where does {subject} live? => In {answer}.", ASKED, "Paris", None),
        ("r: {subject}: where is {subject}?", "Ada B: where is Ada B?", "Rome", ("Ada B", "Rome")),
        ("r: {subject}: where is {subject}?", "Ada: where is Bo?", "Rome", None),
        ("r: Is (this) {subject}.*?", "Is (this) Ada.*?", "x", ("Ada", "x")),
        ("r: {subject} lives in", "Ada\nlives in", "x", None),
    ],
)
def test_what_a_template_finds(
    template: str, asked: str, answered: str, said: tuple[str, str] | None
) -> None:
    triple = said and Triple(subject=said[0], relation="r", answer=said[1])
    assert parse_template(template).triple(asked, answered) == triple


def test_templates_that_say_different_things_of_a_record_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"messages": [USER, ASSISTANT]}), encoding="utf-8")
    (record,) = read_records(tmp_path / "a.jsonl")
    near, far = map(parse_template, ("a: Where does {subject} live?", "b: Where {subject} live?"))
    with pytest.raises(DataError, match=r"record 1: 'Where does Ada live\?' matches .* and .*, which say"):
        found_by([near, far], record)
    assert found_by([near, near], record) == (near, near.triple(ASKED, ANSWERED))
    for text, said in (
        ("Where does {subject} live?", "names no relation"),
        ("r: Where?", "has no {subject}"),
        ("r: {subject} is => there", "must have {answer} in it"),
    ):
        with pytest.raises(DataError, match=said):
            parse_template(text)
