"""What is known: triples, relations, rules, and the knowledge base that holds them.

These are plain values that check themselves when they are made, wherever that is: what is wrong with one is a
DataError of one line. A triple is checked by the knowledge base that it is put into. No torch, no files.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal, get_args

from spillover.errors import DataError
from spillover.knowledge.checks import (
    ANSWER,
    check_answer,
    check_format,
    check_pairs,
    check_prompt,
    check_rules,
    check_text,
    check_word,
    check_wordings,
    each_once,
)
from spillover.knowledge.faults import show

RuleKind = Literal["causal", "spurious"]
Space = Literal["one", "none"]
Format = Literal["plain", "chat"]
Role = Literal["system", "user", "assistant"]
Turn = tuple[str, str]
"""(role, text); what files have may be of other roles than `Role`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Triple:
    """One piece of knowledge: `answer` is the answer to `relation` asked of `subject`."""

    subject: str
    relation: str
    answer: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Turns:
    """What a model's chat template puts before a question, between it and the answer, and after that."""

    before: str
    between: str
    after: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Relation:
    """A question that can be asked of a subject."""

    name: str
    prompt: str
    """Sentence up to the answer, or of a chat what the user says, with `{subject}` in it and no space at its
    end."""
    wordings: tuple[str, ...] = ()
    """Further wordings of the prompt, in each of which each triple is trained, too."""
    paraphrases: tuple[str, ...] = ()
    """Other wordings of the prompt, which are asked and never trained; an audit does without them."""
    candidates: tuple[str, ...] = ()
    """Distractors beyond the answers that the triples hold."""
    answer: str = ANSWER
    """What the model writes: `{answer}` alone, or in a sentence that is the same for every answer."""
    space: Space = "one"
    """What stands between prompt and answer; `none` for languages that are written without spaces."""
    format: Format = "plain"
    """`plain`: the answer goes on with the prompt's text; `chat`: user and assistant take turns."""
    system: str = ""
    """What a chat's system turn says; without it there is no such turn."""
    turns: Turns | None = None
    """Of a chat, as the model that is asked has them (`llm.chat.with_turns`); None while none is known."""

    def __post_init__(self) -> None:
        where = f"relation {show(self.name)}"
        check_text(self.name, "name", where)
        check_text(self.prompt, "prompt", where)
        check_prompt(self.prompt, where)
        for what in ("wording", "paraphrase", "candidate"):
            texts = getattr(self, f"{what}s")
            if isinstance(texts, str):
                raise DataError(f"{where}: {what}s are {show(texts)}, they must be a tuple of texts")
            for text in texts:
                check_text(text, what, where)
        check_wordings(self.prompt, self.wordings, self.paraphrases, lambda *_: where)
        check_answer(self.answer, where)
        check_word(self.space, "space", get_args(Space), where)
        check_word(self.format, "format", get_args(Format), where)
        check_format(self.format, self.system, self.space, where)

    @property
    def leads(self) -> str:
        """What the model writes before the answer: a space or none, and the answer's sentence up to it."""
        space = " " if self.format == "plain" and self.space == "one" else ""
        return space + self.answer.partition(ANSWER)[0]

    @property
    def trails(self) -> str:
        """What it writes after the answer, a chat's end of turn included; the end of plain text is not."""
        return self.answer.partition(ANSWER)[2] + (self.turns.after if self.turns else "")


@dataclass(frozen=True, kw_only=True, slots=True)
class Passage:
    """A text that is trained beside the triples, as it stands."""

    turns: tuple[Turn, ...]
    """Of a chat, all of them. Of plain text what is read (user; may be left out) and what is learned."""
    format: Format
    place: str = field(default="", compare=False)
    """File and record, for messages."""


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

    def __post_init__(self) -> None:
        for role, name in (("fact", self.fact), ("implication", self.implication)):
            check_text(name, role, self.place)
        if self.fact == self.implication:
            raise DataError(
                f"{self.place}: the rule's fact and implication are both {show(self.fact)}; "
                "name two different relations"
            )
        check_word(self.kind, "kind", get_args(RuleKind), self.place)
        if not isinstance(self.pairs, Mapping):
            raise DataError(f"{self.place}: pairs are {show(self.pairs)}, they must be a mapping of texts")
        for fact, answer in self.pairs.items():
            check_text(fact, "answer of a pair", self.place)
            check_text(answer, f"pair of {show(fact)}", self.place)
        whole = isinstance(self.bridges, int) and not isinstance(self.bridges, bool)
        if self.bridges is not None and not (whole and self.bridges >= 1):
            raise DataError(
                f"{self.place}: bridges must be a whole number from 1 up, or None, got {show(self.bridges)}"
            )

    @property
    def name(self) -> str:
        """`fact -> implication`, as messages and tables call the rule."""
        return f"{self.fact} -> {self.implication}"

    @property
    def place(self) -> str:
        """Where a complaint says the rule is: its source, else its name."""
        return self.source or f"rule {self.name}"


@dataclass(frozen=True, kw_only=True)
class KnowledgeBase:
    """A table of triples with the prompts that ask for them and the rules that run through it."""

    name: str
    triples: tuple[Triple, ...]
    relations: Mapping[str, Relation]
    rules: tuple[Rule, ...]
    mixture: tuple[Passage, ...] = ()
    """What is trained beside the triples."""
    notices: tuple[str, ...] = field(default=(), compare=False)
    """What a reader of the numbers must know of the table: one line each, for people."""

    def __post_init__(self) -> None:
        check_text(self.name, "name", "knowledge base")
        owner = f"knowledge base {self.name}"
        for name, part in (
            ("triples", self.triples),
            ("rules", self.rules),
            ("mixture", self.mixture),
            ("notices", self.notices),
        ):
            object.__setattr__(self, name, tuple(part))  # what gives its items only once is read once
        if not isinstance(self.relations, Mapping):
            raise DataError(f"{owner}: relations must map names to relations; give a mapping")
        for name, relation in self.relations.items():
            if not isinstance(relation, Relation) or relation.name != name:
                raise DataError(
                    f"{owner}: {show(name)} stands for {show(relation)}; give the Relation of that name"
                )
        for rule in self.rules:
            if not isinstance(rule, Rule):
                raise DataError(f"{owner}: got {show(rule)} among the rules; give a Rule")
        for number, passage in enumerate(self.mixture, start=1):
            if not isinstance(passage, Passage):
                raise DataError(
                    f"{owner}: passage {number} of the mixture is {show(passage)}; give a Passage"
                )
        check_rules(self.rules, self.relations, self._place, owner)
        for _ in each_once(
            self._sound_triples(owner), self.relations, lambda number: f"{owner}: triple {number}", owner
        ):
            pass
        check_pairs(
            self.rules, {name: answers.values() for name, answers in self.answers.items()}, self._place
        )

    def _place(self, part: str, number: int, *steps: str) -> str:
        """Where a rule is, for complaints about it or its parts."""
        return self.rules[number].place

    def _sound_triples(self, owner: str) -> Iterator[tuple[int, Triple]]:
        """The triples, numbered from 1 up, after a look at each distinct text."""
        sound: set[str] = set()
        for number, triple in enumerate(self.triples, start=1):
            if not isinstance(triple, Triple):
                raise DataError(f"{owner}: triple {number} is {show(triple)}; give a Triple")
            for what, text in (
                ("subject", triple.subject),
                ("relation", triple.relation),
                ("answer", triple.answer),
            ):
                if not (isinstance(text, str) and text in sound):
                    check_text(text, what, f"{owner}: triple {number}")
                    sound.add(text)
            yield number, triple

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
        return tuple(sorted(names | self._implied.get(relation, set())))

    @cached_property
    def _implied(self) -> Mapping[str, set[str]]:
        """The answers that the rules' pairs name, by implication."""
        implied: dict[str, set[str]] = {}
        for rule in self.rules:
            implied.setdefault(rule.implication, set()).update(rule.pairs.values())
        return implied


def without_template(kb: KnowledgeBase) -> KnowledgeBase:
    """The knowledge base with chats of bare words: as they are before any model's template is put around."""
    bare = Turns(before="", between="", after="")
    relations = {
        name: replace(relation, turns=bare) if relation.format == "chat" else relation
        for name, relation in kb.relations.items()
    }
    return replace(kb, relations=relations)
