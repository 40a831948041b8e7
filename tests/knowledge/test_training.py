"""What is trained on, by its patterns, and the names that only rules or held-out subjects have."""

from dataclasses import replace

from spillover.knowledge.load import load
from spillover.knowledge.patterns import group_triples
from spillover.knowledge.schema import KnowledgeBase, Relation, Rule, Triple
from spillover.knowledge.split import split
from spillover.knowledge.training import TrainingTable

KB = KnowledgeBase(
    name="kb",
    triples=(Triple(subject="Ann", relation="lives", answer="Rome"),),
    relations={
        name: Relation(name=name, prompt=f"{{subject}} {name}") for name in ("lives", "codes", "asks")
    },
    rules=(Rule(fact="lives", implication="codes", pairs={"Rome": "Ada"}),),
    notices=("read with care",),
)


def test_a_whole_table_has_the_names_of_its_rules_behind_its_own():
    table = TrainingTable.whole(KB)
    assert (table.name, table.rules, table.split) == ("kb", KB.rules, None)
    assert table.patterns.relations == ("lives", "codes"), "and none that no rule is about"
    assert table.patterns.answers == ("Rome", "Ada")
    assert table.patterns.members.to_pylist() == [{"subject": "Ann", "pattern": 0}]
    assert table.patterns.notices == ("read with care",)


def test_a_splits_table_has_what_is_trained_and_the_right_answers_of_those_held_out():
    parts = split(load("country-code"), 3)
    rare = replace(parts, held_out=(replace(parts.held_out[0], answer="Zonnon"), *parts.held_out[1:]))
    table = TrainingTable.of_split(rare)
    trained = group_triples(parts.training)
    assert (table.rules, table.split) == (parts.kb.rules, rare)
    assert table.patterns.relations == trained.relations
    assert table.patterns.answers == (*trained.answers, "Zonnon")
    assert table.patterns.members == trained.members
