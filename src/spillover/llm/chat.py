"""A chat's turns as the model's own template writes them -> text around a question and its answer.

The template is a program that came with the model; transformers runs it in Jinja's sandbox, and it is given
nothing but the texts.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from spillover.errors import ModelError
from spillover.knowledge.schema import KnowledgeBase, Relation, Turns
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
    them, if it has one. What is then asked and taught is text like any other. Raises ModelError where the
    model has no template, or none for these turns.
    """
    if all(relation.format == "plain" for relation in kb.relations.values()):
        return kb
    home = tuned if tuned and has_tokenizer(tuned) else folder
    for each in {folder, home}:
        refuse_odd_files(each)
    return with_turns_of(load_tokenizer(home, read_configuration(folder)), kb, home)


def with_turns_of(tokenizer: Any, kb: KnowledgeBase, name: str | Path) -> KnowledgeBase:
    """The knowledge base with the turns of its chats as the tokenizer, which has that name, writes them.

    Raises ModelError as `with_turns` does.
    """
    known = {
        relation.name: replace(relation, turns=turns(tokenizer, relation, name))
        for relation in kb.relations.values()
        if relation.format == "chat"
    }
    return replace(kb, relations=dict(kb.relations) | known)


def turns(tokenizer: Any, relation: Relation, name: str | Path) -> Turns:
    """What the template of the tokenizer of that name puts around a question of the relation and its answer.

    The generation prompt is between the two, with what the template writes before any answer; behind the
    answer the turn's end, without white space, which no model writes. Models that may think aloud are asked
    not to.
    """
    place = f"the chat template in {name}"
    if not getattr(tokenizer, "chat_template", None):
        raise ModelError(
            f"relation {relation.name} is of format chat, and {name} has no chat template; set format: "
            "plain, or copy the chat_template.jinja of the model that it was made from there"
        )
    system = [{"role": "system", "content": relation.system}] if relation.system else []
    asked = [*system, {"role": "user", "content": _QUESTION}]
    answered = [*asked, {"role": "assistant", "content": _ANSWER}]

    def written(turns: list[dict[str, str]], **options: Any) -> Any:
        with border(
            f"{place} cannot write the turns of relation {relation.name}",
            "leave out what it does not know (system), or set format: plain",
        ):
            return tokenizer.apply_chat_template(turns, enable_thinking=False, **options)

    prompt = written(asked, tokenize=False, add_generation_prompt=True)
    told, answer, after = written(answered, tokenize=False).rpartition(_ANSWER)
    before, question, between = (told if told.startswith(prompt) else prompt).partition(_QUESTION)
    if not (question and answer) or _QUESTION in between:
        raise ModelError(f"{place} does not write a question and its answer once each; set format: plain")
    if relation.system not in before:
        raise ModelError(f"{place} leaves the system's words out; leave out system of {relation.name}")
    if "<think>" in between.rpartition("</think>")[2]:
        raise ModelError(
            f"{place} has every answer begin with thoughts, which are not asked; set format: plain, or use a "
            "template that can leave them out"
        )
    its = written(asked, tokenize=True, add_generation_prompt=True)["input_ids"]
    if encode_prompts(tokenizer, [prompt]) != [list(its)]:
        raise ModelError(
            f"{place} begins with no special token, and the tokenizer puts one before every text; "
            "set format: plain with a prompt that is written as the template does"
        )
    return Turns(before=before, between=between, after=after.rstrip())
