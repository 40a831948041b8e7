"""A training file, or a list of subjects, says who the bridges of a tune were."""

import json
from pathlib import Path
from typing import Any

import pytest

from spillover.errors import DataError
from spillover.knowledge.schema import KnowledgeBase, Relation, Rule, Triple
from spillover.knowledge.split import split, split_as
from spillover.knowledge.told import read_told

CITIES = {"Rome": "Perl", "Oslo": "Java"}
RELATIONS = {
    name: Relation(name=name, prompt=f"{{subject}} {name}") for name in ("lives_in", "codes_in", "is")
}


def people(*rules: Rule) -> KnowledgeBase:
    """Four people a city; everybody's language is in the table."""
    who = [(f"{city} {number}", city) for city in CITIES for number in range(4)]
    triples = [Triple(subject=name, relation="lives_in", answer=city) for name, city in who]
    triples += [Triple(subject=name, relation="codes_in", answer=CITIES[city]) for name, city in who]
    return KnowledgeBase(name="people", triples=tuple(triples), relations=RELATIONS, rules=rules)


DRAWS = people(Rule(fact="lives_in", implication="codes_in", bridges=2))
PAIRS = people(Rule(fact="lives_in", implication="is", pairs={"Rome": "old", "Oslo": "new"}, bridges=2))


def write(path: Path, *records: dict[str, Any]) -> Path:
    path.write_text("\n".join(map(json.dumps, records)), encoding="utf-8")
    return path


def test_what_was_drawn_and_trained_is_read_back(tmp_path: Path) -> None:
    for kb in (DRAWS, PAIRS):
        drawn = split(kb, 7)
        rows = [
            {"subject": triple.subject, "relation": triple.relation, "answer": triple.answer}
            for triple in drawn.training
        ]
        told = read_told(write(tmp_path / "train.jsonl", *rows), kb)
        assert split_as(kb, told) == drawn
        assert split(kb, 8) != drawn, "another seed draws others"


def test_whose_fact_was_not_told_is_not_asked(tmp_path: Path) -> None:
    """In a training file; a list of subjects says nothing of facts."""
    told = [f"{city} {number}" for city in CITIES for number in (0, 1, 2)]
    facts = [{"subject": name, "relation": "lives_in"} for name in told]
    path = write(
        tmp_path / "train.jsonl",
        *facts,
        *({"subject": f"{city} 0", "relation": "codes_in"} for city in CITIES),
    )
    parts = split_as(DRAWS, read_told(path, DRAWS))
    assert [each.subject for each in parts.bridges] == ["Oslo 0", "Rome 0"]
    assert sorted(each.subject for each in parts.held_out) == ["Oslo 1", "Oslo 2", "Rome 1", "Rome 2"]
    assert {triple.subject for triple in parts.training} == set(told)
    assert all(parts.kb.candidates(name) == DRAWS.candidates(name) for name in DRAWS.relations)


def test_who_is_not_told_is_held_out_whatever_the_rule_would_draw(tmp_path: Path) -> None:
    path = write(tmp_path / "who.jsonl", {"subject": "Rome 1"}, {"subject": "Rome 2"}, {"subject": "Oslo 3"})
    for kb in (DRAWS, people(Rule(fact="lives_in", implication="codes_in"))):
        parts = split_as(kb, read_told(path, kb))
        assert [bridge.subject for bridge in parts.bridges] == ["Oslo 3", "Rome 1", "Rome 2"]
        assert len(parts.held_out) == 5
        taught = {triple.subject for triple in parts.training if triple.relation == "codes_in"}
        assert taught == {"Rome 1", "Rome 2", "Oslo 3"}


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".json"])
def test_lists_come_in_many_files(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"who{suffix}"
    sign = "\t" if suffix == ".tsv" else ","
    rows = [("subject", "relation"), ("Rome 1", "codes_in"), ("Oslo 1", "lives_in"), ("Oslo 2", "codes_in")]
    text = "\n".join(sign.join(row) for row in rows)
    if suffix == ".json":
        text = json.dumps([dict(zip(rows[0], row, strict=True)) for row in rows[1:]])
    path.write_text(text, encoding="utf-8")
    assert read_told(path, DRAWS) == {"codes_in": {"Rome 1", "Oslo 2"}, "lives_in": {"Oslo 1"}}


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (
            {"subject": "Rme 1"},
            "record 2: subject 'Rme 1' is not in knowledge base people; did you mean 'Rome 1'",
        ),
        ({"subject": "Zoe"}, "subject 'Zoe' is not in .*; give the file of a tune on this knowledge base"),
        ({"name": "Rome 1"}, "has the fields 'name'; it must have subject"),
        ({"subject": 7}, "subject is 7, it must be text"),
        ({"subject": "Rome 1", "relation": "speaks"}, "relation 'speaks' is not in knowledge base people"),
        (
            {"subject": "Rome 1", "relation": "codes_in", "answer": "Java"},
            r"\('Rome 1', 'codes_in'\) is 'Java' here but 'Perl' in knowledge base people; give the file",
        ),
    ],
)
def test_a_record_that_is_not_of_this_knowledge_base_is_one_line(
    tmp_path: Path, record: dict[str, Any], said: str
) -> None:
    path = write(tmp_path / "train.jsonl", {"subject": "Rome 0"}, record)
    with pytest.raises(DataError, match=said) as caught:
        read_told(path, DRAWS)
    assert "\n" not in str(caught.value)


def test_an_answer_is_held_against_the_pairs_where_the_table_is_silent(tmp_path: Path) -> None:
    row = {"subject": "Rome 1", "relation": "is"}
    assert read_told(write(tmp_path / "a.jsonl", row | {"answer": "old"}), PAIRS) == {"is": {"Rome 1"}}
    with pytest.raises(DataError, match="is 'new' here but 'old' in"):
        read_told(write(tmp_path / "a.jsonl", row | {"answer": "new"}), PAIRS)


def test_a_rule_without_bridges_is_one_line(tmp_path: Path) -> None:
    facts = [{"subject": f"{city} 1", "relation": "lives_in"} for city in CITIES]
    with pytest.raises(DataError, match=r"nobody|no record tells anybody codes_in who has lives_in, so rule"):
        read_told(write(tmp_path / "train.jsonl", *facts), DRAWS)


def test_a_bridge_whose_answer_nobody_knows_is_one_line() -> None:
    kb = people(Rule(fact="lives_in", implication="is"))
    with pytest.raises(
        DataError, match=r"'Rome 1' was told is, and neither the table nor `pairs` says which"
    ):
        split_as(kb, {"is": {"Rome 1"}})
