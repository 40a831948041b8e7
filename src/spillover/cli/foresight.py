"""The verbs before any training: forecast, and calibrate for it."""

from datetime import timedelta
from math import inf
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from spillover.cli.output import Bars, Json, print_json, print_rich

_HOUR = timedelta(hours=1)


def forecast(
    kb: str = "demo",
    /,
    *,
    model: str = "smollm2-135m",
    norm: Literal["nuclear", "frobenius"] = "nuclear",
    penalty: float | None = None,
    tol: float = 1e-4,
    time_limit: float | None = None,
    advise: Annotated[bool, Parameter(negative="")] = False,
    target: float | None = None,
    queries: Path | None = None,
    ask_model: Annotated[bool, Parameter(negative="")] = False,
    seed: int = 0,
    json: Json = False,
) -> int:
    """Forecast from a table of facts what fine-tuning on it will teach beyond it, without any training.

    Parameters
    ----------
    kb
        A table (CSV, TSV, JSON, JSONL, Parquet, Excel; columns subject, relation, answer), a YAML file or a
        built-in. In a table without rules, the relations that go together are found.
    model
        Whose rate is forecast, if it is calibrated: the default model is, others by `spillover calibrate`.
        Nothing of the model itself is needed, but with --ask-model.
    norm
        nuclear: factorized matrices, as language models have; frobenius: the merged matrix.
    penalty
        Price of a margin missed by 1 (soft margin). Without it margins are hard, and soft at a price of 1
        where the table contradicts itself.
    tol
        Relative gap to be certified.
    time_limit
        Seconds for the solver, after which the best certified interval so far is taken.
    advise
        Say what would bring unwanted rules below the target, and wanted ones up to it.
    target
        Mean margin that advice aims at (0.1 for unwanted rules, 0.5 for wanted ones).
    queries
        Parquet file to write with the margin of every held-out subject.
    ask_model
        Ask the untuned model what it already says of stated rules: rates are nearer then.
    seed
        Seed of the bridges that a rule draws.
    """
    with Bars() as bars:
        from spillover.jobs.forecast import forecast as run_forecast

        results = run_forecast(
            kb,
            model=model,
            norm=norm,
            penalty=penalty,
            tol=tol,
            time_limit=inf if time_limit is None else time_limit,
            seed=seed,
            advice=advise or target is not None,
            target=target,
            queries=queries,
            ask_model=ask_model,
            progress=bars,
        )
    if json:
        print_json(results)
        return 0
    from spillover.report.forecast import forecast_table
    from spillover.runs.files import jsonable

    print_rich(forecast_table(jsonable(results)))
    return 0


def calibrate(
    *,
    model: str = "smollm2-135m",
    budget: timedelta = _HOUR,
    json: Json = False,
) -> int:
    """Tune a model on a few small tables, so that forecasts say how often it will follow a rule.

    What was tuned is kept, so that another call goes on from there; nothing is begun that would end after
    the budget.

    Parameters
    ----------
    model
        A short name, a hub id, a local folder or a .gguf file.
    budget
        Time to spend, such as 30m or 2h.
    """
    with Bars() as bars:
        from spillover.jobs.calibrate import calibrate as run_calibrate

        results = run_calibrate(model, budget=budget.total_seconds(), progress=bars)
    if json:
        print_json(results)
        return 0
    from spillover.report.forecast import calibration_table
    from spillover.runs.files import jsonable

    print_rich(calibration_table(jsonable(results)))
    return 0
