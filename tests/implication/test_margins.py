"""The margins of held-out implications: the paper's, CVXPY's, and what must not change them."""

import tracemalloc

import cvxpy as cp
import numpy as np
import pyarrow as pa
import pytest

from spillover.errors import DataError
from spillover.implication import margins as margins_module
from spillover.implication.margins import PENALTY, FitSettings, fit
from spillover.implication.questions import held_out, rule_groups
from spillover.knowledge.patterns import Patterns, group_triples
from spillover.knowledge.schema import Triple
from spillover.margin.certificate import certificate
from spillover.margin.problem import from_triples
from spillover.margin.solve import solve
from tests.implication.tables import grouped, triples

TIGHT = FitSettings(tol=1e-5)


def margins(table, settings=TIGHT, pairs=None):
    """Margins of codes_in for who has lives_in alone, and how many subjects each stands for."""
    patterns = group_triples(table)
    fact, implication = patterns.relations.index("lives_in"), patterns.relations.index("codes_in")
    names = patterns.answers
    known = {names.index(b): names.index(c) for b, c in (pairs or {}).items()}
    questions = held_out(patterns, fact, implication, rule_groups(patterns, fact, implication, known))
    return fit(patterns, settings).margins(questions), questions.subjects


@pytest.mark.parametrize("chains", [1, 2, 3, 4, 5, 8, 16])
def test_a_table_whose_multipliers_have_equal_singular_values_is_certified(chains):
    first = [(f"a{i}", "r1", f"b{i}") for i in range(chains)]
    second = [(f"b{i}", "r2", f"c{i}") for i in range(chains)]
    assert fit(group_triples(triples(*first, *second)), FitSettings()).certificate.relative_gap <= 1e-4


@pytest.mark.parametrize(("m_train", "m_test"), [(1, 1), (1, 2), (2, 1), (1, 3), (4, 16), (3, 2)])
@pytest.mark.parametrize("groups_", [2, 3, 5])
def test_balanced_tables_have_theorem_2s_margins(groups_, m_train, m_test):
    table = grouped(groups_, m_train + m_test, m_train)
    nuclear, subjects = margins(table)
    assert subjects.tolist() == [m_test] * groups_
    assert nuclear == pytest.approx(min(np.sqrt(m_train / m_test), 1), abs=2e-3)
    frobenius, _ = margins(table, FitSettings(norm="frobenius", tol=1e-6))
    assert frobenius == pytest.approx(0, abs=2e-3)


@pytest.mark.parametrize(
    ("exceptions", "margin"), [(0, 0.500), (2, 0.195), (4, 0.151), (6, 0.084), (8, 0.073)]
)
def test_counterexamples_have_the_dose_response_of_the_paper_file(exceptions, margin):
    table = grouped(5, 20, 4, exceptions)
    found, _ = margins(table, pairs={f"b{i}": f"c{i}" for i in range(5)})
    assert found == pytest.approx(margin, abs=1e-3)


def random_table(seed):
    """Unequal groups, several relations, missing facts; in every other table, relations share answers."""
    rng = np.random.default_rng(seed)
    shared = seed % 2
    rows = []
    for subject in range(rng.integers(6, 14)):
        for relation in range(3):
            if rng.random() < 0.75:
                answer = f"a{rng.integers(3)}" + ("" if shared else f"-{relation}")
                rows.append((f"s{subject}", f"r{relation}", answer))
    return triples(*rows)


@pytest.mark.parametrize("norm", ["nuclear", "frobenius"])
@pytest.mark.parametrize("seed", range(12))
def test_the_objective_is_cvxpys(seed, norm):
    table = random_table(seed)
    solved = fit(group_triples(table), FitSettings(norm=norm))
    problem = from_triples(
        [(one.subject, one.relation, one.answer) for one in table], answers=len({t.answer for t in table})
    )
    W = cp.Variable((problem.answers, problem.columns))
    logits = problem.features.toarray() @ W.T
    constraints, paid = [], 0
    soft = not solved.problem.hard
    for i, label in enumerate(problem.labels):
        others = np.delete(np.arange(problem.answers), label)
        short = 1 - (logits[i, int(label)] - logits[i, others])
        if soft:
            paid += PENALTY * cp.sum(cp.pos(short))
        else:
            constraints.append(short <= 0)
    norm_of_w = cp.normNuc(W) if norm == "nuclear" else 0.5 * cp.sum_squares(W)
    whole = cp.Problem(cp.Minimize(norm_of_w + paid), constraints)
    whole.solve(solver="CLARABEL")
    expected = float(np.asarray(whole.value))
    assert solved.certificate.objective == pytest.approx(expected, rel=1e-3)
    assert solved.certificate.lower_bound <= expected * (1 + 1e-6)
    assert solved.certificate.relative_gap <= 1e-4


def test_the_tables_for_cvxpy_are_of_both_kinds():
    hard = [fit(group_triples(random_table(seed)), FitSettings()).problem.hard for seed in range(12)]
    assert any(hard)
    assert not all(hard)


@pytest.mark.parametrize("penalty", [None, 0.3])
def test_a_problem_of_patterns_is_that_of_all_its_subjects(penalty):
    table = grouped(3, 7, 2, 1)
    settings = FitSettings(tol=1e-5, penalty=penalty)
    solved = fit(group_triples(table), settings)
    whole = from_triples(
        [(one.subject, one.relation, one.answer) for one in table],
        penalty=np.inf if penalty is None else penalty,
    )
    proof = certificate(whole, solve(whole, 1e-5, reduce=False))
    assert solved.certificate.objective == pytest.approx(proof.objective, rel=3e-5)


def test_a_soft_margin_at_the_default_price_is_the_hard_one_where_that_exists():
    for exceptions in (0, 2):
        table = grouped(4, 9, 3, exceptions)
        pairs = {f"b{i}": f"c{i}" for i in range(4)}
        hard, _ = margins(table, pairs=pairs)
        soft, _ = margins(table, FitSettings(tol=1e-5, penalty=PENALTY), pairs=pairs)
        assert soft == pytest.approx(hard, abs=2e-3)


def test_relations_that_swap_their_answers_make_the_margin_soft():
    table = triples(
        ("Al", "born", "Rome"), ("Al", "lives", "Oslo"), ("Bo", "born", "Oslo"), ("Bo", "lives", "Rome")
    )
    solved = fit(group_triples(table), FitSettings())
    assert not solved.problem.hard
    assert len(solved.conflict) == 4
    assert solved.certificate.relative_gap <= 1e-4


def test_row_order_and_names_change_nothing():
    table = grouped(3, 6, 2, 1)
    pairs = {f"b{i}": f"c{i}" for i in range(3)}
    base, _ = margins(table, pairs=pairs)
    shuffled = [table[i] for i in np.random.default_rng(0).permutation(len(table))]
    assert np.array_equal(margins(shuffled, pairs=pairs)[0], base)
    renamed = [
        Triple(
            subject=f"x{t.subject[::-1]}", relation=t.relation, answer=f"z{9 - int(t.answer[1])}{t.answer[0]}"
        )
        for t in table
    ]
    other = {f"z{9 - i}b": f"z{9 - i}c" for i in range(3)}
    assert sorted(margins(renamed, pairs=other)[0]) == pytest.approx(sorted(base), abs=2e-3)


def test_ties_share_the_first_place():
    patterns = group_triples(grouped(3, 4, 1))
    fact, implication = patterns.relations.index("lives_in"), patterns.relations.index("codes_in")
    questions = held_out(patterns, fact, implication, rule_groups(patterns, fact, implication, {}))
    merged = fit(patterns, FitSettings(norm="frobenius", tol=1e-6)).first_places(questions)
    assert merged == pytest.approx((1 / 3, 1 / 3))
    assert fit(patterns, TIGHT).first_places(questions) == pytest.approx((1, 1 / 3))


def test_chance_is_the_mean_over_all_deals_of_the_right_answers():
    table = [one for one in grouped(3, 6, 2) if one.subject not in ("s0-4", "s0-5", "s1-5")]  # unequal groups
    patterns = group_triples(table)
    fact, implication = patterns.relations.index("lives_in"), patterns.relations.index("codes_in")
    questions = held_out(patterns, fact, implication, rule_groups(patterns, fact, implication, {}))
    assert sorted(questions.subjects) == [2, 3, 4]
    top1, chance = fit(patterns, TIGHT).first_places(questions)
    assert top1 == 1
    assert chance == pytest.approx((2 * 2 + 3 * 3 + 4 * 4) / 81)


def test_a_table_of_all_different_answers_is_refused_before_any_memory_is_taken():
    table = [Triple(subject=f"s{i}", relation="has_name", answer=f"n{i}") for i in range(12_000)]
    with pytest.raises(DataError, match=r"12,000 distinct answers .* 'has_name' has 12,000"):
        fit(group_triples(table), FitSettings())


def many(subjects, relations, answers):
    """Subjects with a pattern each, and answers at random, shared by all relations."""
    pattern, relation = np.divmod(np.arange(subjects * relations), relations)
    return Patterns(
        relations=tuple(f"r{i}" for i in range(relations)),
        answers=tuple(f"a{i}" for i in range(answers)),
        subjects=np.ones(subjects, dtype=int),
        pattern=pattern,
        relation=relation,
        answer=np.random.default_rng(0).integers(answers, size=pattern.size),
        members=pa.table({"subject": pa.array([], pa.string()), "pattern": pa.array([], pa.int32())}),
    )


@pytest.mark.parametrize(
    ("size", "needed"), [((2_000, 25, 50_000), 187), ((50_000, 4, 600), 12), ((9_000, 1, 9_000), 20)]
)
def test_what_would_not_fit_into_memory_is_refused_with_its_size(size, needed):
    with pytest.raises(DataError, match=rf"would take {needed} GB, and it can take 8; leave out relations"):
        fit(many(*size), FitSettings())


@pytest.mark.parametrize("size", [(2_000, 4, 300), (400, 4, 1_500)])
def test_a_fit_takes_no_more_memory_than_the_refusal_reckons_with(size):
    table = many(*size)
    tracemalloc.start()
    fit(table, FitSettings(penalty=1.0, time_limit=1e-9))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 0.2 * margins_module._bytes(table) < peak < margins_module._bytes(table)
