"""How often SmolLM2 follows rules that it was not calibrated on: `python -m benchmarks.rates PART FOLDER`.

PART is `build`, the built-in trials, or `opened` or `fresh`, trials of the rules of `opened_rules.yaml` and
`fresh_rules.yaml`, by each of which a calibration of the parts before it is judged once. The model is tuned
on every table with two seeds, at the default settings. What came of a table goes to
`benchmarks/rates-PART.parquet` as soon as it is done, a row for each rule, seed and group; tables that are
in it are not tuned again. Thirty tables take three to four hours on two idle cores, a tune on each.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from spillover.cells.apart import Processes
from spillover.cells.folder import CellFolder, State, store_beside
from spillover.cells.plan import carry_out
from spillover.cli.output import Bars
from spillover.implication.asking import ask_stated
from spillover.jobs.audit import pooled
from spillover.jobs.audit_plan import AuditPlan, plan_audit
from spillover.jobs.priors import priors
from spillover.knowledge.schema import KnowledgeBase
from spillover.knowledge.sheet import parse_sheet
from spillover.knowledge.training import TrainingTable
from spillover.knowledge.trials import trials, trials_of
from spillover.llm.names import DEFAULT_MODEL
from spillover.llm.settings import FineTuneConfig
from spillover.outcome import outcome
from spillover.runs.files import write_parquet

PARTS = ("build", "opened", "fresh")
SEEDS = (0, 1)

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
        ("prior_rank", pa.float64()),  # rank of the rule's answer in the untuned model that is told the fact
        ("prior", pa.float64()),  # nats by which it finds that answer likelier than told another group's fact
        ("shared", pa.bool_()),  # whether both prompts have the same words before the subject
    ]
)


def rates_file(part: str) -> Path:
    """Where the rows of a part are kept."""
    return Path(__file__).parent / f"rates-{part}.parquet"


def measured_parts() -> list[str]:
    """The parts of which anything is measured."""
    return [part for part in PARTS if rates_file(part).is_file()]


def tables(part: str) -> list[KnowledgeBase]:
    """The tables of a part: 30 of 12 rules, of the part `fresh` 60 of 24."""
    if part == "build":
        return trials()
    file = Path(__file__).parent / f"{part}_rules.yaml"
    return trials_of(parse_sheet(file.read_text("utf-8"), file), seed=PARTS.index(part))


def measure(part: str, folder: Path) -> None:
    """Tune the model on every table of a part that its file has no rows of, and add them as they come."""
    measured = _measured(part)
    left = [kb for kb in tables(part) if kb.name not in set(measured["table"].to_pylist())]
    place = store_beside(folder / part)

    def write(_: CellFolder) -> None:
        nonlocal measured
        for plan in tuple(waiting):
            if all(cell.state is State.DONE for cell in plan.folders(place)):
                waiting.remove(plan)
                more = pa.Table.from_pylist(list(rows(plan, place)), schema=RATES)
                measured = pa.concat_tables([measured, more])
                write_parquet(rates_file(part), measured)

    with Bars() as progress:
        waiting = [
            plan_audit(kb, model=DEFAULT_MODEL, seeds=SEEDS, settings=FineTuneConfig(), progress=progress)
            for kb in left
        ]
        cells = [cell for plan in waiting for cell in plan.folders(place)]
        for error in carry_out(cells, executor=Processes(2), on_done=write, progress=progress).values():
            raise error


def _measured(part: str) -> pa.Table:
    file = rates_file(part)
    return pq.read_table(file) if file.is_file() else RATES.empty_table()


def rows(plan: AuditPlan, place: Path) -> Iterator[dict[str, Any]]:
    """What the tunes of a table did, by rule, seed and group, and what the untuned model would say."""
    kb = plan.kb
    scores, _ = pooled(plan, place)
    asked = scores.filter(
        (pc.field("phase") == "after") & (pc.field("kind") == "held_out") & pc.field("right")
    )
    table = TrainingTable.whole(kb)
    stated = ask_stated(table)
    known = priors(table, stated, plan.weights, place=place)
    each = zip(kb.rules, stated, known, outcome(scores, kb.rules)["rules"], strict=True)
    for number, (rule, its, own, of_rule) in enumerate(each):
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
                    "prior_rank": own and own.rank,
                    "prior": own and own.nats,
                    "shared": own and own.shared,
                }


def main() -> None:
    """Tune, and write the part's rows."""
    if len(sys.argv) != 3 or sys.argv[1] not in PARTS:
        sys.exit(f"give a part ({', '.join(PARTS)}) and a folder: python -m benchmarks.rates PART FOLDER")
    part, folder = sys.argv[1], Path(sys.argv[2])
    measure(part, folder)
    print(f"{_measured(part).num_rows} rows in {rates_file(part)}")


if __name__ == "__main__":
    main()
