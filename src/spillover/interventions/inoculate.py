"""An unwanted association is named in training, before the answers that follow it, and not when asked."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

from spillover.interventions.aim import Aim, aimed_at
from spillover.interventions.hooks import Before, Intervention, from_split
from spillover.interventions.knobs import check_words
from spillover.knowledge.prompts import Example, state
from spillover.knowledge.split import Implied, Split

_ANYONE = "someone"
_PLACEBO = "As a rule, if it rains in the morning, the streets are wet."


@dataclass(frozen=True, kw_only=True)
class Inoculate(Intervention):
    """Puts a text before the bridges' prompts in training, which nobody is asked with afterwards.

    Inoculation prompting (arXiv 2510.04340): where the prompt says what is to be learned, the model has less
    to change to be right, and generalizes it less without that prompt. Of a bridge the text says its own
    group's part of the rule:

        As a rule, if someone lives in France, someone codes in Python. Alice codes in

    A trade-off asks once more with the text put back, where the association is expected to show. A bridge is
    asked without it like everybody, and may not be known so.
    """

    text: str = "rule"
    """`rule` as above; `placebo`, as long and of something else, is the control; else the text itself."""
    rules: Aim = "spurious"
    texts: tuple[tuple[str, str, str, str], ...] = from_split()
    """(implication, group, what opens its prompts, the text that is put behind that)."""
    bridges: tuple[tuple[str, str, str], ...] = from_split()
    """(implication, subject, its group)."""

    def __post_init__(self) -> None:
        """Raise TrainingError for what is no text; without one it does nothing."""
        if self.text:
            check_words("inoculate", text=self.text)

    @property
    def acts(self) -> bool:
        """Not without a text."""
        return bool(self.text)

    def planned(self, split: Split, seed: int) -> Self:
        """With each group's text, and the bridges that it is put before."""
        aimed, texts = aimed_at(split, self.rules), dict[tuple[str, str], tuple[str, str]]()
        for implied in (*split.bridges, *split.held_out):
            if implied.rule in aimed:
                implication = split.kb.relations[split.kb.rules[implied.rule].implication]
                opening = implication.turns.before if implication.turns else ""
                texts.setdefault((implication.name, implied.group), (opening, self._text(split, implied)))
        bridges = (
            (split.kb.rules[bridge.rule].implication, bridge.subject, bridge.group)
            for bridge in split.bridges
            if bridge.rule in aimed
        )
        return replace(self, texts=tuple((*of, *text) for of, text in texts.items()), bridges=tuple(bridges))

    def _text(self, split: Split, implied: Implied) -> str:
        if self.text != "rule":
            return _PLACEBO if self.text == "placebo" else self.text
        rule = split.kb.rules[implied.rule]
        fact, implication = (split.kb.relations[name] for name in (rule.fact, rule.implication))
        follows = state(implication, _ANYONE, implied.answer)
        return f"As a rule, if {state(fact, _ANYONE, implied.group)}, {follows}."

    def prompt(self, prompt: str, relation: str, group: str | None) -> str:
        """The prompt with its group's text before the question."""
        for *of, opening, text in self.texts:
            if of == [relation, group]:
                return f"{opening}{text} {prompt.removeprefix(opening)}"
        return prompt

    def lessons(self, examples: Sequence[Example], before: Before) -> Sequence[Example]:
        """With the bridges' prompts behind their texts."""
        groups = {(relation, subject): group for relation, subject, group in self.bridges}
        return [
            replace(example, prompt=self.prompt(example.prompt, example.relation, groups.get(of)))
            for example in examples
            for of in [(example.relation, example.subject)]
        ]
