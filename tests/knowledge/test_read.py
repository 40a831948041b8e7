"""Reading: what is read right, and one clear line, with file and line, for everything that is wrong."""

from pathlib import Path

import pytest

from spillover.knowledge.read import read_knowledge_base
from spillover.knowledge.schema import Rule, Triple

SHEET = """\
name: people
relations:
  lives_in: {prompt: "{subject} lives in  "}
  codes_in: {prompt: "{subject} codes in", candidates: [Perl, No, 7]}
rules:
  - {fact: lives_in, implication: codes_in, kind: causal, pairs: {France: Python}, bridges: 2}
triples: people.csv
"""
ROWS = "subject,relation,answer\nMara  Berg , lives_in,France\n"


def write(folder: Path, sheet: str = SHEET, rows: str | bytes = ROWS) -> Path:
    (folder / "people.csv").write_bytes(rows if isinstance(rows, bytes) else rows.encode())
    (folder / "people.yaml").write_text(sheet, "utf-8")
    return folder / "people.yaml"


def test_a_described_table(tmp_path):
    kb = read_knowledge_base(write(tmp_path))
    assert kb.name == "people"
    assert kb.triples == (Triple(subject="Mara  Berg", relation="lives_in", answer="France"),)
    assert kb.relations["lives_in"].prompt == "{subject} lives in"
    assert kb.relations["codes_in"].candidates == ("Perl", "No", "7")
    assert kb.rules == (
        Rule(fact="lives_in", implication="codes_in", kind="causal", pairs={"France": "Python"}, bridges=2),
    )
    assert kb.candidates("codes_in") == ("7", "No", "Perl", "Python")


def test_a_rule_is_spurious_and_draws_nothing_unless_said(tmp_path):
    sheet = SHEET.replace(", kind: causal, pairs: {France: Python}, bridges: 2", "")
    rule = read_knowledge_base(write(tmp_path, sheet)).rules[0]
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


SHEET_FAULTS = {
    "unknown key": (
        ("relations:", "relatons:"),
        "people.yaml:2: unknown key 'relatons'; allowed are name, relations, rules, triples; "
        "did you mean 'relations'?",
    ),
    "unknown key of a relation": (
        ("candidates:", "candidate:"),
        "people.yaml:4: unknown key 'candidate'; allowed are prompt, candidates, space; "
        "did you mean 'candidates'?",
    ),
    "unknown key of a rule": (
        ("bridges:", "bridge:"),
        "people.yaml:6: unknown key 'bridge'; allowed are fact, implication, kind, pairs, bridges; "
        "did you mean 'bridges'?",
    ),
    "missing key": (
        ('{prompt: "{subject} lives in  "}', "{}"),
        "people.yaml:3: key 'prompt' is missing from relations.lives_in; add it",
    ),
    "no table named": (
        ("triples: people.csv\n", ""),
        "people.yaml: key 'triples' is missing; name the table of triples, such as people.csv",
    ),
    "bad kind": (
        ("kind: causal", "kind: casual"),
        "people.yaml:6: kind is 'casual', allowed are causal, spurious; did you mean 'causal'?",
    ),
    "bad space": (
        ("candidates: [", "space: no, candidates: ["),
        "people.yaml:4: space is 'no', allowed are one, none; did you mean 'none'?",
    ),
    "bad bridges": (
        ("bridges: 2", "bridges: 0"),
        "people.yaml:6: rules.0.bridges must be a whole number from 1 up, got '0'",
    ),
    "not a list": (
        ("[Perl, No, 7]", "Perl"),
        "people.yaml:4: relations.codes_in.candidates must be a list, got 'Perl'",
    ),
    "not a text": (
        ("[Perl, No, 7]", "[Perl, [No]]"),
        "people.yaml:4: relations.codes_in.candidates.1 must be one text, got ['No']",
    ),
    "not a mapping": (
        ("{France: Python}", "Python"),
        "people.yaml:6: rules.0.pairs must be a mapping (key: value), got 'Python'",
    ),
    "unknown fact": (
        ("fact: lives_in", "fact: live_in"),
        "people.yaml:6: fact 'live_in' of the rule is not a relation of the file, which has lives_in, "
        "codes_in; "
        "did you mean 'lives_in'?",
    ),
    "unknown implication": (
        ("implication: codes_in", "implication: codesin"),
        "people.yaml:6: implication 'codesin' of the rule is not a relation of the file, which has lives_in, "
        "codes_in; did you mean 'codes_in'?",
    ),
    "fact is implication": (
        ("implication: codes_in", "implication: lives_in"),
        "people.yaml:6: the rule's fact and implication are both 'lives_in'; name two different relations",
    ),
    "rule twice": (
        ("triples:", "  - {fact: lives_in, implication: codes_in}\ntriples:"),
        "people.yaml:7: rule lives_in -> codes_in stands there twice, first at people.yaml:6; remove one",
    ),
    "no subject in prompt": (
        ("{subject} lives in", "She lives in"),
        "people.yaml:3: prompt 'She lives in' has no {subject}; write {subject} where the name goes",
    ),
    "other placeholder": (
        ("{subject} lives in", "{name} lives in"),
        "people.yaml:3: prompt '{name} lives in' has no {subject}; write {subject} where the name goes",
    ),
    "second placeholder": (
        ("{subject} lives in", "{subject} of {place}"),
        "people.yaml:3: prompt '{subject} of {place}' has other braces than {subject}, which alone is "
        "filled in; "
        "remove them",
    ),
    "empty prompt": (
        ("{subject} lives in", ""),
        "people.yaml:3: prompt is empty; fill it in or remove the entry",
    ),
    "empty candidate": (
        ("[Perl, No, 7]", "[Perl, '']"),
        "people.yaml:4: candidate is empty; fill it in or remove the entry",
    ),
    "empty pair": (
        ("France: Python", "France: ''"),
        "people.yaml:6: pair of 'France' is empty; fill it in or remove the entry",
    ),
    "syntax": (
        ("triples: people.csv", "triples: [people.csv"),
        "people.yaml:8: not readable as YAML (expected ',' or ']', but got '<stream end>'); mend the syntax",
    ),
    "forbidden character": (
        ("name: people", "name: peo\0ple"),
        "people.yaml:1: character '\\x00' is not allowed in YAML; remove it",
    ),
    "key twice": (
        ("name: people", "name: a\nname: b"),
        "people.yaml:2: key 'name' stands there twice; keep one",
    ),
    "key not a word": (
        ("name: people", "? [a]\n: b"),
        "people.yaml:1: a list or mapping is used as a key; use a word",
    ),
    "table of unknown kind": (
        ("people.csv", "people.xls"),
        "people.xls: unknown kind of table '.xls'; allowed are .csv, .tsv, .jsonl, .json, .parquet, .xlsx; "
        "did you mean '.xlsx'?",
    ),
    "table not there": (("people.csv", "peopl.csv"), "peopl.csv: file not found; did you mean 'people.csv'?"),
    "table is a folder": (
        ("people.csv", "folder.csv"),
        "folder.csv: cannot be read (Is a directory); give a readable file",
    ),
}


@pytest.mark.parametrize("name", SHEET_FAULTS)
def test_a_faulty_sheet_is_named_with_its_line(tmp_path, complaint, name):
    (old, new), message = SHEET_FAULTS[name]
    assert old in SHEET
    (tmp_path / "folder.csv").mkdir()
    assert complaint(write(tmp_path, SHEET.replace(old, new, 1))) == message


def test_files_that_are_no_knowledge_base(tmp_path, complaint):
    (tmp_path / "people.txt").write_text("x")
    assert complaint(tmp_path / "people.txt") == (
        "people.txt: unknown kind of file '.txt'; allowed are .yaml, .yml, .csv, .tsv, .jsonl, .json, "
        ".parquet, .xlsx"
    )
    assert complaint(tmp_path / "people.tx") == "people.tx: file not found; did you mean 'people.txt'?"
    assert complaint(tmp_path / "other.csv") == "other.csv: file not found; check the path"
    (tmp_path / "empty.yaml").write_text("")
    assert complaint(tmp_path / "empty.yaml").startswith("empty.yaml: file is empty; ")
    (tmp_path / "empty.yaml").write_text("# later\n")
    assert complaint(tmp_path / "empty.yaml").startswith("empty.yaml: file holds only comments; ")
    (tmp_path / "empty.yaml").write_text("people\n")
    assert complaint(tmp_path / "empty.yaml") == (
        "empty.yaml:1: the file must be a mapping (key: value), got 'people'"
    )


def test_hostile_yaml_is_refused_quickly(tmp_path, complaint):
    path = tmp_path / "bad.yaml"
    path.write_text("relations: &a {a: *a}\n" + "b: " + "[" * 2_000 + "]" * 2_000)
    assert complaint(path) == "bad.yaml: nested too deep; a knowledge base needs four levels"
    path.write_text("relations: &a\n  a: *a\n")
    assert complaint(path) == "bad.yaml: nested too deep; a knowledge base needs four levels"
    layers = [f"l{i}: &l{i} [" + ", ".join([f"*l{i - 1}"] * 9) + "]" for i in range(1, 30)]
    path.write_text("l0: &l0 lol\n" + "\n".join(layers))
    assert complaint(path).startswith("bad.yaml:1: unknown key 'l0'")
    path.write_text("relations: !!python/object/apply:os.getcwd []\n")
    assert complaint(path).startswith("bad.yaml:1: relations must be a mapping")
