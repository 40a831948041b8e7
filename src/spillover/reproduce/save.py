"""A reproduction on disk: chart.html, chart.svg, chart.pdf, table.csv, and result.json, written last.

A folder whose result.json has the same settings is finished. While training goes on it holds the state of
each experiment under state/, so that what was cut off goes on.
"""

import csv
import io
import math
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import altair as alt
import vl_convert
from markupsafe import Markup

from spillover.errors import RunError
from spillover.report.page import chart_json, drawing_script, policy_of, templates
from spillover.reproduce.figure import Figure, Reproduction, Row, along, run
from spillover.reproduce.summary import summary
from spillover.runs import environment, files
from spillover.runs.lock import foreign, lock
from spillover.runs.progress import Progress
from spillover.symbolic.experiment import Experiment
from spillover.symbolic.measure import MEASURES
from spillover.symbolic.train import History, train

FORMAT = 1
"""Version of result.json; a folder with another one is run again."""

FILES = ("chart.html", "chart.svg", "chart.pdf", "table.csv", "result.json")
"""What a finished folder holds, the last written last."""

_STATES, _STATE = "state", "state.safetensors"


def reproduce(
    figure: Figure,
    folder: Path,
    *,
    settings: Any = None,
    fresh: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Run a figure into a folder and return its result.json, with the folder as `run`.

    A finished folder with the same settings is only read, an unfinished one gone on with, one of other
    settings run again; `fresh` runs everything again. Raises `RunError` for a folder that holds anything
    else, is being written, or cannot be, and `LabError` for settings that cannot be.
    """
    settings = figure.settings() if settings is None else settings
    with _claimed(folder, {*FILES, _STATES}):
        done = None if fresh else _finished(folder, figure, settings)
        if done is None:
            states = folder / _STATES
            if fresh:
                shutil.rmtree(states, ignore_errors=True)
            states.mkdir(exist_ok=True)
            done = save(run(figure, settings, states=states, progress=progress), folder)
            shutil.rmtree(states)
    return {"run": str(folder), **done}


def train_into(
    folder: Path | None, experiment: Experiment, *, progress: Progress | None = None
) -> tuple[History, float]:
    """Train an experiment, and with a folder keep its state, its numbers along the way and at the end.

    Returns the history and the seconds it took. A folder that holds this experiment goes on where it was
    stopped; raises `RunError` or `LabError` for one that holds anything else.
    """
    started = time.perf_counter()

    def tell(done: int, steps: int) -> None:
        if progress:
            progress("training", done, steps)

    if folder is None:
        return train(experiment, progress=tell), time.perf_counter() - started
    with _claimed(folder, {_STATE, "table.csv", "result.json"}):
        history = train(experiment, checkpoint=folder / _STATE, progress=tell)
        seconds = time.perf_counter() - started
        rows = [
            row
            for place, setting in enumerate(experiment.settings)
            for row in along(history, place, MEASURES, ov=setting.model.ov, d_h=setting.model.d_h)
        ]
        files.write_text(folder / "table.csv", _csv(rows))
        files.write_json(
            folder / "result.json", {**summary(history), "seconds": seconds, **environment.describe()}
        )
    return history, seconds


def save(reproduction: Reproduction, folder: Path) -> dict[str, Any]:
    """Write the five files of a reproduction, each in one piece, and return what result.json holds."""
    figure, findings = reproduction.figure, reproduction.findings
    result = files.jsonable(
        {
            "format": FORMAT,
            "name": figure.name,
            "claim": figure.claim,
            "checks": [
                {
                    "statement": check.statement,
                    "kind": check.kind,
                    "holds": bool(check.holds),
                    "verdict": check.verdict,
                    "measured": check.measured,
                }
                for check in findings.checks
            ],
            "settings": reproduction.settings,
            "seeds": reproduction.seeds,
            "seconds": reproduction.seconds,
            **environment.describe(),
        }
    )
    chart = findings.draw()
    spec = files.jsonable(chart.to_dict())
    version = ".".join(alt.SCHEMA_VERSION.lstrip("v").split(".")[:2])
    (folder / FILES[-1]).unlink(missing_ok=True)  # of other settings: the charts are about to change
    files.write_text(folder / "chart.html", _page(chart, result))
    files.write_text(folder / "chart.svg", vl_convert.vegalite_to_svg(spec, vl_version=version))
    with files.atomic(folder / "chart.pdf") as file:
        file.write(vl_convert.vegalite_to_pdf(spec, vl_version=version))
    files.write_text(folder / "table.csv", _csv(findings.rows))
    files.write_json(folder / FILES[-1], result)
    return result


def _page(chart: Any, result: dict[str, Any]) -> str:
    template = templates("spillover.reproduce").get_template("page.html.j2")
    script = drawing_script()
    return template.render(
        **{name: result[name] for name in ("name", "claim", "checks", "settings")},
        chart=chart_json(chart),
        script=Markup(script),  # noqa: S704 - our own code, nothing from the data
        policy=policy_of(script),
    )


def _csv(rows: Sequence[Row]) -> str:
    """Rows as CSV; an empty cell where undefined."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow(
            {
                name: "" if isinstance(value, float) and math.isnan(value) else value
                for name, value in row.items()
            }
        )
    return text.getvalue()


def _finished(folder: Path, figure: Figure, settings: Any) -> dict[str, Any] | None:
    """The result of an earlier call with the same settings whose files are all there."""
    if not all((folder / name).is_file() for name in FILES):
        return None
    try:
        result = files.read_json(folder / FILES[-1])
    except RunError:
        return None
    same = {"format": FORMAT, "name": figure.name, "settings": files.jsonable(settings)}
    fits = isinstance(result, dict) and all(result.get(name) == value for name, value in same.items())
    return result if fits else None


@contextmanager
def _claimed(folder: Path, known: set[str]) -> Iterator[None]:
    """The folder, made and locked; raises `RunError` where it holds anything but the known names."""
    others = foreign(folder, known)
    if others:
        raise RunError(
            f"{folder} holds {others[0]!r}, which is not of such a run; give --out a new or empty folder"
        )
    held = lock(folder)
    try:
        for leftover in folder.glob(files.TEMPORARY):
            leftover.unlink(missing_ok=True)
        yield
    finally:
        held.release()
