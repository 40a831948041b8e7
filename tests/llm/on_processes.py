"""The tunes that are compared between one process and two; run as a module, the two."""

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from spillover.interventions.hooks import Intervention
from spillover.knowledge.prompts import Question
from spillover.llm import models
from spillover.llm.finetune import FineTuneConfig, finetune
from spillover.llm.processes import joined
from spillover.llm.score import score
from tests.llm.tuning import EXAMPLES, PLACES
from tests.tiny_models import ARCHITECTURES

QUESTIONS = [
    Question(prompt=example.prompt, completions=tuple(f" {place}" for place in PLACES))
    for example in EXAMPLES
]
SHORT = FineTuneConfig(epochs=2, learning_rate=1e-3, batch_size=3)  # seven examples: the last batch has one


@dataclass(frozen=True, kw_only=True)
class Everything(Intervention):
    """Acts at every place on the model or its training."""

    def parameters(self, model: Any) -> Any:
        model.get_input_embeddings().weight.requires_grad_(False)
        return model

    def loss(self, loss: Any, model: Any, inputs: dict[str, Any]) -> Any:
        return 0.5 * loss + 1e-3 * model.lm_head.weight.float().square().sum()

    def gradients(self, model: Any) -> None:
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter.grad.clamp_(-1e-3, 1e-3)

    def weights(self, model: Any) -> Any:
        model.lm_head.weight.data.mul_(0.5)
        return model


CASES: dict[str, tuple[str, FineTuneConfig, tuple[Intervention, ...]]] = {
    **{architecture: (architecture, SHORT, ()) for architecture in ARCHITECTURES},
    "adapters": ("llama", replace(SHORT, lora=2), ()),
    "until learned": ("llama", replace(SHORT, epochs="auto", learning_rate=1e-2), ()),
    "interventions": ("llama", SHORT, (Everything(),)),
}


def tune_all(folder: Path, processes: int) -> dict[str, Any]:
    """For each case the log of its steps and the scores afterwards; only in the main process."""
    told: dict[str, Any] = {}
    for name, (architecture, config, interventions) in CASES.items():
        model, tokenizer = models.load(folder / architecture)
        histories: list[list[dict[str, Any]]] = []
        tuned = finetune(
            model,
            tokenizer,
            EXAMPLES,
            replace(config, processes=processes),
            checkpoints=folder / "checkpoints" / f"{processes}-{name}",
            interventions=interventions,
            on_log=histories.append,
        )
        if tuned is not None:
            told[name] = {
                "log": [row for row in histories[-1] if "losses" in row],
                "scores": [values.tolist() for values in score(tuned, tokenizer, QUESTIONS)],
                "dtypes": sorted({f"{one.dtype} {one.device}" for one in tuned.parameters()}),
                "names": sorted(tuned.state_dict()),
            }
    return told


if __name__ == "__main__":
    with joined():
        results = tune_all(Path(sys.argv[1]), 2)
        if results:
            Path(sys.argv[2]).write_text(json.dumps(results))
