"""Scores against an independent reference: one forward pass per query and candidate, no padding, no cache."""

from pathlib import Path

import numpy as np
import pytest
import torch

from spillover.knowledge.prompts import Query
from spillover.llm import models
from spillover.llm import score as score_module
from spillover.llm.score import score


def query(prompt: str, *candidates: str) -> Query:
    return Query(
        prompt=prompt,
        candidates=candidates,
        answer=candidates[0],
        subject="s",
        relation="r",
        rule=None,
        kind="fact",
        group=None,
    )


QUERIES = [
    query("Mara Lindqvist lives in", "Paris", "Port", "Po", "Ghent on the river"),
    query("Tobin speaks", "French", "Spanish", "Span", "Spanish Portuguese", "Ukrainian"),
    query("Selma Novak of the long and winding name codes in", "Python", "Paris"),
    query("Tobin speaks", "Polish"),
]


def reference(model, tokenizer, prompt: str, candidate: str) -> float:
    prefix = tokenizer(prompt)["input_ids"]
    whole = tokenizer(f"{prompt} {candidate}")["input_ids"]
    assert whole[: len(prefix)] == prefix
    with torch.inference_mode():
        logs = model(torch.tensor([whole])).logits[0].double().log_softmax(-1)
    return sum(logs[i - 1, whole[i]].item() for i in range(len(prefix), len(whole)))


def test_scores_equal_one_pass_per_candidate(tiny_folder: Path) -> None:
    model, tokenizer = models.load(tiny_folder)
    scores = score(model, tokenizer, QUERIES)
    for asked, values in zip(QUERIES, scores, strict=True):
        expected = [reference(model, tokenizer, asked.prompt, c) for c in asked.candidates]
        np.testing.assert_allclose(values, expected, atol=1e-4)


def test_candidates_cover_the_hard_cases(llama_folder: Path) -> None:
    _, tokenizer = models.load(llama_folder)
    tokens = {c: tokenizer(f" {c}")["input_ids"] for q in QUERIES for c in q.candidates}
    assert any(len(t) > 2 for t in tokens.values())
    firsts = [t[0] for t in tokens.values()]
    assert len(set(firsts)) < len(firsts), "two candidates should share their first token"


def test_batching_changes_nothing(llama_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokenizer = models.load(llama_folder)
    together = score(model, tokenizer, QUERIES)
    monkeypatch.setattr(score_module, "TOKENS_PER_BATCH", 1)
    for a, b in zip(together, score(model, tokenizer, QUERIES), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_order_of_queries_and_candidates_changes_nothing(llama_folder: Path) -> None:
    model, tokenizer = models.load(llama_folder)
    turned = [query(q.prompt, *reversed(q.candidates)) for q in reversed(QUERIES)]
    for a, b in zip(score(model, tokenizer, QUERIES), reversed(score(model, tokenizer, turned)), strict=True):
        np.testing.assert_array_equal(a, b[::-1])


def test_a_merge_across_the_border_is_unscored_not_wrong(llama_folder: Path) -> None:
    model, tokenizer = models.load(llama_folder)
    # A prompt that ends with a space merges it with the answer's own: no prefix of the whole.
    values = score(model, tokenizer, [query("", "Paris")])[0]
    assert np.isnan(values).all()


def test_progress_ends_at_the_number_of_prompts(llama_folder: Path) -> None:
    model, tokenizer = models.load(llama_folder)
    seen: list[tuple[int, int]] = []
    score(model, tokenizer, QUERIES, on_step=lambda done, steps: seen.append((done, steps)))
    assert seen[-1] == (3, 3)
