"""A reproduction as a run: chart.html, chart.svg, chart.pdf, table.csv, and what holds in the manifest.

While it trains, the state of each experiment lies under state/, so that what was cut off goes on.
"""

import shlex
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import altair as alt
import vl_convert
from markupsafe import Markup

from spillover.report.charts import Chart
from spillover.report.page import chart_json, drawing_script, policy_of, templates
from spillover.reproduce.figure import Figure, Findings, train_all
from spillover.runs import environment
from spillover.runs.files import jsonable, writing
from spillover.runs.progress import Progress, silent
from spillover.runs.record import Run
from spillover.runs.views import RESULT_0_1

FILES = ("chart.html", "chart.svg", "chart.pdf", "table.csv")
"""What a finished folder holds beside its manifest."""

_STATES = "state"


def reproduce(
    figure: Figure,
    folder: Path,
    *,
    settings: Any = None,
    fresh: bool = False,
    out: Path | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Run a figure into a folder and return the document of `spillover reproduce --json`.

    A finished folder with the same settings is only read, an unfinished one gone on with, one of other
    settings run again; `fresh` runs everything again. `out` is the --out to name on an interrupt, if it is
    not the folder. Raises `RunError` for a folder that holds anything else, is being written, or cannot be,
    and `LabError` for settings that cannot be.
    """
    passed = {} if settings is None else asdict(settings)
    settings = figure.settings() if settings is None else settings
    experiments, seeds = figure.plan(settings), figure.seeds(settings)
    start = partial(
        Run.start,
        folder,
        command="reproduce",
        arguments={"name": figure.name, **asdict(settings)},
        passed={"name": figure.name, **passed},
        seeds=list(seeds),
        hashes={},
        known={*FILES, _STATES, RESULT_0_1},
        hint=f"the same command{' without --fresh' if fresh else ''} with --out "
        f"{shlex.quote(str(out or folder))} goes on from there",
    )
    run = start(replace="any" if fresh else "other")
    if run.complete and not all(run.path(name).is_file() for name in FILES):
        run = start(replace="any")
    with run:
        if not run.complete:
            states = run.path(_STATES)
            if fresh:
                shutil.rmtree(states, ignore_errors=True)
            with writing(states):
                states.mkdir(exist_ok=True)
                run.path(RESULT_0_1).unlink(missing_ok=True)  # it would tell of other settings
            histories = train_all(experiments, stage=figure.name, states=states, progress=progress)
            findings = figure.findings(settings, histories)
            results = results_of(figure.name, figure.claim, settings, seeds, findings)
            write_findings(run, findings, results)
            seconds = run.seconds
            run.finish(results | {"seconds": seconds}, seconds)
            shutil.rmtree(states, ignore_errors=True)
    return {"run": str(folder), **run.results, **made_with(run)}


def made_with(run: Run) -> dict[str, Any]:
    """The versions that a run was made with."""
    return {entry: run.manifest.get(entry) for entry in environment.ENTRIES}


def results_of(
    name: str, claim: str, settings: Any, seeds: Sequence[int], findings: Findings
) -> dict[str, Any]:
    """What was claimed, what holds, and with which settings; plain JSON types."""
    return jsonable(
        {
            "name": name,
            "claim": claim,
            **({"advice": list(findings.advice)} if findings.advice else {}),
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
            "settings": settings,
            "seeds": list(seeds),
        }
    )


@dataclass(frozen=True, kw_only=True)
class PageTable:
    """The table on a page."""

    headings: Sequence[tuple[str, ...]]
    """The lines of each."""
    numbers: Sequence[bool]
    """Which of its columns are."""
    blocks: Sequence[tuple[str, Sequence[Sequence[tuple[str, ...]]]]]
    """Their titles and rows; the lines of each cell."""

    @property
    def has_intervals(self) -> bool:
        """Whether an interval stands below some numbers."""
        return any(len(lines) > 1 for lines in self.headings)


LEAST_AND_MOST = "the least and the most of all runs"
"""What brackets hold."""


def write_findings(
    run: Run,
    findings: Findings,
    results: dict[str, Any],
    table: PageTable | None = None,
    brackets: str = LEAST_AND_MOST,
) -> None:
    """Write the chart, as page and as pictures, and the rows, each in one piece.

    `table` stands on the page, too; `brackets` says what its numbers in brackets are.
    """
    chart = findings.draw()
    spec = jsonable(chart.to_dict())
    version = ".".join(alt.SCHEMA_VERSION.lstrip("v").split(".")[:2])
    run.write_text("chart.html", _page(chart, results, table, brackets))
    run.write_text("chart.svg", vl_convert.vegalite_to_svg(spec, vl_version=version))
    run.write_bytes("chart.pdf", vl_convert.vegalite_to_pdf(spec, vl_version=version))
    run.write_csv("table.csv", findings.rows)


def _page(chart: Chart, results: dict[str, Any], table: PageTable | None, brackets: str) -> str:
    template = templates("spillover.reproduce").get_template("page.html.j2")
    script = drawing_script()
    return template.render(
        **{name: results[name] for name in ("name", "claim", "checks", "settings")},
        advice=results.get("advice"),
        chart=chart_json(chart),
        table=table,
        brackets=brackets,
        script=Markup(script),  # noqa: S704 - our own code, nothing from the data
        policy=policy_of(script),
    )
