"""One self-contained HTML page from run folders: opens offline, loads nothing, runs nothing from the data.

Text is escaped by Jinja, charts travel as JSON data with `<`, `>` and `&` escaped, and the page's content
security policy admits only its own script (by hash) and no evaluation of strings.
"""

import base64
import hashlib
import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import altair as alt
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from spillover.errors import RunError
from spillover.outcome import read_scores
from spillover.report import charts, spectrum, verdict
from spillover.report.forecast import forecast_section
from spillover.report.scores import Row, Scores
from spillover.report.tables import mapping
from spillover.runs import files
from spillover.runs.record import RunView, read_run
from spillover.runs.shapes import fault
from spillover.runs.views import checked

# On a narrow screen each chart is drawn as its `usermeta.narrow` says. A box that scrolls is marked, and the
# keyboard reaches it.
_DRAW = """
function change(whole, part) {
  for (const [name, value] of Object.entries(part)) {
    if (value instanceof Object) change(whole[name], value); else whole[name] = value;
  }
}
async function draw(data) {
  const place = data.previousElementSibling;
  try {
    const chart = JSON.parse(data.textContent);
    if (innerWidth <= 600) change(chart, chart.usermeta.narrow);
    await vegaEmbed(place, chart,
      {mode: "vega-lite", ast: true, actions: false, renderer: "svg", tooltip: {theme: "light"}});
    const drawn = place.querySelector("svg");
    drawn.style.setProperty("--drawn", drawn.getAttribute("width") + "px");
  } catch (error) {
    place.textContent = "Not drawn: " + error.message;
  }
}
function tellWide() {
  for (const box of document.querySelectorAll("figure, .panel")) {
    const wide = box.scrollWidth > box.clientWidth + 1;
    box.classList.toggle("wide", wide);
    if (wide) box.tabIndex = 0; else box.removeAttribute("tabindex");
  }
}
Promise.all([...document.querySelectorAll('script[type="application/json"]')].map(draw)).then(tellWide);
addEventListener("resize", tellWide);
"""

_KINDS = {
    "causal": "Wanted: the fact implies it",
    "spurious": "Unwanted: only the examples suggest it",
}
_FILTERS = (
    verdict.mixed,
    verdict.not_scored,
    verdict.number,
    verdict.own_p,
    verdict.p_value,
    verdict.percent,
    verdict.rule_name,
    verdict.spoken,
    verdict.times,
)
_CALL = (
    "model",
    "seeds",
    "shuffle",
    "interventions",
    "keep_model",
)  # an audit's own, less its data
_SETTINGS = ("epochs", "learning_rate", "batch_size", "lora", "processes")  # those that the command line has
_LOSS = {"loss": (float, int), "step": (float, int), "seed?": int}
_STATUSES = {
    "running": "This run is still being written; what follows is what it has so far.",
    "incomplete": "This run is incomplete: its writer stopped before the end. "
    "Start the same command with --out and this folder to resume it.",
    "failed": "This run is incomplete: it failed.",
}


def write_report(run_folders: Iterable[str | Path], out: str | Path) -> Path:
    """Write one report on one or more run folders to the file `out`, and return its path.

    Raises RunError where a folder is no audit's run or `out` cannot be written.
    """
    page, out = render([read_run(folder) for folder in run_folders]), files.usable(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        files.write_text(out, page)
    except OSError as error:
        raise RunError(f"cannot write the report {out}: {error.strerror}; use another --out") from error
    return out


def render(views: Sequence[RunView]) -> str:
    """The page as text, one section per run."""
    if not views:
        raise RunError("a report needs at least one run folder; `spillover runs` lists them")
    for view in views:
        command = view.manifest.get("command", "audit")
        if command != "audit":
            raise RunError(f"{view.folder} is a run of `spillover {command}`; a report takes audits alone")
        checked(view.folder, view.manifest)
    environment = templates("spillover.report")
    environment.filters.update({function.__name__: function for function in _FILTERS})
    environment.filters["chart"] = chart_json
    environment.globals["interval"] = verdict.interval
    script = drawing_script()
    return environment.get_template("page.html.j2").render(
        sections=[section(view, number) for number, view in enumerate(views, 1)],
        kinds=_KINDS,
        colours=charts.COLOURS,
        tints=charts.TINTS,
        null=charts.NULL,
        learned=verdict.LEARNED,
        shares=verdict.SHARES,
        script=Markup(script),  # noqa: S704 - our own code, nothing from the data
        policy=policy_of(script),
    )


@cache
def templates(package: str) -> Environment:
    """The templates of a package, compiled once: everything escaped, nothing undefined."""
    return Environment(
        loader=PackageLoader(package, "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def section(view: RunView, number: int) -> dict[str, Any]:
    """What the page says about one run; a part that is missing is None, or a sentence in `gaps`."""
    results, gaps = view.results, {"scores": "", "metrics": ""}
    try:
        scores = Scores(read_scores(view))
    except RunError as error:
        scores, gaps["scores"] = None, "The scores (scores.parquet) are missing or unreadable."
        gaps["scores"] += f" {error}." if view.status == "complete" else ""
    metrics = _losses(view)
    if not metrics:
        gaps["metrics"] = "No training log (metrics.jsonl): the curve cannot be drawn."
    judged = zip(results["rules"], verdict.verdicts(results), strict=True) if results else ()
    rules = [_rule(rule, found, index, scores) for index, (rule, found) in enumerate(judged)]
    return {
        "number": number,
        "name": view.folder.resolve().name,
        "status": view.status,
        "notice": _notice(view),
        "control": bool(mapping(view.manifest.get("arguments")).get("shuffle")),
        "summary": verdict.summary(results) if results else None,
        "results": results,
        "rules": rules,
        "correction": verdict.correction(results) if results else "",
        "learned": scores.learned() if scores else [],
        "forecast": forecast_section(view),
        "loss": charts.loss_chart(metrics) if metrics else None,
        "spectrum": spectrum.section(view),
        "gaps": gaps,
        "settings": _settings(view.manifest),
        "command": command_line(view.manifest),
    }


def _losses(view: RunView) -> list[dict[str, Any]]:
    """The training log's rows with a loss; none where the log is missing, or not one of ours."""
    try:
        rows = [row for row in view.read_jsonl("metrics.jsonl") if isinstance(row, dict)]
    except RunError:
        return []
    return [row for row in rows if fault(row, _LOSS) is None]


def _rule(
    rule: Mapping[str, Any], found: verdict.Verdict, index: int, scores: Scores | None
) -> dict[str, Any]:
    kind, sentence = rule["kind"], found.sentence
    ranks = scores.ranks(index) if scores else []
    cells = scores.answers(index) if scores else []
    return {
        **rule,
        "outcome": found.outcome.value,
        "badge": found.badge,
        "sentence": sentence[0].upper() + sentence[1:],
        "ranks": charts.rank_chart(ranks, kind) if ranks else None,
        "answers": charts.answer_chart(cells, kind) if cells else None,
        "groups": len({cell["group"] for cell in cells}),
        "examples": _examples(rule, index, scores) if scores else [],
    }


def _examples(rule: Mapping[str, Any], index: int, scores: Scores) -> list[tuple[str, list[Row]]]:
    """Headed lists of example sentences; empty ones are left out."""
    follow, stray = (
        [_told(rule, row) for row in scores.examples(index, rule["fact"], right=right)]
        for right in (True, False)
    )
    if rule["kind"] == "causal":
        lists = [("Generalized: answered by the rule", follow), ("Wrong: not what the rule says", stray)]
    else:
        lists = [("Invented as the rule suggests", follow), ("Invented, and not even by the rule", stray)]
    return [(heading, rows) for heading, rows in lists if rows]


def _told(rule: Mapping[str, Any], row: Row) -> Row:
    prompt = row["fact_prompt"] or f"{row['subject']} {verdict.spoken(rule['fact'])}"
    return {**row, "told": f"{prompt} {row['group']}", "said": row["prompt"]}


def _notice(view: RunView) -> str | None:
    notice = _STATUSES.get(view.status)
    if notice and view.reason:
        return f"{notice} The reason given: {view.reason}"
    return notice


def _settings(manifest: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Headed lists of name and value, in the order of the manifest; empty ones are left out."""
    results, seconds = mapping(manifest.get("results")), manifest.get("seconds")
    resumed = manifest.get("resumed_at")
    run = {
        "started": _moment(manifest.get("started") or verdict.NOTHING),
        "resumed": [_moment(time) for time in resumed] if isinstance(resumed, list) else None,
        "took": f"{seconds:,.0f} s" if isinstance(seconds, int | float) else None,
        "seeds": manifest.get("seeds"),
        "knowledge base": results.get("knowledge_base"),
        "code revision": manifest.get("code_revision"),
        "python": manifest.get("python"),
        "platform": manifest.get("platform"),
    }
    groups = {
        "Run": run,
        "Settings": mapping(manifest.get("arguments")),
        "Versions": mapping(manifest.get("packages")),
        "Hashes (SHA-256)": mapping(manifest.get("hashes")),
    }
    shown = [
        (
            heading,
            [(verdict.spoken(name), _plain(value)) for name, value in entries.items() if value is not None],
        )
        for heading, entries in groups.items()
    ]
    return [(heading, entries) for heading, entries in shown if entries]


def _moment(time: Any) -> str:
    return str(time)[:19].replace("T", " ")


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(_plain(item) for item in value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def command_line(manifest: Mapping[str, Any]) -> str | None:
    """What makes this run again: a command, or the Python call where no command can; None where unknown.

    Files are named as their user named them: a relative path, from the folder they were in.
    """
    passed = {
        name: value
        for name, value in mapping(manifest.get("passed")).items()
        if name == "kb" or not (name == "out" or value is None or value is False)
    }
    if not manifest.get("command") or "kb" not in passed:
        return None
    if passed["kb"] is None or not passed.keys() <= {"kb", *_CALL, *_SETTINGS}:
        return _python_call(manifest, passed)
    words = ["spillover", str(manifest["command"]), _positional(str(passed.pop("kb")))]
    for name, value in passed.items():
        flag = f"--{name.replace('_', '-')}"
        if value is True:
            words.append(flag)
            continue
        for item in value if isinstance(value, list) else [value]:
            words += [flag, _plain(item)]
    return shlex.join(words)


def _positional(path: str) -> str:
    """The path, not to be taken for an option."""
    return f"./{path}" if path.startswith("-") else path


def _python_call(manifest: Mapping[str, Any], passed: Mapping[str, Any]) -> str:
    """The call of `spillover.audit`; a knowledge base that was made in code is left to its maker."""
    kb, name = passed["kb"], mapping(manifest.get("arguments")).get("kb")
    lines = ["import spillover", ""]
    lines += [f"# kb: the KnowledgeBase {name!r}, made in code"] if kb is None else []
    given = ["kb" if kb is None else repr(kb)]
    given += [f"{name}={passed[name]!r}" for name in _CALL if name in passed]
    settings = [f"{name}={value!r}" for name, value in passed.items() if name not in ("kb", *_CALL)]
    given += [f"settings=spillover.FineTuneConfig({', '.join(settings)})"] if settings else []
    return "\n".join([*lines, f"spillover.{manifest['command']}({', '.join(given)})"])


def chart_json(chart: charts.Chart) -> Markup:
    """A chart as JSON that can stand inside a script element whatever its data hold."""
    spec = chart.to_dict(validate=False)  # the tests do, and it is a quarter of a page's time
    spec.pop("$schema", None)
    text = json.dumps(spec, separators=(",", ":"), allow_nan=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # noqa: S704 - no character of it is markup any more


@cache
def drawing_script() -> str:
    """Vega, Vega-Lite, Vega-Embed and the few lines that draw, as one script."""
    import vl_convert

    version = ".".join(alt.SCHEMA_VERSION.lstrip("v").split(".")[:2])
    return vl_convert.javascript_bundle(_DRAW, vl_version=version)


def policy_of(script: str) -> str:
    """The source expression by which a Content-Security-Policy allows this script and no other."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return f"'sha256-{digest}'"
