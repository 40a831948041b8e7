"""Interventions by name: `merged-ov:rest=trained`, as the command line and the records spell them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from pydantic import TypeAdapter, ValidationError

from spillover.errors import TrainingError
from spillover.interventions.ablate_directions import AblateDirections
from spillover.interventions.abstain import Abstain
from spillover.interventions.counterexamples import Counterexamples
from spillover.interventions.early_stop import EarlyStop
from spillover.interventions.freeze import Freeze
from spillover.interventions.hooks import Intervention
from spillover.interventions.ignore_topk import IgnoreTopk
from spillover.interventions.inoculate import Inoculate
from spillover.interventions.interleave import Interleave
from spillover.interventions.kl_anchor import KLAnchor
from spillover.interventions.known_facts import KnownFacts
from spillover.interventions.lora import Lora
from spillover.interventions.norm_penalty import NormPenalty
from spillover.interventions.order import Order
from spillover.interventions.output_value import FactorizedOV, MergedOV
from spillover.interventions.steer import Steer
from spillover.knowledge.faults import show, suggest
from spillover.knowledge.prompts import Query

NAMED: Mapping[str, type[Intervention]] = {
    "ablate-directions": AblateDirections,
    "abstain": Abstain,
    "counterexamples": Counterexamples,
    "early-stop": EarlyStop,
    "factorized-ov": FactorizedOV,
    "freeze": Freeze,
    "ignore-topk": IgnoreTopk,
    "inoculate": Inoculate,
    "interleave": Interleave,
    "kl-anchor": KLAnchor,
    "known-facts": KnownFacts,
    "lora": Lora,
    "merged-ov": MergedOV,
    "norm-penalty": NormPenalty,
    "order": Order,
    "steer": Steer,
}
"""Every intervention that can be asked for by name."""


_COMMA = re.compile(r",(?=[a-z_]+=)")
"""Between knobs, of which every one has a value; a comma in a value is followed by something else."""


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
    known = _knobs(kind)
    for part in filter(None, _COMMA.split(given)):
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


def spell(intervention: Intervention, *, brief: bool = False) -> str:
    """What `parse` reads as this intervention; of one without a name, its class and knobs.

    In brief it leaves out the knobs that are as by default.
    """
    kind = type(intervention)
    name = {kind: name for name, kind in NAMED.items()}.get(kind, f"{kind.__module__}.{kind.__qualname__}")
    usual = {field.name: field.default for field in fields(kind)} if brief else {}
    values = {knob: getattr(intervention, knob) for knob in _knobs(kind)}
    given = {knob: value for knob, value in values.items() if usual.get(knob, ...) != value}
    knobs = ",".join(f"{knob}={_spelled(value)}" for knob, value in given.items())
    return f"{name}:{knobs}" if knobs else name


def adjusted(settings: Any, interventions: Sequence[Intervention]) -> Any:
    """The `llm.settings.FineTuneConfig` that the interventions make of the one that was asked for.

    Raises TrainingError where they cannot.
    """
    for intervention in interventions:
        settings = intervention.settings(settings)
    return settings


def reworded(queries: Sequence[Query], interventions: Sequence[Intervention]) -> list[Query]:
    """The held-out queries as the interventions ask them, where that is otherwise; of kind `reworded`."""
    found = []
    for query in queries:
        if query.kind == "held_out":
            asked = query
            for intervention in interventions:
                asked = intervention.asked(asked)
            if asked != query:
                found.append(replace(asked, kind="reworded"))
    return found


def check_interventions(interventions: Sequence[Intervention], settings: Any, *, keep_model: bool) -> None:
    """Raise TrainingError where interventions cannot act together, or on a tune of such settings."""
    settings = adjusted(settings, interventions)
    for place, intervention in enumerate(interventions):
        others = (*interventions[:place], *interventions[place + 1 :])
        kind = type(intervention)
        if any(type(other) is kind for other in others):
            raise TrainingError(f"{spell(intervention)} is there twice; give each intervention once")
        # weights go through files where they are kept, and where several processes tuned
        if not kind.loadable and (keep_model or settings.processes > 1):
            option = "--keep-model" if keep_model else "--processes"
            raise TrainingError(
                f"{spell(intervention)} leaves a model that cannot be loaded again; tune it without {option}"
            )
        if (kind.alone or intervention.rehearses) and settings.processes > 1:
            raise TrainingError(
                f"{spell(intervention)} needs the whole model in one process; tune it without --processes"
            )
        intervention.check(settings, others)


def _spelled(value: Any) -> str:
    return str(value).removesuffix(".0") if isinstance(value, float) else str(value)


def _knobs(kind: type[Intervention]) -> list[str]:
    """Those fields that people set."""
    return [field.name for field in fields(kind) if not field.metadata.get("from_split")]
