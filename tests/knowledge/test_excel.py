"""Excel sheets: read where it is beyond doubt which sheet is meant and what its cells say."""

import datetime
import zipfile
from pathlib import Path

import openpyxl
import pytest

from spillover.knowledge import excel
from spillover.knowledge.load import load
from tests.knowledge.test_formats import CAPITALS, READ_AS, ROWS, text, told


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
    found = load(book(tmp_path / "t.xlsx", rows)).triples
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
