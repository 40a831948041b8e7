"""Small transformers around the lab's model: several heads, an MLP, a second layer.

The residual stream starts with one-hot tokens (subject, relation, EOS) and every layer adds to it

    Σ_heads W_OV^h Σ_u a_tu x_u        a_tu over the tokens up to t
    W_2 relu(W_1 x_t)                  where there is an MLP

with W_OV^h = W_O W_Vᵀ or one matrix; answers are read at EOS. One layer with one head, fixed attention and no
MLP is `model.Model` with key_query "fixed" and attends "content".

Shapes: S seeds, B triples, T = 3 tokens, D dimensions (a token or an answer each), E heads, M MLP neurons.
"""

from dataclasses import dataclass
from math import sqrt
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from spillover.errors import LabError
from spillover.symbolic.model import OV
from spillover.symbolic.task import Task, check_whole

DeepAttention = Literal["fixed", "softmax"]


@dataclass(frozen=True, kw_only=True)
class Deep:
    """Which small transformer. Raises `LabError` for what makes none."""

    ov: OV = "factorized"
    """The factors of every W_OV have D columns, as many as its rank can be."""
    layers: int = 1
    heads: int = 1
    mlp: int = 0
    """M, neurons of each layer's MLP; 0 is none."""
    attention: DeepAttention = "fixed"
    """"fixed": 1 on subject and relation, 0 on EOS; "softmax": trained, one W_KQ (D, D) for each head."""
    scale: float = 1.0
    """Times 1/√D it is the standard deviation of every entry of the start."""

    def __post_init__(self) -> None:
        for name, kinds in (("ov", OV), ("attention", DeepAttention)):
            if getattr(self, name) not in get_args(kinds):
                raise LabError(f"{name} is {getattr(self, name)!r}; it can be {' or '.join(get_args(kinds))}")
        for name, least in (("layers", 1), ("heads", 1), ("mlp", 0)):
            check_whole(name, getattr(self, name), least)


@dataclass(frozen=True, kw_only=True, eq=False)
class DeepHistory:
    """Where the runs of one transformer ended, each (S,)."""

    train_loss: np.ndarray
    """Mean cross-entropy of the trained triples, nats."""
    train_accuracy: np.ndarray
    held_out_accuracy: np.ndarray
    held_out_probability: np.ndarray
    """Of the right answer, as a mean over the held-out implications."""
    steps: int


def train_deep(
    task: Task, deep: Deep, *, seeds: int, steps: int, rate: float = 5e-3, stop_below: float = 1e-4
) -> DeepHistory:
    """Train on all triples of a task without noise, by Adam, until no seed's loss is above `stop_below`.

    Each seed has its own start, and seeds train side by side without touching each other.
    """
    triples, subjects = task.triples, task.subject_count
    tokens = np.stack(
        [triples.subject, subjects + triples.relation, np.full(triples.subject.size, subjects + 2)], axis=1
    )
    d = subjects + 3 + task.answers
    stream_BTD = one_hot(torch.tensor(tokens), d).double()
    answer_B, trained_B = torch.tensor(triples.answer), torch.tensor(triples.trained)
    weights = _start(deep, d, seeds)
    optimizer = torch.optim.Adam(list(weights.values()), lr=rate)

    def logits(rows_B: Tensor) -> Tensor:
        return _forward(weights, deep, stream_BTD[rows_B])[..., subjects + 3 :]

    def losses(rows_B: Tensor) -> Tensor:
        wanted = answer_B[rows_B].expand(seeds, -1)
        return cross_entropy(logits(rows_B).transpose(1, 2), wanted, reduction="none").mean(dim=1)

    step = 0
    while True:
        loss_S = losses(trained_B)
        if step == steps or bool((loss_S <= stop_below).all()):
            break
        optimizer.zero_grad()
        loss_S.sum().backward()
        optimizer.step()
        step += 1

    with torch.no_grad():
        share_SBA = logits(torch.ones_like(trained_B)).softmax(dim=-1)
        right_SB = share_SBA.gather(-1, answer_B.expand(seeds, -1)[..., None])[..., 0]
        first_SB = (share_SBA.argmax(dim=-1) == answer_B).double()
    return DeepHistory(
        train_loss=loss_S.detach().numpy(),
        train_accuracy=first_SB[:, trained_B].mean(dim=1).numpy(),
        held_out_accuracy=first_SB[:, ~trained_B].mean(dim=1).numpy(),
        held_out_probability=right_SB[:, ~trained_B].mean(dim=1).numpy(),
        steps=step,
    )


def _start(deep: Deep, d: int, seeds: int) -> dict[str, Tensor]:
    """The parameters of all seeds by name, "LAYER/NAME"."""
    e, shapes = deep.heads, dict[str, tuple[int, ...]]()
    for layer in range(deep.layers):
        if deep.ov == "merged":
            shapes[f"{layer}/ov"] = (e, d, d)
        else:
            shapes |= {f"{layer}/output": (e, d, d), f"{layer}/value": (e, d, d)}
        if deep.attention == "softmax":
            shapes[f"{layer}/scores"] = (e, d, d)
        if deep.mlp:
            shapes |= {f"{layer}/in": (d, deep.mlp), f"{layer}/out": (deep.mlp, d)}
    each = [np.random.default_rng([seed, 4]) for seed in range(seeds)]  # the word keeps streams apart
    return {
        name: torch.tensor(
            np.stack([deep.scale / sqrt(d) * rng.standard_normal(shape) for rng in each]), requires_grad=True
        )
        for name, shape in shapes.items()
    }


def _forward(weights: dict[str, Tensor], deep: Deep, stream_BTD: Tensor) -> Tensor:
    """The residual stream at EOS, (S, B, D)."""
    x = stream_BTD.expand(next(iter(weights.values())).shape[0], -1, -1, -1)
    earlier_TT = torch.ones(3, 3, dtype=torch.bool).tril()
    content_TT = earlier_TT.double() * torch.tensor([1.0, 1.0, 0.0], dtype=torch.double)
    for layer in range(deep.layers):
        own = {name.removeprefix(f"{layer}/"): value for name, value in weights.items()}
        ov_SEDD = own["ov"] if deep.ov == "merged" else own["output"] @ own["value"].mT
        if deep.attention == "fixed":
            read = content_TT @ x
            added = read @ ov_SEDD.sum(dim=1)[:, None].mT
        else:
            score = torch.einsum("sbtd,sedf,sbuf->sbetu", x, own["scores"], x)
            shares = score.masked_fill(~earlier_TT, -torch.inf).softmax(dim=-1)
            added = torch.einsum("sbetu,sbuf,sedf->sbtd", shares, x, ov_SEDD)
        x = x + added
        if deep.mlp:
            x = x + torch.relu(x @ own["in"][:, None]) @ own["out"][:, None]
    return x[:, :, -1]
