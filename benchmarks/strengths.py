"""What each intervention does at several strengths: `python -m benchmarks.strengths FOLDER`; without a folder
the table of what is measured, as docs/LOG.md has it.

Every method is a trade-off of its own on the built-in demo (SmolLM2, one seed: `spillover tradeoff` has
three, at one strength a method), beside the plain tune of the same machine, since tunes drift apart from one
processor to another. Its rows go to `benchmarks/strengths.parquet` as soon as it is done; what is there is
not tuned again. All stop at the facts. Takes three to four hours on two cores, a tune on each.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from spillover.cells.apart import Processes
from spillover.cli.output import Bars
from spillover.jobs.tradeoff import tradeoff
from spillover.report.verdict import percent
from spillover.runs.files import write_parquet

KB = "demo"
SEEDS = (0,)

GRID: Mapping[str, tuple[str, ...]] = {
    "early-stop": tuple(f"early-stop:facts={nats}" for nats in (0.1, 0.3, 0.6, 1.0)),
    "counterexamples": tuple(f"early-stop+counterexamples:k={k}" for k in (1, 2, 4, 8)),
    "freeze": tuple(
        f"early-stop+freeze:{what}"
        for what in ("modules=mlp", "modules=attention", "modules=embeddings", "layers=0-14", "layers=15-29")
    ),
    "kl-anchor": tuple(f"early-stop+kl-anchor:strength={times}" for times in (0.3, 1, 3, 10)),
    "lora": tuple(f"early-stop+lora:weight_decay={decay}" for decay in (0, 0.3, 1, 3)),
    "norm-penalty, Frobenius": tuple(
        f"early-stop+norm-penalty:norm=frobenius,strength={price}" for price in (10, 30, 100)
    ),
    "norm-penalty, nuclear": tuple(f"early-stop+norm-penalty:strength={price}" for price in (0.3, 1, 3)),
    "ignore-topk": tuple(f"early-stop+ignore-topk:percent={percent}" for percent in (4, 8, 16, 32)),
    "abstain": tuple(f"early-stop+abstain:k={k}" for k in (2, 4, 8)),
    "steer": tuple(f"early-stop+steer:strength={times}" for times in (0.5, 1, 2, 4)),
    "ablate-directions": (
        *(f"early-stop+ablate-directions:k={k}" for k in (1, 4, 16)),
        "early-stop+ablate-directions:k=4,of=random",
    ),
    "order": ("early-stop+order:first=implications", "early-stop+order:first=implications,then=all"),
    "interleave": tuple(f"early-stop+interleave:share={share}" for share in (0.1, 0.2, 0.5)),
    "merged-ov": ("early-stop+merged-ov:rest=trained", "early-stop+merged-ov", "early-stop+factorized-ov"),
    "known-facts": tuple(f"early-stop+known-facts:share={share}" for share in (0.05, 0.1)),
    "combinations": ("early-stop:facts=0.6+freeze:modules=mlp", "early-stop:facts=0.6+counterexamples:k=8"),
}
"""Of each method its strengths; at the end the combinations that meet all demands."""

FILE = Path(__file__).parent / "strengths.parquet"

METHOD = "method"
"""The column that says of which trade-off a row is; the plain tune has one in each."""


def measure(folder: Path) -> None:
    """Carry out the trade-off of every method that the file has no rows of, and add its rows."""
    measured = pq.read_table(FILE) if FILE.is_file() else None
    for method, arms in GRID.items():
        if measured and method in measured[METHOD].to_pylist():
            continue
        with Bars() as progress:
            document = tradeoff(
                KB,
                interventions=arms,
                seeds=SEEDS,
                executor=Processes(2),
                out=folder / method,
                progress=progress,
            )
        more = pa.Table.from_pylist([{METHOD: method, **row} for row in document["rows"]])
        measured = pa.concat_tables([measured, more], promote_options="permissive") if measured else more
        write_parquet(FILE, measured)


def lines() -> list[str]:
    """The measured rows as a table in Markdown; the plain tune stands above each method's."""
    columns = {
        "intervention": lambda row: row["arm"],
        "facts": lambda row: f"{row['facts']:.2f}",
        "bridges": lambda row: f"{row['bridges']:.2f}",
        "wanted rank": lambda row: f"{row['wanted_rank']:.2f}",
        "first": lambda row: f"{percent(row['spurious_top1'])} {_percents(row, 'spurious_top1')}",
        "chance": lambda row: percent(row["spurious_top1_null"]),
        "p": lambda row: f"{row['spurious_rank_p']:.2g}",
        "other words": lambda row: percent(row["paraphrase_top1"]),
        "KL": lambda row: f"{row['kl']:.2f}",
        "known": lambda row: f"{row['known']:.2f}",
        "seconds": lambda row: f"{row['seconds']:.0f}",
        "missed": lambda row: row["missed"],
    }
    said = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    for row in pq.read_table(FILE).to_pylist():
        said.append("| " + " | ".join(text(row) for text in columns.values()) + " |")
    return said


def _percents(row: Mapping[str, Any], name: str) -> str:
    return f"[{100 * row[f'{name}_low']:.0f}, {100 * row[f'{name}_high']:.0f}]"


def main() -> None:
    """Measure, or print what is measured."""
    if len(sys.argv) > 2:
        sys.exit("give a folder, or nothing: python -m benchmarks.strengths [FOLDER]")
    if len(sys.argv) == 2:
        measure(Path(sys.argv[1]))
    print("\n".join(lines()))


if __name__ == "__main__":
    main()
