"""Discovery against full enumeration, on independent tables, and under renaming."""

import time
from collections import Counter
from itertools import permutations
from math import factorial, isnan, lgamma

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from spillover.errors import DataError
from spillover.implication.discovery import Association, _draw, _evidence, associations
from spillover.knowledge.patterns import Patterns
from spillover.runs.stats import mean_interval


def read(triples):
    """The patterns of (subject, relation, answer) triples, by a plain loop."""
    said = {}
    for subject, relation, answer in triples:
        said.setdefault(subject, set()).add((relation, answer))
    relations = sorted({relation for _, relation, _ in triples})
    answers = sorted({answer for _, _, answer in triples})
    counts = Counter(tuple(sorted(one)) for one in said.values())
    rows = [
        (number, relations.index(relation), answers.index(answer))
        for number, pattern in enumerate(sorted(counts))
        for relation, answer in pattern
    ]
    pattern, relation, answer = np.array(rows).T
    places = {key: number for number, key in enumerate(sorted(counts))}
    members = sorted((subject, places[tuple(sorted(one))]) for subject, one in said.items())
    return Patterns(
        relations=tuple(relations),
        answers=tuple(answers),
        subjects=np.array([counts[key] for key in sorted(counts)]),
        pattern=pattern,
        relation=relation,
        answer=answer,
        members=pa.table({"subject": [one for one, _ in members], "pattern": [two for _, two in members]}),
    )


def two_relations(firsts, seconds):
    """One bridge for each pair of answers."""
    return read(
        [(f"s{n}", "f", f"b{x}") for n, x in enumerate(firsts)]
        + [(f"s{n}", "g", f"c{y}") for n, y in enumerate(seconds)]
    )


def random_triples(seed, subjects=60, relations=4, answers=5, rule=0.0):
    """Independent answers; with a chance of `rule`, a subject's second answer follows from its first."""
    rng = np.random.default_rng(seed)
    table = rng.integers(answers, size=(subjects, relations))
    table[:, 1] = np.where(rng.random(subjects) < rule, table[:, 0], table[:, 1])
    known = rng.random(table.shape) < 0.8
    return [
        (f"s{s}", f"r{r}", f"a{r}-{table[s, r]}")
        for s in range(subjects)
        for r in range(relations)
        if known[s, r]
    ]


def statistic(firsts, seconds):
    return sum(lgamma(count + 1) for count in Counter(zip(firsts, seconds, strict=True)).values())


def enumerated(firsts, seconds):
    """Fisher's p-value over every way to deal the second answers out, and the least of any deal."""
    deals = np.array([statistic(firsts, dealt) for dealt in permutations(seconds)])
    observed = statistic(firsts, seconds)
    return np.mean(deals >= observed - 1e-9), np.mean(deals >= deals.max() - 1e-9)


def numbers(found):
    return [(one.bridges, one.testable, one.p_value, one.adjusted) for one in found]


@pytest.mark.parametrize(
    ("firsts", "seconds"),
    [
        ("aabbccdd", "wwxxyyzz"),
        ("aabbccdd", "wwxxyyyz"),
        ("aaabbbccc", "xxyyzzzzx"),
        ("aaaabbb", "xxxyyyy"),
        ("aaaaabcd", "xxxxyyzz"),
        ("aaaabbbb", "xyzvxyzv"),
    ],
)
def test_p_values_equal_full_enumeration(firsts, seconds):
    wanted, least = enumerated(firsts, seconds)
    assert least <= 0.2
    many = [
        associations(two_relations(firsts, seconds), alpha=0.2, seed=seed)[0].p_value for seed in range(40)
    ]
    # the share that the bound by evidence may spend is added to a drawn p-value: 0.05 x 0.2
    assert np.mean(many) == pytest.approx(wanted + 0.01, rel=0.02, abs=0.002)


@pytest.mark.parametrize("alpha", [0.3, 0.1, 0.05, 0.02])
def test_a_pair_is_testable_where_some_deal_could_be_significant(alpha):
    rng = np.random.default_rng(0)
    both = set()
    for _ in range(30):
        firsts, seconds = (rng.integers(rng.integers(2, 5), size=7).tolist() for _ in range(2))
        (one,) = associations(two_relations(firsts, seconds), alpha=alpha)
        assert one.testable == (enumerated(firsts, seconds)[1] <= alpha)
        both.add(one.testable)
    assert both == {True, False}


@pytest.mark.parametrize(
    ("groups", "bridges", "testable"), [(5, 1, False), (50, 1, False), (3, 2, False), (4, 2, True)]
)
def test_too_few_bridges_are_said_to_be_too_few(groups, bridges, testable):
    answers = np.repeat(np.arange(groups), bridges)
    (one,) = associations(two_relations(answers, answers))
    assert one.testable == testable
    assert one.bridges == groups * bridges
    assert isnan(one.p_value) == isnan(one.adjusted) == (not testable)


def test_the_least_p_value_of_a_rule_is_one_over_the_ways_to_group_its_bridges():
    answers = np.repeat(np.arange(5), 2)
    least = 2**5 * factorial(5) / factorial(10)
    pair = two_relations(answers, answers)
    assert associations(pair, alpha=least * 1.001)[0].testable
    assert not associations(pair, alpha=least * 0.999)[0].testable


def test_untestable_pairs_cost_the_others_nothing():
    """One pair with a rule of p = 1/105, and 20 relations that each have a bridge with it."""
    rule = [(f"s{n}", relation, f"{relation}{n // 2}") for n in range(8) for relation in "fg"]
    lone = [("s0", f"x{n}", "one") for n in range(20)]
    (alone,) = associations(read(rule))
    found = associations(read(rule + lone))
    assert len(found) == 1 + 40 + 190
    assert [one for one in found if one.testable] == [alone]
    assert alone.adjusted <= 0.05


def test_contradicting_subjects_and_subjects_with_one_relation_are_left_out_of_the_pair():
    answers = np.repeat(np.arange(4), 3)
    rule = [(f"s{n}", relation, f"{relation}{x}") for n, x in enumerate(answers) for relation in "fg"]
    third = [(f"s{n}", "h", "same") for n in range(12)]
    torn = [("t", "f", "f0"), ("t", "f", "f1"), ("t", "g", "g0"), ("t", "h", "same")]
    held_out = [("u", "f", "f0")]
    plain, added = associations(read(rule + third)), associations(read(rule + third + torn + held_out))
    assert [one.relations for one in added] == [(0, 1), (0, 2), (1, 2)]
    assert added[:2] == plain[:2]
    assert (plain[2].bridges, added[2].bridges) == (12, 13)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.0, 0.5, 1.0]))
def test_names_and_order_play_no_role(seed, rule):
    triples = random_triples(seed, subjects=30, rule=rule)
    rng = np.random.default_rng(seed)
    relation, answer, subject = (
        dict(zip(names, map(str, rng.permutation(len(names))), strict=True))
        for names in (sorted({triple[place] for triple in triples}) for place in (1, 2, 0))
    )
    renamed = read([(subject[s], relation[r], answer[a]) for s, r, a in reversed(triples)])
    before = associations(read(triples), seed=seed)
    after = {one.relations: one for one in associations(renamed, seed=seed)}
    places = [renamed.relations.index(relation[name]) for name in read(triples).relations]
    again = [after[min(x, y), max(x, y)] for x, y in ((places[f], places[g]) for f, g in _pairs(before))]
    np.testing.assert_array_equal(numbers(before), numbers(again))


def _pairs(found: list[Association]):
    return [one.relations for one in found]


def test_a_seed_repeats_bit_by_bit_and_another_draws_anew():
    # 14 of 40 bridges follow the rule: no p-value is settled without draws
    triples = random_triples(3, subjects=40, rule=0.35)
    runs = [numbers(associations(read(triples), seed=seed)) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2], equal_nan=True)


def test_independent_tables_keep_the_level_at_every_p_value():
    """300 tables of six pairs: any association in at most alpha; each p-value is uniform or larger."""
    found = [
        associations(read(random_triples(seed, subjects=5 + seed % 40)), seed=seed) for seed in range(300)
    ]
    any_found = [float(any(one.adjusted <= 0.05 for one in pairs)) for pairs in found]
    assert mean_interval(any_found, 0, 1, level=0.999).low <= 0.05
    p_values = np.array([one.p_value for pairs in found for one in pairs if one.testable])
    assert len(p_values) > 1000
    for level in (0.01, 0.05, 0.2, 0.5):
        assert np.mean(p_values <= level) <= level + 4 * np.sqrt(level * (1 - level) / len(p_values))
    assert np.mean(p_values <= 0.5) >= 0.3


def test_the_likelihood_ratio_is_at_most_one_on_average_over_all_deals():
    firsts, margin = np.array([0, 0, 0, 1, 1, 1, 2, 2]), np.array([3, 3, 2])
    ratios = []
    for dealt in set(permutations(firsts.tolist())):
        cells, count = np.unique(firsts * 3 + np.array(dealt), return_counts=True)
        ratios.append(np.exp(_evidence(cells // 3, cells % 3, count, margin, margin)))
    assert 0.05 < np.mean(ratios) <= 1
    assert max(ratios) > 5


@pytest.mark.parametrize(("groups", "bridges"), [(5, 8), (10, 4), (2, 40), (100, 3)])
def test_a_clear_rule_has_a_tiny_p_value_and_none_below_the_least(groups, bridges):
    answers = np.repeat(np.arange(groups), bridges)
    (one,) = associations(two_relations(answers, answers))
    ways = factorial(groups * bridges) // factorial(bridges) ** groups // factorial(groups)
    assert 1 / ways <= one.p_value < 1e-12


def test_strong_and_sparse_and_dense_rules_are_found_among_random_pairs():
    for subjects, answers, rule in ((3000, 5, 0.3), (200, 5, 0.5), (120, 60, 0.6)):
        found = associations(read(random_triples(0, subjects=subjects, answers=answers, rule=rule)))
        assert [one.relations for one in found if one.adjusted <= 0.05] == [(0, 1)]


@pytest.mark.parametrize("table", [[[9, 3], [4, 8]], [[5, 5], [6, 12]], [[30, 22], [20, 40]]])
def test_two_by_two_tables_equal_scipy(table):
    pairs = [(x, y) for x in (0, 1) for y in (0, 1) for _ in range(table[x][y])]
    (one,) = associations(two_relations(*zip(*pairs, strict=True)), alpha=0.3)
    # at least 450 exceedances, whose relative error is 5%; 0.015 may be spent
    assert one.p_value == pytest.approx(stats.fisher_exact(table).pvalue + 0.015, rel=0.2)


@pytest.mark.parametrize(
    ("rows", "columns"),
    [((9, 8, 1, 1, 1), (12, 4, 1, 1, 1, 1)), ((9, 6, 5), (8, 7, 5)), ((4, 3, 2, 1, 1), (4, 3, 3, 1))],
    ids=["tables with singletons", "tables", "dealt with singletons"],
)
def test_drawn_statistics_are_distributed_like_those_of_plain_deals(rows, columns):
    rng = np.random.default_rng(0)
    firsts, seconds = (np.repeat(np.arange(len(margin)), margin) for margin in (rows, columns))
    plain = [statistic(firsts.tolist(), rng.permutation(seconds).tolist()) for _ in range(4_000)]
    drawn = _draw(rows, columns, 4_000, rng)
    assert drawn.mean() == pytest.approx(np.mean(plain), abs=5 * np.std(plain) / np.sqrt(2_000))
    for high in np.quantile(plain, [0.5, 0.9]):
        assert np.mean(drawn > high + 1e-9) == pytest.approx(np.mean(np.array(plain) > high + 1e-9), abs=0.05)


@pytest.mark.parametrize(("count", "pairs"), [(1, 0), (2, 1), (5, 10)])
def test_progress_ends_at_the_number_of_pairs(count, pairs):
    told = []
    triples = [(f"s{n}", f"r{r}", str(n % 2)) for n in range(20) for r in range(count)]
    associations(read(triples), progress=lambda done, total: told.append((done, total)))
    assert told == [(done, pairs) for done in range(pairs + 1)]


def test_many_pairs_take_seconds():
    patterns = read(random_triples(0, subjects=150, relations=60))
    started = time.perf_counter()
    found = associations(patterns)
    assert len(found) == 60 * 59 // 2
    assert time.perf_counter() - started < 20


@pytest.mark.parametrize("alpha", [0.0, 1.0, -1.0, float("nan")])
def test_an_impossible_alpha_is_refused(alpha):
    with pytest.raises(DataError, match=r"^alpha must lie between 0 and 1, got .*; 0\.05 is usual$"):
        associations(two_relations("aabb", "xxyy"), alpha=alpha)


def test_a_negative_seed_is_refused():
    with pytest.raises(DataError, match=r"^seed must be a whole number from 0 up, got -1$"):
        associations(two_relations("aabb", "xxyy"), seed=-1)
