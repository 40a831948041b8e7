"""The margin problem: every message of its checks, what it keeps of its arrays, and the layout of a table."""

import numpy as np
import pytest
import scipy.sparse as sp

from spillover.errors import MarginError
from spillover.margin.problem import MarginProblem, from_triples

NAN, INF = float("nan"), float("inf")
TABLE = [
    ("Bo", "lives in", "Rome"),
    ("Al", "lives in", "Paris"),
    ("Bo", "speaks", "Italian"),
    ("Cy", "lives in", "Rome"),
    ("Al", "lives in", "Paris"),
]


def problem(**changed):
    return MarginProblem(**{"features": np.eye(3), "labels": [0, 1, 2], "answers": 3, **changed})


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"norm": "spectral"}, "the norm is 'spectral'; it can be nuclear or frobenius"),
        ({"norm": None}, "the norm is None; it can be nuclear or frobenius"),
        (
            {"features": np.empty((0, 3)), "labels": []},
            "the margin problem has no examples; give at least one",
        ),
        (
            {"labels": [0, 1]},
            "there are 3 rows of features and labels of shape (2,); give one label for each row",
        ),
        (
            {"labels": [[0], [1], [2]]},
            "there are 3 rows of features and labels of shape (3, 1); give one label for each row",
        ),
        (
            {"features": [[1, 0], [0, NAN], [INF, 0]]},
            "the features of example 1 are not finite; every feature must be a number",
        ),
        (
            {"features": [[0, 0], [0, 0], [1, -INF]]},
            "the features of example 2 are not finite; every feature must be a number",
        ),
        ({"answers": 1, "labels": [0, 0, 0]}, "a margin needs at least two answers, got 1"),
        ({"answers": -3}, "a margin needs at least two answers, got -3"),
        ({"labels": [0.0, 1.0, 2.0]}, "labels must be whole numbers, got float64"),
        ({"labels": [True, False, True]}, "labels must be whole numbers, got bool"),
        ({"labels": [0, 3, 4]}, "example 1 has label 3; labels go from 0 to 2"),
        ({"labels": [0, 1, -1]}, "example 2 has label -1; labels go from 0 to 2"),
        ({"penalty": 0}, "the penalty must be positive (infinite for a hard margin), got 0"),
        ({"penalty": -1.5}, "the penalty must be positive (infinite for a hard margin), got -1.5"),
        ({"penalty": NAN}, "the penalty must be positive (infinite for a hard margin), got nan"),
        ({"copies": 0}, "the copies of examples must be positive, one for all or 3, got 0"),
        (
            {"copies": [1, NAN, 1]},
            "the copies of examples must be positive, one for all or 3, got [1, nan, 1]",
        ),
        ({"copies": [1, 2]}, "the copies of examples must be positive, one for all or 3, got [1, 2]"),
    ],
)
def test_what_is_no_problem_is_one_clear_line(changed, message):
    with pytest.raises(MarginError) as caught:
        problem(**changed)
    assert str(caught.value) == message


def test_an_infinite_feature_that_repeated_entries_cancel_is_not_finite():
    cancelled = sp.coo_array(([INF, -INF, 1.0], ([0, 0, 1], [1, 1, 0])), shape=(3, 3))
    with pytest.raises(MarginError, match="example 0 are not finite"):
        problem(features=cancelled)


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array, sp.csc_array, sp.coo_matrix, np.ndarray.tolist])
def test_features_of_any_kind_are_held_as_float64_rows(kind):
    plain = np.array([[0, 2, 0], [1, 0, 0], [0, 0, 0]])
    found = problem(features=kind(plain)).features
    assert isinstance(found, sp.csr_array)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found.toarray(), plain)


@pytest.mark.parametrize("kind", [sp.coo_array, sp.csr_array], ids=["by-entry", "by-row"])
def test_repeated_entries_are_summed_and_zeros_are_dropped(kind):
    data, columns = np.array([1.0, 2.0, 5.0, 0.0, 4.0, -4.0]), np.array([1, 1, 0, 2, 2, 2])
    places = ([0, 0, 1, 1, 2, 2], columns) if kind is sp.coo_array else (columns, [0, 2, 4, 6])
    given = (data, places) if kind is sp.coo_array else (data, *places)
    found = problem(features=kind(given, shape=(3, 3))).features
    np.testing.assert_array_equal(found.toarray(), [[0, 3, 0], [5, 0, 0], [0, 0, 0]])
    assert found.data.tolist() == [3, 5]


def test_the_features_given_are_left_as_they_were():
    given = sp.csr_array(
        (np.array([1.0, 2.0, 0.0, 4.0]), np.array([1, 1, 2, 0]), np.array([0, 2, 3, 4])), shape=(3, 3)
    )
    before = given.toarray()
    problem(features=given)
    np.testing.assert_array_equal(given.toarray(), before)


def test_labels_are_copied_as_indices():
    given = np.array([2, 0, 1], dtype=np.int16)
    found = problem(labels=given).labels
    given[0] = 1
    assert found.tolist() == [2, 0, 1]
    assert found.dtype == np.intp


@pytest.mark.parametrize(("penalty", "hard"), [(INF, True), (1e300, False), (0.5, False)])
def test_sizes_and_the_margins_hardness(penalty, hard):
    found = problem(features=np.ones((3, 5)), answers=7, penalty=penalty)
    assert (found.examples, found.columns, found.answers, found.hard) == (3, 5, 7, hard)


def test_a_table_lists_subjects_then_relations_and_answers_as_they_appear():
    found = from_triples(TABLE)
    # columns: Bo Al Cy | lives in, speaks; answers: Rome Paris Italian
    assert found.features.toarray().tolist() == [
        [1, 0, 0, 1, 0],
        [0, 1, 0, 1, 0],
        [1, 0, 0, 0, 1],
        [0, 0, 1, 1, 0],
        [0, 1, 0, 1, 0],
    ]
    assert found.labels.tolist() == [0, 1, 2, 0, 1]
    assert (found.answers, found.norm, found.hard) == (3, "nuclear", True)


def test_a_name_that_is_subject_relation_and_answer_is_three_things():
    found = from_triples([("x", "x", "x"), (("x",), "x", 1)])
    assert found.features.toarray().tolist() == [[1, 0, 1], [0, 1, 1]]
    assert found.labels.tolist() == [0, 1]


def test_options_of_a_table_go_to_the_problem():
    found = from_triples(TABLE, norm="frobenius", penalty=2.0, answers=9)
    assert (found.norm, found.penalty, found.answers) == ("frobenius", 2.0, 9)


@pytest.mark.parametrize(
    ("triples", "options", "message"),
    [
        ([], {}, "the margin problem has no examples; give at least one"),
        ([("s", "r", "a")], {}, "a margin needs at least two answers, got 1"),
        (TABLE, {"answers": 2}, "example 2 has label 2; labels go from 0 to 1"),
        (TABLE, {"norm": "l2"}, "the norm is 'l2'; it can be nuclear or frobenius"),
    ],
)
def test_what_is_no_table_is_one_clear_line(triples, options, message):
    with pytest.raises(MarginError) as caught:
        from_triples(triples, **options)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("features", "answers", "message"),
    [
        (np.array([[1j]]), 2, "features must be real numbers, got complex128"),
        (np.ones((1, 0)), 2, "the features have no columns; give at least one"),
        (np.ones((1, 1)), 2.5, "the number of answers must be whole, got 2.5"),
        (np.ones((1, 1)), float("nan"), "the number of answers must be whole, got nan"),
    ],
)
def test_what_is_no_number_is_one_clear_line(features, answers, message):
    with pytest.raises(MarginError, match=f"^{message}$"):
        MarginProblem(features=features, labels=np.array([0]), answers=answers)
