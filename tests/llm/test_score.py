"""Scores against an independent reference: one forward pass per query and candidate, no padding, no cache."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers.normalizers import Lowercase

from spillover.errors import ModelError
from spillover.knowledge.prompts import Question
from spillover.llm import models
from spillover.llm import score as score_module
from spillover.llm.candidates import whole_answers
from spillover.llm.encode import Unscorable
from spillover.llm.score import score, unscorable


def question(prompt: str, *candidates: str) -> Question:
    return Question(prompt=prompt, completions=tuple(f" {candidate}" for candidate in candidates))


QUESTIONS = [
    question("Mara Lindqvist lives in", "Paris", "Port", "Po", "Ghent on the river"),
    question("Tobin speaks", "French", "Spanish", "Span", "Spanish Portuguese", "Ukrainian"),
    question("Selma Novak of the long and winding name codes in", "Python", "Paris"),
    question("Tobin speaks", "Polish"),
]


def reference(model, tokenizer, prompt: str, completion: str) -> float:
    prefix = tokenizer(prompt)["input_ids"]
    whole = tokenizer(prompt + completion)["input_ids"]
    assert whole[: len(prefix)] == prefix
    with torch.inference_mode():
        logs = model(torch.tensor([whole])).logits[0].double().log_softmax(-1)
    return sum(logs[i - 1, whole[i]].item() for i in range(len(prefix), len(whole)))


def test_scores_equal_one_pass_per_candidate(tiny_folder: Path) -> None:
    model, tokenizer = models.load(tiny_folder)
    scores = score(model, tokenizer, QUESTIONS)
    for asked, values in zip(QUESTIONS, scores, strict=True):
        expected = [reference(model, tokenizer, asked.prompt, c) for c in asked.completions]
        np.testing.assert_allclose(values, expected, atol=1e-4)


def test_candidates_cover_the_hard_cases(llama_folder: Path) -> None:
    _, tokenizer = models.load(llama_folder)
    tokens = {c: tokenizer(c)["input_ids"] for q in QUESTIONS for c in q.completions}
    assert any(len(t) > 2 for t in tokens.values())
    firsts = [t[0] for t in tokens.values()]
    assert len(set(firsts)) < len(firsts), "two candidates should share their first token"


PREFIXES = question("Mara codes in", "Paris", "Paris Pa", "Paris Pa lives", "Paris speaks", "Oslo")


def test_a_candidate_that_begins_others_is_only_its_own(tiny_folder: Path) -> None:
    """Against the definition: the probability of its tokens, less that of the longer ones."""
    model, tokenizer = models.load(tiny_folder)
    plain = {c: np.exp(reference(model, tokenizer, PREFIXES.prompt, c)) for c in PREFIXES.completions}
    expected = plain | {
        " Paris": plain[" Paris"] - plain[" Paris Pa"] - plain[" Paris speaks"],
        " Paris Pa": plain[" Paris Pa"] - plain[" Paris Pa lives"],
    }
    values = np.exp(score(model, tokenizer, [PREFIXES])[0])
    np.testing.assert_allclose(values, list(expected.values()), rtol=1e-4)


def test_an_answer_that_always_goes_on_is_never_given() -> None:
    logs = {(5,): np.array([-0.5]), (5, 7): np.array([-0.5, 0.0]), (6,): np.array([-2.0])}
    assert whole_answers(logs) == {(5,): -np.inf, (5, 7): -0.5, (6,): -2.0}


def test_candidates_with_the_same_tokens_are_not_scored(llama_folder: Path) -> None:
    model, tokenizer = models.load(llama_folder)
    tokenizer.backend_tokenizer.normalizer = Lowercase()
    asked = question("mara lives in", "Paris", "paris", "Oslo")
    values = score(model, tokenizer, [asked])[0]
    assert np.isnan(values).tolist() == [True, True, False]
    reasons = unscorable(tokenizer, asked)
    assert reasons == [Unscorable.SAME.value, Unscorable.SAME.value, None]


def test_coarse_logits_are_refused(llama_folder: Path) -> None:
    model, tokenizer = models.load(llama_folder)
    with pytest.raises(ModelError, match=r"logits are torch\.bfloat16, .* load it in float32"):
        score(model.to(torch.bfloat16), tokenizer, QUESTIONS)


def test_a_pass_stays_within_its_bytes(llama_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many long continuations: the largest logits of a pass fit the bound, and the scores stay the same."""
    model, tokenizer = models.load(llama_folder)
    asked = [
        question(f"Mara {n} speaks", *(f"Spanish Portuguese {c}" for c in "ABCDEFGH")) for n in range(12)
    ]
    together = score(model, tokenizer, asked)
    largest = 0
    forward = model.forward

    def watched(*args: Any, **kwargs: Any) -> Any:
        nonlocal largest
        outputs = forward(*args, **kwargs)
        largest = max(largest, outputs.logits.numel())
        return outputs

    bound = 200_000
    monkeypatch.setattr(score_module, "BYTES_PER_PASS", bound)
    monkeypatch.setattr(model, "forward", watched)
    for a, b in zip(together, score(model, tokenizer, asked), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    assert 0 < largest * 20 <= bound


def test_batching_changes_nothing(llama_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokenizer = models.load(llama_folder)
    together = score(model, tokenizer, QUESTIONS)
    monkeypatch.setattr(score_module, "TOKENS_PER_BATCH", 1)
    for a, b in zip(together, score(model, tokenizer, QUESTIONS), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_order_of_queries_and_candidates_changes_nothing(llama_folder: Path) -> None:
    model, tokenizer = models.load(llama_folder)
    turned = [replace(q, completions=q.completions[::-1]) for q in reversed(QUESTIONS)]
    for a, b in zip(
        score(model, tokenizer, QUESTIONS), reversed(score(model, tokenizer, turned)), strict=True
    ):
        np.testing.assert_array_equal(a, b[::-1])


def test_a_merge_across_the_border_is_unscored_not_wrong(llama_folder: Path) -> None:
    model, tokenizer = models.load(llama_folder)
    # A prompt that ends with a space merges it with the answer's own: no prefix of the whole.
    values = score(model, tokenizer, [question("", "Paris")])[0]
    assert np.isnan(values).all()


def test_progress_ends_at_the_number_of_prompts(llama_folder: Path) -> None:
    model, tokenizer = models.load(llama_folder)
    seen: list[tuple[int, int]] = []
    score(model, tokenizer, QUESTIONS, on_step=lambda done, steps: seen.append((done, steps)))
    assert seen[-1] == (3, 3)
