"""Components that are alike are found, and told from those that are not."""

import pytest

from spillover.margin.collapse import collapse
from spillover.margin.components import propose_components
from spillover.margin.problem import from_triples
from tests.margin.tables import TWO_CLASSES, groups


@pytest.mark.parametrize(
    ("sizes", "answers", "classes"),
    [
        ([(1, 2)] * 5, 10, [5]),
        (TWO_CLASSES, 14, [3, 4]),
        ([(1, 2), (2, 1), (1, 2), (1, 2), (2, 1)], 10, [2, 3]),
        ([(1, 2)] * 4 + [(2, 2)], 10, [1, 4]),
        ([(1, 2)] * 3, 10, [3, 4]),  # four answers of which nothing is said
        ([(1, 0), (1, 1), (2, 1)], 8, [1, 1, 1, 2]),
    ],
)
def test_classes_of_groups_are_found(sizes, answers, classes):
    found = propose_components(collapse(from_triples(groups(*sizes), answers=answers)))
    assert found is not None
    assert sorted(found.sizes.tolist()) == classes


def test_components_that_are_symmetric_inside_leave_the_other_classes():
    # two rings: of two facts and two implications, every pair by one subject; they are told in two orders
    triples = groups((1, 2), (1, 2), (1, 2))
    for ring, pairs in (("x", ["00", "01", "10", "11"]), ("y", ["00", "11", "01", "10"])):
        for b, c in pairs:
            triples += [((ring, b, c), "r1", (ring, "b", b)), ((ring, b, c), "r2", (ring, "c", c))]
    found = propose_components(collapse(from_triples(triples)))
    assert found is not None
    assert sorted(found.sizes.tolist()) == [1, 1, 3]
