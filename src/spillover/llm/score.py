"""Questions -> every candidate's log-probability.

A candidate is a whole answer. Its score is the log-probability that the model's text after the prompt
begins with the candidate's tokens and with those of no longer candidate: the probability of its tokens
(summed logarithms, no length normalization) less that of the candidates that go on from it. So " Java" is
not given what belongs to " JavaScript", the candidates' events are disjoint, and nothing is asked of
the model's habit of ending an answer, which base models and other people's tunes do not share.

Each prompt is run once: its last position gives every candidate's first token, and only candidates of
several tokens run further, from the prompt's cached keys and values.

Legend of shapes: B prompts, T prompt tokens, N continuations, L tokens of a continuation, V vocabulary.
"""

import copy
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch

from spillover.errors import ModelError
from spillover.knowledge.prompts import Question
from spillover.llm.border import run
from spillover.llm.encode import Pair, Unscorable, encode_pairs, left_padded, refuse_foreign_tokens

TOKENS_PER_BATCH = 2048
"""Prompt tokens run at once: fills two cores."""

BYTES_PER_PASS = 1 << 29
"""What logits and cached keys and values of one pass may take; a single row is run whatever it takes."""

_BYTES_PER_LOGIT = 20  # float32, and float64 twice for the log-softmax

Tokens = tuple[int, ...]


def score(
    model: Any,
    tokenizer: Any,
    asked: Sequence[Question],
    *,
    on_step: Callable[[int, int], None] = lambda done, all_: None,
) -> list[np.ndarray]:
    """For each question, the float64 log-probabilities of its candidates, in their order.

    NaN stands where a candidate cannot be scored (`unscorable` says why): unscored, never wrong. Beside
    the weights this takes `BYTES_PER_PASS` of memory, twice for a moment while continuations run.

    Raises ModelError for a model whose logits are not at least float32: in bfloat16, logits between 16 and
    32 lie 0.125 apart, which makes ties of what is none.
    """
    encoded = _answers(tokenizer, asked)
    refuse_foreign_tokens(
        model, (pair for pairs in encoded for pair in pairs if not isinstance(pair, Unscorable))
    )
    wanted: dict[Tokens, dict[Tokens, np.ndarray]] = {}  # prompt -> answer -> its tokens' log-probabilities
    for pairs in encoded:
        for pair in pairs:
            if not isinstance(pair, Unscorable):
                wanted.setdefault(tuple(pair[0]), {})[tuple(pair[1])] = np.empty(0)

    done = 0
    for batch in _batches(model, sorted(wanted, key=len)):
        each = [(prompt, answer) for prompt in batch for answer in wanted[prompt]]
        for (prompt, answer), logs in zip(
            each, _token_logs(model, each, tokenizer.pad_token_id or 0), strict=True
        ):
            wanted[prompt][answer] = logs
        done += len(batch)
        on_step(done, len(wanted))
    return [_scores(pairs, wanted) for pairs in encoded]


def unscorable(tokenizer: Any, question: Question) -> list[str | None]:
    """For each candidate of the question why it cannot be scored; None for those that can."""
    (pairs,) = _answers(tokenizer, [question])
    return [pair.value if isinstance(pair, Unscorable) else None for pair in pairs]


def _answers(tokenizer: Any, asked: Sequence[Question]) -> list[list[Pair | Unscorable]]:
    """Each question's candidates as tokens."""
    texts = [(question.prompt, question.completions) for question in asked]
    pairs = [(prompt, completion) for prompt, completions in texts for completion in completions]
    encoded = iter(encode_pairs(tokenizer, pairs))
    return [_without_twins(list(islice(encoded, len(completions)))) for _, completions in texts]


def _without_twins(pairs: list[Pair | Unscorable]) -> list[Pair | Unscorable]:
    """One query's candidates; of two that have the same tokens, neither can be scored."""
    times = Counter(tuple(pair[1]) for pair in pairs if not isinstance(pair, Unscorable))
    return [
        Unscorable.SAME if not isinstance(pair, Unscorable) and times[tuple(pair[1])] > 1 else pair
        for pair in pairs
    ]


def _scores(pairs: Sequence[Pair | Unscorable], logs: dict[Tokens, dict[Tokens, np.ndarray]]) -> np.ndarray:
    """One query's candidates' log-probabilities, NaN for those that cannot be scored."""
    encoded = {c: pair for c, pair in enumerate(pairs) if not isinstance(pair, Unscorable)}
    whole = _whole_answers(
        {tuple(answer): logs[tuple(prompt)][tuple(answer)] for prompt, answer in encoded.values()}
    )
    return np.array([whole[tuple(encoded[c][1])] if c in encoded else np.nan for c in range(len(pairs))])


def _whole_answers(logs: dict[Tokens, np.ndarray]) -> dict[Tokens, float]:
    """From the log-probabilities of each answer's tokens that of the answer and of no longer one."""
    continued = dict.fromkeys(logs, 0.0)  # the share of an answer that goes on to a longer one
    begun: list[Tokens] = []  # the answers that the present one begins with, shortest first
    for answer in sorted(logs):
        while begun and answer[: len(begun[-1])] != begun[-1]:
            begun.pop()
        if begun:
            continued[begun[-1]] += float(np.exp(logs[answer][len(begun[-1]) :].sum()))
        begun.append(answer)
    return {
        answer: float(values.sum()) + (np.log1p(-continued[answer]) if continued[answer] < 1 else -np.inf)
        for answer, values in logs.items()
    }


def _batches(model: Any, prompts: Sequence[Tokens]) -> Iterator[list[Tokens]]:
    """Runs of prompts, sorted by length, that fit in both bounds with their padding."""
    batch: list[Tokens] = []
    for prompt in prompts:
        rows = len(batch) + 1
        if batch and (
            len(prompt) * rows > TOKENS_PER_BATCH or rows * _row_bytes(model, len(prompt), 1) > BYTES_PER_PASS
        ):
            yield batch
            batch = []
        batch.append(prompt)
    if batch:
        yield batch


def _row_bytes(model: Any, cached: int, logits: int) -> int:
    """What a row takes with keys and values of `cached` tokens and logits at `logits` positions."""
    config = model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    per_token = 2 * config.num_hidden_layers * heads * width * model.dtype.itemsize
    return cached * per_token + logits * config.vocab_size * _BYTES_PER_LOGIT


@torch.inference_mode()
def _token_logs(model: Any, pairs: Sequence[tuple[Tokens, Tokens]], pad: int) -> list[np.ndarray]:
    """For each pair the log-probabilities of its answer's tokens; equal prompts stand together."""
    prompts = list(dict.fromkeys(prompt for prompt, _ in pairs))
    row = {prompt: b for b, prompt in enumerate(prompts)}
    inputs = {name: tensor.to(model.device) for name, tensor in left_padded(prompts, pad).items()}
    longer = [n for n, (_, answer) in enumerate(pairs) if len(answer) > 1]
    outputs = run(model, **inputs, use_cache=bool(longer), logits_to_keep=1)
    if longer and not hasattr(getattr(outputs, "past_key_values", None), "batch_select_indices"):
        raise ModelError(
            f"model {model.name_or_path} keeps no keys and values of a text ({model.config.model_type}), "
            "which answers of several tokens need; give a model with attention"
        )
    first_BV = log_softmax(outputs.logits[:, -1])
    logs = [first_BV[row[prompt], answer[0]].reshape(1).numpy() for prompt, answer in pairs]

    width = max((len(answer) for _, answer in pairs), default=1) - 1
    tokens = inputs["input_ids"].shape[1]
    rows = max(1, BYTES_PER_PASS // _row_bytes(model, tokens + width, width)) if longer else 1
    for start in range(0, len(longer), rows):
        part = longer[start : start + rows]
        cache = (
            outputs.past_key_values if len(part) == len(longer) else copy.deepcopy(outputs.past_key_values)
        )
        rows_N = torch.tensor([row[pairs[n][0]] for n in part])
        more = _continuations(model, inputs, cache, rows_N, [pairs[n][1] for n in part], pad)
        for n, values in zip(part, more, strict=True):
            logs[n] = np.concatenate([logs[n], values])
    return logs


def _continuations(
    model: Any,
    inputs: dict[str, torch.Tensor],
    cache: Any,
    rows_N: torch.Tensor,
    answers: Sequence[Tokens],
    pad: int,
) -> list[np.ndarray]:
    """The log-probabilities of each answer's tokens after the first, given the prompts' cache."""
    rows_N = rows_N.to(model.device)
    width = max(len(answer) for answer in answers) - 1
    read_NL = torch.tensor([[*answer[:-1], *[pad] * (width + 1 - len(answer))] for answer in answers])
    predicted_NL = torch.tensor([[*answer[1:], *[0] * (width + 1 - len(answer))] for answer in answers])
    mask_BT = inputs.get("attention_mask", torch.ones_like(inputs["input_ids"]))
    # Padding stands after an answer's own tokens, where causal attention keeps it from being seen.
    mask = torch.cat([mask_BT[rows_N], torch.ones_like(read_NL, device=model.device)], dim=1)
    positions = mask_BT.sum(1)[rows_N].unsqueeze(1) + torch.arange(width, device=model.device)
    cache.batch_select_indices(rows_N)
    logits_NLV = run(
        model,
        input_ids=read_NL.to(model.device),
        attention_mask=mask,
        position_ids=positions,
        past_key_values=cache,
    ).logits
    picked_NL = log_softmax(logits_NLV).gather(-1, predicted_NL.unsqueeze(-1)).squeeze(-1).numpy()
    return [values[: len(answer) - 1] for values, answer in zip(picked_NL, answers, strict=True)]


def log_softmax(logits: torch.Tensor, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """Log-probabilities over the vocabulary, on the CPU.

    Raises ModelError for logits that are not at least float32, or not numbers.
    """
    if logits.dtype not in (torch.float32, torch.float64):
        raise ModelError(
            f"the model's logits are {logits.dtype}, which is too coarse to compare candidates by; "
            "load it in float32"
        )
    logs = logits.to(dtype).log_softmax(-1).cpu()
    if logs.isnan().any():
        raise ModelError(
            "the model's logits are not numbers (NaN); its weights are broken, or its tune diverged"
        )
    return logs
