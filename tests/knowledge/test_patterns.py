"""A table by its patterns, with the faults that a knowledge base would name."""

import random
import tempfile

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spillover.errors import DataError
from spillover.knowledge.load import load, load_patterns
from spillover.knowledge.patterns import group_table, group_triples
from tests.knowledge.tables import HEADER, outcome, same, spelled, triples

ROWS = [
    ("Ann", "lives_in", "Rome"),
    ("Bo", "lives_in", "Rome"),
    ("Cy", "lives_in", "Oslo"),
    ("Ann", "speaks", "Rome"),
]
ROWS += [("Bo", "speaks", "Rome"), ("Dee", "speaks", "Thai")]


def test_a_table_by_its_patterns(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(HEADER + "\n".join(map(",".join, ROWS)))
    found = group_table(path)
    assert (found.relations, found.answers) == (("lives_in", "speaks"), ("Oslo", "Rome", "Thai"))
    assert found.subjects.tolist() == [1, 2, 1]
    assert found.pattern.tolist() == [0, 1, 1, 2]
    assert found.relation.tolist() == [0, 0, 1, 1]
    assert found.answer.tolist() == [0, 1, 1, 2]
    assert found.members.to_pydict() == {"subject": ["Ann", "Bo", "Cy", "Dee"], "pattern": [1, 1, 0, 2]}
    assert found.members.schema.types == [pa.string(), pa.int32()]
    assert (found.contradictions, found.contradicted) == ((), 0)
    assert found.answers_of("speaks") == ("Rome", "Thai")
    assert found.answers_of("codes_in") == ()
    assert same(found, group_triples(triples(ROWS)))


@settings(max_examples=15, deadline=None)
@given(
    st.lists(
        st.tuples(*[st.sampled_from(["a", "b", "c", "é", "Z", "\U0001f600", "\uffff"])] * 3), unique=True
    ),
    st.randoms(use_true_random=False),
)
def test_row_order_plays_no_role(rows, random):
    moved = rows.copy()
    random.shuffle(moved)
    one, other = group_triples(triples(rows)), group_triples(triples(moved))
    assert same(one, other)
    assert len(one.members) == len({subject for subject, *_ in rows})


def test_long_and_many_patterns_are_in_the_order_of_lists():
    draw = random.Random(1)  # noqa: S311
    rows = {(f"s{i}", "r", str(draw.randrange(3))) for i in range(300) for _ in range(draw.randint(1, 3))}
    rows |= {(f"long{i}", f"r{j:05}", "x") for i in range(3) for j in range(3_000 - i // 2)}
    says = spelled(group_triples(triples(rows)))[0]
    assert says == sorted(says)
    assert len({tuple(one) for one in says}) == len(says)
    assert [len(one) for one in says[-2:]] == [2_999, 3_000]


def test_contradictions_are_told_with_their_lines(tmp_path, plainly):
    path = tmp_path / "people.csv"
    path.write_text(HEADER + "Al,lives_in,Paris\n\nBo,lives_in,Rome\nAl,lives_in,Rome\nAl,lives_in,Oslo\n")
    found = group_table(path)
    assert found.contradicted == 1
    assert found.contradictions == (f"{path}:5: ('Al', 'lives_in') is 'Rome' here but 'Paris' in {path}:2",)
    assert found.pattern.tolist() == [0, 0, 0, 1]
    path.write_text(HEADER + "".join(f"s{i},r,{answer}\n" for i in range(12) for answer in "xy"))
    found = group_table(path)
    assert (found.contradicted, len(found.contradictions)) == (12, 10)
    assert found.contradictions[9].startswith(f"{path}:21: ('s9', 'r') is 'y' here")
    assert plainly == [True, True]


FAULTS = {
    "duplicate": (
        "a,r,x\n\n b ,r,y\nb,r,\ty\na,r,x\n",
        ":5: ('b', 'r') stands already in {}:4; remove the duplicate",
    ),
    "duplicate before another": (
        "a,r,x\na,r,x\na,r,\n",
        ":3: ('a', 'r') stands already in {}:2; remove the duplicate",
    ),
    "empty before duplicate": ("a,r,x\na,r,\na,r,x\n", ":3: answer is empty; fill it in or remove the entry"),
    "NUL": ("a,r,x\na,r,\0y\n", ":3: answer '\\x00y' holds a NUL byte; remove it"),
    "no rows": ("", ": table has columns but no triples; add a row"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_faults_are_those_of_the_knowledge_base(tmp_path, name):
    rows, message = FAULTS[name]
    path = tmp_path / "t.csv"
    path.write_text(HEADER + rows)
    expected = str(path) + message.format(path)
    assert outcome(group_table, path) == outcome(load, path) == expected


def test_triples_that_stand_there_twice_are_counted():
    with pytest.raises(DataError, match=r"^triple 3: \('a', 'r'\) stands already in triple 1; remove"):
        group_triples(triples(["arx", "bry", "arx"]))


def test_no_triples_have_no_patterns():
    assert spelled(group_triples([])) == ([], [], (), 0)


SHEET = """\
relations: {r: {prompt: "{subject} r"}, q: {prompt: "{subject} q"}}
rules: [{fact: r, implication: q, pairs: {x: z}}]
triples: t.csv
"""


@pytest.mark.parametrize(
    "rows", ["a,r,x\nb,s,y\n", "a,r,x\nb,s,y\nb,r,\n", "b,r,y\nc,r,u\n", "a,s,\n", "a,r,x\na,r,x\nb,s,y\n"]
)
def test_what_a_sheet_forbids_is_the_same_fault(tmp_path, rows):
    (tmp_path / "t.yaml").write_text(SHEET)
    (tmp_path / "t.csv").write_text(HEADER + rows)
    told = outcome(lambda path: load_patterns(path), tmp_path / "t.yaml")
    assert isinstance(told, str)
    assert told == outcome(load, tmp_path / "t.yaml")


def test_nothing_is_left_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    group_triples(triples(ROWS))
    with pytest.raises(DataError):
        group_table(tmp_path / "nothing.csv")
    assert list(tmp_path.iterdir()) == []
