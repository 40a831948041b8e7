"""Numbers that float64 does not hold: the solver goes on to a right answer, or says so at once."""

import numpy as np
import pytest
import scipy.sparse as sp

from spillover.errors import InseparableError, MarginError
from spillover.margin import normal
from spillover.margin.certificate import certificate
from spillover.margin.closed_form import balanced, balanced_problem
from spillover.margin.problem import MarginProblem
from spillover.margin.solve import solve
from spillover.margin.whole_logits import WholeLogits

NORMS = ["nuclear", "frobenius"]


@pytest.mark.parametrize("norm", NORMS)
def test_a_first_objective_that_is_not_a_number_is_forgotten(norm, monkeypatch):
    problem = balanced_problem(3, 1, 2, norm)
    seen = []
    smallest_margin = WholeLogits.smallest_margin

    def not_a_number_at_first(self):
        return smallest_margin(self) if seen else np.nan

    monkeypatch.setattr(WholeLogits, "smallest_margin", not_a_number_at_first)
    proof = certificate(problem, solve(problem, 1e-6, reduce=False, progress=seen.append))
    assert seen[0].objective == np.inf
    assert proof.objective == pytest.approx(balanced(3, 1, 2, norm).value, rel=1e-6)


LARGE = 1e155


@pytest.mark.parametrize(
    ("features", "options"),
    [
        ([[LARGE, LARGE], [0.0, 1.0], [1.0, 2.0]], {}),
        ([[LARGE, 1.0], [LARGE, 2.0], [1.0, 0.0]], {"penalty": 1e5}),
        ([[1.0, 0.0], [0.0, 1.0], [1e12, 1e12]], {}),
        ([[1e130, 0.0], [0.0, 1e130], [1e130, 1e130]], {"penalty": 1e300}),
        ([[1e-130, 0.0], [0.0, 1e-130], [1e-130, 1e-130]], {"penalty": 1e-300}),
        ([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], {"copies": [1.0, 1.0, 1e100]}),
    ],
    ids=["row", "column", "singular", "penalty-over", "penalty-under", "copies"],
)
@pytest.mark.parametrize("reduce", [True, False], ids=["reduced", "whole"])
@pytest.mark.parametrize("norm", NORMS)
def test_what_float64_cannot_hold_is_one_clear_line_at_once(features, options, norm, reduce):
    problem = MarginProblem(
        features=sp.csr_array(features), labels=np.arange(3), answers=3, norm=norm, **options
    )
    seen = []
    with pytest.raises(MarginError, match=r"too far apart for float64: features from \S+ to \S+, copies"):
        solve(problem, reduce=reduce, progress=seen.append)
    assert len(seen) < 10


def test_a_sparse_factor_that_rounding_makes_singular_is_the_same_line(monkeypatch):
    for limit in ("_DENSE_COLUMNS", "_DENSE_HUBS"):
        monkeypatch.setattr(normal, limit, 0)
    features = sp.csr_array([[1.0, 0.0], [0.0, 1.0], [1e12, 1e12]])
    problem = MarginProblem(features=features, labels=np.arange(3), answers=3)
    with pytest.raises(MarginError, match="too far apart for float64"):
        solve(problem)


@pytest.mark.parametrize("norm", NORMS)
def test_features_of_nothing_but_zeros_keep_no_margin(norm):
    problem = MarginProblem(features=sp.csr_array((2, 3)), labels=np.zeros(2, int), answers=2, norm=norm)
    with pytest.raises(InseparableError, match="no W tells these 1 examples apart by a margin: 0"):
        solve(problem)
