"""Known facts are those that the untuned model answers rightly; they are mixed in from an epoch on."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spillover.errors import TrainingError
from spillover.interventions.interleave import Interleave
from spillover.interventions.known_facts import KnownFacts
from spillover.interventions.named import check_interventions, parse, spell
from spillover.knowledge.builtin import built_in
from spillover.knowledge.common import known_facts
from spillover.knowledge.split import split
from spillover.llm import models
from spillover.llm.acting import before
from spillover.llm.settings import FineTuneConfig
from tests.interventions.test_hooks import tune
from tests.interventions.tuned import ROUGH, goes_on_after_a_kill, identities, planned
from tests.llm.tuning import EXAMPLES
from tests.tiny_models import save_tiny_model

CODE = split(built_in("country-code"), 0)
FACTS = known_facts("training")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model") / "llama", "llama", **ROUGH)


class Answers:
    """An untuned model that gives each known fact's candidates these log-probabilities."""

    model = None

    def __init__(self, *values: Sequence[float]) -> None:
        self.values = list(map(np.array, values))

    def ask(self, model: Any, questions: Any) -> list[np.ndarray]:
        right = [fact.candidates.index(fact.answer) for fact in FACTS]
        return [
            np.roll(self.values[number % len(self.values)], place) for number, place in enumerate(right)
        ]  # the first value is the right answer's


def test_known_is_what_comes_first_alone() -> None:
    known, wrong, tied, unscored = [-1, -2, -2, -2, -2], [-2, -1, -3, -3, -3], [-1.0] * 5, [np.nan] * 5
    half = [-1, np.nan, -2, -2, -2]
    untuned: Any = Answers(known, wrong, tied, unscored, half)
    mixed = KnownFacts(count=3).lessons(EXAMPLES, untuned)
    assert list(mixed[: len(EXAMPLES)]) == EXAMPLES
    taught = [(example.prompt, example.completion) for example in mixed[len(EXAMPLES) :]]
    assert taught == [(fact.prompt, f" {fact.answer}") for fact in FACTS[:15:5]]
    assert {example.relation for example in mixed[len(EXAMPLES) :]} == {""}
    everything = KnownFacts(count=60).lessons(EXAMPLES, untuned)
    assert len(everything) == len(EXAMPLES) + 12, "only 12 of the 60 are known"
    with pytest.raises(TrainingError, match="knows none of the facts"):
        KnownFacts(count=3).lessons(EXAMPLES, Answers(wrong))  # pyright: ignore[reportArgumentType]


def test_the_model_itself_is_asked(folder: Path) -> None:
    model, tokenizer = models.load(folder)
    seen = before(model, tokenizer, None)
    mixed = KnownFacts(count=60).lessons([], seen)
    assert 0 < len(mixed) < 60
    by_prompt = {fact.prompt: fact for fact in FACTS}
    for example in mixed:
        losses = []
        for candidate in by_prompt[example.prompt].candidates:
            ids = tokenizer(f"{example.prompt} {candidate}", return_tensors="pt")["input_ids"]
            labels = ids.clone()
            labels[:, : len(tokenizer(example.prompt)["input_ids"])] = -100
            tokens = (labels != -100).sum().item()
            losses.append(model(input_ids=ids, labels=labels).loss.item() * tokens)
        assert by_prompt[example.prompt].candidates[int(np.argmin(losses))] == example.answer


def test_a_share_of_the_examples_is_planned() -> None:
    assert planned("known-facts", CODE).count == 12
    assert planned("known-facts:share=0.001", CODE).count == 1
    assert planned("known-facts:share=0.5", CODE).count == 60
    with pytest.raises(
        TrainingError, match=r"share 1 of 120 examples is 120 facts, and there are 60; .* 0\.5"
    ):
        planned("known-facts:share=1", CODE)


def test_they_come_from_their_epoch_on(folder: Path, tmp_path: Path) -> None:
    late = KnownFacts(since=2, count=3)
    relations = ["lives_in", "", "lives_in"]
    assert [list(late.epoch(relations, range(3), number)) for number in (0, 1, 2)] == [
        [0, 2],
        [0, 2],
        [0, 1, 2],
    ]
    _, log = tune(folder, tmp_path, late)
    counted = [sum(count for name, (_, count) in row["losses"].items() if name) for row in log]
    steps = len(log) // 3
    assert sum(counted[: 2 * steps]) == 2 * (len(EXAMPLES) + 3), "an epoch is as long, and has no other text"
    assert sum(counted[2 * steps :]) == len(EXAMPLES)


def test_a_killed_tune_goes_on(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert goes_on_after_a_kill(folder, tmp_path, monkeypatch, [KnownFacts(since=1, count=3)])


def test_at_share_0_it_is_the_plain_tune(folder: Path) -> None:
    assert identities(folder, "known-facts:share=0") == identities(folder)


def test_what_would_not_be_mixed_in_is_refused() -> None:
    late = KnownFacts(since=8)
    with pytest.raises(TrainingError, match="since must be below 8, after which the tune may end"):
        check_interventions([late], FineTuneConfig(), keep_model=False)
    check_interventions([late], FineTuneConfig(epochs=9), keep_model=False)
    with pytest.raises(TrainingError, match="holds all other text back, too; leave out interleave"):
        check_interventions([KnownFacts(since=2), Interleave()], FineTuneConfig(), keep_model=False)
    check_interventions([KnownFacts(), Interleave()], FineTuneConfig(), keep_model=False)


def test_knobs() -> None:
    assert spell(parse("known-facts")) == "known-facts:share=0.1,since=0"
    for text, fault in {
        "known-facts:share=-1": "known-facts: share must be a number from 0 up, got -1",
        "known-facts:since=-2": "known-facts: since must be a number from 0 up, got -2",
    }.items():
        with pytest.raises(TrainingError, match=fault):
            parse(text)
