"""How far a tuned model went from the untuned one on texts that have nothing to do with what it was taught.

For a text of tokens x_1 … x_n, with p the untuned model's next-token probabilities and q the tuned one's,
each given all tokens before, in nats a token:

    kl     = mean over t of  Σ_v p_t(v) log(p_t(v) / q_t(v)),   v over the whole vocabulary
    before = mean over t of  −log p_t(x_t)                      (the perplexity is its exponential)
    after  = mean over t of  −log q_t(x_t)

t runs over the tokens that have one before them: from x_2 on, or from the text's own first token where the
tokenizer puts a beginning before it.

Legend of shapes: B texts of a batch, T tokens, P = T − 1 predicted tokens, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import kl_div

from spillover.errors import ModelError
from spillover.llm.asking import undisturbed
from spillover.llm.border import run
from spillover.llm.encode import encode_prompts, left_padded, refuse_foreign_tokens
from spillover.llm.score import BYTES_PER_PASS, log_softmax

_NAN = float("nan")
_BYTES_PER_LOGIT = 12  # float32: itself, its logarithm of a probability, and that without padding


@dataclass(frozen=True, kw_only=True, slots=True)
class Drift:
    """How far a tuned model went on one text, in nats a token; NaN where the text has nothing to predict."""

    kl: float
    """KL(untuned || tuned); 0 where nothing changed."""
    before: float
    """The untuned model's negative log-likelihood."""
    after: float
    """The tuned model's."""


class Untuned:
    """What a model says of some texts before it is tuned, kept to compare the tuned model with.

    It holds every next-token log-probability: float32 on the CPU, 320 MB for 40 texts of 40 tokens and a
    vocabulary of 50,000. Beside that, `BYTES_PER_PASS` are taken while a model reads, or what a single text
    takes. Models are left as they were, and so are the random states.

    Raises ModelError for a tokenizer that is not the model's, and for logits that are broken or too coarse.
    """

    def __init__(self, model: Any, tokenizer: Any, texts: Sequence[str]) -> None:
        self._rows = encode_prompts(tokenizer, texts)
        self._pad = tokenizer.pad_token_id
        refuse_foreign_tokens(model, ((row, []) for row in self._rows))
        self._batches = _batches([len(row) for row in self._rows], model.config.get_text_config().vocab_size)
        with undisturbed(model):
            self._before_PV = {
                n: logs_PV for batch in self._batches for n, logs_PV in self._read(model, batch).items()
            }

    def drift(self, tuned: Any) -> list[Drift]:
        """How far the tuned model went on each text, in their order; also where it is the same object, tuned.

        Raises ModelError as the making does, and where the tuned model has another vocabulary.
        """
        drifts = dict.fromkeys(range(len(self._rows)), Drift(kl=_NAN, before=_NAN, after=_NAN))
        with undisturbed(tuned):
            for batch in self._batches:
                for n, after_PV in self._read(tuned, batch).items():
                    drifts[n] = _drift(self._before_PV[n], after_PV, self._rows[n][1:])
        return list(drifts.values())

    def _read(self, model: Any, batch: Sequence[int]) -> dict[int, torch.Tensor]:
        """The log-probabilities after each token but the last of the batch's texts, (P, V), by text."""
        inputs = left_padded([self._rows[n] for n in batch], self._pad)
        with torch.inference_mode():
            inputs = {name: tensor.to(model.device) for name, tensor in inputs.items()}
            logs_BTV = log_softmax(run(model, **inputs, use_cache=False).logits, torch.float32)
            return {n: logs_BTV[b, -len(self._rows[n]) : -1].clone() for b, n in enumerate(batch)}


def _drift(before_PV: torch.Tensor, after_PV: torch.Tensor, tokens: Sequence[int]) -> Drift:
    if before_PV.shape != after_PV.shape:
        raise ModelError(
            f"the untuned model predicts {before_PV.shape[1]} tokens and the tuned one {after_PV.shape[1]}; "
            "give models with the same vocabulary"
        )
    # made distributions again: what rounding left of their sums would count as drift, some 1e-7
    p_PV, q_PV = (logs_PV.double().log_softmax(-1) for logs_PV in (before_PV, after_PV))
    kl_P = kl_div(q_PV, p_PV, reduction="none", log_target=True).sum(-1)
    tokens_P1 = torch.tensor(tokens).unsqueeze(1)
    before, after = (-logs_PV.gather(1, tokens_P1).double().mean() for logs_PV in (before_PV, after_PV))
    return Drift(kl=kl_P.mean().item(), before=before.item(), after=after.item())


def _batches(lengths: Sequence[int], vocabulary: int) -> list[list[int]]:
    """The texts that have a token to predict, the shortest first, in batches that fit in `BYTES_PER_PASS`."""
    batches: list[list[int]] = []
    for n in sorted((n for n, length in enumerate(lengths) if length > 1), key=lengths.__getitem__):
        padded = (len(batches[-1]) + 1) * lengths[n] if batches else 0
        if not batches or padded * vocabulary * _BYTES_PER_LOGIT > BYTES_PER_PASS:
            batches.append([])
        batches[-1].append(n)
    return batches
