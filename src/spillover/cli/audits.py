"""The verbs for language models and their runs: audit, score, sweep, spectrum, report, runs."""

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from spillover.cli.executors import Where, executor, settings
from spillover.cli.output import Bars, Json, print_json, print_line, print_rich, tell


def audit(
    kb: str = "demo",
    /,
    *,
    model: str = "smollm2-135m",
    seeds: Annotated[tuple[int, ...], Parameter(negative="", consume_multiple=True)] = (0,),
    epochs: int | Literal["auto"] = "auto",
    learning_rate: float | None = None,
    batch_size: int | None = None,
    lora: int | None = None,
    processes: int | None = None,
    shuffle: Annotated[bool, Parameter(negative="")] = False,
    interventions: Annotated[
        tuple[str, ...],
        Parameter(name=("--interventions", "--intervention"), negative="", consume_multiple=True),
    ] = (),
    keep_model: Annotated[bool, Parameter(negative="")] = False,
    out: Path | None = None,
    json: Json = False,
    fail_on: str | None = None,
) -> int:
    """Tune a model on a knowledge base and report what it learned beyond it.

    Parameters
    ----------
    kb
        A file (YAML) or a built-in: demo, city-language, city-language-counterfactual, country-code,
        profession-color, sport-music, popqa (or popqa:FILE).
    model
        A short name, a hub id, a local folder or a .gguf file.
    seeds
        A list, with one tune per seed; each draws its own bridges.
    epochs
        Passes over the training examples; auto: until the training loss says that they are learned.
    learning_rate
        Learning rate (2e-4, with LoRA 2e-3).
    batch_size
        Examples per step.
    lora
        Rank of LoRA adapters; without it every parameter is tuned.
    processes
        Processes that share the model and its tune (FSDP); on GPUs one each.
    shuffle
        The null control: deal the bridges' implications out at random before training.
    interventions
        What else is done to the tune, e.g. early-stop or ignore-topk:percent=8 (see the guide).
    keep_model
        Keep the tuned weights in the run folder.
    out
        The run folder; an unfinished run in it goes on where it was stopped.
    fail_on
        Exit with 1 if this holds, e.g. "spurious.top1 > 0.3", "facts.top1 < 0.95" or
        "causal.mean_rank > 1". A rule that could not be scored, or whose facts and bridges were not learned,
        fails the gate too.
    """
    from spillover.gate import parse_gate

    gate = parse_gate(fail_on) if fail_on else None
    with Bars() as bars:
        from spillover.jobs.audit import audit as run_audit

        results = run_audit(
            kb,
            model=model,
            seeds=seeds,
            settings=settings(
                epochs=epochs,
                learning_rate=learning_rate,
                batch_size=batch_size,
                lora=lora,
                processes=processes,
            ),
            shuffle=shuffle,
            interventions=interventions,
            keep_model=keep_model,
            out=out,
            progress=bars,
        )
    _print_measured(results, json)
    if not json:
        print_line(f"Report: {Path(results['run']) / 'report.html'}")
    broken = gate.broken(results) if gate else []
    for line in broken:
        tell(f"gate failed: {line}")
    return 1 if broken else 0


def score(
    kb: str,
    /,
    *,
    model: str = "smollm2-135m",
    tuned: str | None = None,
    seed: int = 0,
    split: Path | None = None,
    json: Json = False,
) -> int:
    """Score a knowledge base on a model as it is, without training.

    Parameters
    ----------
    kb
        A YAML file or a built-in name.
    model
        The untuned model: a short name, a hub id, a local folder or a .gguf file.
    tuned
        An already tuned model, or a LoRA adapter of `model`, to set beside it.
    seed
        Seed of the split into bridges and held-out subjects; of a tuned model, the one it was tuned with.
    split
        The file that it was trained on, or a table of subjects: those are the bridges, and no seed draws.
    """
    with Bars() as bars:
        from spillover.jobs.score import score as run_score

        results = run_score(kb, model=model, tuned=tuned, seed=seed, split=split, progress=bars)
    _print_measured(results, json)
    return 0


def sweep(
    spec: Path,
    /,
    *,
    on: Where = "local",
    workers: int | None = None,
    address: str | None = None,
    cpus: float = 1,
    gpus: float = 0,
    out: Path | None = None,
    json: Json = False,
) -> int:
    """Run a grid of audits; what they share is computed once, and what is done is not computed again.

    Parameters
    ----------
    spec
        A YAML file: kb, model, seeds, shuffle, epochs, lora, ... as `audit` has them; lists make the grid.
    on
        local: this machine; ray: a Ray cluster (`pip install spillover[ray]`).
    workers
        Cells at a time. local: 1, in this process, or more, a process each; ray: of a cluster started here.
    address
        ray: an existing cluster, else one is started here.
    cpus
        ray: CPUs that a cell is given.
    gpus
        ray: GPUs that a cell is given.
    out
        The sweep's folder (runs/NAME); an unfinished sweep in it goes on.
    """
    with redirect_stdout(sys.stderr), Bars() as bars:  # Ray prints there what befell its nodes
        from spillover.jobs.sweep import sweep as run_sweep

        who = executor(on, workers, address=address, cpus=cpus, gpus=gpus)
        document = run_sweep(spec, executor=who, out=out, progress=bars)
    if json:
        print_json(document)
    else:
        from spillover.report.sweep import sweep_table
        from spillover.runs.files import jsonable

        print_rich(sweep_table(jsonable(document)))
        print_line(f"Report: {Path(document['run']) / 'report.html'}")
    from spillover.report.sweep import label_parts

    failed = [audit for audit in document["audits"] if "failed" in audit]
    for audit in failed:
        tell(f"failed: {', '.join(label_parts(audit))}: {audit['failed']}")
    return 2 if failed else 0


def spectrum(runs: Annotated[tuple[Path, ...], Parameter(negative="")], /, *, json: Json = False) -> int:
    """Measure what tuning changed in the weights, of audits that kept their tuned models.

    Each run folder gets spectrum.parquet, spectrum.json and a report with a section on it.

    Parameters
    ----------
    runs
        Run folders of `audit --keep-model`, or folders that hold such (a sweep's, table-1's).
    """
    with Bars() as bars:
        from spillover.jobs.spectrum import spectrum as measure_spectrum

        document = measure_spectrum(runs, progress=bars)
    if json:
        print_json(document)
    else:
        from spillover.report.spectrum import spectrum_table
        from spillover.runs.files import jsonable

        print_rich(spectrum_table(jsonable(document)))
        for run in document["runs"]:
            print_line(f"Report: {Path(run['run']) / 'report.html'}")
    for run in document["runs"]:
        for note in run["notes"]:
            tell(f"note: {run['run']}: {note}")
    return 0


def report(
    runs: Annotated[tuple[Path, ...], Parameter(negative="")], /, *, out: Path = Path("report.html")
) -> int:
    """Write one self-contained HTML report of one or more runs.

    Parameters
    ----------
    runs
        Run folders.
    out
        The file to write.
    """
    from spillover.report.page import write_report
    from spillover.report.scores import without_scores

    print_line(str(write_report(list(runs), out)))
    for line in without_scores(runs):
        tell(f"note: {line}")
    return 0


def runs(folder: Path = Path("runs"), /, *, json: Json = False) -> int:
    """List the runs in a folder, newest first.

    Parameters
    ----------
    folder
        Where the run folders are.
    """
    from spillover.runs.record import jsonable, list_runs

    views = list_runs(folder)
    if json:
        print_json(
            [jsonable({"run": str(v.folder), "status": v.status, "manifest": v.manifest}) for v in views]
        )
    elif not views:
        print_line(f"no runs in {folder}; start one with `spillover audit`")
    else:
        from spillover.report.tables import runs_table

        print_rich(runs_table(views))
    return 0


def _print_measured(results: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(results)
    else:
        from spillover.report.tables import audit_table
        from spillover.runs.files import jsonable

        print_rich(audit_table(jsonable(results)))
    for note in results.get("notes", []):
        tell(f"note: {note}")
