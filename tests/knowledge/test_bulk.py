"""The fast way reads what the careful reader reads, word for word, or leaves it to that."""

import json
import random
import tracemalloc

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spillover.knowledge import bulk
from spillover.knowledge.columns import COLUMNS
from spillover.knowledge.load import load
from spillover.knowledge.patterns import group_table
from tests.knowledge.tables import HEADER, outcome, reference, same, spelled

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
        assert outcome(lambda path: spelled(group_table(path)), path) == expected, path.read_bytes()
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
        assert outcome(lambda path: spelled(group_table(path)), path) == outcome(reference, path)
    assert 5 < sum(plainly) < 30


def test_white_space_is_what_python_calls_so():
    assert sorted(bulk._WHITE) == [chr(code) for code in range(0x110000) if chr(code).isspace()]


def test_row_order_and_blocks_play_no_role_in_a_larger_table(tmp_path, plainly):
    rows = [f"s{i},r{k},a{i % 7 * (k + 1) % 5}\n" for i in range(20_000) for k in range(5)]
    (tmp_path / "a.csv").write_text(HEADER + "".join(rows))
    random.Random(0).shuffle(rows)  # noqa: S311
    (tmp_path / "b.csv").write_text(HEADER + "".join(rows))
    (tmp_path / "c.csv").write_text(HEADER + "".join(rows) + '"s\n",r0,a0\n')
    one, other, careful = (group_table(tmp_path / name) for name in ("a.csv", "b.csv", "c.csv"))
    assert plainly == [True, True, False]
    assert same(one, other)
    assert len(one.subjects) == 5
    assert len(careful.members) == 20_001


def test_more_than_fits_into_memory_goes_to_disk(tmp_path, monkeypatch):
    path = tmp_path / "t.parquet"
    rows = "SELECT 'subject ' || i // 2 AS subject, 'r' || i % 2 AS relation, 'x' AS answer"
    duckdb.execute(f"COPY ({rows} FROM range(1000000) t(i)) TO '{path}'")
    monkeypatch.setattr(bulk, "_MEMORY", "60MB")
    found = group_table(path)
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
    for read in (load, group_table):
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
    assert outcome(lambda path: spelled(group_table(path)), path) == outcome(reference, path)
    assert plainly == [plain]
