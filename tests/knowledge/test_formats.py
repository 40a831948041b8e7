"""Tables as people have them: read and said so where it is beyond doubt, else refused with the cure."""

import json
from pathlib import Path

import duckdb
import pytest

from spillover.jobs.forecast import forecast
from spillover.knowledge import json_table
from spillover.knowledge.load import load
from spillover.knowledge.schema import Triple
from tests.knowledge.tables import patterns_at

ROWS = [
    ("subject", "relation", "answer"),
    ("Ada Ilves", "lives_in", "Paris"),
    ("Ben Orr", "lives_in", "Lyon"),
]
TRIPLES = tuple(Triple(subject=s, relation=r, answer=a) for s, r, a in ROWS[1:])
CAPITALS = [tuple(name.title() for name in ROWS[0]), *ROWS[1:]]


def text(rows=ROWS, separator: str = ",", encoding: str = "utf-8") -> bytes:
    return "\n".join(separator.join(row) for row in rows).encode(encoding)


def array(rows=ROWS, **how) -> bytes:
    return json.dumps([dict(zip(rows[0], row, strict=True)) for row in rows[1:]], **how).encode()


READ_AS = " are read as the columns subject, relation, answer"
TABLES = {
    "tabs": ("t.tsv", text(separator="\t"), ()),
    "semicolons": ("t.csv", text(separator=";"), ("t.csv: columns are separated by semicolons",)),
    "tabs in a CSV": ("t.csv", text(separator="\t"), ("t.csv: columns are separated by tabs",)),
    "commas in a TSV": ("t.tsv", text(), ("t.tsv: columns are separated by commas",)),
    "UTF-16": ("t.csv", text(encoding="utf-16"), ("t.csv: read as UTF-16",)),
    "UTF-16, big end first": ("t.csv", b"\xfe\xff" + text(encoding="utf-16-be"), ("t.csv: read as UTF-16",)),
    "UTF-16 and tabs, as Excel writes text": (
        "t.tsv",
        text(CAPITALS, separator="\t", encoding="utf-16"),
        ("t.tsv: read as UTF-16", "t.tsv:1: 'Subject', 'Relation', 'Answer'" + READ_AS),
    ),
    "capitals": ("t.csv", text(CAPITALS), ("t.csv:1: 'Subject', 'Relation', 'Answer'" + READ_AS,)),
    "one capital": (
        "t.csv",
        text([("Subject\u200b", "relation", " answer "), *ROWS[1:]]),
        ("t.csv:1: 'Subject\\u200b' is read as the column subject",),
    ),
    "capitals in JSON lines": (
        "t.jsonl",
        array(CAPITALS)[1:-1].replace(b"}, ", b"}\n"),
        ("t.jsonl:1: 'Subject', 'Relation', 'Answer'" + READ_AS,),
    ),
    "array": ("t.json", array(), ()),
    "array, indented": ("t.json", b"\n" + array(indent=2) + b"\n", ()),
    "array in UTF-16": ("t.json", array().decode().encode("utf-16"), ("t.json: read as UTF-16",)),
    "array with capitals": (
        "t.json",
        array(CAPITALS),
        ("t.json (row 1): 'Subject', 'Relation', 'Answer'" + READ_AS,),
    ),
}


def told(path: Path) -> tuple[str, ...]:
    """What both readers tell of the table, which has the two triples; without the folder."""
    found = load(path)
    assert found.triples == TRIPLES
    patterns = patterns_at(path)
    assert patterns.members["subject"].to_pylist() == ["Ada Ilves", "Ben Orr"]
    assert patterns.notices == found.notices
    return tuple(line.replace(f"{path.parent}/", "") for line in found.notices)


@pytest.mark.parametrize("name", TABLES)
def test_what_is_beyond_doubt_is_read_and_said(tmp_path, name):
    file, content, notices = TABLES[name]
    (tmp_path / file).write_bytes(content)
    assert told(tmp_path / file) == notices
    (tmp_path / "people.yaml").write_text(
        f'relations: {{lives_in: {{prompt: "{{subject}} lives in"}}}}\ntriples: {file}\n'
    )
    assert told(tmp_path / "people.yaml") == notices
    shown = [note.replace(f"{tmp_path}/", "") for note in forecast(tmp_path / file)["notes"]]
    assert tuple(shown[: len(notices)]) == notices


def test_parquet_with_capitals(tmp_path):
    path = tmp_path / "t.parquet"
    rows = ", ".join(map(str, ROWS[1:]))
    duckdb.execute(f"""COPY (FROM (VALUES {rows}) t("Subject", " relation", "ANSWER")) TO '{path}'""")
    assert told(path) == ("t.parquet: 'Subject', ' relation', 'ANSWER'" + READ_AS,)


WINDOWS = {"Köln": True, "Zürich, Malmö": True, "José": True, "STRAßE": True}
WINDOWS |= {"São Paulo": False, "Genève": False, "€": False, "à Paris": False, "“Paris”": False, "öö": False}


@pytest.mark.parametrize("answer", WINDOWS)
def test_windows_1252_is_read_where_the_code_pages_agree(tmp_path, complaint, answer):
    path = tmp_path / "t.csv"
    path.write_bytes(text([*ROWS[:2], ("Ben Orr", "lives_in", f'"{answer}"')], encoding="cp1252"))
    if WINDOWS[answer]:
        found = load(path)
        assert found.triples[1].answer == answer
        shown = repr(f'Ben Orr,lives_in,"{answer}"')
        assert found.notices == (f"{path}:3: {shown} is not UTF-8; the file is read as Windows-1252",)
        assert patterns_at(path).notices == found.notices
    else:
        assert complaint(path).startswith("t.csv:3: byte 0x")
        assert complaint(path).endswith(" is not UTF-8; save the file as UTF-8")


@pytest.mark.parametrize(
    ("page", "answer"), [("cp1251", "Москва"), ("cp1253", "Αθήνα"), ("cp1250", "Dvořák"), ("cp1257", "Rīga")]
)
def test_other_code_pages_are_not_taken_for_windows_1252(tmp_path, complaint, page, answer):
    (tmp_path / "t.csv").write_bytes(text([*ROWS, ("Cy", "lives_in", answer)], encoding=page))
    assert complaint(tmp_path / "t.csv").endswith(" is not UTF-8; save the file as UTF-8")


OBJECT = '{"subject": "...", "relation": "...", "answer": "..."}'
FAULTS = {
    "UTF-16 without its mark": (
        "t.csv",
        text(encoding="utf-16-le"),
        "t.csv: looks like UTF-16 without the mark at its start; save the file as UTF-8",
    ),
    "half of UTF-16": (
        "t.csv",
        text(encoding="utf-16")[:-1],
        "t.csv: not readable as UTF-16 (truncated data); save the file as UTF-8",
    ),
    "two columns of that name": (
        "t.csv",
        b"Subject,SUBJECT,relation,answer\na,b,r,x\n",
        "t.csv:1: column 'subject' may be any of 'Subject', 'SUBJECT'; keep one",
    ),
    "ragged row of semicolons": (
        "t.csv",
        text(separator=";") + b"\na;b\n",
        "t.csv:4: 2 cells where the header has 3; put cells that hold semicolons in double quotes",
    ),
    "no separator that fits": (
        "t.tsv",
        b"subject|relation|answer\n",
        "t.tsv:1: missing column 'subject', 'relation', 'answer', got 'subject|relation|answer'; "
        "a table needs subject, relation, answer",
    ),
    "object": (
        "t.json",
        b'{"rows": []}',
        f"t.json: not a JSON array; write [{OBJECT}, ...], or give a file with one object per line "
        "the suffix .jsonl",
    ),
    "no objects": ("t.json", b"[]", "t.json: table has columns but no triples; add a row"),
    "not an object": (
        "t.json",
        b"[[1]]",
        f"t.json (row 1): got ['1'], an entry must be an object like {OBJECT}",
    ),
    "no comma": (
        "t.json",
        array().replace(b"}, ", b"} "),
        "t.json (row 2): not readable as JSON (no comma before it); put one between objects",
    ),
    "open": (
        "t.json",
        array()[:-2],
        "t.json (row 2): not readable as JSON (Expecting ',' delimiter); mend the syntax",
    ),
    "open array": (
        "t.json",
        array()[:-1],
        "t.json (row 3): not readable as JSON (no comma before it); put one between objects",
    ),
    "text behind": (
        "t.json",
        array() + b"[",
        "t.json: not readable as JSON (text behind the array); remove it",
    ),
    "deep": (
        "t.json",
        b"[" * 100_000,
        "t.json (row 1): not readable as JSON (nested too deep); write plain objects",
    ),
    "key missing": (
        "t.json",
        b'[{"subject": "a", "relation": "r"}]',
        "t.json (row 1): missing column 'answer', got 'subject', 'relation'; "
        "a table needs subject, relation, answer",
    ),
    "empty": (
        "t.json",
        array([*ROWS, ("Cy", "lives_in", None)]),
        "t.json (row 3): answer is empty; fill it in or remove the entry",
    ),
    "long": (
        "t.json",
        b'[{"subject": "' + b"x" * 5_000_000,
        "t.json (row 1): record has more than 4,194,304 characters; shorten it or look for a quote left open",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_is_in_doubt_is_refused_with_the_cure(tmp_path, complaint, name):
    file, content, message = FAULTS[name]
    (tmp_path / file).write_bytes(content)
    assert complaint(tmp_path / file) == message


def test_an_array_is_read_over_the_ends_of_its_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr(json_table, "_PIECE", 7)
    rows = [(f"s{i}", "r", 'é\\"[{' * (i % 5) + "x") for i in range(50)]
    (tmp_path / "t.json").write_bytes(array([ROWS[0], *rows], indent=1))
    kb = load(tmp_path / "t.json")
    assert [(one.subject, one.relation, one.answer) for one in kb.triples] == rows
