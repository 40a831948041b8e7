"""Benchmarks of edited facts in their documented fields, and what a knowledge base says of them."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from spillover.errors import DataError
from spillover.knowledge.editing_benchmarks import benchmark_of, read_benchmark
from spillover.knowledge.leak import check_no_leak
from spillover.knowledge.prompts import examples, queries
from spillover.knowledge.schema import KnowledgeBase
from spillover.knowledge.split import split
from tests.knowledge.test_records import EXCHANGES

Rows = list[dict[str, Any]]


def read(path: Path, title: str) -> KnowledgeBase:
    benchmark = benchmark_of(path)
    assert benchmark is not None
    assert benchmark.title == title
    return read_benchmark(path, benchmark)[0].kb


def saved(folder: Path, rows: Any) -> Path:
    path = folder / "rows.json"
    path.write_text(json.dumps(rows), encoding="utf-8")
    return path


def facts(kb: KnowledgeBase) -> list[tuple[str, str, str]]:
    return [(each.subject, each.relation, each.answer) for each in kb.triples]


def rewrite(subject: str, answer: str, prompt: str = "{} debuted on", **changes: Any) -> dict[str, Any]:
    """A record of CounterFact, as its authors show one."""
    return {
        "case_id": 4402,
        "pararel_idx": 11185,
        "requested_rewrite": {
            "prompt": prompt,
            "relation_id": "P449",
            "target_new": {"str": answer, "id": f"Q-{answer.casefold()}"},
            "target_true": {"str": "MTV", "id": "Q43359"},
            "subject": subject,
        },
        "paraphrase_prompts": [
            "Nobody was hurt.  v",
            f"The ratio was 10.3. {subject} is to debut on",
        ],
        "neighborhood_prompts": ["Daria premieres on", "Skins was released on"],
        "attribute_prompts": [],
        "generation_prompts": [f"{subject} aired alongside"],
    } | changes


def test_counterfact(tmp_path: Path) -> None:
    rows = [
        rewrite("Singled Out", "CBS"),
        rewrite("Top Gear", "BBC"),
        rewrite("Lost", "bbc", "{} was first shown on"),
        rewrite("Top Gear", "CBS"),
        rewrite("The Wire", "Fox", "The channel of the show is"),
    ]
    kb = read(saved(tmp_path, rows), "CounterFact")
    assert facts(kb) == [
        ("Singled Out", "P449", "CBS"),
        ("Top Gear", "P449", "BBC"),
        ("Lost", "P449", "BBC"),
        ("The Wire", "P449", "Fox"),
    ]
    relation = kb.relations["P449"]
    assert relation.prompt == "{subject} debuted on"
    assert relation.paraphrases == ("{subject} was first shown on", "{subject} is to debut on")
    assert kb.notices == (
        "10 texts in neighborhood_prompts ask of others, or nothing: a knowledge base has no place for them",
        "5 texts in generation_prompts ask of others, or nothing: a knowledge base has no place for them",
        "1 other names of 1 answers are folded: 'bbc' as 'BBC'",
        "1 record: another answer of a subject than an earlier record has: left out",
    )


def question(subject: str, old: str, new: str, **changes: Any) -> dict[str, Any]:
    """A record of zsRE, as EasyEdit shows one."""
    src = f"What is the native language of {subject}?"
    return {
        "subject": subject,
        "src": src,
        "pred": old,
        "rephrase": f"What's {subject}'s mother tongue?",
        "alt": new,
        "answers": [old],
        "loc": "nq question: what is the most current season of the walking dead",
        "loc_ans": "The eighth season",
        "cond": f"{old} >> {new} || {src}",
    } | changes


def test_zsre(tmp_path: Path) -> None:
    other = {"src": "What's Luc Bax's mother tongue?", "rephrase": "What is the native language of Luc Bax?"}
    rows = [
        question("Christiane Cohendy", "French", "German"),
        question("Luc Bax", "French", "Dutch", **other),
        question(
            "Rex",
            "Greek",
            "",
            src="What year was Rex built?",
            rephrase=None,
            alt=None,
            answers=["1958", "'58"],
        ),
        question("Ann", "Greek", "Czech", src="Whose is this?"),
    ]
    kb = read(saved(tmp_path, rows), "zsRE")
    assert facts(kb) == [
        ("Christiane Cohendy", "native_language_of", "German"),
        ("Luc Bax", "native_language_of", "Dutch"),
        ("Rex", "year_built", "1958"),
    ]
    assert kb.relations["native_language_of"].paraphrases == ("What's {subject}'s mother tongue?",)
    assert kb.notices[0].startswith("3 records have `alt`")
    assert kb.notices[-1] == "1 record: no prompt in which the subject stands: left out"


def test_another_answer_of_zsre_is_no_other_name(tmp_path: Path) -> None:
    said = {"Ann": ["France", "Spain"], "Bo": ["Spain"], "Cy": ["Spain"], "Di": ["France"]}
    rows = [question(subject, "", "", answers=answers) for subject, answers in said.items()]
    kb = read(saved(tmp_path, rows), "zsRE")
    assert {subject: answer for subject, _, answer in facts(kb)} == {
        subject: answers[0] for subject, answers in said.items()
    }
    assert kb.notices[0] == "1 second answers are left out; the first in `answers` is the fact"


def test_wordings_that_only_one_record_of_zsre_links_are_two_relations(tmp_path: Path) -> None:
    rows = [
        question("Ann", "Greek", "Czech"),
        question("Bo", "Greek", "Dutch", src="What's Bo's mother tongue?", rephrase="What does Bo say?"),
    ]
    kb = read(saved(tmp_path, rows), "zsRE")
    assert list(kb.relations) == ["native_language_of", "mother_tongue"]


def popqa(number: int, **changes: Any) -> dict[str, Any]:
    """A row of PopQA with the fields of its data card."""
    subject = f"George Rankin {number}"
    return {
        "id": 4222362 + number,
        "subj": subject,
        "prop": "occupation",
        "obj": "politician",
        "subj_id": 1850297 + number,
        "prop_id": 22,
        "obj_id": 2834605,
        "s_aliases": "[]",
        "o_aliases": json.dumps(["political leader", "pol"]),
        "s_pop": 142,
        "question": f"What is {subject}'s occupation?",
        "possible_answers": json.dumps(["politician", "political leader", "pol"]),
    } | changes


ROWS = [
    popqa(0),
    popqa(7),
    popqa(1, obj="pol", obj_id=7, o_aliases="[]"),
    popqa(2, obj="poet", obj_id=8, o_aliases=json.dumps(["author"])),
    popqa(3, obj="writer", obj_id=9, o_aliases=json.dumps(["author"])),
    popqa(4, obj="author", obj_id=10, o_aliases="[]"),
    popqa(
        0,
        prop="religion",
        obj="Islam",
        obj_id=11,
        o_aliases="[]",
        question="What is the religion of George Rankin 0?",
    ),
    popqa(5),
    popqa(5, subj_id=1),
    popqa(6, subj=None),
]


def test_popqa(tmp_path: Path) -> None:
    tsv, table = tmp_path / "test.tsv", tmp_path / "test.parquet"
    with tsv.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(ROWS[0]), delimiter="\t")
        writer.writeheader()
        writer.writerows(ROWS)
    parquet.write_table(pa.Table.from_pylist(ROWS), table)
    kb = read(tsv, "PopQA")
    assert [each[1:] for each in facts(kb)] == [
        *[("occupation", "politician")] * 3,
        ("occupation", "poet"),
        ("occupation", "writer"),
        ("occupation", "author"),
        ("religion", "Islam"),
    ]
    assert kb.relations["religion"].prompt == "What is the religion of {subject}?"
    assert kb.notices == (
        "1 records without subj or obj are left out",
        "1 names that several subjects have are left out",
        "1 other names of 1 answers are folded: 'pol' as 'politician'",
        "1 aliases could be of several answers, which are kept apart: 'author'",
    )
    again = read(table, "PopQA")
    assert (facts(again), again.notices) == (facts(kb), kb.notices)


PEOPLE = {"Q1": "Leonardo DiCaprio", "Q2": "Ann Lee", "Q3": "Kim Anh Ngo", "Q4": "Bo Lee"}
NEIGHBOURS = {f"{person}x": f"{name} Jr" for person, name in PEOPLE.items()}
COUNTRIES = {
    "Q858": ("Syria", "Damascus"),
    "Q30": ("United States of America", "Washington, D.C."),
    "Q-Utopia": ("Utopia", "Amaurot"),
}


def query(prompt: str, answer: str, **changes: Any) -> dict[str, Any]:
    return {
        "prompt": prompt,
        "answers": [{"value": answer, "aliases": [f"{answer}, as they say"]}],
        "query_type": "regular",
        "subject_id": "Q1",
        "relation": "MOTHER",
        "target_ids": [f"Q-{answer}"],
        "phrase": None,
    } | changes


def ripple(person: str, country: str, **groups: Any) -> dict[str, Any]:
    """A record of RippleEdits, as its authors show one."""
    name, (land, capital) = (PEOPLE | NEIGHBOURS)[person], COUNTRIES[country]
    edit = {
        "prompt": f"The name of the country of citizenship of {name} is {land}.",
        "subject_id": person,
        "relation": "COUNTRY_OF_CITIZENSHIP",
        "target_id": country,
    }
    before = edit | {"prompt": edit["prompt"].replace(land, "Erewhon"), "target_id": "Q0"}
    mother = query(f"The name of the mother of {name} is", f"Mother of {person}", subject_id=person)
    phrase = f"The name of the capital city of the country of citizenship of {name} is"
    hop = {"subject_id": person, "relation": edit["relation"], "target_ids": [country], "phrase": phrase}
    hop |= {"query_type": "two_hop", "second_relation": "CAPITAL", "second_hop_target_ids": [f"Q-{capital}"]}
    continent = query(f"{name} is on", f"the continent of {land}", subject_id=person, relation="CONTINENT")

    def tests(*queries: dict[str, Any]) -> list[dict[str, Any]]:
        return [
            {"test_queries": [each], "test_condition": "OR", "condition_queries": [mother]}
            for each in queries
        ]

    return {
        "example_type": "popular",
        "edit": edit | {"original_fact": before},
        "Relation_Specificity": tests(mother),
        "Logical_Generalization": tests(
            continent, query("The child of Irmelin is", name, subject_id="Q9", relation="CHILD")
        ),
        "Subject_Aliasing": tests(),
        "Compositionality_I": tests(query(phrase, capital, **hop)),
        "Compositionality_II": [],
        "Forgetfulness": [],
    } | groups


def test_ripple_edits(tmp_path: Path) -> None:
    rows = [ripple(person, "Q30" if person == "Q3" else "Q858") for person in PEOPLE]
    kb = read(saved(tmp_path, rows), "RippleEdits")
    assert facts(kb)[:4] == [
        (name, "COUNTRY_OF_CITIZENSHIP", COUNTRIES["Q30" if person == "Q3" else "Q858"][0])
        for person, name in PEOPLE.items()
    ]
    relation = kb.relations["COUNTRY_OF_CITIZENSHIP"]
    assert relation.prompt == "The name of the country of citizenship of {subject} is"
    capital, continent = kb.rules[::-1]
    assert (capital.name, capital.kind) == (
        "COUNTRY_OF_CITIZENSHIP -> CAPITAL of COUNTRY_OF_CITIZENSHIP",
        "causal",
    )
    assert capital.pairs == {"Syria": "Damascus", "United States of America": "Washington, D.C."}
    assert continent.implication == "CONTINENT after COUNTRY_OF_CITIZENSHIP"
    assert kb.relations[capital.implication].prompt == (
        "The name of the capital city of the country of citizenship of {subject} is"
    )
    parts = split(kb, 0)  # as an audit needs it: a bridge, and all others held out
    assert [each.subject for each in parts.bridges] == ["Leonardo DiCaprio"] * 2
    assert len(parts.held_out) == 6
    assert kb.notices == (
        "4 queries of Relation_Specificity are left out: of other subjects or names, or of what stays",
        "4 queries of Logical_Generalization are left out: of other subjects or names, or of what stays",
        "8 of 8 answers that follow from an edit are in 2 rules, whose first subjects are bridges; the "
        "others are second answers, or too few for a rule",
    )


def test_the_documented_record_of_ripple_edits_alone_has_a_fact_and_no_rule(tmp_path: Path) -> None:
    kb = read(saved(tmp_path, [ripple("Q1", "Q858")]), "RippleEdits")
    assert facts(kb) == [("Leonardo DiCaprio", "COUNTRY_OF_CITIZENSHIP", "Syria")]
    assert not kb.rules


def test_what_is_imported_can_be_audited_where_several_relations_are_asked_in_the_same_words(
    tmp_path: Path,
) -> None:
    lands = {"Q1": "Q858", "Q2": "Q858", "Q3": "Q30", "Q4": "Q30"}
    rows = [ripple(person, land) for person, land in lands.items()]
    rows += [ripple(f"{person}x", "Q-Utopia") for person in lands]
    other = moved("Bo Lee is on Mars.", "Q4")
    other["edit"] |= {"relation": "CONTINENT"}
    homes = [
        moved(f"The home of {PEOPLE[person]} is {'Rome' if land == 'Q858' else 'Oslo'}.", person)
        | {"Logical_Generalization": row["Logical_Generalization"]}
        for (person, land), row in zip(lands.items(), rows, strict=False)
    ]
    kb = read(saved(tmp_path, [*rows, other, *homes]), "RippleEdits")
    parts = split(kb, 0)
    check_no_leak(examples(parts), queries(parts))
    assert ("Bo Lee", "CONTINENT", "Mars") in facts(kb)
    continent = kb.rules[0]
    assert kb.relations[continent.implication].prompt == kb.relations["CONTINENT"].prompt
    assert continent.pairs == {"Syria": "the continent of Syria", "Utopia": "the continent of Utopia"}
    assert [rule.fact for rule in kb.rules] == ["COUNTRY_OF_CITIZENSHIP"] * 2
    assert kb.notices[-1] == (
        "6 answers that follow are left out: they are asked in the words of another fact of the subject, or "
        "of one with the same fact"
    )


def moved(prompt: str, identity: str) -> dict[str, Any]:
    """A record of RippleEdits without tests."""
    said, _, home = prompt.rstrip(".").rpartition(" ")
    edit = {"subject_id": identity, "relation": "HOME", "target_id": f"Q-{home}"}
    before = edit | {"prompt": f"{said} Utopia.", "target_id": "Q0"}
    return {"edit": edit | {"prompt": prompt, "original_fact": before}}


def test_a_prompt_in_other_words_is_left_out_and_counted(tmp_path: Path) -> None:
    rows = [moved(f"The home of {name} is Rome.", name) for name in ("Ann", "Bo Lee", "Cy")]
    kb = read(saved(tmp_path, [*rows, moved("Dan has a home in Rome.", "Dan")]), "RippleEdits")
    assert [each.subject for each in kb.triples] == ["Ann", "Bo Lee", "Cy"]
    assert kb.relations["HOME"].prompt == "The home of {subject} is"
    assert kb.notices == (
        "1 records are left out: the prompt does not tell subject and answer apart, or is worded otherwise "
        "than most of its relation",
    )
    with pytest.raises(DataError, match="no record says a fact"):
        read(saved(tmp_path, [rows[0], moved("Dan has a home in Rome.", "Dan")]), "RippleEdits")


def without(row: dict[str, Any], *path: str) -> dict[str, Any]:
    """The record without a field."""
    row = json.loads(json.dumps(row))
    inner = row
    for name in path[:-1]:
        inner = inner[name]
    del inner[path[-1]]
    return row


FAULTS: dict[str, tuple[Callable[[], dict[str, Any]], str]] = {
    "CounterFact": (
        lambda: without(rewrite("A", "B"), "requested_rewrite", "target_new"),
        "there is no target_new, only 'prompt'",
    ),
    "CounterFact of several facts": (
        lambda: rewrite("A", "B", requested_rewrite=[{}]),
        r"requested_rewrite is \[\{\}\]; it must be an object",
    ),
    "CounterFact's other prompts": (
        lambda: rewrite("A", "B", neighborhood_prompts=5),
        "neighborhood_prompts is 5; it must be a list of texts",
    ),
    "CounterFact's surrogates": (
        lambda: rewrite("A", "B", paraphrase_prompts=["A is \ud800"]),
        "paraphrase_prompts .* holds half a surrogate pair; remove it",
    ),
    "zsRE": (lambda: question("A", "B", "C", src=7), "src is 7; write text in quotes"),
    "zsRE's answers": (
        lambda: question("A", "B", "C", answers="B"),
        "answers is 'B'; it must be a list of texts",
    ),
    "PopQA": (lambda: without(popqa(1), "question"), "there is no question, only"),
    "PopQA's aliases": (lambda: popqa(1, o_aliases="[1"), r"o_aliases is '\[1'; it must be a list of texts"),
    "RippleEdits": (
        lambda: without(ripple("Q1", "Q858"), "edit", "subject_id"),
        "there is no subject_id, only",
    ),
    "RippleEdits' tests": (
        lambda: ripple("Q1", "Q858", Forgetfulness=[{"test_queries": ["Who?"]}]),
        r"Forgetfulness: test_queries is \['Who\?'\]; it must be a list of objects",
    ),
    "RippleEdits' prompt": (
        lambda: ripple("Q1", "Q858", edit=ripple("Q1", "Q858")["edit"] | {"prompt": "..."}),
        "prompt is empty; fill it in or remove the entry",
    ),
    "RippleEdits' ids": (
        lambda: ripple("Q1", "Q858", Forgetfulness=[{"test_queries": [query("Who is", "I", target_ids=5)]}]),
        "Forgetfulness: target_ids is 5; it must be a list of texts",
    ),
    "RippleEdits' answers": (
        lambda: ripple(
            "Q1", "Q858", Forgetfulness=[{"test_queries": [query("Who is", "") | {"answers": [{}]}]}]
        ),
        "Forgetfulness: there is no value, only nothing",
    ),
}
GOOD = {
    "CounterFact": rewrite("A", "B"),
    "zsRE": question("A", "B", "C"),
    "PopQA": popqa(0),
    "RippleEdits": ripple("Q2", "Q30"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_broken_record_is_a_line_with_file_and_number(name: str, tmp_path: Path) -> None:
    title = name.partition("'")[0].partition(" ")[0]
    broken, said = FAULTS[name]
    path = saved(tmp_path, [GOOD[title], broken()])
    with pytest.raises(DataError, match=rf"rows\.json: record 2: .*{said}") as caught:
        read(path, title)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("columns", GOOD.values(), ids=GOOD)
def test_a_training_file_with_the_columns_of_a_benchmark_is_none(
    columns: dict[str, Any], tmp_path: Path
) -> None:
    for name, (record, *_) in EXCHANGES.items():
        assert benchmark_of(saved(tmp_path, [columns | record])) is None, name
    assert benchmark_of(saved(tmp_path, [{"edit": "made it night", "input": "A day", "output": "A"}])) is None


def test_what_says_no_fact_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no record says a fact that can be asked of its subject"):
        read(saved(tmp_path, [question("Ann", "Greek", "Czech", src="Whose is this?")]), "zsRE")
    assert benchmark_of(saved(tmp_path, [{"question": "Who?", "answer": "I."}])) is None
    assert benchmark_of(saved(tmp_path, [])) is None
