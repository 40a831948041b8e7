"""What a manifest looks like, so that whoever reads one that is damaged can say where, and nobody stumbles.

A shape is a mapping of names to shapes (a name that ends with "?" may be missing), a list of one shape
(`[x]`; `[x, ...]` is not empty), a type, a word that must stand there, or a tuple of shapes, one of which
must hold.
"""

import reprlib
from types import EllipsisType
from typing import Any

Shape = type | str | EllipsisType | dict[str, Any] | list[Any] | tuple[Any, ...]

_NULL = type(None)
_NUMBER = (float, int)
_DEFINED_OR_NOT = (float, int, _NULL)
_NAMES = {bool: "true or false", str: "text", int: "a whole number", float: "a number", _NULL: "null"}
_NAMES |= {dict: "a mapping", list: "a list"}

MANIFEST_SHAPE: Shape = {
    "status": ("running", "failed", "complete"),
    "command?": str,
    "arguments?": dict,
    "passed?": dict,
    "seeds?": [int],
    "hashes?": dict,
    "code_revision?": (str, _NULL),
    "packages?": dict,
    "python?": str,
    "platform?": str,
    "started?": str,
    "finished?": str,
    "resumed_at?": [str],
    "seconds?": _NUMBER,
    "reason?": (str, _NULL),
    "results?": (dict, _NULL),
}
"""Of any run, less its `format_version`."""

_P = ("p_value?", "p_worse?", "p_adjusted?", "p_worse_adjusted?")
_MEASURE = dict.fromkeys(("before", "after", "low", "high", "null", *_P), _DEFINED_OR_NOT)
_WORDED = {"mean_rank": _MEASURE, "top1": _MEASURE}
_LEARNED = {"top1": _DEFINED_OR_NOT, "queries": int}
_OF_RULE = {"least": _DEFINED_OR_NOT, **_LEARNED}
_RULE = {
    "fact": str,
    "implication": str,
    "kind": ("causal", "spurious"),
    "facts": _OF_RULE,
    "bridges": _OF_RULE,
    "queries": int,
    "candidates": int,
    "unscored?": int,
    "unscorable?": [{"candidate": str, "reason": str}],
    "mean_rank": _MEASURE,
    "top1": _MEASURE,
    "p_value": _DEFINED_OR_NOT,
    "paraphrases?": [{"wording": str, **_WORDED}],
    "other_words?": _WORDED,
    "forecast_margin": _DEFINED_OR_NOT,
    "rate?": (dict.fromkeys(("mean", "low", "high"), _NUMBER), _NULL),
}
_RULE_0_1 = {name: shape for name, shape in _RULE.items() if name != "facts"} | {"bridges": int, "facts?": ()}
_MEASURED = {"facts": _LEARNED, "rules": [(_RULE, _RULE_0_1)]}
_SHARES = dict.fromkeys(("examples", "tokens", "loss"), _DEFINED_OR_NOT)
_INGREDIENT = {"relation": (str, _NULL), **_SHARES}
_AUDIT = {
    "ingredients?": [_INGREDIENT],
    "model": str,
    "knowledge_base": str,
    "run": str,
    "notes?": [str],
    **_MEASURED,
}
_POINT = {"knowledge_base": str, "model": str, "varied": dict}
_SPREAD = dict.fromkeys(("mean", "least", "most"), _DEFINED_OR_NOT)
_MEASURES = (
    *("train_loss", "train_accuracy", "held_out_loss", "held_out_accuracy"),
    *("train_margin", "held_out_margin", "nuclear", "effective_rank"),
)
_CHECK = {
    "statement": str,
    "kind": ("expectation", "question"),
    "holds": bool,
    "verdict": str,
    "measured": str,
}

_STUDIED: Shape = {"results?": ({"name": str, "claim": str, "checks": [_CHECK], "seconds": _NUMBER}, _NULL)}

SHAPES: dict[str, Shape] = {
    "audit": {"results?": (_AUDIT, _NULL)},
    "sweep": {
        "results?": (
            {
                "run": str,
                "cells": {"done": int, "failed": int},
                "audits": [({**_POINT, "run": str, **_MEASURED}, {**_POINT, "failed": str})],
            },
            _NULL,
        )
    },
    "reproduce": _STUDIED,
    "tradeoff": _STUDIED,
    "symbolic": {
        "arguments?": {"ov?": [str], "d_h?": [int]},
        "results?": (
            {
                "seconds": _NUMBER,
                "task": {"groups": int},
                "gradient": str,
                "seeds": [int],
                "step": int,
                "guess": _NUMBER,
                "settings": [
                    {
                        "ov": str,
                        "d_h": (int, _NULL),
                        "attention": str,
                        **dict.fromkeys(_MEASURES, _SPREAD),
                    },
                    ...,
                ],
            },
            _NULL,
        ),
    },
    "cell": {},
}
"""Of the runs of each command, beyond that: what is shown of them, and read again."""


def fault(value: Any, shape: Shape, where: str = "") -> str | None:
    """The first place where a value is not of a shape, in words; None where it is."""
    match shape:
        case dict():
            return _fault_of_mapping(value, shape, where)
        case list():
            if not isinstance(value, list) or (len(shape) > 1 and not value):
                return _wrong(value, [list], where)
            return next(
                (found for n, item in enumerate(value) if (found := fault(item, shape[0], f"{where}[{n}]"))),
                None,
            )
        case tuple():
            faults = [fault(value, choice, where) for choice in shape]
            if not all(faults):
                return None
            # of alternatives that are looked into the first tells most
            deep = [
                found
                for choice, found in zip(shape, faults, strict=True)
                if isinstance(choice, dict | list) and type(choice) is type(value)
            ]
            return deep[0] if deep else _wrong(value, shape, where)
        case type():
            fits = isinstance(value, shape) and (shape is bool or not isinstance(value, bool))
        case _:
            fits = value == shape
    return None if fits else _wrong(value, [shape], where)


def _fault_of_mapping(value: Any, shape: dict[str, Any], where: str) -> str | None:
    if not isinstance(value, dict):
        return _wrong(value, [dict], where)
    for name, inner in shape.items():
        key, path = name.removesuffix("?"), f"{where}.{name}".strip(".?")
        if key in value:
            if found := fault(value[key], inner, path):
                return found
        elif key == name:
            return f"it has no {path}"
    return None


def _wrong(value: Any, shapes: Any, where: str) -> str:
    wanted = [_name(shape) for shape in shapes if not (shape is int and float in shapes)]
    return f"{where} is {reprlib.repr(value)}, not {' or '.join(wanted) or 'to be there'}"


def _name(shape: Any) -> str:
    if isinstance(shape, dict | list):
        shape = type(shape)
    return _NAMES[shape] if isinstance(shape, type) else repr(shape)
