"""One tune -> the rows of its changes: each weight's, then each head's."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from spillover.spectrum.change import Change, Difference, open_tune
from spillover.spectrum.heads import attentions
from spillover.spectrum.singular import spectrum
from spillover.spectrum.table import HEADS, KINDS, with_shares

_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks)\.(\d+)\.")


def measure(
    base: Path,
    tuned: Path,
    *,
    on_step: Callable[[int, int], None] = lambda done, steps: None,
    log: Callable[[str], None] = lambda line: None,
) -> list[dict[str, Any]]:
    """The rows of one tune, as `table.SPECTRA` has them less the seed; what did not change has none.

    A vector (norm weights, a bias) and what has more than two axes has a Frobenius norm and a share alone:
    it is no matrix, and what stands on a diagonal has no low rank to speak of. Raises ModelError.
    """
    tune = open_tune(base, tuned, log)
    heads = [(attention, head) for attention in attentions(tune) for head in range(attention.heads)]
    rows: list[dict[str, Any]] = []
    steps = len(tune.changes) + len(heads)
    for done, (name, change) in enumerate(sorted(tune.changes.items(), key=lambda item: _order(item[0])), 1):
        where = {"layer": layer_of(name), "module": name, "head": None, "kind": kind_of(name, change.shape)}
        rows.append(where | {"shape": list(change.shape)} | _numbers(change))
        on_step(done, steps)
    for done, (attention, head) in enumerate(heads, 1 + len(tune.changes)):
        where = {"layer": attention.layer, "module": attention.name, "head": head, "kind": HEADS}
        shape = [attention.output[0].shape[0], attention.value[0].shape[1]]
        rows.append(where | {"shape": shape} | _of_values(attention.values(head)))
        on_step(done, steps)
    return with_shares([row for row in rows if row["frobenius"] > 0])


def _numbers(change: Change) -> dict[str, float | None]:
    if isinstance(change, Difference) and len(change.shape) != 2:
        undefined = dict.fromkeys(("rank_limit", "nuclear", "spectral", "effective_rank"))
        return {**undefined, "frobenius": change.norm()}
    return _of_values(change.values())


def _of_values(values: np.ndarray) -> dict[str, float | None]:
    return {"rank_limit": len(values), **vars(spectrum(values))}


def _order(name: str) -> tuple[int, str]:
    layer = layer_of(name)
    return (-1 if layer is None else layer, name)


def layer_of(name: str) -> int | None:
    """The layer that a weight's name says it is in."""
    found = _LAYER.search(name)
    return int(found[1]) if found else None


def kind_of(name: str, shape: tuple[int, ...]) -> str:
    """The kind of a weight, of `table.KINDS`, by its name and shape."""
    *_, module, part = ("", *name.split("."))
    if part == "bias":
        return "bias"
    if len(shape) == 1:
        return "norm" if "norm" in module or module.startswith("ln_") else "other"
    kind = module.removesuffix("_proj")
    known = {"embed_tokens": "embedding", "lm_head": "head"}
    return known.get(module) or (kind if kind != module and kind in KINDS else "other")
