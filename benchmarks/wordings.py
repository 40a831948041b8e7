"""Does a rule go further where both prompts have the same words before the subject? `python -m
benchmarks.wordings FOLDER`.

SmolLM2 is tuned on the built-in arbitrary rules, each in five wordings of its two relations, which differ in
what stands before the subject and in nothing else; two seeds, four bridges a group. Takes half an hour on two
idle cores; what is finished in the folder is only read again.
"""

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from spillover.cells.apart import Processes
from spillover.cells.folder import store_beside
from spillover.cells.plan import carry_out
from spillover.cli.output import Bars
from spillover.jobs.audit import pooled
from spillover.jobs.audit_plan import AuditPlan, plan_audit
from spillover.knowledge.load import load
from spillover.knowledge.schema import KnowledgeBase
from spillover.llm.names import DEFAULT_MODEL
from spillover.llm.settings import FineTuneConfig
from spillover.outcome import outcome

RULES = ("country-code", "sport-music")
SEEDS = (0, 1)

BEFORE: Mapping[str, tuple[str, str]] = {
    "nothing": ("", ""),
    "the same words": ("These days ", "These days "),
    "words before the implication": ("", "These days "),
    "words before the fact": ("These days ", ""),
    "other words": ("For some years ", "These days "),
}
"""What stands before the subject of the fact, and of the implication."""

_LINE = "{rule:<14}{before:<30}{first:>7}{low:>7}{high:>7}{chance:>8}{facts:>7}{bridges:>9}{steps:>7}"


def worded(name: str, before: str) -> KnowledgeBase:
    """A built-in rule whose relations are asked with these words before the subject; no paraphrases."""
    kb = load(name)
    (rule,) = kb.rules
    relations = {
        relation: replace(
            kb.relations[relation], prompt=words + kb.relations[relation].prompt, paraphrases=()
        )
        for relation, words in zip((rule.fact, rule.implication), BEFORE[before], strict=True)
    }
    return replace(kb, name=f"{name}, {before}", relations={**kb.relations, **relations})


def measure(folder: Path) -> dict[tuple[str, str], AuditPlan]:
    """The audits of every rule in every wording, tuned and asked."""
    with Bars() as progress:
        plans = {
            (rule, before): plan_audit(
                worded(rule, before),
                model=DEFAULT_MODEL,
                seeds=SEEDS,
                settings=FineTuneConfig(),
                progress=progress,
            )
            for rule in RULES
            for before in BEFORE
        }
        cells = [cell for plan in plans.values() for cell in plan.folders(store_beside(folder / "run"))]
        for error in carry_out(cells, executor=Processes(2), progress=progress).values():
            raise error
    return plans


def main() -> None:
    """Tune, and print a line for each rule and wording."""
    if len(sys.argv) != 2:
        sys.exit("give a folder for the tunes: python -m benchmarks.wordings FOLDER")
    folder = Path(sys.argv[1])
    heading = {name: name for name in ("rule", "first", "low", "high", "chance", "facts", "bridges", "steps")}
    print(_LINE.format(**heading, before="before the subject"))
    for (name, before), plan in measure(folder).items():
        scores, log = pooled(plan, store_beside(folder / "run"))
        (rule,) = outcome(scores, plan.kb.rules)["rules"]
        shares = {
            "first": rule["top1"]["after"],
            "low": rule["top1"]["low"],
            "high": rule["top1"]["high"],
            "chance": rule["top1"]["null"],
            "facts": rule["facts"]["top1"],
            "bridges": rule["bridges"]["top1"],
        }
        steps = sum("loss" in row for row in log) // len(SEEDS)
        print(
            _LINE.format(
                rule=name, before=before, steps=steps, **{key: f"{each:.2f}" for key, each in shares.items()}
            )
        )


if __name__ == "__main__":
    main()
