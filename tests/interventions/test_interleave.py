"""Other texts are taught beside the table: as many as asked for, those that a plain tune harmed or any."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spillover.errors import TrainingError
from spillover.interventions.interleave import Interleave
from spillover.interventions.named import parse, spell
from spillover.knowledge.builtin import built_in
from spillover.knowledge.common import other_texts
from spillover.knowledge.split import split
from spillover.llm import models
from spillover.llm.acting import before
from tests.interventions.test_hooks import tune
from tests.interventions.tuned import ROUGH, goes_on_after_a_kill, identities, planned
from tests.llm.tuning import CONFIG, EXAMPLES, same
from tests.tiny_models import save_tiny_model

CODE = split(built_in("country-code"), 0)
TEXTS = ("The ferry was late again.", "Mara Lindqvist lives in Ghent.", "It snowed.", "A pond in Oslo froze.")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model") / "llama", "llama", **ROUGH)


def test_a_share_of_the_examples_is_planned() -> None:
    assert len(CODE.training) == 120
    gap, random = (planned(f"interleave:chosen={chosen}", CODE) for chosen in ("gap", "random"))
    assert (gap.count, gap.texts) == (24, other_texts())
    assert (random.count, len(set(random.texts))) == (24, 24)
    assert set(random.texts) < set(other_texts())
    assert parse("interleave:chosen=random").planned(CODE, 1) != random
    assert planned("interleave:share=0.001", CODE).count == 1
    with pytest.raises(
        TrainingError, match=r"share 2 of 120 examples is 240 texts, and there are 160; .* 1\.33"
    ):
        planned("interleave:share=2", CODE)
    assert planned("interleave:share=1.33", CODE).count == 160


def test_the_gap_is_the_growth_of_the_loss_of_a_token(folder: Path, tmp_path: Path) -> None:
    """Against each text's loss as the model itself gives it, on all tokens but those of the first word."""
    twin, _ = tune(folder, tmp_path)
    untuned, tokenizer = models.load(folder)
    gaps = []
    for text in TEXTS:
        ids = tokenizer(text, return_tensors="pt")["input_ids"]
        labels = ids.clone()
        labels[:, : len(tokenizer(text.partition(" ")[0])["input_ids"])] = -100
        losses = [model(input_ids=ids, labels=labels).loss.item() for model in (untuned, twin)]
        gaps.append(losses[1] - losses[0])
    mixed = Interleave(count=2, texts=TEXTS).lessons(EXAMPLES, before(untuned, tokenizer, twin))
    assert list(mixed[: len(EXAMPLES)]) == EXAMPLES
    added = [example.prompt + example.completion for example in mixed[len(EXAMPLES) :]]
    assert added == [TEXTS[place] for place in np.argsort(gaps)[::-1][:2]]
    assert min(np.abs(np.diff(np.sort(gaps)))) > 1e-4
    assert [example.prompt for example in mixed[-2:]] == [text.partition(" ")[0] for text in added]
    control = Interleave(chosen="random", count=2, texts=TEXTS)
    plain = control.lessons(EXAMPLES, before(untuned, tokenizer, None))
    assert [example.prompt + example.completion for example in plain[-2:]] == list(TEXTS[:2])


@pytest.mark.parametrize("chosen", ["gap", "random"])
@pytest.mark.parametrize("lora", [None, 2])
def test_the_texts_are_taught_and_not_counted(folder: Path, tmp_path: Path, chosen: Any, lora: Any) -> None:
    config = replace(CONFIG, lora=lora)
    interleave = Interleave(chosen=chosen, count=3, texts=TEXTS)
    plain, usual = tune(folder, tmp_path / "a", config=config)
    tuned, log = tune(folder, tmp_path / "b", interleave, config=config)
    assert not same(tuned, plain)
    assert len(log) == 12 > len(usual) == 9, "ten examples in batches of three"
    counted = sum(count for row in log for name, (_, count) in row["losses"].items() if name)
    assert counted == 3 * len(EXAMPLES)


def test_a_killed_tune_goes_on(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interleave = Interleave(count=3, texts=TEXTS)
    assert goes_on_after_a_kill(folder, tmp_path, monkeypatch, [interleave], rehearsed=6)


def test_at_share_0_it_is_the_plain_tune(folder: Path) -> None:
    assert identities(folder, "interleave:share=0") == identities(folder)
    assert len({*identities(folder, "interleave"), *identities(folder)}) == 4


def test_knobs() -> None:
    assert spell(parse("interleave")) == "interleave:share=0.2,chosen=gap"
    assert [parse(f"interleave:chosen={chosen}").rehearses for chosen in ("gap", "random")] == [True, False]
    for text, fault in {
        "interleave:share=-1": "interleave: share must be a number from 0 up, got -1",
        "interleave:share=inf": "share must be a number from 0 up, got inf",
        "interleave:chosen=all": "should be 'gap' or 'random', got 'all'",
        "interleave:count=3": "has no knob 'count=3'",
    }.items():
        with pytest.raises(TrainingError, match=fault):
            parse(text)
