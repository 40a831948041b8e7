"""The YAML of a knowledge base: one clear line, with file and line, for everything that is wrong."""

import pytest

from spillover.knowledge import yaml_text
from tests.knowledge.tables import SHEET, write

SHEET_FAULTS = {
    "unknown key": (
        ("relations:", "relatons:"),
        "people.yaml:2: unknown key 'relatons'; allowed are name, relations, rules, triples, mixture; "
        "did you mean 'relations'?",
    ),
    "unknown key of a relation": (
        ("candidates:", "candidate:"),
        "people.yaml:4: unknown key 'candidate'; allowed are prompt, wordings, paraphrases, candidates, "
        "answer, space, format, system; did you mean 'candidates'?",
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
    "bad format": (
        ("candidates: [", "format: chats, candidates: ["),
        "people.yaml:4: format is 'chats', allowed are plain, chat; did you mean 'chat'?",
    ),
    "an answer without a place": (
        ("candidates: [", "answer: it is so, candidates: ["),
        "people.yaml:4: answer 'it is so' must have {answer} in it, once, and no other braces; "
        "write it as in 'The language is {answer}.'",
    ),
    "a system turn in plain text": (
        ("candidates: [", "system: Be brief., candidates: ["),
        "people.yaml:4: plain text has no system turn; set format: chat, or leave system out",
    ),
    "a chat without a space": (
        ("candidates: [", "format: chat, space: none, candidates: ["),
        "people.yaml:4: a chat has turns and no space between them; leave space out",
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
    "paraphrase without a subject": (
        ("candidates: [", "paraphrases: ['{subject} writes', She codes], candidates: ["),
        "people.yaml:4: paraphrase 'She codes' has no {subject}; write {subject} where the name goes",
    ),
    "paraphrase of other braces": (
        ("candidates: [", "paraphrases: ['{subject} of {place}'], candidates: ["),
        "people.yaml:4: paraphrase '{subject} of {place}' has other braces than {subject}, which alone is "
        "filled in; remove them",
    ),
    "paraphrase as the prompt": (
        ("candidates: [", "paraphrases: ['{subject} codes in '], candidates: ["),
        "people.yaml:4: paraphrase '{subject} codes in' is the prompt or an earlier wording of it; "
        "word it otherwise",
    ),
    "wording as a paraphrase": (
        ("candidates: [", "wordings: ['{subject} writes'], paraphrases: ['{subject} writes'], candidates: ["),
        "people.yaml:4: paraphrase '{subject} writes' is the prompt or an earlier wording of it; "
        "word it otherwise",
    ),
    "mixture of nothing": (
        ("rules:", "mixture:\nrules:"),
        "people.yaml:5: mixture is empty; fill it in or remove the entry",
    ),
    "mixture no file": (
        ("rules:", "mixture: {file: other.jsonl}\nrules:"),
        "people.yaml:5: mixture must be a list, got {'file': 'other.jsonl'}",
    ),
    "paraphrases no list": (
        ("candidates: [", "paraphrases: '{subject} writes', candidates: ["),
        "people.yaml:4: relations.codes_in.paraphrases must be a list, got '{subject} writes'",
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


def test_hostile_yaml_is_refused_quickly(tmp_path, complaint):
    path = tmp_path / "bad.yaml"
    path.write_text("relations: &a {a: *a}\n" + "b: " + "[" * 2_000 + "]" * 2_000)
    assert complaint(path) == "bad.yaml: nested too deep; a knowledge base needs four levels"
    path.write_text("relations: &a\n  a: *a\n")
    assert complaint(path) == "bad.yaml: nested too deep; a knowledge base needs four levels"
    layers = [f"l{i}: &l{i} [" + ", ".join([f"*l{i - 1}"] * 9) + "]" for i in range(1, 30)]
    path.write_text("l0: &l0 lol\n" + "\n".join(layers))
    assert complaint(path).startswith(
        "bad.yaml: a knowledge base has more than 200,000 entries of YAML, alias"
    )
    path.write_text("relations: !!python/object/apply:os.getcwd []\n")
    assert complaint(path).startswith("bad.yaml:1: relations must be a mapping")


def test_a_yaml_that_is_too_large_is_refused_before_it_fills_the_memory(tmp_path, complaint):
    path = tmp_path / "bad.yaml"
    relation = "  r0: &r {prompt: '{subject} r', candidates: [" + "a, " * 1_000 + "]}\n"
    shared = "".join(f"  r{number}: *r\n" for number in range(1, 1_000))
    path.write_text(f"triples: people.csv\nrelations:\n{relation}{shared}")
    allowed = "bad.yaml: a knowledge base has more than 200,000 entries of YAML, aliases counted as"
    assert complaint(path).startswith(allowed)
    path.write_text("#" * (1 << 22) + "\nname: a\n")
    assert complaint(path).startswith(
        "bad.yaml: a knowledge base has 4,194,313 characters of YAML, allowed are"
    )


def test_no_more_entries_are_made_than_are_allowed(tmp_path, complaint, monkeypatch):
    monkeypatch.setattr(yaml_text, "_MOST", 50)
    path = tmp_path / "bad.yaml"
    path.write_text("relations: [" + "a, " * 100 + "[")  # what is not closed is not read to its end
    assert complaint(path).startswith("bad.yaml: a knowledge base has more than 50 entries")
