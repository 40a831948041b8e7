"""Texts that look alike: told of with their lines, and never folded."""

import tracemalloc
import unicodedata

import pyarrow as pa
import pytest

from spillover.jobs.forecast import forecast
from spillover.knowledge import alike
from spillover.knowledge.alike import alike_notices, fold
from spillover.knowledge.load import load
from tests.knowledge.tables import patterns_at

HEADER = "subject,relation,answer\n"

LOOK_ALIKES = {
    "composed": (
        "São Paulo",
        unicodedata.normalize("NFD", "São Paulo"),
        r"'S\xe3o Paulo'",
        r"'Sa\u0303o Paulo'",
    ),
    "case": ("Paris", "paris", "'Paris'", "'paris'"),
    "no-break space": ("New York", "New\u00a0York", "'New York'", r"'New\xa0York'"),
    "two spaces": ("New York", "New  York", "'New York'", "'New  York'"),
    "zero-width space": ("Lyon", "Lyon\u200b", "'Lyon'", r"'Lyon\u200b'"),
    "direction mark": ("Lyon", "\u200eLyon", "'Lyon'", r"'\u200eLyon'"),
    "full stop": ("Washington D.C.", "Washington D.C", "'Washington D.C.'", "'Washington D.C'"),
    "wide letters": ("Mara", "\uff2dara", "'Mara'", "'\uff2dara'"),
}
DIFFERENT = [
    ("Paris", "Pari"),
    ("Java", "JavaScript"),
    ("C", "C#"),
    ("7", "72"),
    ("Oslo", "Öslo"),
    ("A.B", "AB"),
]


def both(path):
    """The notices of the two readers, which tell the same; without the folder."""
    found = load(path).notices
    assert patterns_at(path).notices == found
    return [line.replace(f"{path.parent}/", "") for line in found]


@pytest.mark.parametrize("name", LOOK_ALIKES)
def test_answers_and_subjects_that_look_alike_are_told_and_not_folded(tmp_path, name):
    one, other, *shown = LOOK_ALIKES[name]
    path = tmp_path / "t.csv"
    path.write_text(HEADER + f"Al,in,{one}\nBo,in,{other}\nCy,in,{one}\n")
    assert both(path) == [
        f"answers that look alike are different text: {shown[0]} (t.csv:2) and {shown[1]} (t.csv:3); "
        "where they mean the same, give them one spelling"
    ]
    assert {triple.answer for triple in load(path).triples} == {one, other}
    assert forecast(path)["notes"] == list(load(path).notices)
    path.write_text(HEADER + f"x,in,Rome\n\n{other},in,Oslo\n{one},at,Oslo\n")
    assert both(path) == [
        f"subjects that look alike are different text: {shown[1]} (t.csv:4) and {shown[0]} (t.csv:5); "
        "where they mean the same, give them one spelling"
    ]


@pytest.mark.parametrize("pair", DIFFERENT)
def test_what_does_not_look_alike_is_not_told(tmp_path, pair):
    (tmp_path / "t.csv").write_text(HEADER + "".join(f"{one},in,{one}\n" for one in pair))
    assert both(tmp_path / "t.csv") == []


def test_answers_of_the_sheet_count_too(tmp_path):
    (tmp_path / "t.csv").write_text(HEADER + "Al,in,France\nAl,codes,Python\nBo,in,France\n")
    (tmp_path / "t.yaml").write_text(
        'relations:\n  in: {prompt: "{subject} in"}\n'
        '  codes: {prompt: "{subject} codes", candidates: [Perl, python]}\n'
        "rules:\n  - {fact: in, implication: codes, pairs: {France: PYTHON}}\ntriples: t.csv\n"
    )
    assert both(tmp_path / "t.yaml") == [
        "answers that look alike are different text: 'Python' (t.csv:3) and 'PYTHON' (t.yaml:5), "
        "'PYTHON' (t.yaml:5) and 'python' (t.yaml:3); where they mean the same, give them one spelling"
    ]


def test_relations_of_a_bare_table(tmp_path):
    (tmp_path / "t.csv").write_text(HEADER + "Al,lives_in,Rome\nBo,Lives_in,Oslo\n")
    assert both(tmp_path / "t.csv")[0].startswith(
        "relations that look alike are different text: 'lives_in' (t.csv:2)"
    )


def test_many_look_alikes_are_counted(tmp_path):
    rows = [f"{name},in,Rome\n" for i in range(20) for name in (f"Ann {i:02}", f"ann {i:02}", f"ANN {i:02}")]
    (tmp_path / "t.csv").write_text(HEADER + "".join(rows))
    (line,) = both(tmp_path / "t.csv")
    assert line.count(" (t.csv:") == 10
    assert ", 'ANN 01' (t.csv:7)" not in line
    assert " and 35 more; " in line


def test_many_subjects_are_looked_at_in_bounded_memory(monkeypatch):
    monkeypatch.setattr(alike, "_PIECE", 1000)
    names = [f"subject {i}" for i in range(50_000)]
    subjects = pa.array([*names, "Subject 7", "é", "e\u0301"], pa.string())
    tracemalloc.start()
    told = alike_notices({"subject": subjects}, lambda _, texts: dict.fromkeys(texts, 1), str)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert told[0].count(" and ") == 2
    assert peak < 50 * len(names)  # the texts alone would be twice as much
    assert fold("E\u0301.") == fold("é")
