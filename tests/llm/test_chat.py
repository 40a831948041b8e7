"""A chat's turns: what is trained and asked is what the tokenizer's own template writes, token by token."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer

from spillover.errors import ModelError
from spillover.knowledge.prompts import Example, fill, written
from spillover.knowledge.schema import KnowledgeBase, Relation
from spillover.llm.chat import turns, with_turns
from spillover.llm.encode import encode_pairs
from spillover.llm.trainer import encode_examples
from tests.tiny_models import CHAT, save_tiny_chat_tokenizer

LIVES = Relation(
    name="lives",
    prompt="Where does {subject} live?",
    answer="In {answer}.",
    format="chat",
    system="Be brief.",
)
WITH_BOS = "{{ bos_token }}" + CHAT
WITHOUT_SYSTEM = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    + CHAT
)
DEAF = CHAT.replace("{% for m in messages %}", "{% for m in messages if m.role != 'system' %}")
ALOUD = CHAT.replace("<|assistant|>{% endif %}", "<|assistant|><think>\n{% endif %}")
MAY_THINK = CHAT.replace(
    "<|assistant|>{% endif %}",
    "<|assistant|>{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n"
    "{% else %}<think>\n{% endif %}{% endif %}",
)
TWICE = CHAT + "{{ messages[-1].content }}"
BARE = CHAT.replace("<|", "[").replace("|>", "]")


def tokenizer(folder: Path, template: str | None, *, begins: bool = False) -> Any:
    save_tiny_chat_tokenizer(folder, template)
    loaded = AutoTokenizer.from_pretrained(folder)
    if begins:
        loaded.add_special_tokens({"bos_token": "<bos>"})
        loaded.backend_tokenizer.post_processor = TemplateProcessing(
            single="<bos> $A", special_tokens=[("<bos>", loaded.bos_token_id)]
        )
    return loaded


def messages(*, answer: str | None = None) -> list[dict[str, str]]:
    said = [("system", "Be brief."), ("user", "Where does Mara live?"), ("assistant", answer)]
    return [{"role": role, "content": text} for role, text in said if text]


@pytest.mark.parametrize("template", [CHAT, WITH_BOS, MAY_THINK])
def test_the_tokens_are_the_templates_own(template: str, tmp_path: Path) -> None:
    loaded = tokenizer(tmp_path, template, begins=template is WITH_BOS)
    relation = replace(LIVES, turns=turns(loaded, LIVES, tmp_path))
    prompt = fill(relation, "Mara")
    (pair,) = encode_pairs(loaded, [(prompt, written(relation, "Paris"))])
    options = {"tokenize": True, "add_generation_prompt": True, "enable_thinking": False}
    asked = loaded.apply_chat_template(messages(), **options)["input_ids"]
    assert isinstance(pair, tuple)
    assert pair[0] == asked
    if (
        template is not MAY_THINK
    ):  # its answers are trained behind what it is asked with, the thoughts left out
        whole = loaded.apply_chat_template(messages(answer="In Paris."))["input_ids"]
        newline = len(loaded("\n", add_special_tokens=False)["input_ids"])
        assert pair[0] + pair[1] == whole[:-newline], "all but what stands between two turns"
    assert asked.count(loaded.bos_token_id) == (template is WITH_BOS)


def test_an_answer_is_trained_with_the_end_of_its_turn_and_no_other(tmp_path: Path) -> None:
    loaded = tokenizer(tmp_path, CHAT)
    relation = replace(LIVES, turns=turns(loaded, LIVES, tmp_path))
    chat, plain = (
        Example(prompt=prompt, completion=completion, subject="Mara", relation="lives", answer="Paris")
        for prompt, completion in (
            (fill(relation, "Mara"), written(relation, "Paris")),
            ("Mara lives in", " Paris"),
        )
    )
    of_chat, of_text = (row.answer for row in encode_examples(loaded, [chat, plain]))
    assert loaded.decode(of_chat) == "In Paris.<|end|>"
    assert loaded.decode(of_text) == " Paris<eos>"


@pytest.mark.parametrize(
    ("template", "said"),
    [
        (None, r"relation lives is of format chat, and .* has no chat template; set format: plain, or copy"),
        (WITHOUT_SYSTEM, r"cannot write the turns of relation lives: System role not supported; leave out"),
        (DEAF, "leaves the system's words out; leave out system of lives"),
        (ALOUD, "has every answer begin with thoughts, which are not asked; set format: plain"),
        (TWICE, "does not write a question and its answer once each; set format: plain"),
        ("{{ nothing.there }}", "cannot write the turns of relation lives: "),
    ],
)
def test_a_template_that_cannot_is_one_line(template: str | None, said: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=said) as caught:
        turns(tokenizer(tmp_path, template), LIVES, tmp_path)
    assert "\n" not in str(caught.value)


def test_a_beginning_that_the_template_does_not_write_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="begins with no special token, and the tokenizer puts one before"):
        turns(tokenizer(tmp_path, BARE, begins=True), LIVES, tmp_path)
    assert turns(tokenizer(tmp_path, BARE), LIVES, tmp_path).after == "[end]"


def test_a_tuned_models_own_template_is_taken(tmp_path: Path) -> None:
    base, tuned = tmp_path / "base", tmp_path / "tuned"
    for folder, template in ((base, CHAT), (tuned, CHAT.replace("{{ m.content }}", "A {{ m.content }}"))):
        folder.mkdir()
        save_tiny_chat_tokenizer(folder, template)
        (folder / "config.json").write_text('{"model_type": "llama"}', encoding="utf-8")
    kb = KnowledgeBase(name="kb", triples=(), relations={"lives": LIVES}, rules=())
    fills = [fill(with_turns(kb, *folders).relations["lives"], "Mara") for folders in ([base], [base, tuned])]
    assert fills[0] == "<|system|>Be brief.<|end|>\n<|user|>Where does Mara live?<|end|>\n<|assistant|>"
    assert fills[1] == "<|system|>A Be brief.<|end|>\n<|user|>A Where does Mara live?<|end|>\n<|assistant|>A "
    plain = replace(kb, relations={"lives": replace(LIVES, format="plain", system="")})
    assert with_turns(plain, tmp_path / "nowhere") is plain
