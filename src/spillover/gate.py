"""Gates: a condition on an audit's results under which a build should fail."""

import math
import operator
import re
from dataclasses import dataclass
from typing import Any

from spillover.errors import DataError

_COMPARE = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
_WHOSE = ("causal", "spurious", "facts")
_METRICS = ("top1", "mean_rank", "p_value")
_GATE = re.compile(r"\s*(\w+)\.(\w+)\s*(<=|>=|<|>)\s*(\S+)\s*")


@dataclass(frozen=True, kw_only=True, slots=True)
class Gate:
    """`whose`.`metric` `relation` `limit` must not hold for any rule of that kind."""

    whose: str
    metric: str
    relation: str
    limit: float

    def broken(self, results: dict[str, Any]) -> list[str]:
        """One line per place of the audit's document where the condition holds, or cannot be known."""
        values = self._values(results)
        if not values:
            return [f"the knowledge base has no {self.whose} rule to judge"]
        return [
            f"{name}.{self.metric} is {'undefined' if math.isnan(value) else f'{value:.3g}'} "
            f"({self.whose}.{self.metric} {self.relation} {self.limit:g})"
            for name, value in values
            if math.isnan(value) or _COMPARE[self.relation](value, self.limit)
        ]

    def _values(self, results: dict[str, Any]) -> list[tuple[str, float]]:
        if self.whose == "facts":
            found = [("facts", results["facts"]["top1"])]
        else:
            found = [
                (
                    f"{rule['fact']} -> {rule['implication']}",
                    rule["p_value"] if self.metric == "p_value" else rule[self.metric]["after"],
                )
                for rule in results["rules"]
                if rule["kind"] == self.whose
            ]
        return [(name, math.nan if value is None else value) for name, value in found]


def parse_gate(text: str) -> Gate:
    """The gate of `--fail-on`, e.g. "spurious.top1 > 0.3". Raises DataError for anything else."""
    match = _GATE.fullmatch(text)
    if match is None:
        raise DataError(f'--fail-on {text!r} is not of the form "spurious.top1 > 0.3"')
    whose, metric, relation, limit = match.groups()
    allowed = ("top1",) if whose == "facts" else _METRICS
    if whose not in _WHOSE:
        raise DataError(f"--fail-on names {whose!r}; allowed are {', '.join(_WHOSE)}")
    if metric not in allowed:
        raise DataError(
            f"--fail-on names {whose}.{metric}; allowed are {', '.join(f'{whose}.{m}' for m in allowed)}"
        )
    try:
        number = float(limit)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise DataError(f"--fail-on compares with {limit!r}, which is not a finite number")
    return Gate(whose=whose, metric=metric, relation=relation, limit=number)
