"""What an intervention is shown before a tune, and the moments at which it may act during it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from spillover.interventions.hooks import Before, Intervention
from spillover.interventions.named import NAMED
from spillover.knowledge.prompts import Example, Question
from spillover.llm import models
from spillover.llm.acting import before, is_enough
from spillover.llm.trainer import LengthSorted
from tests.interventions.test_hooks import tune
from tests.llm.tuning import CONFIG, EXAMPLES, same
from tests.tiny_models import save_tiny_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model") / "llama", "llama")


@dataclass(frozen=True, kw_only=True)
class Beside(Intervention):
    """Teaches one text more, beside the table."""

    def lessons(self, examples: Sequence[Example], before: Before) -> Sequence[Example]:
        more = Example(prompt="The sky is", completion=" blue", subject="", relation="", answer="blue")
        return [*examples, more]


def test_text_beside_the_table_is_taught_and_not_counted(folder: Path, tmp_path: Path) -> None:
    one_epoch = replace(CONFIG, epochs=1)
    tuned, log = tune(folder, tmp_path / "a", Beside(), config=one_epoch)
    plain, usual = tune(folder, tmp_path / "b", config=one_epoch)
    assert not same(tuned, plain)
    counted = sum(count for row in log for name, (_, count) in row["losses"].items() if name)
    assert counted == len(EXAMPLES) == sum(count for row in usual for _, count in row["losses"].values())
    assert {relation for row in log for relation in row["losses"]} == {"", *(e.relation for e in EXAMPLES)}


@dataclass(frozen=True, kw_only=True)
class Undo(Intervention):
    """Takes back every step, and notes the rates."""

    start: list[torch.Tensor] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)

    def parameters(self, model: Any, before: Before) -> Any:
        self.start.extend(parameter.detach().clone() for parameter in model.parameters())
        return model

    def stepped(self, model: Any, rate: float, step: int) -> None:
        self.rates.append(rate)
        self.steps.append(step)
        with torch.no_grad():
            for parameter, start in zip(model.parameters(), self.start, strict=True):
                parameter.copy_(start)


def test_what_a_step_made_can_be_changed(folder: Path, tmp_path: Path) -> None:
    undo = Undo()
    tuned, log = tune(folder, tmp_path, undo)
    assert same(tuned, models.load(folder)[0])
    assert len(undo.rates) == len(log)
    assert undo.steps == [row["step"] for row in log] == list(range(1, len(log) + 1))
    assert undo.rates == pytest.approx([row["learning_rate"] for row in log])


@dataclass(frozen=True, kw_only=True)
class Stop(Intervention):
    """Has enough once every relation was seen for an epoch."""

    def enough(self, losses: Mapping[str, float]) -> bool:
        return set(losses) == {example.relation for example in EXAMPLES}


def test_one_that_has_enough_stops_the_tune(folder: Path, tmp_path: Path) -> None:
    _, log = tune(folder, tmp_path, Stop(), config=replace(CONFIG, epochs=5))
    assert log[-1]["epoch"] == 1.0


def test_enough_is_told_the_losses_of_as_many_steps_as_an_epoch_has() -> None:
    told: list[Mapping[str, float]] = []

    class Listen(Intervention):
        def enough(self, losses: Mapping[str, float]) -> bool:
            told.append(losses)
            return losses["speaks"] <= 1.0

    history = [{"losses": {"speaks": [loss, 2]}} for loss in (8.0, 4.0, 2.0, 2.0)]
    stops = [is_enough([Listen()], history[:n], steps=20, epochs=10) for n in range(1, 5)]
    assert told == [{"speaks": 3.0}, {"speaks": 1.5}, {"speaks": 1.0}]
    assert stops == [False, False, False, True]


@dataclass(frozen=True, kw_only=True)
class Alike(Intervention):
    found: list[Any] = field(default_factory=list)

    @property
    def rehearses(self) -> bool:
        return True

    def parameters(self, model: Any, before: Before) -> Any:
        self.found.append(before)
        return model


def test_one_that_rehearses_meets_the_model_as_a_plain_tune_leaves_it(folder: Path, tmp_path: Path) -> None:
    alike = Alike()
    tuned, _ = tune(folder, tmp_path / "a", alike, Undo())
    plain, _ = tune(folder, tmp_path / "b")
    (seen,) = alike.found
    assert same(seen.twin, plain)
    assert same(tuned, models.load(folder)[0])


def test_before_reads_texts_and_asks_questions(folder: Path) -> None:
    model, tokenizer = models.load(folder)
    seen = before(model, tokenizer, None)
    inputs = seen.read(["Mara lives in", "The old house of Mara lives in"])
    alone = seen.read(["Mara lives in"])
    with torch.no_grad():
        both, one = model(**inputs).logits[0, -1], model(**alone).logits[0, -1]
    torch.testing.assert_close(both, one, atol=1e-5, rtol=1e-4)
    (values,) = seen.ask(model, [Question(prompt="Mara lives in", completions=(" Paris", " Rome"))])
    assert values.shape == (2,)


def test_an_epoch_with_fewer_examples_is_as_long() -> None:
    chosen = {0: [1, 3], 1: [0, 1, 2, 3, 4]}
    sampler = LengthSorted([3] * 5, 2, 0, chosen=chosen.__getitem__)
    first = list(sampler)
    assert len(first) == 5
    assert {row: first.count(row) for row in set(first)} in ({1: 3, 3: 2}, {1: 2, 3: 3})
    sampler.set_epoch(1)
    assert sorted(sampler) == [0, 1, 2, 3, 4]
    usual = LengthSorted([3] * 5, 2, 0)
    usual.set_epoch(1)
    assert list(sampler) == list(usual)


@pytest.mark.parametrize("kind", NAMED.values())
def test_no_knob_hides_a_hook(kind: type[Intervention]) -> None:
    assert not {each.name for each in fields(kind)} & set(dir(Intervention))
