"""How often SmolLM2 follows rules that it was not calibrated on: `python -m benchmarks.rates PART FOLDER`.

PART is `build`, the built-in trials, or `opened`, trials of the rules of `opened_rules.yaml`, by which a
calibration is judged once. The model is tuned on every table with two seeds, at the default settings; what is
finished in the folder is only read again. What came out is written to `benchmarks/rates-PART.parquet`: a row
for each table, rule, seed and group. Takes two hours on two idle cores: two tunes at a time, a thread each.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from spillover.cells.apart import Processes
from spillover.cells.cell import Cell
from spillover.cells.compute import locate
from spillover.cells.folder import CellFolder, State, store_beside
from spillover.cli.output import Bars
from spillover.implication.asking import ask_stated
from spillover.jobs.sweep import carry_out_points, hashes_of, plan_points
from spillover.knowledge.prompts import Question, fill, state, written
from spillover.knowledge.schema import KnowledgeBase
from spillover.knowledge.sheet import parse_sheet
from spillover.knowledge.training import TrainingTable
from spillover.knowledge.trials import trials, trials_of
from spillover.llm.names import DEFAULT_MODEL
from spillover.llm.settings import FineTuneConfig
from spillover.outcome import read_scores
from spillover.point import Point
from spillover.runs.files import write_parquet
from spillover.runs.record import Run
from spillover.runs.stats import rank_matrix
from spillover.runs.views import read_run

PARTS = ("build", "opened")
SEEDS = (0, 1)

_OPENED = Path(__file__).parent / "opened_rules.yaml"

RATES = pa.schema(
    [
        ("table", pa.string()),
        ("rule", pa.int32()),  # index in the table
        ("fact", pa.string()),
        ("implication", pa.string()),
        ("kind", pa.string()),
        ("seed", pa.int32()),
        ("group", pa.string()),
        ("bridges", pa.int32()),
        ("counterexamples", pa.int32()),
        ("held_out", pa.int32()),
        ("candidates", pa.int32()),
        ("first", pa.int32()),  # of the held out, for whom the rule's answer came first
        ("null", pa.float64()),  # the rule's share if right answers were dealt out anew, over its seeds
        ("facts", pa.float64()),  # the rule's shares that were learned, over its seeds
        ("bridges_learned", pa.float64()),
        ("associated", pa.float64()),  # rank of the rule's answer in the untuned model that is told the fact
    ]
)


def rates_file(part: str) -> Path:
    """Where the rows of a part are kept."""
    return Path(__file__).parent / f"rates-{part}.parquet"


def tables(part: str) -> list[KnowledgeBase]:
    """The tables of a part, 30 of 12 rules."""
    return (
        trials() if part == "build" else trials_of(parse_sheet(_OPENED.read_text("utf-8"), _OPENED), seed=1)
    )


def tune(part: str, folder: Path) -> list[Path]:
    """Audit every table of a part; the run folders, in the tables' order. What is there is not done again."""
    points = [
        Point(kb=kb, model=DEFAULT_MODEL, seeds=SEEDS, settings=FineTuneConfig()) for kb in tables(part)
    ]
    with Bars() as progress:
        plans = plan_points(points, progress)
        with Run.start(
            folder / part,
            command="rates",
            arguments={"part": part},
            passed={},
            seeds=list(SEEDS),
            hashes=hashes_of(plans),
        ) as run:
            if not run.complete:
                place = store_beside(run.folder)
                executor = Processes(workers=2)
                done = carry_out_points(points, plans, run, place, executor=executor, progress=progress)
                done.end(run, {"audits": done.audits})
            return [run.folder / audit["run"] for audit in run.results["audits"]]


def associations(kb: KnowledgeBase, place: Path) -> dict[tuple[int, str], float]:
    """The untuned model's own association: of each rule and group the mean rank of the rule's answer, for
    four people each, behind "{person's fact}. {the implication's prompt}".
    """
    asked: dict[tuple[int, str], list[tuple[Question, int]]] = {}
    for number, rule in enumerate(kb.rules):
        fact, implication = kb.relations[rule.fact], kb.relations[rule.implication]
        candidates = sorted({*rule.pairs.values(), *implication.candidates})
        completions = tuple(written(implication, answer) for answer in candidates)
        for group, answer in rule.pairs.items():
            people = [t.subject for t in kb.triples if (t.relation, t.answer) == (rule.fact, group)]
            asked[number, group] = [
                (
                    Question(
                        prompt=f"{state(fact, name, group)}. {fill(implication, name)}",
                        completions=completions,
                    ),
                    candidates.index(answer),
                )
                for name in people[:4]
            ]
    questions = tuple(question for each in asked.values() for question, _ in each)
    folder = CellFolder(cell=Cell(weights=locate(DEFAULT_MODEL), questions=questions), place=place)
    if folder.state is not State.DONE:
        folder.compute()
    answers = folder.answers()
    return {
        key: float(
            np.mean([rank_matrix(answers[question].logprobs[None])[0, right] for question, right in each])
        )
        for key, each in asked.items()
    }


def rows(kb: KnowledgeBase, folder: Path) -> Iterator[dict[str, Any]]:
    """What one audit measured, by rule, seed and group, and what the untuned model would say."""
    associated = associations(kb, store_beside(folder.parent))
    run = read_run(folder)
    scores, measured = read_scores(run), run.results or {}
    asked = scores.filter(
        (pc.field("phase") == "after") & (pc.field("kind") == "held_out") & pc.field("right")
    )
    table = TrainingTable.whole(kb)
    each = zip(kb.rules, ask_stated(table), measured["rules"], strict=True)
    for number, (rule, its, of_rule) in enumerate(each):
        counted = [part.tolist() for part in (its.groups.group, its.groups.bridges, its.groups.exceptions)]
        for seed in SEEDS:
            for answer, bridges, counterexamples in zip(*counted, strict=True):
                group = table.patterns.answers[answer]
                mine = asked.filter(
                    (pc.field("rule") == number) & (pc.field("seed") == seed) & (pc.field("group") == group)
                )
                yield {
                    "table": kb.name,
                    "rule": number,
                    "fact": rule.fact,
                    "implication": rule.implication,
                    "kind": rule.kind,
                    "seed": seed,
                    "group": group,
                    "bridges": bridges,
                    "counterexamples": counterexamples,
                    "held_out": mine.num_rows,
                    "candidates": of_rule["candidates"],
                    "first": int((mine["rank"].to_numpy() == 0).sum()),
                    "null": of_rule["top1"]["null"],
                    "facts": of_rule["facts"]["top1"],
                    "bridges_learned": of_rule["bridges"]["top1"],
                    "associated": associated[number, group],
                }


def main() -> None:
    """Tune, and write the part's rows."""
    if len(sys.argv) != 3 or sys.argv[1] not in PARTS:
        sys.exit(f"give a part ({', '.join(PARTS)}) and a folder: python -m benchmarks.rates PART FOLDER")
    part, folder = sys.argv[1], Path(sys.argv[2])
    folders = tune(part, folder)
    found = [row for kb, run in zip(tables(part), folders, strict=True) for row in rows(kb, run)]
    write_parquet(rates_file(part), pa.Table.from_pylist(found, schema=RATES))
    print(f"{len(found)} rows in {rates_file(part)}")


if __name__ == "__main__":
    main()
