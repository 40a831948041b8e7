"""The tunes that are compared between one process and two; run as a module, the two."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch.optim import AdamW

from spillover.interventions.hooks import Before, Intervention
from spillover.knowledge.prompts import Question
from spillover.llm import finetune as finetune_module
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

    def parameters(self, model: Any, before: Before) -> Any:
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
    "recomputed": ("gemma2", SHORT, ()),
    "recomputed adapters": ("llama", replace(SHORT, lora=2), ()),
    "in bfloat16": ("llama", SHORT, ()),
    "recomputed in bfloat16": ("llama", SHORT, ()),
}


@contextmanager
def watched(model: Any, dtype: torch.dtype) -> Iterator[dict[str, set[str]]]:
    """A block that computes in `dtype`, and what of `model` was of which kind in it."""
    seen: dict[str, set[str]] = {"gathered": set(), "computed": set(), "held": set()}

    def in_dtype() -> torch.dtype:
        return dtype

    def look(module: Any, _: Any, output: torch.Tensor) -> None:
        if finetune_module.compute_dtype is in_dtype:  # not when it is scored
            seen["gathered"].add(str(module.weight.dtype))
            seen["computed"].add(str(output.dtype))

    optimizer_class: Any = AdamW
    step, compute_dtype = AdamW.step, finetune_module.compute_dtype

    def step_and_look(optimizer: Any, *arguments: Any) -> Any:
        moved = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        held = [tensor for p in moved for tensor in (p, p.grad)]
        done = step(optimizer, *arguments)
        held += [optimizer.state[p][moment] for p in moved for moment in ("exp_avg", "exp_avg_sq")]
        seen["held"] |= {str(tensor.dtype) for tensor in held}
        return done

    next(m for name, m in model.named_modules() if name.endswith("down_proj")).register_forward_hook(look)
    optimizer_class.step, finetune_module.compute_dtype = step_and_look, in_dtype
    try:
        yield seen
    finally:
        optimizer_class.step, finetune_module.compute_dtype = step, compute_dtype


def tune_all(folder: Path, processes: int) -> dict[str, Any]:
    """For each case the log of its steps and the scores afterwards; only in the main process."""
    told: dict[str, Any] = {}
    for name, (architecture, config, interventions) in CASES.items():
        model, tokenizer = models.load(folder / architecture)
        histories: list[list[dict[str, Any]]] = []
        with watched(model, torch.bfloat16 if "bfloat16" in name else torch.float32) as seen:
            tuned = finetune(
                model,
                tokenizer,
                EXAMPLES,
                replace(config, processes=processes),
                checkpoints=folder / "checkpoints" / f"{processes}-{name}",
                interventions=interventions,
                recompute="recomputed" in name,
                on_log=histories.append,
            )
        if tuned is not None:
            told[name] = {
                "log": [row for row in histories[-1] if "losses" in row],
                "scores": [values.tolist() for values in score(tuned, tokenizer, QUESTIONS)],
                "dtypes": sorted({f"{one.dtype} {one.device}" for one in tuned.parameters()}),
                "seen": {what: sorted(kinds) for what, kinds in seen.items()},
                "names": sorted(tuned.state_dict()),
            }
    return told


if __name__ == "__main__":
    with joined():
        results = tune_all(Path(sys.argv[1]), 2)
        if results:
            Path(sys.argv[2]).write_text(json.dumps(results))
