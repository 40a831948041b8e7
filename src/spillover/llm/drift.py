"""How far a tune took a model from where it was, on texts that have nothing to do with what it was taught.

Legend of shapes: T tokens of a text, V vocabulary.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.nn.functional import kl_div, log_softmax, nll_loss

from spillover.llm.asking import undisturbed
from spillover.llm.encode import encode_prompts


class Drift:
    """Holds the untuned model's next-token log-probabilities on the texts, in float32 on the CPU."""

    def __init__(self, model: Any, tokenizer: Any, texts: Sequence[str]) -> None:
        self._rows = [torch.tensor([row]) for row in encode_prompts(tokenizer, texts)]
        self._before = list(self._log_probabilities(model))

    def of(self, model: Any) -> dict[str, list[float]]:
        """For each text, in nats a token: `kl`, the mean over its positions of KL(untuned || model) of the next
        token, over the whole vocabulary; `before` and `after`, the mean negative log-likelihood of its tokens
        under both. The first token is not predicted.
        """
        found: dict[str, list[float]] = {"kl": [], "before": [], "after": []}
        for row, before_TV, after_TV in zip(
            self._rows, self._before, self._log_probabilities(model), strict=True
        ):
            kl_TV = kl_div(after_TV, before_TV, reduction="none", log_target=True)
            found["kl"].append(kl_TV.sum(-1).mean().item())
            found["before"].append(nll_loss(before_TV, row[0, 1:]).item())
            found["after"].append(nll_loss(after_TV, row[0, 1:]).item())
        return found

    def _log_probabilities(self, model: Any) -> Iterator[torch.Tensor]:
        """(T - 1, V) of each text."""
        for row in self._rows:
            with undisturbed(model) as still, torch.no_grad():
                logits_TV = still(input_ids=row.to(still.device), use_cache=False).logits[0, :-1]
                yield log_softmax(logits_TV.float(), dim=-1).cpu()
