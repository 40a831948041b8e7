"""Text -> tokens, by one rule for training and scoring alike.

A completion starts with exactly one space (`knowledge.prompts.completion`). Prompt and completion are
tokenized *together*, as the model meets them in running text; the completion's tokens are what
follows the prompt's own tokens, which must be a prefix of the whole.
"""

from collections.abc import Sequence
from typing import Any

import torch

Pair = tuple[list[int], list[int]]
"""(the prompt's token ids, the completion's token ids)"""


def encode_pairs(tokenizer: Any, texts: Sequence[tuple[str, str]]) -> list[Pair | None]:
    """The token ids of each (prompt, completion); None where the rule cannot hold.

    It cannot hold where the tokenizer merges across the border, so that the prompt's tokens are no
    prefix of the whole, or where the completion adds no token.
    """
    if not texts:
        return []
    unique_prompts = list(dict.fromkeys(prompt for prompt, _ in texts))
    prompts = dict(zip(unique_prompts, tokenizer(unique_prompts)["input_ids"], strict=True))
    wholes = tokenizer([prompt + completion for prompt, completion in texts])["input_ids"]
    return [_divide(prompts[prompt], whole) for (prompt, _), whole in zip(texts, wholes, strict=True)]


def _divide(prompt: list[int], whole: list[int]) -> Pair | None:
    if len(whole) <= len(prompt) or whole[: len(prompt)] != prompt or not prompt:
        return None
    return prompt, whole[len(prompt) :]


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
