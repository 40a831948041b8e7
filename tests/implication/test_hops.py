"""Second hops, where identity facts open them."""

import pytest

from spillover.implication.hops import Hop, hops
from spillover.jobs.forecast import forecast
from spillover.knowledge.patterns import group_triples
from spillover.reproduce.two_hop import second_hop
from tests.implication.tables import grouped, triples
from tests.jobs.tables import write_csv


def found(*rows):
    return hops(group_triples(triples(*rows)))


def test_a_chain_is_open_where_its_middle_is_itself():
    facts, questions = second_hop(4, identities=True)
    assert found(*facts) == [Hop(first="r1", second="r2", identity="is", subjects=len(questions))]
    assert found(*second_hop(4, identities=False)[0]) == []


def test_only_those_count_whose_link_is_itself_and_who_were_not_told():
    chains = second_hop(4, identities=False)[0]
    links = [("b0", "is", "b0"), ("b1", "is", "b1")]
    assert found(*chains, *links)[0].subjects == 2
    assert found(*chains, *links, ("a0", "r2", "c3"))[0].subjects == 1


def test_alike_subjects_all_count():
    many = [(f"{who} the {n}", "r1", f"b{n % 2}") for n in range(10) for who in ("a", "o")]
    links = [
        (f"b{n}", relation, answer) for n in range(2) for relation, answer in (("is", f"b{n}"), ("r2", "c"))
    ]
    (hop,) = found(*many, *links)
    assert hop.subjects == 20


def test_a_table_of_people_has_none():
    assert hops(group_triples(grouped(4, 6, 2))) == []


@pytest.mark.parametrize("identities", [True, False])
def test_the_forecast_says_so(identities, tmp_path):
    facts, _ = second_hop(3, identities=identities)
    notes = forecast(write_csv(tmp_path / "chains.csv", triples(*facts)))["notes"]
    assert any("3 subjects may be answered r2 by way of r1" in note for note in notes) == identities
