"""What is known: triples, relations, rules, and the knowledge base that holds them.

These are plain values, already checked by whoever made them (`read.py` for files, `builtin.py`
for the built-in data sets). No torch, no files.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

RuleKind = Literal["causal", "spurious"]
Space = Literal["one", "none"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Triple:
    """One piece of knowledge: `answer` is the answer to `relation` asked of `subject`."""

    subject: str
    relation: str
    answer: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Relation:
    """A question that can be asked of a subject."""

    name: str
    prompt: str
    """Sentence up to the answer, with `{subject}` in it and no space at its end."""
    candidates: tuple[str, ...] = ()
    """Distractors beyond the answers that the triples hold."""
    space: Space = "one"
    """What stands between prompt and answer; `none` for languages that are written without spaces."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """The implication b_i -> c_i: a subject whose `fact` is b_i has c_i as its `implication`."""

    fact: str
    implication: str
    kind: RuleKind = "spurious"
    """`causal`: the rule is wanted, following it is generalization; `spurious`: it is hallucination."""
    pairs: Mapping[str, str] = field(default_factory=dict)
    """b_i -> c_i. Where it is silent, the bridges show the pair."""
    bridges: int | None = None
    """Bridges drawn per group, by seed; None: every subject whose implication the table holds."""
    source: str = field(default="", compare=False)
    """Where it was written, `people.yaml:7`, for messages; empty for rules made in code."""

    @property
    def name(self) -> str:
        """`fact -> implication`, as messages and tables call the rule."""
        return f"{self.fact} -> {self.implication}"


@dataclass(frozen=True, kw_only=True)
class KnowledgeBase:
    """A table of triples with the prompts that ask for them and the rules that run through it."""

    name: str
    triples: tuple[Triple, ...]
    relations: Mapping[str, Relation]
    rules: tuple[Rule, ...]

    @cached_property
    def answers(self) -> Mapping[str, Mapping[str, str]]:
        """relation -> subject -> answer, in the order of the triples."""
        table: dict[str, dict[str, str]] = {name: {} for name in self.relations}
        for triple in self.triples:
            table[triple.relation][triple.subject] = triple.answer
        return table

    def candidates(self, relation: str) -> tuple[str, ...]:
        """Every answer that a query of `relation` chooses among, sorted: the table's answers,
        the answers that the rules' pairs name, and the relation's own distractors."""
        names = set(self.relations[relation].candidates) | set(self.answers[relation].values())
        for rule in self.rules:
            if rule.implication == relation:
                names |= set(rule.pairs.values())
        return tuple(sorted(names))
