"""What the runs of a setting say together: mean, least and most over its seeds.

Shapes: S seeds.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from spillover.symbolic.train import History


def mean_least_most(values_S: npt.ArrayLike, name: str) -> dict[str, float]:
    """One number's mean, least and most over the seeds, as a row's `name`, `name_least` and `name_most`."""
    values_S = np.asarray(values_S, dtype=float)
    return {
        name: float(values_S.mean()),
        f"{name}_least": float(values_S.min()),
        f"{name}_most": float(values_S.max()),
    }


def learning_curve(
    history: History, setting: int, measures: Sequence[str], **labels: Any
) -> list[dict[str, Any]]:
    """A row for each recorded step of one setting: the labels, the step, the measures over the seeds."""
    rows = []
    for place, step in enumerate(history.steps.tolist()):
        row = {**labels, "step": step}
        for name in measures:
            row |= mean_least_most(getattr(history.measures, name)[place, setting], name)
        rows.append(row)
    return rows
