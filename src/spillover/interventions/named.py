"""Interventions by name: `merged-ov:rest=trained`, as the command line and the records spell them."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from pydantic import TypeAdapter, ValidationError

from spillover.errors import TrainingError
from spillover.interventions.hooks import Intervention
from spillover.interventions.output_value import FactorizedOV, MergedOV
from spillover.knowledge.faults import show, suggest

NAMED: Mapping[str, type[Intervention]] = {
    "factorized-ov": FactorizedOV,
    "merged-ov": MergedOV,
}
"""Every intervention that can be asked for by name."""


def parse(text: str) -> Intervention:
    """The intervention that `NAME` or `NAME:knob=value,knob=value` names.

    Raises TrainingError for a name, a knob or a value that there is not.
    """
    name, _, given = text.partition(":")
    if name not in NAMED:
        raise TrainingError(
            f"there is no intervention {show(name)}; it can be {', '.join(NAMED)}{suggest(name, NAMED)}"
        )
    kind, knobs = NAMED[name], dict[str, Any]()
    known = [field.name for field in fields(kind)]
    for part in filter(None, given.split(",")):
        knob, equals, value = part.partition("=")
        if knob not in known or not equals:
            allowed = ", ".join(f"{knob}=..." for knob in known) or "no knobs"
            raise TrainingError(f"intervention {name} has no knob {show(part)}; it has {allowed}")
        knobs[knob] = value
    try:
        return TypeAdapter(kind).validate_python(knobs)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        where = ".".join(map(str, fault["loc"]))
        raise TrainingError(
            f"intervention {name}: {where}: {fault['msg']}, got {show(fault['input'])}"
        ) from None


def spell(intervention: Intervention) -> str:
    """What `parse` reads as this intervention; of one without a name, its class and knobs."""
    kind = type(intervention)
    name = {kind: name for name, kind in NAMED.items()}.get(kind, f"{kind.__module__}.{kind.__qualname__}")
    knobs = ",".join(f"{field.name}={getattr(intervention, field.name)}" for field in fields(intervention))
    return f"{name}:{knobs}" if knobs else name
