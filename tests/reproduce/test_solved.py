"""What the solver says of tables that are written out: CVXPY's margins, and checks that can fail."""

import cvxpy as cp
import numpy as np
import pytest

from spillover.reproduce import reversal, two_hop
from spillover.reproduce.late import NORMS
from spillover.reproduce.solved import Asked, ask


def by_cvxpy(facts, questions, norm):
    """The mean margin in the least-norm W of the same constraints, written out one by one."""
    told = [*facts, *questions]
    subjects, relations, answers = (sorted({row[place] for row in told}) for place in range(3))
    W = cp.Variable((len(answers), len(subjects) + len(relations)))

    def logits(subject, relation):
        return W[:, subjects.index(subject)] + W[:, len(subjects) + relations.index(relation)]

    constraints: list[cp.Constraint] = [
        logits(s, r)[answers.index(a)] - logits(s, r)[other] >= 1
        for s, r, a in facts
        for other in range(len(answers))
        if other != answers.index(a)
    ]
    size = cp.normNuc(W) if norm == "nuclear" else cp.norm(W, "fro")
    cp.Problem(cp.Minimize(size), constraints).solve(solver=cp.CLARABEL)
    found = []
    for s, r, a in questions:
        values, right = np.asarray(logits(s, r).value), answers.index(a)
        found.append(values[right] - np.delete(values, right).max())
    return float(np.mean(found))


@pytest.mark.parametrize("norm", NORMS.values())
@pytest.mark.parametrize(
    "table",
    [
        two_hop.second_hop(2, identities=True),
        two_hop.second_hop(3, identities=True),
        reversal.reverse(3, reversal.TOLD[2]),
        reversal.reverse(3, reversal.TOLD[3]),
    ],
    ids=["two hops, 2", "two hops, 3", "reversal", "reversal, no reverse"],
)
def test_the_margins_are_cvxpys(table, norm):
    facts, questions = table
    asked = ask(facts, questions, norm)
    assert asked.margin == pytest.approx(by_cvxpy(facts, questions, norm), abs=5e-3)
    assert asked.gap <= 1e-6


def test_both_claims_hold_on_small_tables():
    for figure, settings in (
        (two_hop.FIGURE, two_hop.TwoHopSettings(chains=(2, 3))),
        (reversal.FIGURE, reversal.ReversalSettings(pairs=(2, 3))),
    ):
        checks = figure.findings(settings, []).checks
        assert all(check.holds for check in checks if check.kind == "expectation")


@pytest.mark.parametrize(
    ("module", "settings"),
    [(two_hop, two_hop.TwoHopSettings(chains=(2, 3))), (reversal, reversal.ReversalSettings(pairs=(2, 3)))],
)
def test_they_can_fail(module, settings, monkeypatch):
    monkeypatch.setattr(module, "ask", lambda facts, questions, norm: Asked(margin=0.3, within=-0.3, gap=0.0))
    holds = [check.holds for check in module.FIGURE.findings(settings, []).checks]
    assert holds[0] is False
    assert holds[2] is False
    monkeypatch.setattr(module, "ask", lambda facts, questions, norm: Asked(margin=-0.3, within=0.0, gap=0.0))
    assert module.FIGURE.findings(settings, []).checks[1].holds is False


def test_an_answer_that_nobody_has_is_an_alternative():
    asked = ask([("a", "r", "x"), ("b", "r", "y")], [("nobody", "r", "z")], "frobenius")
    assert asked.margin == pytest.approx(asked.within)
    assert asked.margin < 0
