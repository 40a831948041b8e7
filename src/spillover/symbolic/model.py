"""One layer, one head, attention only: f(X) = W_OV Xᵀ X W_KQ x_T, or with a softmax of the scores X W_KQ x_T.

The logit of an answer is the inner product of f(X) with its embedding. Read at EOS and without positions, a
sequence matters only through its token counts n (V,) and the model only through one score per token,
w_v = ⟨x_v, W_KQ x_EOS⟩, and one column of logits per token, M_v = E_answers W_OV x_v:

    linear     logits = Σ_v n_v w_v M_v
    softmax    logits = Σ_v n_v e^{w_v} M_v / Σ_v n_v e^{w_v}

so a network is a table of V rows, and a batch is one matrix product with it. Softmax scores are not divided
by √d. With orthonormal embeddings, taken to be one-hot, the rows and columns of the weights that no sequence
and no answer reads never have a gradient and never touch a logit, and are left out.

Shapes: S seeds, V input tokens, A answers, D embedding dimension, H = d_h, R = d_k.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from spillover.errors import LabError
from spillover.symbolic.task import Task, check_whole

OV = Literal["factorized", "merged"]
Attention = Literal["linear", "softmax"]
KeyQuery = Literal["fixed", "matrix", "product"]
Attends = Literal["random", "content", "all"]
Embeddings = Literal["orthonormal", "random"]
Start = Literal["random", "symmetric"]


@dataclass(frozen=True, kw_only=True)
class Model:
    """Which one-layer model. Raises `LabError` for settings that make none."""

    ov: OV = "factorized"
    """W_OV = W_O W_Vᵀ with W_O, W_V of d_h columns each, or one merged matrix."""
    d_h: int = 128
    """H, columns of W_O and W_V; a merged model has none."""
    attention: Attention = "linear"
    key_query: KeyQuery = "matrix"
    """W_KQ is fixed, trained as one matrix, or trained as W_K W_Qᵀ with d_k columns each."""
    d_k: int = 128
    """R, columns of W_K and W_Q; used by "product" alone."""
    attends: Attends = "random"
    """Where W_KQ starts, or stays: "random", normal entries; "content", attention_scale · Σ x_v x_EOSᵀ over
    subjects and relations v, so that they score attention_scale and other tokens 0; "all", the same over
    every input token."""
    attention_scale: float = 1.0
    """Times 1/√d it is the standard deviation of the random entries of W_KQ, or of W_K and W_Q."""
    embeddings: Embeddings = "orthonormal"
    """"random": unit vectors drawn anew for each seed, tied between input and output."""
    d: int | None = None
    """D; by default as many as the vocabulary has tokens. Orthonormal embeddings need no fewer."""
    start: Start = "random"
    """W_OV (or W_O and W_V): normal entries, or, for a merged model, all equal, as Theorem 3 has it."""
    scale: float = 1.0
    """Times 1/√d it is the standard deviation of the random entries, or the value of the equal ones."""

    def __post_init__(self) -> None:
        for name, kinds in (
            ("ov", OV),
            ("attention", Attention),
            ("key_query", KeyQuery),
            ("attends", Attends),
            ("embeddings", Embeddings),
            ("start", Start),
        ):
            if getattr(self, name) not in get_args(kinds):
                raise LabError(f"{name} is {getattr(self, name)!r}; it can be {' or '.join(get_args(kinds))}")
        check_whole("d_h", self.d_h, 1)
        check_whole("d_k", self.d_k, 1)
        if self.d is not None:
            check_whole("d", self.d, 1)
        for name in ("scale", "attention_scale"):
            if not 0 <= getattr(self, name) < np.inf:
                raise LabError(f"{name} must be a number of at least 0, got {getattr(self, name)}")
        if self.ov == "factorized" and self.scale == 0:
            raise LabError("a factorized model that starts at 0 never moves; give a positive scale")
        if self.key_query == "product" and self.attends != "random":
            raise LabError(
                f"W_K W_Qᵀ starts at random; attends {self.attends!r} needs key_query fixed or matrix"
            )
        if self.start == "symmetric" and (
            self.ov == "factorized" or self.attends == "random" or self.embeddings == "random"
        ):
            raise LabError(
                "a symmetric start needs a merged model, orthonormal embeddings, and attends 'content' or "
                "'all'"
            )

    def dimension(self, task: Task) -> int:
        """D for this task; raises `LabError` where orthonormal embeddings do not fit into it."""
        d = task.vocabulary if self.d is None else self.d
        if self.embeddings == "orthonormal" and d < task.vocabulary:
            raise LabError(
                f"{task.vocabulary} tokens have no orthonormal embeddings in {d} dimensions; "
                "raise d or use random embeddings"
            )
        return d

    @property
    def ignores_noise(self) -> bool:
        """Whether noise and EOS have weight 0 for certain: a sequence is then e_subject + e_relation."""
        return (
            self.key_query == "fixed"
            and self.attends == "content"
            and self.attention == "linear"
            and self.embeddings == "orthonormal"
        )


class Network:
    """The weights of one model for S seeds. A seed's start depends on the seed alone, not on those beside it.

    `parameters` by name, with orthonormal embeddings: `output` (S, A, H) and `value` (S, V, H), or `ov`
    (S, V, A), the transpose of W_OV; `scores` (S, V), the column of W_KQ that EOS reads, or `key` (S, V, R)
    and `query` (S, R), the row of W_Q at EOS. With random ones: `output` and `value` (S, D, H), or `ov`
    (S, D, D) = W_OV; `scores` (S, D, D) = W_KQ, or `key` and `query` (S, D, R). `fixed` holds what is not
    trained: `scores` where W_KQ is fixed, and random embeddings `inputs` (S, V, D), `answers` (S, A, D).
    """

    def __init__(
        self,
        model: Model,
        task: Task,
        seeds: Sequence[int],
        dtype: torch.dtype,
        device: torch.device | str = "cpu",
    ) -> None:
        self.model = model
        drawn = [_start(model, task, np.random.default_rng([seed, 0])) for seed in seeds]
        stacked = {
            name: torch.tensor(np.stack([start[name] for start in drawn]), dtype=dtype, device=device)
            for name in drawn[0]
        }
        untrained = {"inputs", "answers"} | ({"scores"} if model.key_query == "fixed" else set())
        self.fixed = {name: tensor for name, tensor in stacked.items() if name in untrained}
        self.parameters = {name: tensor for name, tensor in stacked.items() if name not in untrained}

    def columns(self) -> Tensor:
        """M transposed, (S, V, A): the logits that one count of each token adds at score 1."""
        own, one_hot = self.parameters, self.model.embeddings == "orthonormal"
        if self.model.ov == "merged":
            return own["ov"] if one_hot else self.fixed["inputs"] @ own["ov"].mT @ self.fixed["answers"].mT
        if one_hot:
            return own["value"] @ own["output"].mT
        return (self.fixed["inputs"] @ own["value"]) @ (self.fixed["answers"] @ own["output"]).mT

    def weights(self) -> Tensor:
        """w, (S, V): each token's attention score at EOS."""
        arrays = self.parameters | self.fixed
        if self.model.embeddings == "orthonormal":
            product = self.model.key_query == "product"
            return (arrays["key"] @ arrays["query"][..., None])[..., 0] if product else arrays["scores"]
        eos_SD1 = self.fixed["inputs"][:, -1, :, None]
        if self.model.key_query == "product":
            return (self.fixed["inputs"] @ (arrays["key"] @ (arrays["query"].mT @ eos_SD1)))[..., 0]
        return (self.fixed["inputs"] @ (arrays["scores"] @ eos_SD1))[..., 0]

    def table(self) -> Tensor:
        """What counts are multiplied with: (S, V, A), or for softmax (S, V, A + 1), the denominator last.

        Kept for `backward`.
        """
        self._columns_SVA, weights_SV1 = self.columns(), self.weights()[..., None]
        if self.model.attention == "linear":
            self._shares_SV1 = weights_SV1
            return weights_SV1 * self._columns_SVA
        self._shares_SV1 = torch.exp(weights_SV1 - weights_SV1.amax(dim=1, keepdim=True))
        return torch.cat([self._shares_SV1 * self._columns_SVA, self._shares_SV1], dim=-1)

    def backward(self, slope_SVE: Tensor) -> dict[str, Tensor]:
        """The gradient of every parameter from that of the last table; written out, as autograd is slow."""
        answers = self._columns_SVA.shape[-1]
        slope_SVA = slope_SVE[..., :answers]
        gradient = self._backward_columns(self._shares_SV1 * slope_SVA)
        if self.model.key_query == "fixed":
            return gradient
        score_SV1 = (self._columns_SVA * slope_SVA).sum(dim=-1, keepdim=True)
        if self.model.attention == "softmax":
            score_SV1 = self._shares_SV1 * (score_SV1 + slope_SVE[..., answers:])
        return gradient | self._backward_weights(score_SV1)

    def _backward_columns(self, slope_SVA: Tensor) -> dict[str, Tensor]:
        own, one_hot = self.parameters, self.model.embeddings == "orthonormal"
        if self.model.ov == "merged":
            return {
                "ov": slope_SVA if one_hot else self.fixed["answers"].mT @ slope_SVA.mT @ self.fixed["inputs"]
            }
        if one_hot:
            return {"output": slope_SVA.mT @ own["value"], "value": slope_SVA @ own["output"]}
        slope_SDD = self.fixed["answers"].mT @ slope_SVA.mT @ self.fixed["inputs"]
        return {"output": slope_SDD @ own["value"], "value": slope_SDD.mT @ own["output"]}

    def _backward_weights(self, slope_SV1: Tensor) -> dict[str, Tensor]:
        own, product = self.parameters, self.model.key_query == "product"
        if self.model.embeddings == "orthonormal":
            if not product:
                return {"scores": slope_SV1[..., 0]}
            return {"key": slope_SV1 * own["query"][:, None], "query": (own["key"].mT @ slope_SV1)[..., 0]}
        slope_SDD = self.fixed["inputs"].mT @ slope_SV1 @ self.fixed["inputs"][:, -1:]
        if not product:
            return {"scores": slope_SDD}
        return {"key": slope_SDD @ own["query"], "query": slope_SDD.mT @ own["key"]}


def _start(model: Model, task: Task, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """One seed's arrays; see `Network`."""
    d, one_hot = model.dimension(task), model.embeddings == "orthonormal"
    v, a = (len(task.inputs), task.answers) if one_hot else (d, d)
    deviation, attention_deviation = model.scale / sqrt(d), model.attention_scale / sqrt(d)
    arrays: dict[str, np.ndarray] = {}
    if not one_hot:
        embedding = rng.standard_normal((task.vocabulary, d))
        embedding /= np.linalg.norm(embedding, axis=1, keepdims=True)
        arrays["inputs"] = embedding[task.inputs]
        arrays["answers"] = embedding[task.tokens["answers"]]

    if model.ov == "factorized":
        arrays["output"] = deviation * rng.standard_normal((a, model.d_h))
        arrays["value"] = deviation * rng.standard_normal((v, model.d_h))
    elif model.start == "random":
        arrays["ov"] = deviation * rng.standard_normal((v, a))
    else:
        arrays["ov"] = np.full((v, a), deviation)

    if model.key_query == "product":
        arrays["key"] = attention_deviation * rng.standard_normal((v, model.d_k))
        arrays["query"] = attention_deviation * rng.standard_normal(
            (model.d_k,) if one_hot else (d, model.d_k)
        )
    elif model.attends == "random":
        arrays["scores"] = attention_deviation * rng.standard_normal((v,) if one_hot else (d, d))
    else:
        attended = np.zeros(len(task.inputs))
        attended[task.content if model.attends == "content" else slice(None)] = model.attention_scale
        if one_hot:
            arrays["scores"] = attended
        else:
            inputs = arrays["inputs"]
            arrays["scores"] = np.outer(attended @ inputs, inputs[-1])
    return arrays
