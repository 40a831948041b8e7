"""A spec -> the grid that it spans: every combination of what it lists."""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import product
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from spillover.errors import DataError, TrainingError
from spillover.interventions.hooks import Intervention
from spillover.interventions.named import check_interventions, parse
from spillover.knowledge.faults import read_text, show, suggest
from spillover.knowledge.yaml_text import read_yaml
from spillover.llm.names import DEFAULT_MODEL
from spillover.llm.settings import FineTuneConfig
from spillover.point import Point

SETTINGS = tuple(field.name for field in fields(FineTuneConfig) if field.name != "seed")
"""Names of the settings of a tune that a spec may vary."""

_KEYS = ("name", "kb", "model", "seeds", "shuffle", "interventions", *SETTINGS)
_MOST = 1000  # audits of one sweep; more is a slip in the grid


@dataclass(frozen=True, kw_only=True)
class Grid:
    """What a sweep is about."""

    name: str
    seeds: tuple[int, ...]
    values: Mapping[str, Sequence[Any]]
    """What is combined, by key."""
    points: tuple[Point, ...]
    """Each varies the entries with several values."""


def read_grid(spec: Path) -> Grid:
    """The grid that a YAML file spans.

    Raises DataError for what is no grid, and TrainingError for settings out of range.
    """
    text = read_text(spec)
    read_yaml(text, spec, "a sweep")  # it knows the line of what is no YAML, too large, or there twice
    try:
        entries = yaml.safe_load(text)
    # a scalar that is not what it looks like, or its tag says: 2026-99-99, !!bool maybe
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, OverflowError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{spec}: not readable as YAML ({reason}); write it as plain text") from None
    if not isinstance(entries, dict):
        raise DataError(f"{spec}: a sweep is a mapping of {', '.join(_KEYS)}; got {show(entries)}")
    for key in entries:
        if key not in _KEYS:
            allowed = f"allowed are {', '.join(_KEYS)}{suggest(str(key), _KEYS)}"
            raise DataError(f"{spec}: unknown key {show(key)}; {allowed}")
    name, seeds = entries.pop("name", spec.stem), entries.pop("seeds", [0])
    values = {key: value if isinstance(value, list) else [value] for key, value in entries.items()}
    for key, several in values.items():
        if not several:
            raise DataError(f"{spec}: {key} is an empty list; give a value, or leave the key out")
    values = {"kb": ["demo"], "model": [DEFAULT_MODEL], "shuffle": [False]} | values
    if math.prod(map(len, values.values())) > _MOST:
        raise DataError(f"{spec}: the grid has more than {_MOST:,} points; give shorter lists")
    varied = [key for key, choices in values.items() if len(choices) > 1]
    choices = [dict(zip(values, choice, strict=True)) for choice in product(*values.values())]
    name, seeds = _checked(spec, "name", name, str), _checked(spec, "seeds", seeds, tuple[int, ...])
    return Grid(
        name=name,
        seeds=seeds,
        values=values,
        points=tuple(_point(spec, choice, seeds, varied) for choice in choices),
    )


def _point(spec: Path, values: Mapping[str, Any], seeds: tuple[int, ...], varied: Sequence[str]) -> Point:
    """One combination; a knowledge base or model that is a file is meant from where the spec is."""
    kb, model = (_beside(spec, _checked(spec, key, values[key], str)) for key in ("kb", "model"))
    given = {name: values[name] for name in SETTINGS if name in values}
    settings = _checked(spec, "settings", given, FineTuneConfig)
    return Point(
        kb=kb,
        model=model,
        seeds=seeds,
        settings=settings,
        shuffle=_checked(spec, "shuffle", values["shuffle"], bool),
        interventions=_interventions(spec, values.get("interventions"), settings),
        varied={key: values[key] for key in varied},
    )


def _interventions(spec: Path, value: Any, settings: FineTuneConfig) -> tuple[Intervention, ...]:
    """Those of one audit: None, one, or a list of several."""
    several = [] if value is None else value if isinstance(value, list) else [value]
    if not all(isinstance(each, str) for each in several):
        raise DataError(
            f"{spec}: interventions: each value is NAME:knob=value, a list of several for one audit, or "
            f"null; got {show(value)}"
        )
    try:
        found = tuple(map(parse, several))
        check_interventions(found, settings, keep_model=False)
    except TrainingError as error:
        raise DataError(f"{spec}: interventions: {error}") from None
    return found


def _beside(spec: Path, name: str) -> str:
    path = spec.parent / name
    # os.path answers also for what no file can be called
    return str(path) if os.path.exists(path) else name  # noqa: PTH110


def _checked(spec: Path, key: str, value: Any, kind: Any) -> Any:
    try:
        return TypeAdapter(kind).validate_python(value, strict=False)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        where = ".".join(map(str, (key, *fault["loc"])))
        raise DataError(f"{spec}: {where}: {fault['msg']}, got {show(fault['input'])}") from None
