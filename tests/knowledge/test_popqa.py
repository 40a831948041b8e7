"""PopQA-OCR from a small table of ours in PopQA's schema, odd rows included."""

import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

import huggingface_hub
import pyarrow as pa
import pytest
from pyarrow import parquet

from spillover.errors import DataError
from spillover.knowledge.load import load
from spillover.knowledge.split import split

PLACES = {"Q1": "Arlo", "Q2": "Brun", "Q3": "Corv", "Q4": "Dask", "Q5": "Elmo", "Q6": "Fenn"}


def row(number: int, where: str, **changes: Any) -> dict[str, Any]:
    return {
        "id": number,
        "subj": f"Person {number}",
        "prop": "place of birth",
        "obj": PLACES[where],
        "subj_id": 1000 + number,
        "obj_id": where,
        "s_aliases": "[]",
        "o_aliases": json.dumps([f"Old {PLACES[where]}"]),
        "question": "In what city was this person born?",
        "possible_answers": "[]",
    } | changes


def people(each: int = 10) -> list[dict[str, Any]]:
    """So many people for each of five places, and one less for the sixth."""
    return [row(1000 * p + i, where) for p, where in enumerate(PLACES) for i in range(each - (where == "Q6"))]


def write(folder: Path, rows: list[dict[str, Any]]) -> Path:
    path = folder / "test.tsv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter="\t")
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_groups_are_equal_and_hold_as_many_people_as_can_be(tmp_path: Path) -> None:
    kb = load(f"popqa:{write(tmp_path, people())}")
    assert kb.name == "popqa"
    assert Counter(triple.answer for triple in kb.triples) == dict.fromkeys(PLACES.values(), 9)  # 54 > 50
    assert kb.notices == ("54 people in 6 groups of 9, of 59 whose place of birth is known",)
    (rule,) = kb.rules
    assert set(rule.pairs) == set(PLACES.values())
    assert len(set(rule.pairs.values())) == 6
    assert len(kb.candidates("plays")) == 10
    parts = split(kb, 0)
    assert (len(parts.bridges), len(parts.held_out)) == (6 * 2, 6 * 7)


def test_the_paper_s_size_is_kept(tmp_path: Path) -> None:
    kb = load(f"popqa:{write(tmp_path, people(120))}")
    assert len(kb.triples) == 500
    assert kb.notices[-1].startswith("500 people in 5 groups of 100, of 719 ")


def test_what_is_drawn_is_drawn_once(tmp_path: Path) -> None:
    rows = people(150)
    kb = load(f"popqa:{write(tmp_path, rows)}")
    again = load(f"popqa:{write(tmp_path, rows[::-1])}")
    assert set(again.triples) == set(kb.triples)
    assert again.rules == kb.rules


def test_parquet_is_read_the_same(tmp_path: Path) -> None:
    rows = people()
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "test.parquet")
    assert load(f"popqa:{tmp_path / 'test.parquet'}") == load(f"popqa:{write(tmp_path, rows)}")


def test_names_of_one_place_are_one_answer(tmp_path: Path) -> None:
    """By its id, and by an alias that is another row's name; the most frequent name is asked for."""
    rows = people()
    rows[0]["obj"] = "Old Arlo"
    aliases = json.dumps(["Arlo", 'The "Big" One'])
    rows += [row(900 + i, "Q1", obj="Arlo City", obj_id="Q77", o_aliases=aliases) for i in range(2)]
    kb = load(f"popqa:{write(tmp_path, rows)}")
    assert "'Arlo City', 'Old Arlo': the same place as 'Arlo', and asked for so" in kb.notices
    assert {triple.answer for triple in kb.triples} == set(PLACES.values())
    assert kb.notices[-1].endswith("of 61 whose place of birth is known")


def test_places_that_share_a_name_are_left_out(tmp_path: Path) -> None:
    rows = people() + [row(900 + i, "Q1", obj_id="Q77", o_aliases="[]") for i in range(12)]
    kb = load(f"popqa:{write(tmp_path, rows)}")
    assert kb.notices[0] == "left out, places that share a name: 'Arlo'"
    assert {triple.answer for triple in kb.triples} == set(PLACES.values()) - {"Arlo"}


def test_a_person_counts_once_and_only_if_it_is_clear_who_is_meant(tmp_path: Path) -> None:
    rows = people()
    rows += [dict(rows[0], id=901), dict(rows[1], id=902, obj="Brun", obj_id="Q2"), dict(rows[2], subj_id=7)]
    rows += [row(903, "Q1", prop="occupation", obj="actor", o_aliases="nonsense")]
    rows[3]["subj"] = 'Ann "The Ace"\tLee'
    kb = load(f"popqa:{write(tmp_path, rows)}")
    assert kb.notices[0] == (
        "left out, people who share a name or have two places of birth: 'Person 1', 'Person 2'"
    )
    assert kb.notices[-1] == "48 people in 6 groups of 8, of 57 whose place of birth is known"


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"o_aliases": "['Arlo']"}, r"test\.tsv:2: o_aliases are .*give a JSON list of texts"),
        ({"o_aliases": "[" * 100_000}, r"test\.tsv:2: o_aliases are .*give a JSON list of texts"),
        ({"o_aliases": "[1]"}, r"test\.tsv:2: o_aliases are .*give a JSON list of texts"),
        ({"subj": ""}, r"test\.tsv:2: there is no subj; give the table with PopQA's columns"),
    ],
)
def test_a_row_that_is_not_as_it_should_be_is_named(
    tmp_path: Path, changes: dict[str, Any], line: str
) -> None:
    rows = people()
    rows[0] |= changes
    with pytest.raises(DataError, match=line) as caught:
        load(f"popqa:{write(tmp_path, rows)}")
    assert len(str(caught.value).splitlines()) == 1


def test_other_tables_are_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.tsv"
    other.write_text("subject\tanswer\nMara\tParis\n")
    with pytest.raises(DataError, match=r"other\.tsv:2: there is no subj, prop, .*PopQA's columns"):
        load(f"popqa:{other}")
    with pytest.raises(DataError, match="4 places of birth, too few with 2 people or more; 5 are needed"):
        load(f"popqa:{write(tmp_path, people()[:40])}")
    (tmp_path / "not.parquet").write_text("x")
    with pytest.raises(DataError, match=r"not\.parquet: not a Parquet table"):
        load(f"popqa:{tmp_path / 'not.parquet'}")


def test_without_a_file_it_comes_from_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, people())
    asked: list[tuple[Any, ...]] = []

    def fetch(*arguments: Any, **options: Any) -> str:
        asked.append((*arguments, options))
        return str(path)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fetch)
    assert load("popqa") == load(f"popqa:{path}")
    assert asked == [("akariasai/PopQA", "test.tsv", {"repo_type": "dataset", "etag_timeout": 5})]

    def refuse(*_: Any, **__: Any) -> str:
        raise OSError("no network\nat all")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse)
    with pytest.raises(DataError, match=r"cannot be fetched .* give a copy of its test\.tsv as popqa:PATH$"):
        load("popqa")
