"""Two folders -> what changed between them: every weight, and every head's output-value product.

The folders' tensors are read in parts, so that a model of nine billion parameters takes a few gigabytes.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from spillover.errors import ModelError
from spillover.llm.configuration import read_configuration
from spillover.llm.weights import adapter_files, is_adapter, open_tensors, weight_files
from spillover.spectrum.singular import Values, norms, of_difference, of_product

CHANGES = pa.schema(
    [
        ("seed", pa.int32()),
        ("layer", pa.int32()),  # null outside of the layers
        ("module", pa.string()),  # q_proj, down_proj, embed_tokens, ...; ov: a head's product
        ("head", pa.int32()),  # of a product, else null
        ("rows", pa.int32()),
        ("columns", pa.int32()),
        ("most", pa.int32()),  # the largest rank that the change can have
        ("nuclear", pa.float64()),
        ("frobenius", pa.float64()),
        ("spectral", pa.float64()),
        ("effective_rank", pa.float64()),  # null where nothing changed
        ("share", pa.float64()),  # of the squared Frobenius norm of all weights, or of all products
    ]
)
"""Columns of `spectrum.parquet`: a row for each weight, and for each head's product."""

OV = "ov"
"""The module of a head's output-value product."""

_LAYER = re.compile(r"\.(\d+)\.")
_ADAPTER = "base_model.model."
_ODD = ("use_dora", "use_rslora", "rank_pattern", "alpha_pattern", "fan_in_fan_out", "modules_to_save")


@dataclass(frozen=True, kw_only=True)
class _Part:
    """A weight or product, not measured yet."""

    layer: int | None
    module: str
    head: int | None
    rows: int
    columns: int
    most: int
    """The largest rank that its change can have."""
    values: Callable[[], Values]


def changes(
    base: Path,
    tuned: Path,
    *,
    seed: int = 0,
    on_step: Callable[[int, int], None] = lambda done, steps: None,
) -> tuple[pa.Table, list[str]]:
    """(`CHANGES` of a tuned model against its base, notes for people)

    `tuned` is a whole model or a LoRA adapter of `base`. Biases of the values are no part of a product.
    Raises ModelError for folders that are damaged or do not fit each other.
    """
    before = open_tensors(weight_files(base))
    weights = (
        _adapted(before, tuned) if is_adapter(tuned) else _whole(before, open_tensors(weight_files(tuned)))
    )
    products, notes = _products(base, before, weights)
    parts = [*(weight.part for weight in weights.values()), *products]
    rows: list[dict[str, Any]] = []
    for number, part in enumerate(parts):
        on_step(number, len(parts))
        place = {name: getattr(part, name) for name in ("layer", "module", "head", "rows", "columns", "most")}
        rows.append({"seed": seed, **place, **asdict(norms(part.values()))})
    on_step(len(parts), len(parts))
    for kind in (True, False):
        mine = [row for row in rows if (row["module"] == OV) is kind]
        total = sum(row["frobenius"] ** 2 for row in mine)
        for row in mine:
            row["share"] = row["frobenius"] ** 2 / total if total else None
            row["effective_rank"] = row["effective_rank"] if row["frobenius"] else None
    return pa.Table.from_pylist(rows, schema=CHANGES), notes


@dataclass(frozen=True, kw_only=True)
class _Weight:
    """A weight before and after."""

    part: _Part
    after: Callable[[], Any]
    """The tuned tensor, whole."""


def _whole(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, _Weight]:
    for name in sorted(before.keys() ^ after.keys()):
        raise ModelError(f"{name} is a weight of one of the two models alone; give the model that was tuned")
    for name in before:
        if before[name].get_shape() != after[name].get_shape():
            raise ModelError(f"{name} has another shape in the tuned model; give the model that was tuned")
    return {
        name: _Weight(
            part=_part(name, before[name], lambda name=name: of_difference(before[name], after[name])),
            after=lambda name=name: after[name][:],
        )
        for name in sorted(before, key=_natural)
    }


def _adapted(before: Mapping[str, Any], adapter: Path) -> dict[str, _Weight]:
    """The weights that an adapter changes: by scale · B A."""
    config_file, file = adapter_files(adapter)
    config, tensors = json.loads(config_file.read_text("utf-8")), open_tensors([file])
    odd = [entry for entry in _ODD if config.get(entry)]
    if odd:
        raise ModelError(f"adapter {adapter} has {odd[0]}, which spectrum cannot take apart; merge it first")
    scale = config["lora_alpha"] / config["r"]
    stems = sorted({name.rpartition(".lora_")[0] for name in tensors}, key=_natural)
    weights: dict[str, _Weight] = {}
    for stem in stems:
        name = stem.removeprefix(_ADAPTER) + ".weight"
        down, up = (f"{stem}.lora_{factor}.weight" for factor in "AB")
        if name not in before or not {down, up} <= tensors.keys():
            raise ModelError(f"adapter {adapter} changes {name}, which is no weight of its base")

        def values(up: str = up, down: str = down) -> Values:
            return of_product(scale * tensors[up][:], tensors[down][:].T)

        def tuned(name: str = name, up: str = up, down: str = down) -> Any:
            return before[name][:].double() + scale * tensors[up][:].double() @ tensors[down][:].double()

        weights[name] = _Weight(part=_part(name, before[name], values, config["r"]), after=tuned)
    return weights


def _part(name: str, tensor: Any, values: Callable[[], Values], most: int | None = None) -> _Part:
    layer = _LAYER.search(name)
    stem, _, last = name.rpartition(".")
    module = stem.rpartition(".")[2]
    rows, *columns = tensor.get_shape()
    return _Part(
        layer=int(layer[1]) if layer else None,
        module=module if last == "weight" else f"{module}.{last}",
        head=None,
        rows=rows,
        columns=columns[0] if columns else 1,
        most=min([rows, *(columns or [1]), *([most] if most else [])]),
        values=values,
    )


def _products(
    base: Path, before: Mapping[str, Any], weights: Mapping[str, _Weight]
) -> tuple[list[_Part], list[str]]:
    """Every head's W_O[:, head] W_V[head, :], tuned less untuned, and notes for people.

    Heads that share their values (grouped-query attention) share the rows of W_V.
    """
    config = read_configuration(base).get_text_config()
    heads = config.num_attention_heads
    groups = getattr(config, "num_key_value_heads", None) or heads
    values = [name for name in sorted(before, key=_natural) if name.endswith(".v_proj.weight")]
    pairs = [(name.replace(".v_proj.", ".o_proj."), name) for name in values]
    if not pairs or any(output not in before for output, _ in pairs):
        return [], ["the heads' output-value products are left out: no v_proj and o_proj were found"]
    parts = []
    for output, value in pairs:
        found = _LAYER.search(value)
        hidden = before[output].get_shape()[0]
        columns = before[value].get_shape()[0] // groups
        factors = _Factors(before, weights, output, value)
        for head in range(heads):
            group = head // (heads // groups)
            mine = slice(head * columns, (head + 1) * columns), slice(group * columns, (group + 1) * columns)
            parts.append(
                _Part(
                    layer=int(found[1]) if found else None,
                    module=OV,
                    head=head,
                    rows=hidden,
                    columns=before[value].get_shape()[1],
                    most=min(hidden, before[value].get_shape()[1], 2 * columns),
                    values=lambda factors=factors, mine=mine: factors.change(*mine),
                )
            )
    return parts, []


class _Factors:
    """A layer's W_O and W_V before and after, read when the first head asks and dropped with the last."""

    def __init__(
        self, before: Mapping[str, Any], weights: Mapping[str, _Weight], output: str, value: str
    ) -> None:
        self.before, self.weights, self.names = before, weights, (output, value)
        self.held: list[tuple[Any, Any]] = []

    def change(self, columns: slice, rows: slice) -> Values:
        """The singular values of one head's change: [W_O', −W_O] [W_V'; W_V]."""
        import torch

        if not self.held:
            self.held = [
                (self.before[name][:], self.weights[name].after())
                if name in self.weights
                else (self.before[name][:], self.before[name][:])
                for name in self.names
            ]
        (W_O, W_O_tuned), (W_V, W_V_tuned) = self.held
        left = torch.cat([W_O_tuned[:, columns].double(), -W_O[:, columns].double()], dim=1)
        right = torch.cat([W_V_tuned[rows].double(), W_V[rows].double()]).T
        same = torch.equal(W_O_tuned, W_O) and torch.equal(W_V_tuned, W_V)  # else rounding would show
        if columns.stop == W_O.shape[1]:  # the last head
            self.held = []
        if same:
            return np.zeros(left.shape[1])
        return of_product(left, right)


def _natural(name: str) -> list[Any]:
    """Layer 10 after layer 9."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]
