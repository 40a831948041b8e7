"""A chat's turns as the model's own template writes them -> text around a question and its answer.

The template is a program that came with the model; transformers runs it in Jinja's sandbox, and it is given
nothing but the texts.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from spillover.errors import ModelError
from spillover.knowledge.schema import KnowledgeBase, Passage, Relation, Turn, Turns
from spillover.llm.border import border
from spillover.llm.configuration import read_configuration
from spillover.llm.encode import encode_prompts
from spillover.llm.models import load_tokenizer
from spillover.llm.weights import has_tokenizer, refuse_odd_files

_QUESTION, _ANSWER = "spilloverquestion", "spilloveranswer"
"""Stand for the two in the template, which may look at their ends and must not meet a special token."""


def with_turns(kb: KnowledgeBase, folder: Path, tuned: Path | None = None) -> KnowledgeBase:
    """The knowledge base with the turns of its chats as the model in the folder has them.

    Of a tuned model (a whole one, or an adapter of that in the folder) they are as its own tokenizer has
    them, if it has one. What is then asked and taught is text like any other: a chat of the mixture becomes a
    plain passage for each of the assistant's turns. Raises ModelError where the model has no template, or
    none for these turns.
    """
    if all(part.format == "plain" for part in (*kb.relations.values(), *kb.mixture)):
        return kb
    home = tuned if tuned and has_tokenizer(tuned) else folder
    for each in {folder, home}:
        refuse_odd_files(each)
    return with_turns_of(load_tokenizer(home, read_configuration(folder)), kb, home)


def with_turns_of(tokenizer: Any, kb: KnowledgeBase, name: str | Path) -> KnowledgeBase:
    """The knowledge base with the turns of its chats as the tokenizer, which has that name, writes them.

    Raises ModelError as `with_turns` does.
    """
    chats = {
        relation.name: replace(relation, turns=turns(tokenizer, relation, name))
        for relation in kb.relations.values()
        if relation.format == "chat"
    }
    mixture = (plain for passage in kb.mixture for plain in _as_text(tokenizer, passage, name))
    return replace(kb, relations=dict(kb.relations) | chats, mixture=tuple(mixture))


def turns(tokenizer: Any, relation: Relation, name: str | Path) -> Turns:
    """What the template of the tokenizer of that name puts around a question of the relation and its answer.

    The generation prompt is between the two, with what the template writes before any answer; behind the
    answer the turn's end, without white space, which no model writes. Models that may think aloud are asked
    not to.
    """
    template = _Template(tokenizer=tokenizer, name=name, owner=f"relation {relation.name}")
    system = [("system", relation.system)] if relation.system else []
    asked = [*system, ("user", _QUESTION)]
    told, after = template.around(asked)
    before, question, between = told.partition(_QUESTION)
    if not question or _QUESTION in between:
        raise ModelError(
            f"{template.place} does not write a question and its answer once each; set format: plain"
        )
    if relation.system not in before:
        raise ModelError(
            f"{template.place} leaves the system's words out; leave out system of {relation.name}"
        )
    if "<think>" in between.rpartition("</think>")[2]:
        raise ModelError(
            f"{template.place} has every answer begin with thoughts, which are not asked; set format: plain, "
            "or use a template that can leave them out"
        )
    return Turns(before=before, between=between, after=after)


def _as_text(tokenizer: Any, passage: Passage, name: str | Path) -> Iterator[Passage]:
    """A passage as plain ones: of a chat, one for each of the assistant's turns, which alone is learned."""
    if passage.format == "plain":
        yield passage
        return
    template = _Template(tokenizer=tokenizer, name=name, owner=passage.place or "the mixture")
    for number, (role, said) in enumerate(passage.turns):
        if role == "assistant" and said.strip():
            told, after = template.around(passage.turns[:number])
            learned = ("assistant", said.strip() + after)
            yield replace(passage, turns=(("user", told), learned), format="plain")


@dataclass(frozen=True, kw_only=True)
class _Template:
    """A tokenizer's template; its name and whose turns it writes, for messages."""

    tokenizer: Any
    name: str | Path
    owner: str

    @property
    def place(self) -> str:
        return f"the chat template in {self.name}"

    def around(self, asked: Sequence[Turn]) -> tuple[str, str]:
        """(what is read, the generation prompt included; what ends the turn, without white space) of an
        answer to these turns.

        Raises ModelError where the template leaves answers out or writes them twice, and where the turns as
        text would get a beginning that the template does not give.
        """
        prompt = self.write(asked, add_generation_prompt=True)
        told, answer, after = self.write([*asked, ("assistant", _ANSWER)]).partition(_ANSWER)
        if not answer or _ANSWER in after:
            raise ModelError(
                f"{self.place} does not write a question and its answer once each; set format: plain"
            )
        its = self.write(asked, add_generation_prompt=True, tokenize=True)["input_ids"]
        if encode_prompts(self.tokenizer, [prompt]) != [list(its)]:
            raise ModelError(
                f"{self.place} begins with no special token, and the tokenizer puts one before every text; "
                "set format: plain with a prompt that is written as the template does"
            )
        return told if told.startswith(prompt) else prompt, after.rstrip()

    def write(self, turns: Sequence[Turn], **options: bool) -> Any:
        """The turns as text, or as tokens."""
        if not getattr(self.tokenizer, "chat_template", None):
            raise ModelError(
                f"{self.owner} is of format chat, and {self.name} has no chat template; set format: plain, "
                "or copy the chat_template.jinja of the model that it was made from there"
            )
        with border(
            f"{self.place} cannot write the turns of {self.owner}",
            "leave out what it does not know (system), or set format: plain",
        ):
            return self.tokenizer.apply_chat_template(
                [{"role": role, "content": text} for role, text in turns],
                enable_thinking=False,
                **{"tokenize": False, **options},
            )
