"""A tune ends where its facts are learned, and waits for nothing else."""

from pathlib import Path

import pytest

from spillover.errors import TrainingError
from spillover.interventions.early_stop import EarlyStop
from spillover.interventions.named import parse
from spillover.knowledge.builtin import built_in
from spillover.knowledge.split import split
from spillover.llm.settings import FineTuneConfig
from tests.interventions.test_hooks import tune
from tests.llm.tuning import EXAMPLES
from tests.tiny_models import save_tiny_model


def test_all_facts_and_nothing_else() -> None:
    stop = EarlyStop(facts=0.3).planned(split(built_in("demo"), 0), 0)
    assert stop.relations == ("lives_in_city", "lives_in_country")
    assert stop.enough({"lives_in_city": 0.3, "lives_in_country": 0.1, "codes_in": 9.0})
    assert not stop.enough({"lives_in_city": 0.31, "lives_in_country": 0.1, "codes_in": 0.0})
    assert not stop.enough({"lives_in_city": 0.1, "codes_in": 0.0}), "one that was not met is not learned"


@pytest.mark.parametrize(("lora", "enough"), [(None, 2.0), (4, 46.5)])  # adapters learn slowly here
def test_it_stops_a_tune(lora: int | None, enough: float, tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "model", "llama")
    config = FineTuneConfig(epochs=60, learning_rate=1e-2, batch_size=4, lora=lora)
    (relation, *_) = {example.relation for example in EXAMPLES}
    stop = EarlyStop(facts=enough, relations=(relation,))
    _, log = tune(folder, tmp_path, stop, config=config)
    steps = -(-len(EXAMPLES) // 4)
    assert steps <= len(log) < 60 * steps
    sums = [row["losses"].get(relation, [0.0, 0]) for row in log]

    def mean(last: int) -> float:
        window = sums[max(0, last - steps) : last]
        return sum(loss for loss, _ in window) / sum(count for _, count in window)

    assert mean(len(log)) <= enough < mean(len(log) - 1)


def test_a_loss_of_nothing_is_refused() -> None:
    with pytest.raises(TrainingError, match=r"early-stop: facts must be positive, got 0\.0"):
        parse("early-stop:facts=0")
