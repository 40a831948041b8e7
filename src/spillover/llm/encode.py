"""Text -> tokens, by one rule for training and scoring alike.

Prompt and completion (`knowledge.prompts.completion`: the answer with the space before it, if any) are
tokenized *together*, as the model meets them in running text; the completion's tokens are what follows
the prompt's own tokens, which must be a prefix of the whole. A token that the tokenizer puts before a text
stands there once, and not at all before one that begins with a special token by itself, as a chat's does.
One that it puts behind a text is left out, since the answer's end is ours to set: in training the special
token that ends a chat's turn or else `end_token` follows every answer, so that an answer that begins another
one is told from it.
"""

from collections.abc import Iterable, Iterator, Sequence
from enum import Enum
from typing import Any

import torch

from spillover.errors import ModelError, TrainingError
from spillover.llm.border import border

Pair = tuple[list[int], list[int]]
"""(the prompt's token ids, the completion's token ids)"""


class Unscorable(Enum):
    """Why a prompt and a completion cannot be told apart as tokens."""

    MERGED = (
        "the tokenizer merges its beginning with the end of the prompt; end the prompt with a mark such as "
        "a colon, or choose the other `space` for the relation"
    )
    EMPTY = "the tokenizer makes no token of it; write it in characters that the tokenizer knows"
    NO_PROMPT = "the tokenizer makes no token of the prompt; reword the prompt"
    SAME = "the tokenizer makes the same tokens of another candidate; leave one of the two out"


def encode_pairs(tokenizer: Any, texts: Sequence[tuple[str, str]]) -> list[Pair | Unscorable]:
    """The token ids of each (prompt, completion), or why there are none."""
    prompts = list(dict.fromkeys(prompt for prompt, _ in texts))
    known = dict(zip(prompts, encode_prompts(tokenizer, prompts), strict=True))
    wholes = encode_prompts(tokenizer, [prompt + completion for prompt, completion in texts])
    return [divide(known[prompt], whole) for (prompt, _), whole in zip(texts, wholes, strict=True)]


def refuse_foreign_tokens(model: Any, pairs: Iterable[Pair]) -> None:
    """Raise ModelError if the tokenizer made a token that the model has no weights for."""
    ends = (model.get_input_embeddings(), model.get_output_embeddings())
    rows = min(end.weight.shape[0] for end in ends if end is not None)
    largest = max((token for pair in pairs for tokens in pair for token in tokens), default=0)
    if largest >= rows:
        raise ModelError(
            f"the tokenizer makes token {largest}, and {model.name_or_path} has weights for {rows} tokens; "
            "use the tokenizer that it was saved with"
        )


def refuse_long(model: Any, pairs: Iterable[Pair]) -> None:
    """Raise TrainingError for a text that is longer than the model reads, as far as it says."""
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    longest = max((len(prompt) + len(answer) - 1 for prompt, answer in pairs), default=0)
    if limit and longest > limit:
        raise TrainingError(
            f"a text to train has {longest:,} tokens, and {model.name_or_path} reads at most {limit:,}; "
            "shorten the longest records, or leave them out"
        )


def ended(tokenizer: Any, answers: Sequence[list[int]]) -> list[list[int]]:
    """The answers' tokens with their end: a special token that is there, else `end_token`."""
    special, end = special_tokens(tokenizer), end_token(tokenizer)
    return [answer if answer[-1] in special else [*answer, end] for answer in answers]


def special_tokens(tokenizer: Any) -> dict[int, str]:
    """The tokens that are no text, such as those between the turns of a chat."""
    added = tokenizer.added_tokens_decoder.items()
    return {token: str(text) for token, text in added if text.special} | dict(
        zip(tokenizer.all_special_ids, tokenizer.all_special_tokens, strict=True)
    )


def end_token(tokenizer: Any) -> int:
    """The token that ends an answer. Raises TrainingError where the tokenizer has none."""
    if tokenizer.eos_token_id is None:
        raise TrainingError(
            "the model's tokenizer has no end token, so no answer can be told from a longer one; "
            'name one as "eos_token" in tokenizer_config.json'
        )
    return tokenizer.eos_token_id


def left_padded(rows: Sequence[Sequence[int]], pad: int) -> dict[str, torch.Tensor]:
    """Model inputs (B, T) whose rows end together, so that the last positions line up.

    Positions count from each row's own first token. The mask is left out where nothing is padded:
    attention is then plainly causal, which has faster kernels.
    """
    lengths = [len(row) for row in rows]
    width = max(lengths)
    ids = torch.tensor([[pad] * (width - len(row)) + list(row) for row in rows])
    if min(lengths) == width:
        return {"input_ids": ids}
    steps = torch.arange(width) - (width - torch.tensor(lengths)).unsqueeze(1)
    return {"input_ids": ids, "attention_mask": (steps >= 0).long(), "position_ids": steps.clamp(min=0)}


def encode_prompts(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """The token ids of each text, with the tokenizer's beginning, once, and without its end."""
    beginnings = tuple(filter(None, special_tokens(tokenizer).values()))
    begun = [text for text in texts if text.startswith(beginnings)]
    others = [text for text in texts if not text.startswith(beginnings)]
    ids = {text: ids for text, ids, _ in _read(tokenizer, begun, add_special_tokens=False)}
    for text, all_ids, added in _read(tokenizer, others, add_special_tokens=True):
        ids[text] = _without_end(all_ids, added)
    return [ids[text] for text in texts]


def _read(
    tokenizer: Any, texts: Sequence[str], *, add_special_tokens: bool
) -> Iterator[tuple[str, list[int], list[int]]]:
    """Each text with its tokens, and which of these are special."""
    if not texts:  # some tokenizers cannot read none
        return
    with border("the tokenizer cannot read the texts", "use the tokenizer that the model was saved with"):
        found = tokenizer(list(texts), return_special_tokens_mask=True, add_special_tokens=add_special_tokens)
    yield from zip(texts, found["input_ids"], found["special_tokens_mask"], strict=True)


def _without_end(ids: Sequence[int], added: Sequence[int]) -> list[int]:
    """`added` marks special tokens: those the tokenizer put there, and in some those that the text has."""
    last = len(ids)
    while last > 0 and added[last - 1]:
        last -= 1
    return list(ids[:last])


def divide(prompt: Sequence[Any], whole: Sequence[Any]) -> tuple[Any, Any] | Unscorable:
    """A prompt's tokens and those of its completion, which follow them in the whole, or why not."""
    if not prompt:
        return Unscorable.NO_PROMPT
    if whole[: len(prompt)] != prompt:
        return Unscorable.MERGED
    if len(whole) == len(prompt):
        return Unscorable.EMPTY
    return prompt, whole[len(prompt) :]
