"""Scoring the held-out queries of city-language (80 x 10 candidates): lm-evaluation-harness against ours.

The harness gets the loaded model, at its default batch size (1) and at 32. Every candidate here is one
token, and for those the harness, too, runs each prompt once.
"""

import logging
import sys
import time
from typing import Any

import numpy as np

from spillover.knowledge.builtin import load_builtin
from spillover.knowledge.prompts import queries
from spillover.knowledge.split import split
from spillover.llm import models
from spillover.llm.score import score


def main() -> None:
    """Print both sides, the ratio and the largest difference."""
    from lm_eval.api.instance import Instance  # pyright: ignore[reportMissingImports]
    from lm_eval.models import huggingface  # pyright: ignore[reportMissingImports]

    make_harness: Any = huggingface.HFLM

    logging.disable(logging.WARNING)
    model, tokenizer = models.load(models.locate(models.DEFAULT_MODEL))
    asked = [query for query in queries(split(load_builtin("city-language"), 0)) if query.kind == "held_out"]
    requests = [
        Instance(request_type="loglikelihood", doc={}, arguments=(query.prompt, text), idx=0)
        for query in asked
        for text in query.completions
    ]
    print(f"scoring {len(asked)} queries x 10 candidates (goal: 8x, equal to 1e-4)", flush=True)
    seconds: dict[str, list[float]] = {"harness, batch 1": [], "harness, batch 32": [], "ours": []}
    theirs = mine = np.empty(0)
    for _ in range(3):
        for size in (1, 32):
            harness = make_harness(pretrained=model, tokenizer=tokenizer, batch_size=size)
            started = time.perf_counter()
            answers = harness.loglikelihood(requests, disable_tqdm=True)
            seconds[f"harness, batch {size}"].append(time.perf_counter() - started)
            theirs = np.array([value for value, _ in answers])
        started = time.perf_counter()
        mine = np.concatenate(score(model, tokenizer, asked))
        seconds["ours"].append(time.perf_counter() - started)
    for side, times in seconds.items():
        print(f"  {side:<18}" + "".join(f"{time:8.2f} s" for time in times))
    print(f"  largest difference of a log-probability: {np.abs(theirs - mine).max():.1e}")
    for side in list(seconds)[:-1]:
        ratios = np.array(seconds[side]) / np.array(seconds["ours"])
        print(f"  ratio to {side}: {np.median(ratios):.2f}x ({ratios.min():.2f} to {ratios.max():.2f})")


if __name__ == "__main__":
    sys.exit(main())
