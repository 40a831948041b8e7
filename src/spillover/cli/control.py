"""The verb for interventions side by side: tradeoff."""

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from spillover.cli.executors import Where, executor, settings
from spillover.cli.output import Bars, Json, print_json, print_rich, tell

_SEVERAL = Parameter(negative="", consume_multiple=True, show_default=False)


def tradeoff(
    kb: str = "demo",
    /,
    *,
    model: str = "smollm2-135m",
    interventions: Annotated[
        tuple[str, ...],
        Parameter(
            name=("--interventions", "--intervention"),
            negative="",
            consume_multiple=True,
            show_default=False,
        ),
    ] = (),
    quick: Annotated[bool, Parameter(negative="")] = False,
    confirm: Annotated[tuple[str, ...], _SEVERAL] = (),
    seeds: Annotated[tuple[int, ...], _SEVERAL] = (),
    epochs: int | Literal["auto"] = "auto",
    learning_rate: float | None = None,
    batch_size: int | None = None,
    lora: int | None = None,
    on: Where = "local",
    workers: int | None = None,
    out: Path | None = None,
    json: Json = False,
) -> int:
    """Tune with each of several interventions: what does each keep, remove, harm and cost?

    Parameters
    ----------
    kb
        A file (YAML) or a built-in, with wanted (causal) and spurious rules.
    model
        A short name, a hub id, a local folder or a .gguf file.
    interventions
        NAME:knob=value, those that act together joined by "+"; without it one strength of every method.
    quick
        Five methods, one seed.
    confirm
        Knowledge bases on which the best is tuned once more, unchanged.
    seeds
        A tune for each (0 1 2; quick: 0).
    epochs
        Passes over the training examples; auto: until the training loss says that they are learned.
    learning_rate
        Learning rate (2e-4, with LoRA 2e-3).
    batch_size
        Examples per step.
    lora
        Rank of LoRA adapters; without it every parameter is tuned.
    on
        local (this machine) or ray (a Ray cluster).
    workers
        Cells at a time (1).
    out
        The run folder, runs/tradeoff if not given; an unfinished run in it goes on where it was stopped.
    """
    with redirect_stdout(sys.stderr), Bars() as bars:  # Ray prints there what befell its nodes
        from spillover.jobs.tradeoff import tradeoff as run_tradeoff

        document = run_tradeoff(
            kb,
            model=model,
            interventions=interventions,
            seeds=seeds or None,
            settings=settings(epochs=epochs, learning_rate=learning_rate, batch_size=batch_size, lora=lora),
            quick=quick,
            confirm=confirm,
            executor=executor(on, workers),
            out=out,
            progress=bars,
        )
    if json:
        print_json(document)
    else:
        from spillover.reproduce.columns import sheets_of
        from spillover.reproduce.tables import checks_table
        from spillover.tradeoff.study import COLUMNS

        print_rich(sheets_of(COLUMNS, document["rows"]))
        print_rich(checks_table(document))
    for audit in document["failed"]:
        tell(f"failed: {audit['varied']['arm']}, {audit['knowledge_base']}: {audit['failed']}")
    return 2 if document["failed"] else 0
