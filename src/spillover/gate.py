"""Gates: conditions on results that fail a build, or stop a tune."""

import math
import operator
import re
from dataclasses import dataclass
from typing import Any

from spillover.errors import DataError
from spillover.report.verdict import defined, shortfall

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
        """One line per place of the audit's document where the condition holds, or cannot be known.

        It cannot where the number is undefined, and where the tuned model does not know what it was trained
        on, so that there is no verdict on the rule.
        """
        rules = [rule for rule in results["rules"] if rule["kind"] == self.whose]
        if self.whose != "facts" and not rules:
            return [f"the knowledge base has no {self.whose} rule to judge"]
        lacking = [""] if self.whose == "facts" else [shortfall(rule) for rule in rules]
        found = [
            f"{name} has no verdict: {lacks}" if lacks else self._wrong(name, value)
            for (name, value), lacks in zip(self._numbers(results), lacking, strict=True)
        ]
        return [f"{wrong} ({self})" for wrong in found if wrong]

    def met(self, results: dict[str, Any]) -> list[str]:
        """One line per place of the document where the number is defined and the condition holds.

        Whether anything was learned is not asked, so this can be judged in the middle of a tune.
        """
        known = [(name, value) for name, value in self._numbers(results) if defined(value)]
        return [f"{line} ({self})" for name, value in known if (line := self._wrong(name, value))]

    def __str__(self) -> str:
        return f"{self.whose}.{self.metric} {self.relation} {self.limit:g}"

    def _numbers(self, results: dict[str, Any]) -> list[tuple[str, float | None]]:
        """What is compared with the limit, and whose it is."""
        if self.whose == "facts":
            return [("facts", results["facts"]["top1"])]
        return [
            (
                f"{rule['fact']} -> {rule['implication']}",
                rule["p_value"] if self.metric == "p_value" else rule[self.metric]["after"],
            )
            for rule in results["rules"]
            if rule["kind"] == self.whose
        ]

    def _wrong(self, name: str, value: float | None) -> str:
        """What is wrong with one number; empty where nothing is."""
        if not defined(value):
            return f"{name}.{self.metric} is undefined"
        return f"{name}.{self.metric} is {value:.3g}" if _COMPARE[self.relation](value, self.limit) else ""


def parse_gate(text: str, option: str = "--fail-on") -> Gate:
    """The gate of an option, e.g. "spurious.top1 > 0.3". Raises DataError for anything else."""
    match = _GATE.fullmatch(text)
    if match is None:
        raise DataError(f'{option} {text!r} is not of the form "spurious.top1 > 0.3"')
    whose, metric, relation, limit = match.groups()
    allowed = ("top1",) if whose == "facts" else _METRICS
    if whose not in _WHOSE:
        raise DataError(f"{option} names {whose!r}; allowed are {', '.join(_WHOSE)}")
    if metric not in allowed:
        raise DataError(
            f"{option} names {whose}.{metric}; allowed are {', '.join(f'{whose}.{m}' for m in allowed)}"
        )
    try:
        number = float(limit)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise DataError(f"{option} compares with {limit!r}, which is not a finite number")
    return Gate(whose=whose, metric=metric, relation=relation, limit=number)
