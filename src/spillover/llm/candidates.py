"""The tokens of a question's candidates and their log-probabilities -> each candidate's own.

A candidate is a whole answer: the probability of its tokens (summed logarithms, no length normalization)
less that of the candidates that go on from it. Whoever told the tokens apart: a tokenizer here, by numbers,
or the server of an endpoint, by words.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from spillover.llm.encode import Unscorable

Tokens = tuple[Any, ...]
"""A text's tokens, all of one kind: their numbers or their words."""

Divided = tuple[Any, Any] | Unscorable
"""The tokens of a prompt and of a completion, or why they cannot be told apart."""


def without_twins(pairs: Sequence[Divided]) -> list[Divided]:
    """One question's candidates; of two that have the same tokens, neither can be scored."""
    times = Counter(tuple(pair[1]) for pair in pairs if not isinstance(pair, Unscorable))
    return [
        Unscorable.SAME if not isinstance(pair, Unscorable) and times[tuple(pair[1])] > 1 else pair
        for pair in pairs
    ]


def scores(pairs: Sequence[Divided], logs: Mapping[Tokens, Mapping[Tokens, np.ndarray]]) -> np.ndarray:
    """One question's candidates' log-probabilities, NaN for those that cannot be scored.

    `logs` has those of each token, by prompt and completion.
    """
    encoded = {c: pair for c, pair in enumerate(pairs) if not isinstance(pair, Unscorable)}
    whole = whole_answers(
        {tuple(answer): logs[tuple(prompt)][tuple(answer)] for prompt, answer in encoded.values()}
    )
    return np.array([whole[tuple(encoded[c][1])] if c in encoded else np.nan for c in range(len(pairs))])


def whole_answers(logs: Mapping[Tokens, np.ndarray]) -> dict[Tokens, float]:
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
