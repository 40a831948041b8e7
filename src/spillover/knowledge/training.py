"""A knowledge base or a split -> the table that is trained on, by its patterns, and the rules asked of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from spillover.knowledge.patterns import Patterns, group_triples
from spillover.knowledge.schema import KnowledgeBase, Relation, Rule, Triple
from spillover.knowledge.split import Split


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingTable:
    """What is trained on, and the rules whose implications are asked."""

    name: str
    patterns: Patterns
    """Its names are the table's, sorted, and behind them those that only rules or held-out subjects have."""
    rules: tuple[Rule, ...]
    asked: Mapping[str, Relation] = field(default_factory=dict)
    """How its relations are asked, where that is known; of a bare table it is not."""
    mixed: bool = False
    """Whether other text is trained beside it."""
    split: Split | None = None
    """Says who is held out; None: whoever has a rule's fact and not its implication."""

    def __post_init__(self) -> None:
        relations = {name for rule in self.rules for name in (rule.fact, rule.implication)}
        answers = {name for rule in self.rules for name in rule.pairs.values()}
        answers |= {implied.answer for implied in self.split.held_out} if self.split else set()
        patterns = replace(
            self.patterns,
            relations=_with(self.patterns.relations, relations),
            answers=_with(self.patterns.answers, answers),
        )
        object.__setattr__(self, "patterns", patterns)

    @classmethod
    def whole(cls, kb: KnowledgeBase) -> "TrainingTable":
        """All triples of a knowledge base; its rules draw no bridges."""
        return cls._of(kb, kb.triples)

    @classmethod
    def of_split(cls, split: Split) -> "TrainingTable":
        """The training triples of a split."""
        return cls._of(split.kb, split.training, split)

    @classmethod
    def _of(cls, kb: KnowledgeBase, told: Sequence[Triple], split: Split | None = None) -> "TrainingTable":
        return cls(
            name=kb.name,
            patterns=replace(group_triples(told), notices=kb.notices),
            rules=kb.rules,
            asked=kb.relations,
            mixed=bool(kb.mixture),
            split=split,
        )


def _with(names: tuple[str, ...], others: set[str]) -> tuple[str, ...]:
    return (*names, *sorted(others - set(names)))
