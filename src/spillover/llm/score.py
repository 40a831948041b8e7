"""Queries -> every candidate's log-probability.

The score of a candidate is the log-probability of its whole text after the prompt, summed over its
tokens (no length normalization), with the one rule for the space of `llm/encode.py`. Each prompt is
run once: its last position gives every candidate's first token, and only candidates of several tokens
run further, from the prompt's cached keys and values.

Legend of shapes: B prompts, T prompt tokens, N continuations, L tokens of a continuation, V vocabulary.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from spillover.knowledge.prompts import Query
from spillover.llm.encode import Pair, encode_pairs, left_padded

TOKENS_PER_BATCH = 2048
"""Prompt tokens run at once: fills two cores, and keeps logits of a large vocabulary small."""


def score(
    model: Any,
    tokenizer: Any,
    queries: Sequence[Query],
    *,
    on_step: Callable[[int, int], None] = lambda done, all_: None,
) -> list[np.ndarray]:
    """For each query, the float64 log-probabilities of its candidates, in their order.

    NaN stands where a candidate cannot be scored because the tokenizer merges it with the prompt:
    unscored, never wrong.
    """
    texts = [(query.prompt, text) for query in queries for text in query.completions]
    encoded = iter(encode_pairs(tokenizer, texts))
    scores = [np.full(len(query.candidates), np.nan) for query in queries]

    # prompt tokens -> answer tokens -> the places (query, candidate) that ask for this pair
    places: dict[tuple[int, ...], dict[tuple[int, ...], list[tuple[int, int]]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for q, query in enumerate(queries):
        for c in range(len(query.candidates)):
            pair = next(encoded)
            if pair is not None:
                places[tuple(pair[0])][tuple(pair[1])].append((q, c))

    done = 0
    for batch in _batches(sorted(places, key=len)):
        pairs: list[Pair] = [(list(prompt), list(answer)) for prompt in batch for answer in places[prompt]]
        for (prompt, answer), value in zip(
            pairs, _log_probabilities(model, pairs, tokenizer.pad_token_id), strict=True
        ):
            for q, c in places[tuple(prompt)][tuple(answer)]:
                scores[q][c] = value
        done += len(batch)
        on_step(done, len(places))
    return scores


def _batches(prompts: Sequence[tuple[int, ...]]) -> Iterator[list[tuple[int, ...]]]:
    """Runs of prompts, sorted by length, that fit in TOKENS_PER_BATCH with their padding."""
    batch: list[tuple[int, ...]] = []
    for prompt in prompts:
        if batch and len(prompt) * (len(batch) + 1) > TOKENS_PER_BATCH:
            yield batch
            batch = []
        batch.append(prompt)
    if batch:
        yield batch


@torch.inference_mode()
def _log_probabilities(model: Any, pairs: Sequence[Pair], pad: int) -> list[float]:
    """The log-probability of each pair's answer after its prompt; equal prompts stand together."""
    prompts = list(dict.fromkeys(tuple(prompt) for prompt, _ in pairs))
    row = {prompt: b for b, prompt in enumerate(prompts)}
    rows_N = torch.tensor([row[tuple(prompt)] for prompt, _ in pairs])
    inputs = {name: tensor.to(model.device) for name, tensor in left_padded(prompts, pad).items()}
    longer = [n for n, (_, answer) in enumerate(pairs) if len(answer) > 1]
    outputs = model(**inputs, use_cache=bool(longer), logits_to_keep=1)
    first_BV = outputs.logits[:, -1].double().log_softmax(-1).cpu()
    first_N = torch.tensor([answer[0] for _, answer in pairs])
    totals_N = first_BV[rows_N, first_N]
    if longer:
        totals_N[longer] += _continuations(
            model, inputs, outputs.past_key_values, rows_N[longer], [pairs[n][1] for n in longer], pad
        )
    return totals_N.tolist()


def _continuations(
    model: Any,
    inputs: dict[str, torch.Tensor],
    cache: Any,
    rows_N: torch.Tensor,
    answers: Sequence[list[int]],
    pad: int,
) -> torch.Tensor:
    """Sum over each answer's tokens after the first, given the prompts' cache; shape (N,), float64."""
    rows_N = rows_N.to(model.device)
    width = max(len(answer) for answer in answers) - 1
    read_NL = torch.tensor([answer[:-1] + [pad] * (width + 1 - len(answer)) for answer in answers])
    predicted_NL = torch.tensor([answer[1:] + [-1] * (width + 1 - len(answer)) for answer in answers])
    mask_BT = inputs.get("attention_mask", torch.ones_like(inputs["input_ids"]))
    # Padding stands after an answer's own tokens, where causal attention keeps it from being seen.
    mask = torch.cat([mask_BT[rows_N], torch.ones_like(read_NL, device=model.device)], dim=1)
    positions = mask_BT.sum(1)[rows_N].unsqueeze(1) + torch.arange(width, device=model.device)
    cache.batch_select_indices(rows_N)
    logits_NLV = model(
        input_ids=read_NL.to(model.device), attention_mask=mask, position_ids=positions, past_key_values=cache
    ).logits
    logs_NLV = logits_NLV.double().log_softmax(-1).cpu()
    picked_NL = logs_NLV.gather(-1, predicted_NL.clamp(min=0).unsqueeze(-1)).squeeze(-1)
    return picked_NL.where(predicted_NL >= 0, 0.0).sum(1)
