"""Bare tables: CSV, JSONL and Parquet read alike, and the faults that only one of them has."""

import json
import os
from pathlib import Path

import duckdb
import pytest

from spillover.knowledge.load import load
from spillover.knowledge.schema import Triple


def table(folder: Path, suffix: str) -> Path:
    path = folder / f"odd [1] * name{suffix}"
    if suffix == ".csv":
        path.write_text(
            'id,answer,subject,relation\r\n1,7,"Mara\nBerg",lives_in\r\n\r\n2,Ö,Ann,"a,b"\r\n', "utf-8-sig"
        )
    elif suffix == ".jsonl":
        rows = [{"subject": "Mara\nBerg", "relation": "lives_in", "answer": 7, "id": None}]
        rows += [{"subject": "Ann", "relation": "a,b", "answer": "Ö"}]
        path.write_text("\n\n".join(map(json.dumps, rows)), "utf-8")
    else:
        plain = folder / "plain.parquet"
        rows = "VALUES (1, '7', E'Mara\\nBerg', 'lives_in'), (2, 'Ö', 'Ann', 'a,b')"
        duckdb.execute(f"COPY (FROM ({rows}) t(id, answer, subject, relation)) TO '{plain}'")
        plain.rename(path)
    return path


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_a_bare_table(tmp_path, suffix):
    kb = load(table(tmp_path, suffix))
    assert kb.triples == (
        Triple(subject="Mara\nBerg", relation="lives_in", answer="7"),
        Triple(subject="Ann", relation="a,b", answer="Ö"),
    )
    assert kb.relations["lives_in"].prompt == "{subject} lives in"
    assert kb.rules == ()
    assert kb.name == "odd [1] * name"


JSON_FAULTS = {
    "missing column": (
        '{"subject": "Ann", "relation": "r", "Answr": "x"}',
        "missing column 'answer', got 'subject', 'relation', 'Answr'; did you mean 'answer' by 'Answr'?",
    ),
    "syntax": (
        "{",
        "not readable as JSON (Expecting property name enclosed in double quotes); write one object per line",
    ),
    "deep": ("[" * 100_000, "not readable as JSON (nested too deep); write one object per line"),
    "not an object": (
        "[1]",
        'got [\'1\'], a line must be an object like {"subject": "...", "relation": "...", "answer": "..."}',
    ),
    "not a text": (
        '{"subject": "Ann", "relation": "r", "answer": ["x"]}',
        "answer is ['x']; write text in quotes",
    ),
    "null": (
        '{"subject": "Ann", "relation": "r", "answer": null}',
        "answer is empty; fill it in or remove the entry",
    ),
    "NUL": (
        r'{"subject": "A\u0000", "relation": "r", "answer": "x"}',
        r"subject 'A\x00' holds a NUL byte; remove it",
    ),
    "surrogate": (
        r'{"subject": "A\ud800", "relation": "r", "answer": "x"}',
        r"subject 'A\ud800' holds half a surrogate pair; remove it",
    ),
    "braces": (r'{"subject": "A", "relation": "r{x}", "answer": "x"}', None),
}


@pytest.mark.parametrize("name", JSON_FAULTS)
def test_a_faulty_json_line_is_named(tmp_path, complaint, name):
    text, message = JSON_FAULTS[name]
    (tmp_path / "t.jsonl").write_text("\n" + text + "\n", "utf-8")
    expected = (
        f"t.jsonl:2: {message}"
        if message
        else (
            "t.jsonl: prompt '{subject} r{x}' has other braces than {subject}, which alone is filled in; "
            "remove them"
        )
    )
    assert complaint(tmp_path / "t.jsonl") == expected


PARQUET_FAULTS = {
    "empty answer": (
        "VALUES ('a', 'r', 'x'), ('b', 'r', NULL)",
        "t.parquet (row 2): answer is empty; fill it in or remove the entry",
    ),
    "contradiction": (
        "VALUES ('a', 'r', 'x'), ('a', 'r', 'y')",
        "t.parquet (row 2): ('a', 'r') is 'y' here but 'x' in t.parquet (row 1); keep one",
    ),
    "nested": ("VALUES ('a', 'r', ['x'])", "t.parquet: column 'answer' holds VARCHAR[]; write it as text"),
}


@pytest.mark.parametrize("name", PARQUET_FAULTS)
def test_a_faulty_parquet_row_is_named(tmp_path, complaint, name):
    rows, message = PARQUET_FAULTS[name]
    duckdb.execute(f"COPY (FROM ({rows}) t(subject, relation, answer)) TO '{tmp_path / 't.parquet'}'")
    assert complaint(tmp_path / "t.parquet") == message


def test_a_parquet_without_the_columns(tmp_path, complaint):
    duckdb.execute(
        f"COPY (SELECT 'a' AS subjct, 'r' AS relation, 'x' AS answer) TO '{tmp_path / 't.parquet'}'"
    )
    expected = (
        "t.parquet: missing column 'subject', got 'subjct', 'relation', 'answer'; did you mean "
        "'subject' by 'subjct'?"
    )
    assert complaint(tmp_path / "t.parquet") == expected


def test_a_file_that_is_not_parquet(tmp_path, complaint):
    (tmp_path / "t.parquet").write_text("subject,relation,answer")
    assert complaint(tmp_path / "t.parquet").startswith("t.parquet: not readable as Parquet (")


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl", "t.parquet", "t.yaml"])
def test_what_is_no_plain_file_is_named_at_once(tmp_path, complaint, name):
    os.mkfifo(tmp_path / name)
    assert complaint(tmp_path / name) == f"{name}: cannot be read (not a plain file); give a readable file"
    (tmp_path / name).unlink()
    (tmp_path / name).mkdir()
    assert complaint(tmp_path / name) == f"{name}: cannot be read (Is a directory); give a readable file"


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl", "t.parquet", "t.yaml"])
@pytest.mark.parametrize("content", [b"", b" \n\t\n" * 1_000_000, b"\xef\xbb\xbf\n"])
def test_a_file_of_nothing_is_empty(tmp_path, complaint, name, content):
    (tmp_path / name).write_bytes(content)
    assert complaint(tmp_path / name) == (
        f"{name}: file is empty; it must hold triples or name a table of them"
    )


TOO_LONG = {
    "t.csv": ("subject,relation,answer\n", ["a," * 3_000_000, '"a' + '","\n' * 1_500_000]),
    "t.jsonl": ("\n", ["[" + "1," * 3_000_000]),
}


@pytest.mark.parametrize("name", TOO_LONG)
def test_a_record_without_end_is_named(tmp_path, complaint, name):
    start, records = TOO_LONG[name]
    for record in records:
        (tmp_path / name).write_text(start + record)
        assert complaint(tmp_path / name) == (
            f"{name}:2: record has more than 4,194,304 characters; shorten it or look for a quote left open"
        )


@pytest.mark.parametrize("bad", [b"\xff", b"\xc3"])
@pytest.mark.parametrize("name", ["t.csv", "t.jsonl"])
def test_the_line_of_a_byte_that_is_no_text_far_into_a_file(tmp_path, complaint, name, bad):
    row = (
        b"\xc3\xa9%d,r,a\n"
        if name == "t.csv"
        else b'{"subject": "\xc3\xa9%d", "relation": "r", "answer": "a"}\n'
    )
    rows = [
        b"subject,relation,answer\n" if name == "t.csv" else b"\n",
        *(row % i for i in range(99_998)),
        bad,
    ]
    (tmp_path / name).write_bytes(b"".join(rows))
    assert complaint(tmp_path / name) == (
        f"{name}:100000: byte 0x{bad[0]:02x} is not UTF-8; save the file as UTF-8"
    )
