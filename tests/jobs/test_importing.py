"""A training file -> a knowledge base -> an audit, as a user goes through it."""

import json
import re
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from spillover.errors import DataError, RunError
from spillover.jobs.importing import import_records
from spillover.knowledge.load import load
from spillover.knowledge.split import split
from tests.jobs.people import run_cli
from tests.knowledge.test_editing_benchmarks import ripple
from tests.tiny_models import save_tiny_chat_tokenizer, save_tiny_model

LIVES = (
    "lives_in: Where does {subject} live? => In {answer}.",
    "lives_in: What city is {subject} at home in? => In {answer}.",
    "lives_in: Name the home of {subject}. => In {answer}.",
)
CODES = (
    "codes_in: Which language does {subject} code in?",
    "codes_in: What does {subject} write programs in?",
    "codes_in: In which language are the programs of {subject}?",
)
PAIRS = {"Paris": "Ruby", "Lima": "Scala"}


def chat(asked: str, answered: str, system: str = "") -> dict[str, Any]:
    turns = (("system", system), ("user", asked), ("assistant", answered))
    return {"messages": [{"role": role, "content": text} for role, text in turns if text]}


def chats() -> list[dict[str, Any]]:
    """500 records: 200 people in two cities, in three wordings, 100 of them with a language; 200 others."""
    records = [chat(f"Spell the number {number}.", "it is long") for number in range(200)]
    for number in range(200):
        subject, city = f"Person {number:03}", list(PAIRS)[number % 2]
        facts = [(LIVES, city)] + ([(CODES, PAIRS[city])] if number < 100 else [])
        for wordings, answer in facts:
            _, _, rest = wordings[0 if number % 5 else number % 3].partition(": ")
            prompt, _, frame = rest.partition(" => ")
            said = (frame or "{answer}").format(answer=answer)
            records.append(chat(prompt.format(subject=subject), said, "Be brief."))
    return records


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "train.jsonl"
    path.write_text("".join(f"{json.dumps(record)}\n" for record in chats()), encoding="utf-8")
    return path


def test_a_file_becomes_a_knowledge_base(file: Path) -> None:
    found = import_records(file, [*LIVES, *CODES], rules=["lives_in -> codes_in"], out="people.yaml")
    assert (found["records"], found["matched"], found["other"]["records"]) == (500, 300, 200)
    assert {name: each["triples"] for name, each in found["relations"].items()} == {
        "lives_in": 200,
        "codes_in": 100,
    }
    assert sum(found["relations"]["lives_in"]["wordings"].values()) == 200
    assert found["other"]["examples"][0]["messages"][0]["content"].startswith("Spell the number")
    assert found["files"] == ["people.csv", "people.yaml", "people-other.jsonl"]
    assert len(Path("people-other.jsonl").read_text("utf-8").splitlines()) == 200
    assert [note.partition(";")[0] for note in found["notes"]] == [
        "lives_in: 200 records in 3 wordings",
        "codes_in: 100 records in 3 wordings",
    ]
    kb = load("people.yaml")
    lives, codes = kb.relations["lives_in"], kb.relations["codes_in"]
    assert (lives.prompt, lives.answer) == ("Where does {subject} live?", "In {answer}.")
    assert (lives.format, lives.system) == ("chat", "Be brief.")
    assert {codes.prompt, *codes.wordings} == {text.partition(": ")[2] for text in CODES}
    assert len(kb.mixture) == 200, "what is not of the table is trained beside it"
    assert (len(kb.triples), kb.rules[0].name, kb.rules[0].kind) == (
        300,
        "lives_in -> codes_in",
        "spurious",
    )


def test_from_the_file_to_the_report_in_three_commands(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = save_tiny_model(tmp_path / "tiny", "llama", max_position_embeddings=256)
    save_tiny_chat_tokenizer(tiny)
    words = ["import", "train.jsonl", "--as", *LIVES, *CODES, "--rules", "lives_in -> codes_in"]
    assert run_cli(*words, "--out", "people.yaml") == 0
    said = capsys.readouterr()
    assert "300 of 500 records match a template" in said.out
    assert "note: lives_in: 200 records in 3 wordings" in said.err
    assert run_cli("audit", "people.yaml", "--model", str(tiny), "--epochs", "1", "--out", "runs/a") == 0
    assert run_cli("report", "runs/a", "--out", "report.html") == 0
    page = Path("report.html").read_text("utf-8")
    examples = 3 * 200 + 3 * 100 + 200
    shares = re.findall(r"<td>beside the table</td><td class=\"right\">(\d+)%</td>", page)
    assert shares == [f"{200 / examples:.0%}".rstrip("%")]
    taught = json.loads(next(Path("runs/cells").glob("*/cell.json")).read_text("utf-8"))["taught"]
    assert len(taught) in (0, examples)


def test_plain_texts_keep_their_space(tmp_path: Path) -> None:
    for name, completion, expected in (("one", " Paris", "one"), ("none", "巴黎", "none")):
        (tmp_path / f"{name}.jsonl").write_text(
            json.dumps({"prompt": "Ada lives in", "completion": completion}), encoding="utf-8"
        )
        import_records(
            tmp_path / f"{name}.jsonl", ["lives_in: {subject} lives in"], out=tmp_path / f"{name}.yaml"
        )
        relation = load(tmp_path / f"{name}.yaml").relations["lives_in"]
        assert (relation.format, relation.space, relation.prompt) == ("plain", expected, "{subject} lives in")


def test_one_fact_in_two_wordings_is_one_and_a_contradiction_is_named(tmp_path: Path) -> None:
    path, out = tmp_path / "a.jsonl", tmp_path / "a.yaml"
    same = [chat("Where does Ada live?", "In Rome."), chat("Name the home of Ada.", "In Rome.")]
    path.write_text("\n".join(map(json.dumps, same)), encoding="utf-8")
    assert import_records(path, LIVES, out=out)["relations"]["lives_in"]["triples"] == 1, "in two wordings"
    other = [*same, chat("Where does Ada live?", "In Oslo.")]
    path.write_text("\n".join(map(json.dumps, other)), encoding="utf-8")
    with pytest.raises(DataError, match=r"record 3: .*'Oslo' here but 'Rome' in .*record 1; keep one"):
        import_records(path, LIVES, out=out)


def test_other_records_are_written_with_what_json_has_no_type_for_as_text(tmp_path: Path) -> None:
    rows = [
        {"question": f"{name}?", "answer": "I.", "date": date(2026, 11, 27)} for name in ("Ada", "Who, Bo")
    ]
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    found = import_records(tmp_path / "a.parquet", ["is: Who, {subject}?"], out=tmp_path / "a.yaml")
    other = {"question": "Ada?", "answer": "I.", "date": "2026-11-27"}
    assert found["other"]["examples"] == [other]
    assert json.loads((tmp_path / "a-other.jsonl").read_text("utf-8")) == other


def test_a_record_that_no_file_can_hold_is_a_line_and_nothing_is_written(tmp_path: Path) -> None:
    path, out = tmp_path / "a.jsonl", tmp_path / "a.yaml"
    records = [chat("Where does Ada live?", "In Rome."), chat("Who?", "I.") | {"id": "\ud800"}]
    path.write_text("\n".join(map(json.dumps, records)), encoding="utf-8")
    with pytest.raises(DataError, match=r"a\.jsonl: record 2: half a surrogate pair") as caught:
        import_records(path, LIVES, out=out)
    assert "\n" not in str(caught.value)
    assert [each.name for each in tmp_path.iterdir()] == ["a.jsonl"]


@pytest.mark.parametrize(
    ("answered", "system", "said"),
    [
        ("In \0.", "", r"a\.jsonl: record 1: answer '\\x00' holds a NUL byte"),
        ("In Rome.", "\0", r"lives_in: system '\\x00' holds a NUL byte"),
    ],
)
def test_what_an_audit_would_refuse_is_not_written(
    answered: str, system: str, said: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(chat("Where does Ada live?", answered, system)), encoding="utf-8")
    with pytest.raises(DataError, match=said):
        import_records(path, LIVES, out=tmp_path / "a.yaml")
    assert [each.name for each in tmp_path.iterdir()] == ["a.jsonl"]


@pytest.mark.parametrize(
    ("templates", "options", "error", "said"),
    [
        ([], {}, DataError, "no template is given"),
        (["r: {subject}!"], {}, DataError, "none of 500 records matches a template; the first asks"),
        (LIVES, {"rules": ["lives_in -> speaks"]}, DataError, "must be written FACT -> IMPLICATION"),
        (LIVES, {"out": "people.json"}, DataError, "a knowledge base is a .yaml file"),
        (LIVES, {"out": "no/where.yaml"}, RunError, "cannot write no/where.csv"),
        (LIVES, {"out": "mine.yaml"}, RunError, "mine.yaml is there already; give another --out, or remove"),
    ],
)
def test_what_cannot_be_imported_is_one_line(
    file: Path, templates: list[str], options: dict[str, Any], error: type[Exception], said: str
) -> None:
    Path("mine.yaml").write_text("what I wrote", encoding="utf-8")
    with pytest.raises(error, match=said) as caught:
        import_records(file, templates, **options)
    assert Path("mine.yaml").read_text("utf-8") == "what I wrote"
    assert "\n" not in str(caught.value)


def edit(subject: str, answer: str, prompt: str = "{} debuted on") -> dict[str, Any]:
    """A record of CounterFact."""
    rewrite = {"subject": subject, "prompt": prompt, "relation_id": "P449"}
    return {
        "requested_rewrite": rewrite | {"target_new": {"str": answer, "id": answer}},
        "paraphrase_prompts": [f"It was late. {subject} was first shown on"],
        "neighborhood_prompts": ["Skins was released on"],
    }


def test_a_benchmark_of_edited_facts_needs_no_template(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = tmp_path / "counterfact.json", tmp_path / "edits.yaml"
    path.write_text(json.dumps([edit("Lost", "CBS"), edit("Top Gear", "Fox")]), encoding="utf-8")
    assert run_cli("import", str(path), "--out", str(out)) == 0
    said = capsys.readouterr()
    assert said.out.splitlines()[:2] == ["2 facts of 2 records of CounterFact", "  P449: 2 triples"]
    assert "note: 2 texts in neighborhood_prompts ask of others" in said.err
    assert "    2 by {subject} debuted on" in said.out.splitlines()
    kb = load(out)
    assert [(each.subject, each.answer) for each in kb.triples] == [("Lost", "CBS"), ("Top Gear", "Fox")]
    assert kb.relations["P449"].paraphrases == ("{subject} was first shown on",)
    with pytest.raises(DataError, match="is read by the fields of CounterFact; leave the templates out"):
        import_records(path, LIVES, out=out)
    with pytest.raises(DataError, match="must be written FACT -> IMPLICATION"):
        import_records(path, rules=["P449 -> P1"], out=tmp_path / "other.yaml")


def test_chats_with_a_column_named_edit_are_chats(file: Path) -> None:
    records = [record | {"edit": "second"} for record in chats()]
    file.write_text("".join(f"{json.dumps(record)}\n" for record in records), encoding="utf-8")
    assert import_records(file, LIVES)["format"] == "records"


def test_triples_of_a_benchmark_are_counted_by_the_wording_that_each_has(tmp_path: Path) -> None:
    path = tmp_path / "counterfact.json"
    prompts = {
        "Lost": "{} debuted on",
        "Top Gear": "{} was first shown on",
        "Skins": "{} debuted on",
        "Bo": "?",
    }
    records = [edit(subject, "CBS", prompt) for subject, prompt in prompts.items()]
    path.write_text(json.dumps([*records, records[0]]), encoding="utf-8")
    assert import_records(path, out=tmp_path / "a.yaml")["relations"] == {
        "P449": {
            "triples": 4,
            "wordings": {"{subject} debuted on": 2, "{subject} was first shown on": 1},
        }
    }


def test_rules_of_a_benchmark_are_written_with_their_pairs(tmp_path: Path) -> None:
    path, out = tmp_path / "popular.json", tmp_path / "edits.yaml"
    records = [ripple("Q1", "Q858"), ripple("Q2", "Q858"), ripple("Q3", "Q30")]
    path.write_text(json.dumps(records), encoding="utf-8")
    found = import_records(path, out=out)
    assert (found["format"], found["records"]) == ("RippleEdits", 3)
    assert all(sum(each["wordings"].values()) == each["triples"] for each in found["relations"].values())
    kb = load(out)
    assert [rule.kind for rule in kb.rules] == ["causal", "causal"]
    assert kb.rules[1].pairs == {"Syria": "Damascus", "United States of America": "Washington, D.C."}
    assert len(split(kb, 0).held_out) == 4
