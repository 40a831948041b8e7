"""The one rule from text to tokens, with tokenizers that add tokens of their own."""

from pathlib import Path
from typing import Any

import pytest
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer

from spillover.errors import TrainingError
from spillover.llm.encode import Unscorable, encode_pairs, end_token

TEXTS = [("Mara lives in", " Paris"), ("Odo speaks", " Spanish Portuguese")]


def tokenizer(folder: Path, template: str | None = None) -> Any:
    loaded = AutoTokenizer.from_pretrained(folder)
    loaded.add_special_tokens({"bos_token": "<bos>"})
    if template is not None:
        added = [(name, loaded.convert_tokens_to_ids(name)) for name in ("<bos>", "<eos>")]
        loaded.backend_tokenizer.post_processor = TemplateProcessing(single=template, special_tokens=added)
    return loaded


def test_a_tokenizer_that_appends_an_end_keeps_every_pair(llama_folder: Path) -> None:
    plain = encode_pairs(tokenizer(llama_folder), TEXTS)
    assert all(not isinstance(pair, Unscorable) for pair in plain)
    assert encode_pairs(tokenizer(llama_folder, "$A <eos>"), TEXTS) == plain


def test_a_beginning_stands_there_once(llama_folder: Path) -> None:
    begun = tokenizer(llama_folder, "<bos> $A <eos>")
    plain = encode_pairs(tokenizer(llama_folder), TEXTS)
    pairs = [pair for pair in plain if not isinstance(pair, Unscorable)]
    expected = [([begun.bos_token_id, *prompt], answer) for prompt, answer in pairs]
    assert encode_pairs(begun, TEXTS) == expected
    own = [("<bos>" + prompt, answer) for prompt, answer in TEXTS]
    assert encode_pairs(begun, own) == expected, "the prompt has a beginning of its own"
    assert encode_pairs(tokenizer(llama_folder), own) == expected


def test_an_answer_without_a_space(llama_folder: Path) -> None:
    loaded = tokenizer(llama_folder)
    one, none = encode_pairs(loaded, [("住在:", space + "巴黎") for space in (" ", "")])
    assert isinstance(one, tuple)
    assert isinstance(none, tuple)
    assert (loaded.decode(one[1]), loaded.decode(none[1])) == (" 巴黎", "巴黎")


def test_what_cannot_be_told_apart_has_a_reason(llama_folder: Path) -> None:
    merged, empty, nothing = encode_pairs(
        tokenizer(llama_folder), [("Mara lives in P", "aris"), ("Mara lives in", ""), ("", " Paris")]
    )
    assert merged is Unscorable.MERGED
    assert empty is Unscorable.EMPTY
    assert nothing is Unscorable.NO_PROMPT
    assert encode_pairs(tokenizer(llama_folder), []) == []


def test_a_tokenizer_without_an_end_cannot_train(llama_folder: Path) -> None:
    loaded = tokenizer(llama_folder)
    assert end_token(loaded) == loaded.eos_token_id
    loaded.eos_token = None
    with pytest.raises(TrainingError, match=r'no end token.* "eos_token" in tokenizer_config\.json'):
        end_token(loaded)
