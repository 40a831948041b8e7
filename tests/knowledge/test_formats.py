"""Tables as people have them: read and said so where it is beyond doubt, else refused with the cure."""

import datetime
import json
import zipfile
from pathlib import Path

import duckdb
import openpyxl
import pytest

from spillover.forecast import forecast
from spillover.knowledge import excel, json_table
from spillover.knowledge.read import described, read_described, read_knowledge_base
from spillover.knowledge.schema import Triple

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
    found = read_knowledge_base(path)
    assert found.triples == TRIPLES
    patterns = read_described(described(path))
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
        found = read_knowledge_base(path)
        assert found.triples[1].answer == answer
        shown = repr(f'Ben Orr,lives_in,"{answer}"')
        assert found.notices == (f"{path}:3: {shown} is not UTF-8; the file is read as Windows-1252",)
        assert read_described(described(path)).notices == found.notices
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
    kb = read_knowledge_base(tmp_path / "t.json")
    assert [(one.subject, one.relation, one.answer) for one in kb.triples] == rows


def book(path: Path, *sheets, titles=("People", "Other", "More")) -> Path:
    made = openpyxl.Workbook()
    assert made.active is not None
    made.remove(made.active)
    for title, rows in zip(titles, sheets, strict=False):
        sheet = made.create_sheet(title)
        for row in rows:
            sheet.append(row)
    made.save(path)
    return path


NOTES = [("seen", "by"), ("Ann", "Bo")]


def test_an_excel_sheet(tmp_path):
    assert told(book(tmp_path / "t.xlsx", ROWS)) == ()
    assert told(book(tmp_path / "t.xlsx", [(), *CAPITALS[:2], (), *CAPITALS[2:]])) == (
        "t.xlsx (row 2): 'Subject', 'Relation', 'Answer'" + READ_AS,
    )
    assert told(book(tmp_path / "t.xlsx", NOTES, ROWS, [])) == (
        "t.xlsx: sheet 'Other' is read, the only one of 3 with the columns",
    )


def test_numbers_in_excel_are_read_as_it_shows_them(tmp_path):
    rows = [(*ROWS[0], "more"), ("a", "r", 7), ("b", "r", 0.1 + 0.2), ("c", "r", "007"), (8, "r", -2.5, 1)]
    found = read_knowledge_base(book(tmp_path / "t.xlsx", rows)).triples
    assert [(one.subject, one.answer) for one in found] == [
        ("a", "7"),
        ("b", "0.3"),
        ("c", "007"),
        ("8", "-2.5"),
    ]


CELLS = {
    "empty": (None, "answer is empty; fill it in or remove the entry"),
    "date": (datetime.date(2024, 5, 1), "2024-05-01 00:00:00"),
    "truth": (True, "True"),
    "error": ("#N/A", "#N/A"),
}


@pytest.mark.parametrize("name", CELLS)
def test_a_cell_that_is_no_text_is_named_with_its_row(tmp_path, complaint, name):
    value, shown = CELLS[name]
    path = book(tmp_path / "t.xlsx", [*ROWS, ("Cy", "lives_in", value)])
    message = (
        shown
        if value is None
        else f"answer is '{shown}', which is no text in Excel; format the column as text and write it again"
    )
    assert complaint(path) == f"t.xlsx (row 4): {message}"


def test_a_formatted_number_is_in_doubt(tmp_path, complaint):
    made = openpyxl.load_workbook(book(tmp_path / "t.xlsx", [*ROWS, ("Cy", "lives_in", 0.1)]))
    made["People"]["C4"].number_format = "0%"
    made.save(tmp_path / "t.xlsx")
    assert complaint(tmp_path / "t.xlsx").startswith(
        "t.xlsx (row 4): answer is '0.1', which is no text in Excel"
    )


def test_books_in_doubt_are_refused(tmp_path, complaint, monkeypatch):
    path = book(tmp_path / "t.xlsx", ROWS, NOTES, CAPITALS)
    assert complaint(path) == (
        "t.xlsx: the sheets 'People', 'More' all have the columns subject, relation, answer; "
        "leave one of them, or save one as CSV UTF-8"
    )
    assert complaint(book(path, NOTES)) == (
        "t.xlsx (row 1): missing column 'subject', 'relation', 'answer', got 'seen', 'by'; "
        "a table needs subject, relation, answer"
    )
    assert (
        complaint(book(path, []))
        == "t.xlsx: has no sheet with cells; a table needs subject, relation, answer"
    )
    path.write_bytes(text())
    assert complaint(path) == (
        "t.xlsx: not readable as an Excel sheet (File is not a zip file); save the sheet as CSV UTF-8"
    )
    book(path, ROWS)
    monkeypatch.setattr(excel, "_LARGEST", 100)
    assert complaint(path).startswith("t.xlsx: unpacks to ")
    assert complaint(path).endswith(" bytes, allowed are 100; save the sheet as CSV UTF-8")


ENTITY = '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/hostname">]>'


@pytest.mark.parametrize(
    ("part", "old", "new"),
    [
        ("xl/worksheets/sheet1.xml", "<worksheet", ENTITY + "<worksheet"),
        ("xl/worksheets/sheet1.xml", '<row r="3"', '<row r="999999999999"'),
        ("xl/worksheets/sheet1.xml", "</sheetData>", ""),
        ("xl/workbook.xml", "<sheets>", "<sheets><sheet/>"),
    ],
)
def test_hostile_and_broken_books_end_in_a_line(tmp_path, complaint, part, old, new):
    path = rewritten(book(tmp_path / "t.xlsx", ROWS), part, old, new)
    assert complaint(path).startswith("t.xlsx: not readable as an Excel sheet (")


def rewritten(path: Path, part: str, old: str, new: str, **more: str) -> Path:
    """The book with another text in one of its parts, and with more parts."""
    with zipfile.ZipFile(path) as book:
        parts = {name: book.read(name).decode() for name in book.namelist()}
    assert old in parts[part]
    with zipfile.ZipFile(path, "w") as book:
        for name, content in (parts | {part: parts[part].replace(old, new)} | more).items():
            book.writestr(name, content)
    return path


@pytest.mark.parametrize("entity", ["", ENTITY])
def test_the_strings_that_excel_keeps_apart(tmp_path, complaint, entity):
    path = book(tmp_path / "t.xlsx", ROWS)
    namespace = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    strings = f'{entity}<sst xmlns="{namespace}"><si><r><t>Pa</t></r><r><t>ris</t></r></si></sst>'
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml.sharedStrings+xml"
    name = "xl/sharedStrings.xml"
    rewritten(
        path,
        "[Content_Types].xml",
        "</Types>",
        f'<Override PartName="/{name}" ContentType="{kind}"/></Types>',
    )
    cell = '<c r="C2" t="inlineStr"><is><t>Paris</t></is></c>'
    rewritten(path, "xl/worksheets/sheet1.xml", cell, '<c r="C2" t="s"><v>0</v></c>', **{name: strings})
    if entity:
        assert complaint(path).startswith("t.xlsx: not readable as an Excel sheet (EntitiesForbidden(")
    else:
        assert told(path) == ()
