"""Scoring the held-out queries of city-language (80 x 10 candidates): lm-evaluation-harness against ours.

The harness gets the loaded model, at its default batch size (1) and at 32. Once with the table's own
candidates, of one token each, for which the harness, too, runs each prompt once; and once with names of
several tokens, of which none begins another. The harness is also given the model in float64, untimed: how
far it is in float32 from itself in float64, and at one batch size from itself at the other, is what rounding
leaves open, and how far we are from it in float64 is our own rounding.
"""

import logging
import sys
import time
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np

from spillover.knowledge.load import load
from spillover.knowledge.prompts import Query, queries
from spillover.knowledge.split import split
from spillover.llm import models
from spillover.llm.encode import encode_pairs
from spillover.llm.score import score

_LONG = (
    "Bosnia and Herzegovina",
    "Burkina Faso",
    "Buenos Aires",
    "New Zealand",
    "Papua New Guinea",
    "Rio de Janeiro",
    "Saint Kitts and Nevis",
    "San Marino",
    "Sierra Leone",
    "Trinidad and Tobago",
)
_ROUNDS = 3


def main() -> None:
    """Print both sides, the ratio and the largest difference, for either kind of candidates."""
    logging.disable(logging.WARNING)
    model, tokenizer = models.load(models.locate(models.DEFAULT_MODEL))
    asked = [query for query in queries(split(load("city-language"), 0)) if query.kind == "held_out"]
    long = [replace(query, candidates=_LONG, answer=_LONG[0]) for query in asked]
    for some in (asked, long):
        compare(model, tokenizer, some)


def compare(model: Any, tokenizer: Any, asked: Sequence[Query]) -> None:
    """Print seconds of both sides, their ratio, and the largest difference of a log-probability."""
    from lm_eval.api.instance import Instance  # pyright: ignore[reportMissingImports]
    from lm_eval.models import huggingface  # pyright: ignore[reportMissingImports]

    make_harness: Any = huggingface.HFLM

    texts = [(query.prompt, text) for query in asked for text in query.completions]
    requests = [Instance(request_type="loglikelihood", doc={}, arguments=text, idx=0) for text in texts]
    lengths = sorted({len(pair[1]) for pair in encode_pairs(tokenizer, texts) if isinstance(pair, tuple)})
    print(
        f"scoring {len(asked)} queries x {len(texts) // len(asked)} candidates of "
        f"{' or '.join(map(str, lengths))} tokens (goal: 8x for one token, equal to 1e-4)",
        flush=True,
    )
    seconds: dict[str, list[float]] = {"harness, batch 1": [], "harness, batch 32": [], "ours": []}
    values: dict[str, np.ndarray] = {}
    for _ in range(_ROUNDS):
        for size in (1, 32):
            side = f"harness, batch {size}"
            harness = make_harness(pretrained=model, tokenizer=tokenizer, batch_size=size)
            started = time.perf_counter()
            answers = harness.loglikelihood(requests, disable_tqdm=True)
            seconds[side].append(time.perf_counter() - started)
            values[side] = np.array([value for value, _ in answers])
        started = time.perf_counter()
        values["ours"] = np.concatenate(score(model, tokenizer, [query.question for query in asked]))
        seconds["ours"].append(time.perf_counter() - started)
    harness = make_harness(pretrained=deepcopy(model).double(), tokenizer=tokenizer, batch_size=32)
    answers = harness.loglikelihood(requests, disable_tqdm=True)
    values["harness, float64"] = np.array([value for value, _ in answers])
    for side, times in seconds.items():
        print(f"  {side:<18}" + "".join(f"{time:8.2f} s" for time in times))
    print(f"  largest difference of a log-probability (from {values['ours'].min():.1f} up):")
    for one, other in combinations(values, 2):
        print(f"    {one} and {other}: {np.abs(values[one] - values[other]).max():.1e}")
    for side in list(seconds)[:-1]:
        ratios = np.array(seconds[side]) / np.array(seconds["ours"])
        print(f"  ratio to {side}: {np.median(ratios):.2f}x ({ratios.min():.2f} to {ratios.max():.2f})")


if __name__ == "__main__":
    sys.exit(main())
