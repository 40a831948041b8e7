"""The columns of spectrum.parquet, and every number of a tune's changes, from them alone. No torch.

A row is one weight that a tune changed, or one head's output-value product (kind `ov`).
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from spillover.errors import RunError
from spillover.runs.record import RunView

SPECTRUM_FILE = "spectrum.parquet"
"""The table's file in a run folder."""

KINDS = {
    "embedding": "embedding",
    "q": "query",
    "k": "key",
    "v": "value",
    "o": "output",
    "gate": "MLP gate",
    "up": "MLP up",
    "down": "MLP down",
    "norm": "norms",
    "bias": "biases",
    "head": "output head",
    "other": "others",
    "ov": "heads' W_O W_V",
}
"""Kinds of rows, in the order of tables, and what they are called there."""

HEADS = "ov"

SPECTRA = pa.schema(
    [
        ("seed", pa.int32()),
        ("layer", pa.int32()),  # null outside of the layers
        ("module", pa.string()),  # the weight's name; of a head, its attention's
        ("head", pa.int32()),  # null for a weight
        ("kind", pa.string()),  # of KINDS
        ("shape", pa.list_(pa.int64())),
        (
            "rank_limit",
            pa.int64(),
        ),  # the rank that the change can have; null of what is no matrix, as the next
        ("nuclear", pa.float64()),
        ("frobenius", pa.float64()),
        ("spectral", pa.float64()),
        ("effective_rank", pa.float64()),
        ("share", pa.float64()),  # of the squared Frobenius norm of all weights; a head's: of all heads
    ]
)

Row = Mapping[str, Any]
_OF_MATRICES = ("rank_limit", "nuclear", "spectral", "effective_rank")
_NUMBERS = ("frobenius", "nuclear", "spectral", "effective_rank", "share")


def read_spectra(run: RunView) -> pa.Table:
    """A run's table. Raises RunError where it is missing, unreadable, or not as it was written."""
    table, path = run.read_parquet(SPECTRUM_FILE), run.path(SPECTRUM_FILE)
    if not table.schema.equals(SPECTRA):
        raise RunError(f"{path} is damaged: it has other columns than those of `spillover spectrum`")
    for number, row in enumerate(table.to_pylist()):
        if not _is_whole(row):
            raise RunError(f"{path} is damaged: row {number} is none of a weight or a head")
    return table


def _is_whole(row: Row) -> bool:
    numbers = [row[name] for name in ("seed", "frobenius", "share", *_OF_MATRICES)]
    if all(row[name] is None for name in _OF_MATRICES):
        numbers = numbers[: -len(_OF_MATRICES)]
    elif not row["rank_limit"]:
        return False
    defined = all(number is not None and math.isfinite(number) and number >= 0 for number in numbers)
    return defined and row["frobenius"] > 0 and bool(row["module"]) and row["kind"] in KINDS


def with_shares(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The rows of one tune with their `share`: of all weights, and a head's of all heads."""
    totals = {
        heads: sum(row["frobenius"] ** 2 for row in rows if (row["kind"] == HEADS) is heads)
        for heads in (True, False)
    }
    return [{**row, "share": row["frobenius"] ** 2 / totals[row["kind"] == HEADS]} for row in rows]


def whole(rows: Sequence[Row]) -> dict[str, float]:
    """One tune's change in a few numbers (NaN where undefined).

    frobenius: of all weights. effective_rank, ratio: the mean over the changed matrices, and ov_rank,
    ov_ratio: over the heads' products, each weighted by its share, of the effective rank and of nuclear over
    Frobenius norm (1 for rank 1, at most the root of the rank).
    """
    matrices = [row for row in rows if row["kind"] != HEADS and row["nuclear"] is not None]
    heads = [row for row in rows if row["kind"] == HEADS]
    return {
        "frobenius": math.sqrt(sum(row["frobenius"] ** 2 for row in rows if row["kind"] != HEADS)),
        "effective_rank": _weighted(matrices, _rank),
        "ratio": _weighted(matrices, _ratio),
        "ov_rank": _weighted(heads, _rank),
        "ov_ratio": _weighted(heads, _ratio),
    }


def by_kind(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """An entry for each kind of weight, and the heads' products last; numbers are means over the seeds.

    weights: rows of a seed. share, nuclear: their sum; frobenius: root of the sum of squares; spectral: the
    largest; effective_rank: the mean weighted by share; rank_limit: the same of the rank that they can have.
    """
    return [
        {"kind": kind, **_means([_summary(mine) for mine in _parted(rows, "seed", kind=kind)])}
        for kind in KINDS
        if any(row["kind"] == kind for row in rows)
    ]


def by_layer(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """An entry for each layer, in order, as `by_kind` has it for its weights; `ov_rank` is its heads'."""
    entries = []
    for layer in sorted({row["layer"] for row in rows if row["layer"] is not None}):
        seeds = _parted([row for row in rows if row["layer"] == layer], "seed")
        summaries = [
            _summary([row for row in mine if row["kind"] != HEADS])
            | {"ov_rank": _weighted([row for row in mine if row["kind"] == HEADS], _rank)}
            for mine in seeds
        ]
        entries.append({"layer": layer, **_means(summaries)})
    return entries


def mean_over_seeds(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """One row for each weight and head: its numbers' means over the seeds that changed it."""
    parts: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        parts.setdefault((row["module"], row["head"]), []).append(row)
    return [
        {**mine[0], **{name: _mean([row[name] for row in mine]) for name in _NUMBERS}}
        for mine in parts.values()
    ]


def of_seed(rows: Iterable[Row], seed: int) -> list[Row]:
    """The rows of one seed."""
    return [row for row in rows if row["seed"] == seed]


def _summary(rows: Sequence[Row]) -> dict[str, float]:
    matrices = [row for row in rows if row["nuclear"] is not None]
    return {
        "weights": len(rows),
        "share": sum(row["share"] for row in rows),
        "frobenius": math.sqrt(sum(row["frobenius"] ** 2 for row in rows)),
        "nuclear": sum(row["nuclear"] for row in matrices) if matrices else math.nan,
        "spectral": max((row["spectral"] for row in matrices), default=math.nan),
        "effective_rank": _weighted(matrices, _rank),
        "rank_limit": _weighted(matrices, lambda row: row["rank_limit"]),
    }


def _parted(rows: Iterable[Row], by: str, **wanted: str) -> list[list[Row]]:
    parts: dict[Any, list[Row]] = {}
    for row in rows:
        if all(row[name] == value for name, value in wanted.items()):
            parts.setdefault(row[by], []).append(row)
    return list(parts.values())


def _means(entries: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: _mean([entry[name] for entry in entries]) for name in entries[0]}


def _mean(values: Sequence[float | None]) -> float:
    known = [value for value in values if value is not None and not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def _weighted(rows: Sequence[Row], number: Callable[[Row], float]) -> float:
    total = sum(row["share"] for row in rows)
    return sum(row["share"] * number(row) for row in rows) / total if total > 0 else math.nan


def _rank(row: Row) -> float:
    return row["effective_rank"]


def _ratio(row: Row) -> float:
    return row["nuclear"] / row["frobenius"]
