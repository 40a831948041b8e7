"""The one door: what is read right, and one clear line, with file and line, for everything that is wrong."""

import pytest

from spillover.errors import DataError
from spillover.knowledge.builtin import BUILTIN, built_in
from spillover.knowledge.load import load, load_patterns
from spillover.knowledge.schema import KnowledgeBase, Rule, Triple
from tests.knowledge.tables import HEADER, ROWS, SHEET, outcome, patterns_at, write


def test_a_described_table(tmp_path):
    kb = load(write(tmp_path))
    assert kb.name == "people"
    assert kb.triples == (Triple(subject="Mara  Berg", relation="lives_in", answer="France"),)
    assert kb.relations["lives_in"].prompt == "{subject} lives in"
    assert kb.relations["codes_in"].candidates == ("Perl", "No", "7")
    assert kb.relations["codes_in"].paraphrases == ()
    assert kb.rules == (
        Rule(fact="lives_in", implication="codes_in", kind="causal", pairs={"France": "Python"}, bridges=2),
    )
    assert kb.candidates("codes_in") == ("7", "No", "Perl", "Python")


def test_paraphrases_are_read_without_spaces_at_their_ends(tmp_path):
    wordings = 'paraphrases: ["{subject} writes programs in ", "{subject} writes"], candidates: ['
    kb = load(write(tmp_path, SHEET.replace("candidates: [", wordings)))
    assert kb.relations["codes_in"].paraphrases == (
        "{subject} writes programs in",
        "{subject} writes",
    )
    assert kb.relations["lives_in"].paraphrases == ()


def test_a_rule_is_spurious_and_draws_nothing_unless_said(tmp_path):
    sheet = SHEET.replace(", kind: causal, pairs: {France: Python}, bridges: 2", "")
    rule = load(write(tmp_path, sheet)).rules[0]
    assert (rule.kind, rule.pairs, rule.bridges) == ("spurious", {}, None)


ROW_FAULTS = {
    "unknown relation": (
        ROWS + '"Ann\nLee",lives_in,Peru\nBo,live_in,Peru\n',
        "people.csv:5: relation 'live_in' is not in people.yaml, which has lives_in, codes_in; "
        "did you mean 'lives_in'?",
    ),
    "duplicate": (
        ROWS + "Ann,lives_in,Peru\nMara  Berg,lives_in, France \n",
        "people.csv:4: ('Mara  Berg', 'lives_in') stands already in people.csv:2; remove the duplicate",
    ),
    "contradiction": (
        ROWS + "\nMara  Berg,lives_in,Peru\n",
        "people.csv:4: ('Mara  Berg', 'lives_in') is 'Peru' here but 'France' in people.csv:2; keep one",
    ),
    "empty subject": (
        ROWS + " ,lives_in,Peru\n",
        "people.csv:3: subject is empty; fill it in or remove the entry",
    ),
    "empty relation": (
        ROWS + "Ann,,Peru\n",
        "people.csv:3: relation is empty; fill it in or remove the entry",
    ),
    "empty answer": (
        ROWS + "Ann,lives_in,\n",
        "people.csv:3: answer is empty; fill it in or remove the entry",
    ),
    "not UTF-8": (
        ROWS.encode() + b"Ann,lives_in,S\xe3o Paulo\n",
        "people.csv:3: byte 0xe3 is not UTF-8; save the file as UTF-8",
    ),
    "missing column": (
        "subject,relation,anwser\nAnn,lives_in,Peru\n",
        "people.csv:1: missing column 'answer', got 'subject', 'relation', 'anwser'; did you mean "
        "'answer' by 'anwser'?",
    ),
    "missing columns": (
        "a;b;c\n1;2;3\n",
        "people.csv:1: missing column 'subject', 'relation', 'answer', got 'a;b;c'; "
        "a table needs subject, relation, answer",
    ),
    "doubled column": (
        "subject,relation,answer,answer\n",
        "people.csv:1: column 'answer' stands there 2 times; keep one",
    ),
    "ragged row": (
        ROWS + "Ann,lives_in,Paris, France\n",
        "people.csv:3: 4 cells where the header has 3; put cells that hold commas in double quotes",
    ),
    "open quote": (
        ROWS + 'Ann,lives_in,"Peru\n',
        "people.csv:3: not readable as CSV (unexpected end of data); look for a quote left open",
    ),
    "NUL byte": (
        ROWS + "An\0n,lives_in,Peru\n",
        r"people.csv:3: subject 'An\x00n' holds a NUL byte; remove it",
    ),
    "long cell": (
        ROWS + f"Ann,lives_in,{'x' * 10_001}\n",
        "people.csv:3: answer has 10,001 characters, allowed are 10,000; shorten it or look for a quote "
        "left open",
    ),
    "longer cell": (
        ROWS + f"Ann,lives_in,{'x' * 200_000}\n",
        "people.csv:3: not readable as CSV (field larger than field limit (131072)); look for a quote "
        "left open",
    ),
    "no triples": (
        "subject,relation,answer\n",
        "people.csv: table has columns but no triples; add a row",
    ),
    "empty table": (" \n", "people.csv: file is empty; it must hold triples or name a table of them"),
    "pair of nothing": (
        ROWS.replace("France", "Frence"),
        "people.yaml:6: no triple of lives_in has the answer 'France' of this pair, only 'Frence'; "
        "did you mean 'Frence'?",
    ),
}


@pytest.mark.parametrize("name", ROW_FAULTS)
def test_a_faulty_table_is_named_with_its_line(tmp_path, complaint, name):
    rows, message = ROW_FAULTS[name]
    assert complaint(write(tmp_path, rows=rows)) == message


def test_files_that_are_no_knowledge_base(tmp_path, complaint):
    (tmp_path / "people.txt").write_text("x")
    assert complaint(tmp_path / "people.txt") == (
        "people.txt: unknown kind of file '.txt'; allowed are .yaml, .yml, .csv, .tsv, .jsonl, .json, "
        ".parquet, .xlsx"
    )
    # of a long path the line shows both ends
    assert "people.tx' is neither a file nor a built-in knowledge base (demo, " in complaint(
        tmp_path / "people.tx"
    )
    assert complaint(tmp_path / "other.csv") == "other.csv: file not found; check the path"
    (tmp_path / "empty.yaml").write_text("")
    assert complaint(tmp_path / "empty.yaml").startswith("empty.yaml: file is empty; ")
    (tmp_path / "empty.yaml").write_text("# later\n")
    assert complaint(tmp_path / "empty.yaml").startswith("empty.yaml: file holds only comments; ")
    (tmp_path / "empty.yaml").write_text("people\n")
    assert complaint(tmp_path / "empty.yaml") == (
        "empty.yaml:1: the file must be a mapping (key: value), got 'people'"
    )


BOTH = pytest.mark.parametrize("door", [load, load_patterns])


@BOTH
def test_the_door_takes_a_name_or_a_path(tmp_path, door):
    assert door("demo") == built_in("demo")
    (tmp_path / "t.csv").write_text(HEADER + "Ann,likes,tea\n")
    for path in (tmp_path / "t.csv", str(tmp_path / "t.csv")):
        assert (door(path).name, door(path).rules) == ("t", ())
    assert load(tmp_path / "t.csv").triples == (Triple(subject="Ann", relation="likes", answer="tea"),)
    assert patterns_at(tmp_path / "t.csv").members.to_pylist() == [{"subject": "Ann", "pattern": 0}]


def test_patterns_wait_for_the_split_where_bridges_are_drawn(tmp_path):
    path = write(tmp_path)
    kb = load_patterns(path)
    assert isinstance(kb, KnowledgeBase)
    assert kb == load(path)
    stated = load_patterns(write(tmp_path, SHEET.replace(", bridges: 2", "")))
    assert not isinstance(stated, KnowledgeBase)
    assert (stated.name, [rule.name for rule in stated.rules]) == ("people", ["lives_in -> codes_in"])
    assert stated.patterns.relations == ("lives_in", "codes_in"), "what only the rule names comes last"
    assert stated.patterns.answers == ("France", "Python")


def test_patterns_let_a_contradiction_through_that_a_knowledge_base_does_not(tmp_path, complaint):
    path = write(tmp_path, SHEET.replace(", bridges: 2", ""), ROWS + "Mara  Berg,lives_in,Peru\n")
    assert complaint(path).endswith("is 'Peru' here but 'France' in people.csv:2; keep one")
    assert patterns_at(path).contradicted == 1


@BOTH
@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "city-langage",
            f"'city-langage' is neither a file nor a built-in knowledge base ({', '.join(BUILTIN)}, popqa); "
            "did you mean 'city-language'?",
        ),
        (
            "zzz",
            f"'zzz' is neither a file nor a built-in knowledge base ({', '.join(BUILTIN)}, popqa); "
            "give one of these or a path",
        ),
        ("x.csv", "x.csv: file not found; check the path"),
    ],
)
def test_the_door_to_nothing(name, message, tmp_path, monkeypatch, door):
    monkeypatch.chdir(tmp_path)
    assert outcome(door, name) == message


@BOTH
@pytest.mark.parametrize("name", ["", "\0", "x" * 5_000, "."])
def test_the_door_to_what_cannot_be_a_file(name, door):
    with pytest.raises(DataError):
        door(name)
