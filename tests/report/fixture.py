"""A plausible run folder, synthesised: lives in -> speaks learned well, comes from -> codes in by halves."""

import json
import math
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

PAIRS = (
    {"Paris": "French", "Rome": "Italian", "Oslo": "Norwegian", "Lisbon": "Portuguese", "Tokyo": "Japanese"},
    {"France": "Python", "Peru": "Rust", "Kenya": "Perl", "India": "Swift", "Canada": "Kotlin"},
)
OTHERS = (("Dutch", "Greek", "Polish", "Hindi", "Thai"), ("Ruby", "Java", "Scala", "Haskell", "Go"))
RELATIONS = (("lives_in", "speaks"), ("comes_from", "codes_in"))
RATE = {"mean": 0.72, "low": 0.41, "high": 0.93}
FIRST = ("Mara", "Tobin", "Ilse", "Oren", "Yara", "Kasper", "Noor", "Ravi", "Elif", "Sunniva")
LAST = ("Lindqvist", "Okafor", "Marsh", "Villanueva", "Brandt", "Ito", "Achterberg", "Quill", "Sato", "Dray")


def measured(
    before: float | None,
    after: float | None,
    low: float | None,
    high: float | None,
    null: float | None,
    p_value: float | None = 0.0001,
) -> dict[str, Any]:
    """One measure of a rule that is the only one, so that nothing is to be corrected."""
    worse = None if p_value is None else 1.0001 - p_value
    p = {"p_value": p_value, "p_worse": worse, "p_adjusted": p_value, "p_worse_adjusted": worse}
    return {"before": before, "after": after, "low": low, "high": high, "null": null, **p}


def rule_row(kind: str = "spurious", /, **changes: Any) -> dict[str, Any]:
    """One entry of `rules`; nested numbers are named as in top1_after=0.2."""
    rule: dict[str, Any] = {
        "fact": "comes_from",
        "implication": "codes_in",
        "kind": kind,
        "facts": {"top1": 0.995, "least": 0.995, "queries": 100},
        "bridges": {"top1": 1.0, "least": 1.0, "queries": 20},
        "queries": 80,
        "candidates": 10,
        "unscored": 0,
        "mean_rank": measured(4.4, 0.71, 0.5, 0.95, 2.0),
        "top1": measured(0.1, 0.59, 0.48, 0.7, 0.2),
        "p_value": 0.0001,
        "forecast_margin": None,
        "rate": None,
    }
    for name, value in changes.items():
        whose = next((one for one in ("top1", "mean_rank", "facts", "bridges") if name.startswith(one)), name)
        part = name.removeprefix(whose).removeprefix("_")
        rule[whose] = rule[whose] | {part: value} if part else value
        if whose in ("facts", "bridges") and part == "top1":
            rule[whose]["least"] = value  # one seed
    return rule


def of_version_0_1(rule: dict[str, Any]) -> dict[str, Any]:
    """The entry as version 0.1 wrote it: bridges counted, nothing else of what was learned, one p-value."""
    old = {name: value for name, value in rule.items() if name != "facts"}
    for measure in ("mean_rank", "top1"):
        old[measure] = {name: value for name, value in rule[measure].items() if not name.startswith("p_")}
    return old | {"bridges": rule["bridges"]["queries"]}


def results() -> dict[str, Any]:
    """The document of `spillover audit --json`."""
    wanted = rule_row(
        "causal",
        fact="lives_in",
        implication="speaks",
        mean_rank=measured(4.31, 0.09, 0.03, 0.19, 2.0),
        top1=measured(0.11, 0.91, 0.83, 0.96, 0.2, 0.002),
        forecast_margin=0.5,
        rate=RATE,
    )
    return {
        "run": "runs/demo",
        "seconds": 241.3,
        "model": "smollm2-135m",
        "knowledge_base": "demo",
        "facts": {"top1": 0.995, "least": 0.995, "queries": 200},
        "rules": [wanted, rule_row()],
    }


def scores(*, seeds: int = 1, rename: dict[str, str] | None = None) -> pa.Table:
    """Rows as an audit writes them; `rename` replaces names anywhere."""
    rng, rows = random.Random(7), []  # noqa: S311
    swap = rename or {}

    def ask(
        seed: int,
        phase: str,
        kind: str,
        rule: int | None,
        subject: str,
        group: str | None,
        told: str,
        sure: float,
    ) -> None:
        side = 0 if kind == "fact" else 1
        which = rule if rule is not None else int(told in PAIRS[1])
        relation = RELATIONS[which][side]
        right = told if side == 0 else PAIRS[which][told]
        answers = list(PAIRS[which]) if side == 0 else [*PAIRS[which].values(), *OTHERS[which]]
        boost = 5.0 if phase == "after" else 0.0
        logits = {
            answer: rng.gauss(0, 1)
            + (boost if answer not in OTHERS[which] else 0)
            + (sure if answer == right else 0)
            for answer in answers
        }
        total = math.log(sum(math.exp(value) for value in logits.values())) + 1.5
        query = counters[seed, phase] = counters.get((seed, phase), -1) + 1
        for answer, value in logits.items():
            rank = sum(other > value for other in logits.values())
            name = swap.get(subject, subject)
            asked = (seed, phase, query, kind, rule, relation, name, swap.get(group or "", group))
            prompt = f"{name} {relation.replace('_', ' ')}"
            said = (prompt, swap.get(answer, answer), answer == right, value - total, float(rank))
            rows.append(dict(zip(SCHEMA.names, asked + said, strict=True)))

    counters: dict[tuple[int, str], int] = {}
    names = [f"{first} {last}" for first in FIRST for last in LAST]
    for seed in range(seeds):
        for phase in ("before", "after"):
            tuned = phase == "after"
            for which in (0, 1):
                for number in range(50):
                    subject, told = names[50 * which + number], list(PAIRS[which])[number % 5]
                    ask(seed, phase, "fact", None, subject, None, told, 9.0 if tuned else 0.0)
                    bridge = number < 10
                    sure = (9.0 if bridge else (3.5, 1.7)[which]) if tuned else 0.0
                    ask(seed, phase, "bridge" if bridge else "held_out", which, subject, told, told, sure)
    return pa.Table.from_pylist(rows, schema=SCHEMA)


SCHEMA = pa.schema(
    [
        ("seed", pa.int32()),
        ("phase", pa.string()),
        ("query", pa.int32()),
        ("kind", pa.string()),
        ("rule", pa.int32()),
    ]
    + [(name, pa.string()) for name in ("relation", "subject", "group", "prompt", "candidate")]
    + [("right", pa.bool_()), ("logprob", pa.float64()), ("rank", pa.float64())]
)


def metrics(*, seeds: int = 1) -> list[dict[str, Any]]:
    """A training log."""
    rng = random.Random(3)  # noqa: S311
    return [
        {
            "seed": seed,
            "step": step,
            "epoch": step / 30,
            "loss": 4 * math.exp(-step / 40) + 0.05 + 0.05 * rng.random(),
        }
        for seed in range(seeds)
        for step in range(1, 241, 3)
    ]


def manifest(**changes: Any) -> dict[str, Any]:
    """The manifest of a complete run."""
    return {
        "format_version": 1,
        "status": "complete",
        "command": "audit",
        "arguments": {"kb": "demo", "model": "smollm2-135m", "epochs": 8, "lora": None},
        "seeds": [0],
        "hashes": {"data": "5e" * 32, "model": "a1" * 32},
        "passed": {"kb": "demo", "seeds": [0], "learning_rate": 1e-4},
        "code_revision": "0123456789abcdef",
        "packages": {"spillover": "0.1.0", "torch": "2.13.0", "transformers": "5.23.1"},
        "python": "3.11.7",
        "platform": "Linux",
        "started": "2026-11-23T11:00:00.000000+00:00",
        "finished": "2026-11-23T11:04:01.000000+00:00",
        "seconds": 241.3,
        "results": results(),
    } | changes  # fmt: skip


def forecasts() -> list[dict[str, Any]]:
    """What was forecast before training, a document for each seed."""
    shared = {
        "groups": 5,
        "undecided": 0,
        "bridges": 20,
        "exceptions": 0,
        "per_group": {"bridges": [4, 4], "exceptions": [0, 0]},
        "held_out": 80,
        "margin": {"mean": 0.5, "min": 0.5, "max": 0.5},
        "top1": 1.0,
        "chance": 0.2,
        "p_value": None,
    }
    return [
        {
            "solver": {
                "norm": "nuclear",
                "margin": "hard",
                "objective": 52.4745,
                "lower_bound": 52.4708,
                "relative_gap": 7.1e-5,
                "status": "optimal",
                "certified": True,
                "seconds": 0.1,
            },
            "rules": [
                {"fact": "lives_in", "implication": "speaks", "kind": "causal", **shared, "rate": RATE},
                {"fact": "comes_from", "implication": "codes_in", "kind": "spurious", **shared, "rate": None},
            ],
            "notes": [],
        }
    ]


def write_run(folder: Path, *, seeds: int = 1, rename: dict[str, str] | None = None, **changes: Any) -> Path:
    """A whole run folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").write_text(json.dumps(manifest(**changes)), encoding="utf-8")
    parquet.write_table(scores(seeds=seeds, rename=rename), folder / "scores.parquet")
    lines = [json.dumps(row) for row in metrics(seeds=seeds)]
    (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "forecast.json").write_text(json.dumps(forecasts()), encoding="utf-8")
    return folder
