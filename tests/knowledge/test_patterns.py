"""Patterns: the fast way reads what the careful reader reads, word for word, or leaves it to that."""

import json
import random
import tempfile
import tracemalloc
from collections import defaultdict
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spillover.errors import DataError
from spillover.knowledge import bulk, patterns
from spillover.knowledge.columns import COLUMNS
from spillover.knowledge.faults import contradiction, duplicate, place
from spillover.knowledge.patterns import Patterns, patterns_of, read_patterns
from spillover.knowledge.read import described, read_described, read_knowledge_base
from spillover.knowledge.schema import Triple
from spillover.knowledge.table import read_table

HEADER = "subject,relation,answer\n"


def spelled(patterns: Patterns) -> tuple:
    """What each pattern says, who has it, and the contradictions, in plain words."""
    says = [[] for _ in patterns.subjects]
    for pattern, relation, answer in zip(patterns.pattern, patterns.relation, patterns.answer, strict=True):
        says[pattern].append((patterns.relations[relation], patterns.answers[answer]))
    members = [(row["subject"], row["pattern"]) for row in patterns.members.to_pylist()]
    having = np.bincount([pattern for _, pattern in members], minlength=len(says))
    assert having.tolist() == patterns.subjects.tolist()
    return says, members, patterns.contradictions, patterns.contradicted


def reference(path: Path) -> tuple:
    """The same by plain loops over the careful reader's triples."""
    first: dict[Triple, int] = {}
    said, answers = defaultdict(list), defaultdict(list)
    for line, triple in read_table(path):
        if triple in first:
            places = place(path, line), place(path, first[triple])
            raise DataError(duplicate(triple.subject, triple.relation, *places))
        first[triple] = line
        said[triple.subject].append((triple.relation, triple.answer))
        answers[triple.subject, triple.relation].append((line, triple.answer))
    says = sorted({tuple(sorted(pairs)) for pairs in said.values()})
    members = sorted((subject, says.index(tuple(sorted(pairs)))) for subject, pairs in said.items())
    twice = []
    for (subject, relation), there in answers.items():
        if len(there) > 1:
            (line, before), (later, answer) = there[:2]
            both, where = (before, answer), place(path, later)
            twice.append((later, contradiction(subject, relation, both, where, place(path, line))))
    twice.sort()
    return [list(one) for one in says], members, tuple(text for _, text in twice[:10]), len(twice)


def outcome(read, path: Path) -> tuple | str:
    try:
        return read(path)
    except DataError as error:
        return str(error)


@pytest.fixture
def plainly(monkeypatch) -> list[bool]:
    """Whether each table was read the fast way."""
    ways: list[bool] = []
    load = patterns.load_plain

    def spy(*arguments) -> bool:
        ways.append(load(*arguments))
        return ways[-1]

    monkeypatch.setattr(patterns, "load_plain", spy)
    return ways


PLAIN = ["a", "b", "Ann", "NULL", "\\N", "007", "1e5", "#x", "'q'", '"q"', '"a,b"', '"a""b"', "é", "\u3000a"]
PLAIN += [
    "a\xa0",
    " a ",
    "\ta",
    "\x1fz\x1c",
    "\ufeffb",
    "\\",
    "nan",
    "{}",
    ";",
    "\x85x",
    "\u200bz",
    "~",
    "\x7f",
]
PLAIN += ['" q "', '"\u0301a"', '"e\u0301"', '"\U0001f1e9\U0001f1ea"', "\u0301", "--x", "/*", "x" * 10_000]
NASTY = [
    'a"b',
    ' "x"',
    '"x" ',
    '"x\ny"',
    '"x\r\ny"',
    '"x',
    "a\rb",
    "a\0b",
    "",
    '""',
    '" "',
    " ",
    "y" * 10_001,
]


def nasty_csv(draw: random.Random) -> bytes:
    columns: list[str] = list(COLUMNS)
    if draw.random() < 0.3:
        draw.shuffle(columns)
    if draw.random() < 0.3:
        columns.insert(draw.randrange(4), draw.choice(["id", "", "Subject", '"a,b"', '"q"']))
    if draw.random() < 0.03:
        columns[draw.randrange(3)] = draw.choice(["subject", "ANSWER"])
    columns = [draw.choice([name, f" {name}\t"]) for name in columns]
    rows = [",".join(columns)]
    cells = PLAIN + NASTY if draw.random() < 0.3 else PLAIN
    for _ in range(draw.randint(0, 7)):
        count = len(columns) if draw.random() < 0.99 else draw.randint(0, 5)
        rows.append(",".join(draw.choice(cells if draw.random() < 0.5 else "abcdefgh") for _ in range(count)))
        rows += draw.choice([[""], [" "]]) if draw.random() < 0.05 else []
    end = draw.choice(["\n", "\n", "\r\n", "\r"])
    text = end.join(rows) + draw.choice(["", end, end * 2, "\r"])
    data = text.encode("utf-8-sig" if draw.random() < 0.1 else "utf-8")
    return data + draw.choice([b"\xff", b"\xed\xa0\x80", b"\xc3"]) if draw.random() < 0.03 else data


VALUES = [
    "é",
    "a b",
    " a ",
    "\u3000x",
    "\x7f",
    "\u2028",
    'a"b',
    "a\\b",
    "a\tb",
    "\n",
    7,
    1.5,
    "",
    None,
    True,
    [1],
]


def nasty_jsonl(draw: random.Random) -> bytes:
    keys = draw.sample(COLUMNS, 3)
    comma, colon = draw.choice([(", ", ": "), (",", ":"), (" ,\t", " : ")])
    values = VALUES if draw.random() < 0.3 else VALUES[:6]
    plain = draw.random() < 0.7
    rows = []
    for _ in range(draw.randint(1, 6)):
        names = [*keys, "id"] if draw.random() < 0.03 else keys
        pairs = [(name, draw.choice(values if draw.random() < 0.3 else "abcdef")) for name in names]
        texts = (json.dumps(key) + colon + json.dumps(value, ensure_ascii=not plain) for key, value in pairs)
        rows.append("{" + comma.join(texts) + "}")
        rows += [draw.choice(["", " ", "\xa0", "{}", "NaN", rows[-1] + ","])] if draw.random() < 0.03 else []
    return draw.choice(["\n", "\r\n"]).join(rows).encode("utf-8-sig" if draw.random() < 0.1 else "utf-8")


@pytest.mark.parametrize(("name", "make"), [("t.csv", nasty_csv), ("t.jsonl", nasty_jsonl)])
@pytest.mark.parametrize("block", [bulk._BLOCK, 200])
def test_both_ways_read_the_same_or_complain_the_same(tmp_path, plainly, monkeypatch, name, make, block):
    monkeypatch.setattr(bulk, "_BLOCK", block)
    draw, faults = random.Random(block), 0  # noqa: S311
    path = tmp_path / name
    for _ in range(50):
        path.write_bytes(make(draw))
        expected = outcome(reference, path)
        assert outcome(lambda path: spelled(read_patterns(path)), path) == expected, path.read_bytes()
        faults += isinstance(expected, str)
    assert 5 < sum(plainly) < 45  # neither way stands alone here
    assert 5 < faults < 45


def test_parquet_is_read_the_same(tmp_path, plainly):
    draw = random.Random(0)  # noqa: S311
    path = tmp_path / "odd [1] * name.parquet"
    for round_ in range(30):
        cells = ["a", "b", "c", "d", " é\u3000", "\x1f z", 'a"b', "x\ny", "~"] + [None, "a\0b", ""] * (
            round_ % 5 == 0
        )
        columns = [[draw.choice(cells) for _ in range(6)] for _ in range(3)]
        pq.write_table(pa.table(dict(zip(("answer", "subject", "relation"), columns, strict=True))), path)
        assert outcome(lambda path: spelled(read_patterns(path)), path) == outcome(reference, path)
    assert 5 < sum(plainly) < 30


def test_white_space_is_what_python_calls_so():
    assert sorted(bulk._WHITE) == [chr(code) for code in range(0x110000) if chr(code).isspace()]


ROWS = [
    ("Ann", "lives_in", "Rome"),
    ("Bo", "lives_in", "Rome"),
    ("Cy", "lives_in", "Oslo"),
    ("Ann", "speaks", "Rome"),
]
ROWS += [("Bo", "speaks", "Rome"), ("Dee", "speaks", "Thai")]


def triples(rows) -> list[Triple]:
    return [Triple(subject=s, relation=r, answer=a) for s, r, a in rows]


def same(one: Patterns, other: Patterns) -> bool:
    numbers = ("subjects", "pattern", "relation", "answer")
    return (
        (one.relations, one.answers, one.contradicted) == (other.relations, other.answers, other.contradicted)
        and all(np.array_equal(getattr(one, name), getattr(other, name)) for name in numbers)
        and all(getattr(one, name).dtype == getattr(other, name).dtype for name in numbers)
        and one.members.equals(other.members)
    )


def test_a_table_by_its_patterns(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(HEADER + "\n".join(map(",".join, ROWS)))
    found = read_patterns(path)
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
    assert same(found, patterns_of(triples(ROWS)))


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
    one, other = patterns_of(triples(rows)), patterns_of(triples(moved))
    assert same(one, other)
    assert len(one.members) == len({subject for subject, *_ in rows})


def test_long_and_many_patterns_are_in_the_order_of_lists():
    draw = random.Random(1)  # noqa: S311
    rows = {(f"s{i}", "r", str(draw.randrange(3))) for i in range(300) for _ in range(draw.randint(1, 3))}
    rows |= {(f"long{i}", f"r{j:05}", "x") for i in range(3) for j in range(3_000 - i // 2)}
    says = spelled(patterns_of(triples(rows)))[0]
    assert says == sorted(says)
    assert len({tuple(one) for one in says}) == len(says)
    assert [len(one) for one in says[-2:]] == [2_999, 3_000]


def test_row_order_and_blocks_play_no_role_in_a_larger_table(tmp_path, plainly):
    rows = [f"s{i},r{k},a{i % 7 * (k + 1) % 5}\n" for i in range(20_000) for k in range(5)]
    (tmp_path / "a.csv").write_text(HEADER + "".join(rows))
    random.Random(0).shuffle(rows)  # noqa: S311
    (tmp_path / "b.csv").write_text(HEADER + "".join(rows))
    (tmp_path / "c.csv").write_text(HEADER + "".join(rows) + '"s\n",r0,a0\n')
    one, other, careful = (read_patterns(tmp_path / name) for name in ("a.csv", "b.csv", "c.csv"))
    assert plainly == [True, True, False]
    assert same(one, other)
    assert len(one.subjects) == 5
    assert len(careful.members) == 20_001


def test_contradictions_are_told_with_their_lines(tmp_path, plainly):
    path = tmp_path / "people.csv"
    path.write_text(HEADER + "Al,lives_in,Paris\n\nBo,lives_in,Rome\nAl,lives_in,Rome\nAl,lives_in,Oslo\n")
    found = read_patterns(path)
    assert found.contradicted == 1
    assert found.contradictions == (f"{path}:5: ('Al', 'lives_in') is 'Rome' here but 'Paris' in {path}:2",)
    assert found.pattern.tolist() == [0, 0, 0, 1]
    path.write_text(HEADER + "".join(f"s{i},r,{answer}\n" for i in range(12) for answer in "xy"))
    found = read_patterns(path)
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
    assert outcome(read_patterns, path) == outcome(read_knowledge_base, path) == expected


def test_triples_that_stand_there_twice_are_counted():
    with pytest.raises(DataError, match=r"^triple 3: \('a', 'r'\) stands already in triple 1; remove"):
        patterns_of(triples(["arx", "bry", "arx"]))


def test_no_triples_have_no_patterns():
    assert spelled(patterns_of([])) == ([], [], (), 0)


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
    told = outcome(lambda path: read_described(described(path)), tmp_path / "t.yaml")
    assert isinstance(told, str)
    assert told == outcome(read_knowledge_base, tmp_path / "t.yaml")


def test_a_description_without_triples(tmp_path):
    (tmp_path / "t.yaml").write_text(SHEET)
    found = described(tmp_path / "t.yaml")
    assert (found.name, found.table, [rule.name for rule in found.rules]) == (
        "t",
        tmp_path / "t.csv",
        ["r -> q"],
    )
    (tmp_path / "t.csv").write_text(HEADER + "a,r,x\nb,q,z\n")
    assert read_described(found).relations == ("q", "r")
    bare = described(str(tmp_path / "t.csv"))
    assert (bare.name, bare.table, bare.rules, bare.relations) == ("t", tmp_path / "t.csv", (), None)


def test_nothing_is_left_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    patterns_of(triples(ROWS))
    with pytest.raises(DataError):
        read_patterns(tmp_path / "nothing.csv")
    assert list(tmp_path.iterdir()) == []


def test_more_than_fits_into_memory_goes_to_disk(tmp_path, monkeypatch):
    path = tmp_path / "t.parquet"
    rows = "SELECT 'subject ' || i // 2 AS subject, 'r' || i % 2 AS relation, 'x' AS answer"
    duckdb.execute(f"COPY ({rows} FROM range(1000000) t(i)) TO '{path}'")
    monkeypatch.setattr(bulk, "_MEMORY", "60MB")
    found = read_patterns(path)
    assert (found.subjects.tolist(), found.relations, len(found.members)) == (
        [500_000],
        ("r0", "r1"),
        500_000,
    )


@pytest.mark.parametrize("name", ["open.csv", "long.csv", "long.jsonl"])
def test_a_cell_of_fifty_million_characters_is_not_read(tmp_path, name):
    path = tmp_path / name
    start, piece = {
        "open.csv": (HEADER + 'a,r,"', "x\n"),
        "long.csv": (HEADER + "a,r,", "x"),
        "long.jsonl": ('\n{"subject": "a", "relation": "r", "answer": "', "x"),
    }[name]
    path.write_text(start + piece * (50_000_000 // len(piece)))
    for read in (read_knowledge_base, read_patterns):
        tracemalloc.start()
        told = outcome(read, path)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert isinstance(told, str)
        assert told.startswith(f"{path}:2: ")
        assert told.endswith("look for a quote left open")
        assert peak < 80e6  # once as bytes and once as text would be 100


ROW = "Ann,r,x\n"
ONE_ODDITY = {
    "an old line end": (HEADER + ROW + "Bo,r,x\rCy,r,x\n", False),
    "an old line end inside a cell": (HEADER + ROW + "B\ro,r,x\n", False),
    "a cell too long": (HEADER + ROW + f"Bo,r,{'x' * 10_001}\n", False),
    "the longest cell, in two bytes": (HEADER + ROW + f"Bo,r,{'é' * 10_000}\n", False),
    "blank lines first": ("\n\n" + HEADER + "\n" + ROW + "Ann,r,y\n", True),
    "many blocks": (HEADER + "".join(f"s{i},r,x\n" for i in range(100)) + "s3,r,y\n", True),
    "a line longer than a block": (HEADER + ROW + f"Bo,r,{'x' * 300}\n" + "Ann,r,y\n", False),
}


@pytest.mark.parametrize("name", ONE_ODDITY)
def test_one_oddity_in_a_sound_table(tmp_path, plainly, monkeypatch, name):
    text, plain = ONE_ODDITY[name]
    monkeypatch.setattr(bulk, "_BLOCK", 64 if "block" in name else bulk._BLOCK)
    path = tmp_path / "t.csv"
    path.write_text(text, newline="")
    assert outcome(lambda path: spelled(read_patterns(path)), path) == outcome(reference, path)
    assert plainly == [plain]
