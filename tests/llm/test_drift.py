"""How far a tune went on neutral texts: against a plain loop, against closed forms, and leaving no trace."""

from copy import deepcopy
from dataclasses import replace
from math import exp, isnan, log
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from spillover.errors import ModelError
from spillover.llm import drift as module
from spillover.llm import models
from spillover.llm.drift import Drift, Untuned
from spillover.llm.encode import encode_prompts
from spillover.llm.finetune import finetune
from tests.llm.test_asking import states
from tests.llm.test_encode import tokenizer as begun
from tests.llm.tuning import CONFIG, EXAMPLES
from tests.tiny_models import save_tiny_model

TEXTS = [
    "The kettle sings.",
    "A long bridge of stone crosses the river.",
    "Rain.",
    "The kettle sings, and rain falls.",
]


def changed(model: Any, by: float = 0.1) -> Any:
    """A copy with other weights."""
    other = deepcopy(model)
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in other.parameters():
            weight += by * torch.randn_like(weight)
    return other


def by_hand(model: Any, other: Any, ids: list[int]) -> Drift:
    """One text alone, one position after another, without padding."""
    kl, before, after = [], [], []
    for t in range(1, len(ids)):
        with torch.no_grad():
            p, q = (net(torch.tensor([ids[:t]])).logits[0, -1].double().softmax(-1) for net in (model, other))
        kl.append(sum(float(p[v]) * log(p[v] / q[v]) for v in range(len(p))))
        before.append(-log(p[ids[t]]))
        after.append(-log(q[ids[t]]))
    return Drift(kl=float(np.mean(kl)), before=float(np.mean(before)), after=float(np.mean(after)))


def numbers(drifts: list[Drift]) -> list[tuple[float, float, float]]:
    return [(drift.kl, drift.before, drift.after) for drift in drifts]


def test_it_is_that_of_a_plain_loop_text_by_text(tiny_folder: Path) -> None:
    model, tokenizer = models.load(tiny_folder)
    other = changed(model)
    found = numbers(Untuned(model, tokenizer, TEXTS).drift(other))
    expected = numbers([by_hand(model, other, ids) for ids in encode_prompts(tokenizer, TEXTS)])
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    assert all(kl > 0.01 for kl, *_ in found)
    assert len(set(found)) == len(TEXTS)


def test_a_small_drift_is_not_lost_in_rounding(tiny_folder: Path) -> None:
    """Float32's log-probabilities sum to one up to 1e-7, which is some permille of such a drift."""
    model, tokenizer = models.load(tiny_folder)
    other = changed(model, 1e-3)
    found = [drift.kl for drift in Untuned(model, tokenizer, TEXTS).drift(other)]
    expected = [by_hand(model, other, ids).kl for ids in encode_prompts(tokenizer, TEXTS)]
    assert 0 < max(expected) < 1e-2
    np.testing.assert_allclose(found, expected, rtol=2e-4)


def test_batches_are_small_and_change_nothing(llama_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokenizer = models.load(llama_folder)
    other = changed(model)
    whole = numbers(Untuned(model, tokenizer, TEXTS).drift(other))
    sizes: list[tuple[int, int]] = []
    run = module.run
    monkeypatch.setattr(
        module, "run", lambda net, **inputs: sizes.append(inputs["input_ids"].shape) or run(net, **inputs)
    )
    length = max(len(ids) for ids in encode_prompts(tokenizer, TEXTS))
    room = length * model.config.vocab_size * module._BYTES_PER_LOGIT
    monkeypatch.setattr(module, "BYTES_PER_PASS", room)
    parted = numbers(Untuned(model, tokenizer, TEXTS).drift(other))
    np.testing.assert_allclose(parted, whole, rtol=0, atol=1e-5)
    assert all(rows * tokens <= length for rows, tokens in sizes)
    assert sum(rows for rows, _ in sizes) == 2 * len(TEXTS)
    assert max(rows for rows, _ in sizes) > 1
    sizes.clear()
    monkeypatch.setattr(module, "BYTES_PER_PASS", 1)
    np.testing.assert_allclose(
        numbers(Untuned(model, tokenizer, TEXTS).drift(other)), whole, rtol=0, atol=1e-5
    )
    assert [rows for rows, _ in sizes] == [1] * 2 * len(TEXTS)


def test_no_change_is_no_drift_at_all(tiny_folder: Path) -> None:
    model, tokenizer = models.load(tiny_folder)
    found = Untuned(model, tokenizer, TEXTS).drift(deepcopy(model))
    assert [drift.kl for drift in found] == [0.0] * len(TEXTS)
    assert all(drift.before == drift.after > 0 for drift in found)


def test_a_bias_on_one_token_has_its_closed_form(llama_folder: Path) -> None:
    """Uniform p over V tokens; q has b more logit at one: KL = log((V − 1 + e^b) / V) − b / V."""
    model, tokenizer = models.load(llama_folder)
    head, bias = model.get_output_embeddings(), 3.0
    torch.nn.init.zeros_(head.weight)
    untuned, size = Untuned(model, tokenizer, TEXTS), head.weight.shape[0]
    (said,) = {ids[-1] for ids in encode_prompts(tokenizer, ["Rain."])}
    head.bias = torch.nn.Parameter(torch.zeros(size))
    with torch.no_grad():
        head.bias[said] = bias
    norm = log(size - 1 + exp(bias))
    for drift, ids in zip(untuned.drift(model), encode_prompts(tokenizer, TEXTS), strict=True):
        share = ids[1:].count(said) / (len(ids) - 1)
        assert drift.kl == pytest.approx(norm - log(size) - bias / size, abs=1e-6)
        assert drift.before == pytest.approx(log(size), abs=1e-6)
        assert drift.after == pytest.approx(norm - bias * share, abs=1e-6)
        assert share > 0


def test_a_tokenizers_beginning_gives_the_first_token_a_prediction(llama_folder: Path) -> None:
    model, without = models.load(llama_folder)
    other = changed(model)
    (plain,) = Untuned(model, without, ["R"]).drift(other)
    assert all(map(isnan, *numbers([plain]))), "nothing is to be predicted"
    tokenizer = begun(llama_folder, "<bos> $A")
    (ids,) = encode_prompts(tokenizer, ["R"])
    assert len(ids) == 2
    (found,) = Untuned(model, tokenizer, ["R"]).drift(other)
    np.testing.assert_allclose(numbers([found]), numbers([by_hand(model, other, ids)]), rtol=0, atol=1e-5)


@pytest.mark.parametrize("lora", [None, 2])
def test_it_measures_a_tune_of_the_model_itself_and_leaves_no_trace(
    llama_folder: Path, tmp_path: Path, lora: int | None
) -> None:
    model, tokenizer = models.load(llama_folder)
    first = deepcopy(model)
    model.train()
    modes, drawn = [layer.training for layer in model.modules()], states()
    untuned = Untuned(model, tokenizer, TEXTS)
    assert [layer.training for layer in model.modules()] == modes
    assert states() == drawn
    tuned = finetune(model, tokenizer, EXAMPLES, replace(CONFIG, lora=lora), checkpoints=tmp_path / "tune")
    modes, drawn = [layer.training for layer in tuned.modules()], states()
    found = untuned.drift(tuned)
    assert [layer.training for layer in tuned.modules()] == modes
    assert states() == drawn
    assert all(drift.kl > 1e-4 for drift in found)
    assert numbers(found) == numbers(Untuned(first, tokenizer, TEXTS).drift(tuned))


def test_dropout_is_out_of_it(tmp_path: Path) -> None:
    model, tokenizer = models.load(save_tiny_model(tmp_path / "model", "llama", attention_dropout=0.5))
    model.train()
    assert [drift.kl for drift in Untuned(model, tokenizer, TEXTS).drift(model)] == [0.0] * len(TEXTS)


def test_a_model_of_another_vocabulary_is_one_clear_line(llama_folder: Path) -> None:
    model, tokenizer = models.load(llama_folder)
    untuned, size = Untuned(model, tokenizer, TEXTS), model.config.vocab_size
    model.resize_token_embeddings(size + 8)
    with pytest.raises(ModelError) as caught:
        untuned.drift(model)
    assert str(caught.value) == (
        f"the untuned model predicts {size} tokens and the tuned one {size + 8}; "
        "give models with the same vocabulary"
    )


def test_weights_that_are_no_numbers_are_no_drift(llama_folder: Path) -> None:
    model, tokenizer = models.load(llama_folder)
    untuned = Untuned(model, tokenizer, TEXTS)
    torch.nn.init.constant_(model.get_output_embeddings().weight, float("nan"))
    with pytest.raises(ModelError, match="logits are not numbers"):
        untuned.drift(model)
