"""Rules against their tables: what is right for a held-out subject may be what nobody else is told."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from spillover.errors import DataError
from spillover.jobs.forecast import forecast
from spillover.knowledge.load import load
from spillover.knowledge.prompts import queries
from spillover.knowledge.schema import KnowledgeBase, Relation, Rule
from spillover.knowledge.split import split
from tests.implication.tables import triples

AGAINST = """\
relations: {lives_in: {prompt: "{subject} lives in"}, codes_in: {prompt: "{subject} codes in"}}
rules: [{fact: lives_in, implication: codes_in, pairs: {France: Python}, bridges: 1}]
triples: people.csv
"""


@pytest.mark.parametrize("seed", range(4))
def test_what_the_table_says_against_the_rule_is_right_for_those_held_out(tmp_path, seed):
    (tmp_path / "people.yaml").write_text(AGAINST)
    people = [("Ann", "Perl"), ("Bo", "Go"), ("Cy", None), ("Di", None)]
    table = triples(
        *((name, "lives_in", "France") for name, _ in people),
        *((name, "codes_in", answer) for name, answer in people if answer),
    )
    rows = [f"{one.subject},{one.relation},{one.answer}" for one in table]
    (tmp_path / "people.csv").write_text("\n".join(["subject,relation,answer", *rows]))
    kb = load(tmp_path / "people.yaml")
    parts = split(kb, seed)
    right = {name: answer or "Python" for name, answer in people}
    held_out = [one for one in queries(parts) if one.kind == "held_out"]
    assert {one.subject: one.answer for one in held_out} == {
        one.subject: one.answer for one in parts.held_out
    }
    assert all(one.answer == right[one.subject] and one.answer in one.candidates for one in held_out)
    for asked in (tmp_path / "people.yaml", kb, parts):
        found = forecast(asked, seed=seed, queries=tmp_path / "q.parquet")
        assert found["rules"][0]["held_out"] == 3
        rows = pq.read_table(tmp_path / "q.parquet").to_pylist()
        assert {row["subject"]: row["answer"] for row in rows} == {
            name: right[name] for name in right if name != parts.bridges[0].subject
        }
        trained = parts.bridges[0].answer
        assert all((row["margin"] > 0) == (row["answer"] == trained) for row in rows)


def test_rules_and_tables_that_disagree_in_any_way_are_forecast_or_refused_in_a_line():
    rng = np.random.default_rng(0)
    forecasts = 0
    for _ in range(60):
        names = [f"s{i}" for i in range(rng.integers(4, 9))]
        table = [(name, "f", str(rng.choice(["F", "G"]))) for name in names]
        for relation, answers in (("g", ["P", "Q", "R"]), ("h", ["X", "Y"])):
            table += [(name, relation, str(rng.choice(answers))) for name in names if rng.random() < 0.5]
        rules = [
            Rule(fact="f", implication="g", pairs={"F": "P", "G": "S"}, bridges=int(rng.integers(1, 3))),
            Rule(fact="g", implication="h", pairs={"P": "Z", "S": "X"}, bridges=1),
        ]
        kb = KnowledgeBase(
            name="kb",
            triples=tuple(triples(*table, ("z", "f", "F"), ("y", "f", "G"))),
            relations={name: Relation(name=name, prompt=f"{{subject}} {name}") for name in "fgh"},
            rules=tuple(rules[: rng.integers(1, 3)]),
        )
        try:
            parts = split(kb, 0)
        except DataError:
            continue
        assert queries(parts)
        assert len(forecast(parts, time_limit=1)["rules"]) == len(kb.rules)
        forecasts += 1
    assert 10 < forecasts < 60
