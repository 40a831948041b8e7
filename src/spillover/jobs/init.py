"""`spillover init`: a table -> a YAML that an audit takes as it stands, with every key explained."""

import math
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from spillover.errors import DataError
from spillover.implication.asking import too_few_to_tell
from spillover.implication.discovery import Association, associations
from spillover.jobs.forecast import ALPHA
from spillover.knowledge.faults import listed, show
from spillover.knowledge.load import load
from spillover.knowledge.patterns import group_triples
from spillover.knowledge.schema import KnowledgeBase, Rule
from spillover.knowledge.split import split
from spillover.knowledge.table import TABLES
from spillover.runs import files
from spillover.runs.progress import Progress, silent

_BRIDGES = 4
"""Of a group, where the table has everybody's implication and some must be held out."""

_MOST = 10
"""Rules of which the table has too few bridges to tell, that are written as comments."""

_HEAD = """\
# A knowledge base of spillover. What stands behind # is a comment: remove the # to use a line.
#   spillover forecast {yaml}    what the rules will teach, in seconds, without a model
#   spillover audit {yaml}       tune a model on the table, and ask it what is beyond
name: {name}
triples: {table}    # the table of subject, relation, answer; its place is seen from here
# mixture: other.jsonl    # what else is trained beside the table, as it stands: chats, prompts, running text

# What is asked of each subject: the sentence up to the answer. Reword it until it reads well.
# Beside its prompt a relation may have
#   wordings: ["{{subject}} has a home in"]    # further wordings, in which each fact is trained, too
#   paraphrases: ["Home of {{subject}}:"]    # other wordings, which are asked and never trained
#   candidates: [Lima, Cairo]    # wrong answers to choose among, beyond the answers in the table
#   answer: "In {{answer}}."    # what the model writes, where that is more than the answer
#   space: none    # no space between prompt and answer, for languages without spaces
#   format: chat    # the prompt is what a user says, the answer what the assistant does
#   system: Be brief.    # what the system's turn of a chat says
relations:
"""

_RULES = """
# What may follow though nobody says so: who has the fact and was not told the implication is asked it.
#   kind: spurious, a rule that the model should not invent; or causal, one that you want it to learn
# Beside fact, implication and kind a rule may have
#   pairs: {Rome: Perl}    # what follows from which answer, where the table does not show it
#   bridges: 4    # of each group so many are told the implication, drawn by seed, and all others held out
"""

_NO_RULES = (
    "rules: []    # in the place of [] put lines such as   - {fact: X, implication: Y, kind: spurious}"
)


@dataclass(frozen=True, kw_only=True)
class SuggestedRule:
    """A rule that the table shows, and what a reader should know of it."""

    rule: Rule
    said: str
    taken: bool
    """Whether it stands in the YAML as a rule; False: as a comment."""


def init(table: str | Path, out: str | Path | None = None, *, progress: Progress = silent) -> dict[str, Any]:
    """Write a YAML for a table: each relation with a prompt from its name, and the rules that it shows.

    `out` is by default the table's own name with `.yaml`. A rule is written where two relations go together
    beyond chance (`implication.discovery`) and a split by it has bridges and held-out subjects; what else is
    found is written as a comment with the reason. All rules are called spurious. Returns {"file",
    "relations", "rules": ["fact -> implication"], "notes"}.

    Raises DataError for a table that cannot be read, and RunError where `out` cannot be written, or is there.
    """
    table = Path(table)
    if table.suffix.lower() not in TABLES:
        raise DataError(f"{table}: not a table; give one of subject, relation, answer as {listed(TABLES)}")
    out = table.with_suffix(".yaml") if out is None else Path(out)
    if out.suffix.lower() not in (".yaml", ".yml"):
        raise DataError(f"{out}: a knowledge base is a .yaml file; give it that suffix")
    files.unused(out)
    kb = load(table)
    suggestions = suggest_rules(kb, progress)
    place = os.path.relpath(table.absolute(), out.absolute().parent)
    with files.writing(out):
        files.write_text(out, "\n".join(_lines(kb, suggestions, place, out)) + "\n")
    rules = [each.rule.name for each in suggestions if each.taken]
    return {
        "file": str(out),
        "relations": list(kb.relations),
        "rules": rules,
        "notes": [*kb.notices, *([] if rules else [_without_rules(suggestions)])],
    }


def _without_rules(suggestions: Sequence[SuggestedRule]) -> str:
    if not suggestions:
        return "no two relations of the table go together; write the rule that you mean under `rules`"
    first = suggestions[0]
    return (
        f"the table alone makes no rule; what it hints at stands as comments in the file, {first.rule.name} "
        f"first ({first.said}): write the rule that you mean under `rules`"
    )


def suggest_rules(kb: KnowledgeBase, progress: Progress = silent) -> list[SuggestedRule]:
    """What goes together beyond chance, first where the table itself holds out; then what it cannot tell."""
    patterns, order = group_triples(kb.triples), list(kb.relations)
    pairs = associations(
        patterns, alpha=ALPHA, progress=lambda done, all_: progress("look for rules", done, all_)
    )

    def directed(pair: Association) -> Rule:
        """To where somebody lacks the implication, else in the table's order."""
        one, other = sorted((patterns.relations[number] for number in pair.relations), key=order.index)
        there, back = _rule(kb, one, other), _rule(kb, other, one)
        return back if there.bridges and not back.bridges else there

    def place(rule: Rule) -> tuple[bool, int, int]:
        return rule.bridges is not None, order.index(rule.fact), order.index(rule.implication)

    found = list[SuggestedRule]()
    for rule in sorted((directed(pair) for pair in pairs if pair.adjusted <= ALPHA), key=place):
        found.append(_tried(kb, [each.rule for each in found if each.taken], rule))
    for pair in too_few_to_tell(patterns, pairs)[:_MOST]:
        said = f"{pair.bridges} with both are too few to tell whether they go together"
        found.append(SuggestedRule(rule=directed(pair), said=said, taken=False))
    return found


def _rule(kb: KnowledgeBase, fact: str, implication: str) -> Rule:
    """The rule, whose bridges are drawn where the table tells everybody's implication."""
    facts = kb.answers[fact]
    if facts.keys() - kb.answers[implication].keys():
        return Rule(fact=fact, implication=implication)
    smallest = min(Counter(facts.values()).values())
    return Rule(fact=fact, implication=implication, bridges=max(1, min(_BRIDGES, smallest // 2)))


def _tried(kb: KnowledgeBase, taken: Sequence[Rule], rule: Rule) -> SuggestedRule:
    """The rule, if the table can be split by it beside those that are taken; else why not."""
    if rule.bridges and any(other.bridges is None for other in taken):
        return SuggestedRule(
            rule=rule, said="the table tells everybody, so some would be held out", taken=False
        )
    try:
        parts = split(replace(kb, rules=(*taken, rule)), seed=0)
    except DataError as error:
        said = str(error).removeprefix(f"knowledge base {kb.name}: rule {rule.name}").lstrip(": ")
        return SuggestedRule(rule=rule, said=said, taken=False)
    bridges, held_out = (
        sum(each.rule == len(taken) for each in side) for side in (parts.bridges, parts.held_out)
    )
    return SuggestedRule(rule=rule, said=f"{bridges} bridges, {held_out} held out", taken=True)


def _lines(kb: KnowledgeBase, suggestions: Sequence[SuggestedRule], table: str, out: Path) -> Iterator[str]:
    """The file, line by line; what comes from the table is quoted and never breaks its line."""
    names = {"yaml": _quoted(out.name), "name": _quoted(kb.name), "table": _quoted(table)}
    yield _HEAD.format(**names).rstrip("\n")
    for name, relation in kb.relations.items():
        answers = Counter(kb.answers[name].values())
        most = ", ".join(show(answer) for answer, _ in answers.most_common(3))
        yield f"  {_quoted(name)}:    # {answers.total()} subjects; {len(answers)} answers, such as {most}"
        yield f"    prompt: {_quoted(relation.prompt)}"
    yield _RULES.rstrip("\n")
    taken = any(each.taken for each in suggestions)
    yield "rules:" if taken else _NO_RULES
    for each in suggestions:
        said = "".join(sign if sign.isprintable() else " " for sign in each.said)
        yield f"{'  - ' if each.taken else '#  - '}{_flow(each.rule)}    # {said}"


def _flow(rule: Rule) -> str:
    """The rule's entry on one line."""
    entry = {"fact": rule.fact, "implication": rule.implication, "kind": rule.kind}
    bridges = {"bridges": rule.bridges} if rule.bridges else {}
    return "{" + ", ".join(f"{key}: {_quoted(str(value))}" for key, value in (entry | bridges).items()) + "}"


def _quoted(text: str) -> str:
    """The text as YAML writes it on one line, in quotes unless it is a plain word."""
    if re.fullmatch(r"\w[\w.-]*", text, re.ASCII):
        return text
    return yaml.safe_dump(text, default_style='"', width=math.inf, allow_unicode=True).strip()
