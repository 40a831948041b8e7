"""What is asked of an intervention, which one no other beats, and which one is recommended, by hand."""

from typing import Any

import pytest

from spillover.tradeoff.choice import best, demands, front, recommendation

NAN = float("nan")


def row(arm: str, **changed: Any) -> dict[str, Any]:
    """An arm that meets everything, but for what is changed."""
    usual = {
        "arm": arm,
        "model": "m",
        "data": "demo",
        "seeds": 3,
        "facts": 1.0,
        "bridges": 0.9,
        "wanted": "lives_in -> speaks",
        "wanted_top1": 0.9,
        "wanted_rank": 0.2,
        "spurious": "lives_in_country -> codes_in",
        "spurious_top1": 0.2,
        "spurious_top1_null": 0.2,
        "spurious_p_seeds": 0.3,
        "paraphrase_top1": 0.2,
        "paraphrase_top1_null": 0.2,
        "kl": 0.1,
    }
    return usual | changed


PLAIN = row("none", spurious_top1=0.6, spurious_p_seeds=0.0001)


@pytest.mark.parametrize(
    ("changed", "missed"),
    [
        ({}, ""),
        ({"spurious_p_seeds": 0.05}, "the spurious rule is still seen"),
        ({"spurious_p_seeds": NAN}, "the spurious rule is still seen"),
        ({"wanted_rank": 0.51}, "the wanted rule is lost"),
        ({"facts": 0.94}, "facts are missing"),
        ({"kl": 0.11}, "it harms more than the plain tune"),
        ({"wanted": "", "wanted_rank": NAN}, ""),
        ({"facts": 0.5, "kl": NAN}, "facts are missing, it harms more than the plain tune"),
    ],
)
def test_each_demand_is_told_apart(changed: dict[str, Any], missed: str) -> None:
    found = demands(row("a", **changed), PLAIN)
    assert found.missed == missed
    assert found.met == 4 - len([part for part in missed.split(", ") if part])


def test_the_front_is_what_no_other_beats() -> None:
    same_but_worse = row("worse", kl=0.2)
    keeps_more = row("keeps more", wanted_top1=0.95, spurious_top1=0.3)
    elsewhere = row("elsewhere", data="other", kl=0.5)
    clean = row("clean")
    rows = [PLAIN, clean, same_but_worse, keeps_more, elsewhere]
    assert [found["arm"] for found in front(rows)] == ["clean", "keeps more", "elsewhere"]


def test_a_share_below_chance_is_no_better_than_chance() -> None:
    below, at = row("below", spurious_top1=0.1), row("at", wanted_top1=0.95)
    assert front([below, at]) == [at]


def test_the_best_meets_most_and_of_those_leaves_least() -> None:
    loses_facts = row("loses facts", facts=0.5)
    seen_a_little, seen_more = (
        row(name, spurious_top1=top1, spurious_p_seeds=0.01)
        for name, top1 in (("a little", 0.3), ("more", 0.4))
    )
    assert best([PLAIN, seen_more, seen_a_little]) == seen_a_little
    assert best([PLAIN, seen_more, row("clean"), loses_facts])["arm"] == "clean"  # pyright: ignore
    assert best([PLAIN]) is None


def test_an_arm_that_never_taught_the_rule_is_the_last_choice() -> None:
    untaught, seen = row("untaught", bridges=0.15), row("seen", spurious_p_seeds=0.01, spurious_top1=0.5)
    assert best([PLAIN, untaught, seen]) == seen
    assert best([PLAIN, untaught]) == untaught


def test_the_recommendation_says_what_is_missed_and_the_evidence() -> None:
    said = " ".join(recommendation([PLAIN, row("clean")]))
    assert said.startswith("Take clean: it meets all four demands over 3 seeds.")
    assert "20% of held-out subjects, chance 20%" in said
    assert "(plain 60%)" in said
    none = recommendation([PLAIN, row("half", spurious_p_seeds=0.001)])
    assert none[0] == (
        "No intervention meets all four demands. Closest comes half: the spurious rule is still seen."
    )
    assert recommendation([PLAIN]) == []


def test_one_seed_is_said_to_be_one() -> None:
    assert "in one seed" in recommendation([PLAIN, row("clean", seeds=1)])[0]


def test_what_is_not_confirmed_is_said_first() -> None:
    there = [row("none", data="there"), row("clean", data="there", facts=0.9)]
    here = [row("none", data="here"), row("clean", data="here")]
    said = recommendation([PLAIN, row("clean")], [*there, *here])
    assert said[:3] == [
        "clean meets all four demands on demo over 3 seeds, and not everywhere.",
        "Unchanged on there: facts are missing.",
        "Unchanged on here: all four.",
    ]
    assert recommendation([PLAIN, row("clean")], here)[0].startswith("Take clean")


def test_few_bridges_are_no_proof_that_a_rule_is_gone() -> None:
    there = [row("none", data="there"), row("clean", data="there", bridges=0.79)]
    said = recommendation([PLAIN, row("clean")], there)
    nothing = "so few bridges are learned that nothing is known of the rules"
    assert said[:2] == [
        "clean meets all four demands on demo over 3 seeds, and not everywhere.",
        f"Unchanged on there: all four; {nothing}.",
    ]
    seen = [PLAIN, row("seen", bridges=0.5, spurious_p_seeds=0.001)]
    assert not any(nothing in part for part in recommendation(seen)), "a rule that is seen was taught"
    assert any(part.endswith(f"{nothing}.") for part in recommendation([PLAIN, row("clean", bridges=0.5)]))
