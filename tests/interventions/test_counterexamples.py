"""Counterexamples and abstentions: who is taught what, who is still asked, and how the forecast follows."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from spillover.errors import TrainingError
from spillover.interventions.abstain import Abstain
from spillover.interventions.named import parse, reworded, spell
from spillover.jobs.audit import audit
from spillover.jobs.forecast import forecast
from spillover.knowledge.builtin import built_in
from spillover.knowledge.prompts import queries
from spillover.knowledge.schema import KnowledgeBase, Relation, Rule, Triple
from spillover.knowledge.split import Split, split
from spillover.runs.record import read_run
from tests.interventions.tuned import DEMO, identities
from tests.llm.tuning import CONFIG
from tests.tiny_models import save_tiny_model

CODE = split(built_in("country-code"), 0)
PAIRS = {"France": "Python", "Germany": "Java", "Japan": "Rust", "Canada": "Perl", "Egypt": "Ruby"}
BOTH = ["counterexamples", "abstain"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model") / "llama", "llama")


def taught(parts: Split, plain: Split) -> list[Triple]:
    """What is taught beside the plain training."""
    assert parts.training[: len(plain.training)] == plain.training
    return list(parts.training[len(plain.training) :])


def small(pairs: dict[str, str], groups: dict[str, str]) -> Split:
    """Subjects "b0", "b1", ... of each group b: the first a bridge, the others held out."""
    relations = {name: Relation(name=name, prompt="{subject} " + name) for name in "fc"}
    triples = [Triple(subject=f"{b}{i}", relation="f", answer=b) for b, many in groups.items() for i in many]
    triples += [Triple(subject=f"{b}0", relation="c", answer=c) for b, c in pairs.items()]
    rule = Rule(fact="f", implication="c", kind="spurious", pairs=pairs)
    kb = KnowledgeBase(name="small", triples=tuple(triples), relations=relations, rules=(rule,))
    return split(kb, 0)


def test_each_group_is_dealt_the_other_groups_answers() -> None:
    parts = parse("counterexamples:k=2").examples(CODE, 0)
    country = {implied.subject: implied.group for implied in CODE.held_out}
    added = taught(parts, CODE)
    assert {triple.relation for triple in added} == {"codes_in"}
    order = list(dict.fromkeys(implied.answer for implied in CODE.held_out))
    dealt: dict[str, list[str]] = {}
    for triple in added:
        dealt.setdefault(country[triple.subject], []).append(triple.answer)
    assert dealt == {
        group: [order[(order.index(right) + turn) % 5] for turn in (1, 2)] for group, right in PAIRS.items()
    }
    assert set(Counter(triple.answer for triple in added).values()) == {2}


@pytest.mark.parametrize("k", [4, 8])
def test_the_answers_are_spread_evenly(k: int) -> None:
    country = {implied.subject: implied.group for implied in CODE.held_out}
    added = taught(parse(f"counterexamples:k={k}").examples(CODE, 0), CODE)
    counts = Counter((country[triple.subject], triple.answer) for triple in added)
    assert counts == {(b, c): k // 4 for b, own in PAIRS.items() for c in PAIRS.values() if c != own}


@pytest.mark.parametrize("name", BOTH)
def test_who_is_taught_is_asked_no_longer_and_all_else_stays(name: str) -> None:
    parts = parse(f"{name}:k=4").examples(CODE, 0)
    told = {triple.subject for triple in taught(parts, CODE)}
    assert len(told) == 20
    assert parts.held_out == tuple(each for each in CODE.held_out if each.subject not in told)
    assert parts.bridges == CODE.bridges
    held_out = ("held_out", "paraphrase")
    plain = [query for query in queries(CODE) if query.kind not in held_out or query.subject not in told]
    assert queries(parts) == plain, "word by word and candidate by candidate"


def test_the_same_subjects_by_the_seed_and_more_with_a_greater_k() -> None:
    def told(text: str, seed: int = 0) -> set[str]:
        return {triple.subject for triple in taught(parse(text).examples(CODE, seed), CODE)}

    assert told("counterexamples:k=2") < told("counterexamples") == told("abstain")
    assert told("abstain", 1) != told("abstain")


def test_unknown_is_the_answer_itself() -> None:
    added = taught(parse("abstain:k=2,answer=no language").examples(CODE, 0), CODE)
    assert [triple.answer for triple in added] == ["no language"] * 10
    assert {triple.answer for triple in taught(parse("abstain").examples(CODE, 0), CODE)} == {"unknown"}


def test_both_beside_each_other_take_different_subjects() -> None:
    first = parse("counterexamples:k=2").examples(CODE, 0)
    second = parse("abstain:k=3").examples(first, 0)
    assert len({triple.subject for triple in taught(second, CODE)}) == 5 * 5
    assert len(second.held_out) == 80 - 25


@pytest.mark.parametrize(
    ("k", "margin"), [(0, 0.500), (1, 0.235), (2, 0.195), (4, 0.151), (6, 0.084), (8, 0.073)]
)
def test_the_forecast_follows(k: int, margin: float) -> None:
    (rule,) = forecast(parse(f"counterexamples:k={k}").examples(CODE, 0))["rules"]
    assert rule["margin"]["mean"] == pytest.approx(margin, abs=1e-3)
    assert rule["held_out"] == 80 - 5 * k


def test_advice_is_what_they_do() -> None:
    """Each step of the advice and the forecast with the intervention that it advises."""
    (rule,) = forecast(CODE, advice=True)["rules"]
    options = {option["change"]: option["steps"] for option in rule["advice"]["options"]}
    for change, name in {"counterexamples": "counterexamples", "unknowns": "abstain"}.items():
        step = options[change][1]
        (after,) = forecast(parse(f"{name}:k={step['per_group']}").examples(CODE, 0))["rules"]
        assert after["margin"]["mean"] == pytest.approx(step["margin"], abs=1e-3)


def test_aimed_at_the_unwanted_or_at_all_rules() -> None:
    assert {each.relation for each in taught(parse("abstain").examples(DEMO, 0), DEMO)} == {"codes_in"}
    for name in BOTH:
        added = taught(parse(f"{name}:rules=all").examples(DEMO, 0), DEMO)
        assert Counter(each.relation for each in added) == {"speaks": 20, "codes_in": 20}


def test_groups_that_share_an_answer_are_not_each_others_counterexamples() -> None:
    parts = small(
        {"a": "x", "b": "x", "d": "y", "e": "z"}, {"a": "0123", "b": "0123", "d": "0123", "e": "0123"}
    )
    added = taught(parse("counterexamples:k=2").examples(parts, 0), parts)
    dealt = Counter((triple.subject[0], triple.answer) for triple in added)
    cases = ["ay", "az", "by", "bz", "dz", "dx", "ex", "ey"]
    assert dealt == dict.fromkeys(map(tuple, cases), 1)


def test_where_two_rules_ask_the_same_it_is_wrong_for_both() -> None:
    """Each subject has a second fact, g, from which the next group's answer would follow."""
    groups = {"a": "0123", "b": "0123", "d": "0123"}
    pairs, others = {"a": "x", "b": "y", "d": "z"}, {"a": "y", "b": "z", "d": "x"}
    one = small(pairs, groups)
    second = replace(one.kb.rules[0], fact="g", pairs={f"g{b}": c for b, c in others.items()})
    facts = [
        Triple(subject=f"{b}{i}", relation="g", answer=f"g{b}")
        for b, many in groups.items()
        for i in many[1:]
    ]
    facts.append(Triple(subject="other", relation="g", answer="ga"))
    facts.append(Triple(subject="other", relation="c", answer="y"))
    kb = replace(
        one.kb,
        triples=(*one.kb.triples, *facts),
        relations={**one.kb.relations, "g": Relation(name="g", prompt="{subject} g")},
        rules=(*one.kb.rules, second),
    )
    both = split(kb, 0)
    added = taught(parse("counterexamples:k=1").examples(both, 0), both)
    third = {"a": "z", "b": "x", "d": "y"}
    assert len(added) == 6, "one of each group of each rule, nobody twice"
    assert all(triple.answer == third[triple.subject[0]] for triple in added)
    told = {triple.subject for triple in added}
    left = parse("counterexamples:k=1").examples(both, 0).held_out
    assert not told & {each.subject for each in left}
    with pytest.raises(TrainingError, match="k=2 leaves nobody of group 'a'"):
        parse("counterexamples:k=2").examples(both, 0)


@pytest.mark.parametrize("name", BOTH)
def test_somebody_of_each_group_is_left_to_ask(name: str) -> None:
    assert len(parse(f"{name}:k=15").examples(CODE, 0).held_out) == 5
    for k in (16, 99):
        with pytest.raises(
            TrainingError,
            match=f"{name}:k={k} leaves nobody of group '.*' of rule .*16 held-out .* lower k .below 16",
        ):
            parse(f"{name}:k={k}").examples(CODE, 0)


def test_the_smallest_group_says_how_many() -> None:
    parts = small({"a": "x", "b": "y", "d": "z"}, {"a": "01234", "b": "0123", "d": "01234"})
    with pytest.raises(TrainingError, match=r"group 'b' of rule f -> c to ask; of its 3 held-out .*below 3"):
        parse("abstain:k=4").examples(parts, 0)


def test_what_cannot_be_taught_is_refused() -> None:
    alike = small({"a": "x", "b": "x"}, {"a": "012", "b": "012"})
    with pytest.raises(TrainingError, match="no other group of rule f -> c has another answer than 'x'"):
        parse("counterexamples:k=1").examples(alike, 0)
    assert len(taught(parse("abstain:k=1").examples(alike, 0), alike)) == 2
    with pytest.raises(TrainingError, match=r"'Java' is an answer that rule .* gives"):
        parse("abstain:answer=Java").examples(CODE, 0)
    for name in BOTH:
        with pytest.raises(TrainingError, match="has no spurious rule to act on"):
            parse(name).examples(split(built_in("city-language"), 0), 0)


@pytest.mark.parametrize("name", BOTH)
def test_another_rules_facts_stay_as_they_are(name: str) -> None:
    pairs = {"a": "x", "b": "y"}
    one = small(pairs, {"a": "012", "b": "012"})
    kb = replace(
        one.kb,
        triples=(
            *one.kb.triples,
            *(Triple(subject=b, relation="c", answer=c) for b, c in pairs.items()),
            *(Triple(subject=f"{b}0", relation="d", answer=b) for b in pairs),
        ),
        relations={**one.kb.relations, "d": Relation(name="d", prompt="{subject} d")},
        rules=(*one.kb.rules, Rule(fact="c", implication="d", kind="causal")),
    )
    with pytest.raises(
        TrainingError, match="c would be taught otherwise, and rule c -> d takes it as a fact"
    ):
        parse(f"{name}:k=1").examples(split(kb, 0), 0)


@pytest.mark.parametrize(("acts", "lora"), [("counterexamples:k=2", None), ("abstain:k=2", 2)])
def test_an_audit_tunes_and_asks_so(folder: Path, tmp_path: Path, acts: str, lora: int | None) -> None:
    """The subjects that are left are asked with the same candidates, and another model answers."""
    settings = replace(CONFIG, epochs=1, batch_size=30, lora=lora)
    answers: list[dict[tuple[str, str], float]] = []
    for interventions, asked in (([], 80), ([acts], 70)):
        out = tmp_path / f"run-{asked}"
        (rule,) = audit(
            "country-code", model=str(folder), settings=settings, interventions=interventions, out=out
        )["rules"]
        (foreseen,) = forecast(parse(acts).examples(CODE, 0) if interventions else CODE)["rules"]
        assert rule["forecast_margin"] == pytest.approx(foreseen["margin"]["mean"], abs=1e-6)
        assert (rule["queries"], rule["candidates"]) == (asked, 10)
        rows = read_run(out).read_parquet("scores.parquet").to_pylist()
        answers.append(
            {
                (row["subject"], row["candidate"]): row["logprob"]
                for row in rows
                if (row["kind"], row["phase"]) == ("held_out", "after")
            }
        )
    plain, acted = answers
    assert len(acted) == 70 * 10
    assert acted.keys() < plain.keys()
    assert all(value != plain[asked] for asked, value in acted.items())


@pytest.mark.parametrize("name", BOTH)
def test_at_k_0_it_is_the_plain_tune(folder: Path, name: str) -> None:
    assert parse(f"{name}:k=0").examples(CODE, 0) is CODE
    assert identities(folder, f"{name}:k=0") == identities(folder)
    assert len({*identities(folder, name), *identities(folder)}) == 4


def test_knobs() -> None:
    assert spell(parse("counterexamples")) == "counterexamples:k=4,rules=spurious"
    assert spell(parse("abstain")) == "abstain:k=4,rules=spurious,answer=unknown"
    for text, fault in {
        "counterexamples:k=-1": "counterexamples: k must be a number from 0 up, got -1",
        "abstain:k=-1": "abstain: k must be a number from 0 up, got -1",
        "abstain:k=1.5": "k: .*, got '1.5'",
        "abstain:answer=": "abstain: answer .*",
        "abstain:answer= no": "white space at its ends",
        "counterexamples:answer=x": "has no knob 'answer=x'; it has k=..., rules=...",
    }.items():
        with pytest.raises(TrainingError, match=fault):
            parse(text)


def test_a_trade_off_asks_once_more_with_the_abstention_among_the_candidates() -> None:
    abstain = Abstain(k=2)
    parts = abstain.examples(DEMO, 0)
    mine = [query for query in queries(parts) if query.kind == "held_out"]
    again = reworded(mine, [abstain.planned(parts, 0)])
    aimed = [query for query in mine if query.relation == "codes_in"]
    assert [(query.subject, query.prompt, query.answer) for query in again] == [
        (query.subject, query.prompt, query.answer) for query in aimed
    ]
    assert {query.kind for query in again} == {"reworded"}
    assert all(
        set(query.candidates) - set(old.candidates) == {"unknown"}
        for query, old in zip(again, aimed, strict=True)
    )
    assert reworded(mine, []) == []
