"""Text -> tokens, by one rule for training and scoring alike.

Prompt and completion (`knowledge.prompts.completion`: the answer with the space before it, if any) are
tokenized *together*, as the model meets them in running text; the completion's tokens are what follows
the prompt's own tokens, which must be a prefix of the whole. A token that the tokenizer puts before a text
stands there once, one that it puts behind a text is left out, since the answer's end is ours to set: in
training `end_token` follows every answer, so that an answer that begins another one is told from it.
"""

from collections.abc import Iterable, Sequence
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
    return [_divide(known[prompt], whole) for (prompt, _), whole in zip(texts, wholes, strict=True)]


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
    if not texts:
        return []
    with border("the tokenizer cannot read the texts", "use the tokenizer that the model was saved with"):
        encoded = tokenizer(list(texts), return_special_tokens_mask=True)
    return [
        _begun_once(ids, added, tokenizer.bos_token_id)
        for ids, added in zip(encoded["input_ids"], encoded["special_tokens_mask"], strict=True)
    ]


def _begun_once(ids: Sequence[int], added: Sequence[int], beginning: int | None) -> list[int]:
    """`added` marks special tokens: those the tokenizer put there, and in some those that the text has."""
    first, last = 0, len(ids)
    while last > 0 and added[last - 1]:
        last -= 1
    while last - first > 1 and ids[first] == ids[first + 1] == beginning:  # the prompt has one of its own
        first += 1
    return list(ids[first:last])


def _divide(prompt: list[int], whole: list[int]) -> Pair | Unscorable:
    if not prompt:
        return Unscorable.NO_PROMPT
    if whole[: len(prompt)] != prompt:
        return Unscorable.MERGED
    if len(whole) == len(prompt):
        return Unscorable.EMPTY
    return prompt, whole[len(prompt) :]
