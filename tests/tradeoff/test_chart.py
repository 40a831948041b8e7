"""The picture of a trade-off: where its axis begins, and where its names stand."""

from itertools import pairwise
from typing import Any

import pytest
from vl_convert import vegalite_to_vega

from spillover.tradeoff.chart import _apart, chart
from tests.tradeoff.test_choice import NAN, row


def drawn(arm: str, low: float, **changed: Any) -> dict[str, Any]:
    """A row with all that a picture needs; `low` ends the wanted rule's interval."""
    more = {"wanted_top1_low": low, "wanted_top1_high": 0.95, "front": True, "spurious_margin": 0.1}
    return row(arm, spurious_top1_low=0.1, spurious_top1_high=0.3, **more | changed)


@pytest.mark.parametrize(
    ("lows", "begins"),
    [((0.83, 0.91), 0.5), ((0.83, 0.27), 0.2), ((0.83, NAN), 0.5), ((NAN, NAN), 0.0)],
)
def test_the_axis_begins_a_tenth_below_what_is_shown_and_at_most_at_a_half(lows: Any, begins: float) -> None:
    rows = [drawn(arm, low) for arm, low in zip(("none", "a"), lows, strict=True)]
    scales = {scale["name"]: scale for scale in vegalite_to_vega(chart(rows).to_dict())["scales"]}
    axis = next(scale for name, scale in scales.items() if name.endswith("x"))
    assert (axis["domain"], axis["zero"]) == ([begins, 1], False)


def test_names_stand_a_line_apart_in_their_order_and_within_the_picture() -> None:
    places = _apart([0.99, 0.2, 0.2, NAN])
    steps = sorted(places)
    assert min(b - a for a, b in pairwise(steps)) > 0.03
    assert max(places) <= 1.0
    assert places[0] == max(places)
