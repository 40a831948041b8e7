"""What is measured along a run: losses, accuracies, margins, and the norms and rank of W_OV.

A triple's *margin* is the logit of its answer minus the largest other logit, at the noise counts where that
is smallest. A logit difference is a linear function of the noise counts (with softmax attention a ratio of
two, the lower one positive), so its smallest value lies at a corner, T - 3 tokens of one kind: no draws.

Shapes: S seeds, G settings, V input tokens, A answers, E entries of a table's row, P triples, C noise counts,
N noise tokens, X examples of a margin problem, J columns of W_OV that are compared.
"""

from dataclasses import dataclass, fields

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from spillover.errors import LabError
from spillover.margin.problem import MarginProblem, Norm
from spillover.symbolic.experiment import Experiment
from spillover.symbolic.gradient import exact_noise, logits_of
from spillover.symbolic.model import Model, Network
from spillover.symbolic.task import Task, base_counts, draw_noise, training_weights

_CHUNK = 250_000  # logits held at once; few enough to stay in the cache


@dataclass(frozen=True, kw_only=True, eq=False)
class Measures:
    """Numbers of every run at one step, each (G, S) float64; NaN where undefined (nothing is held out)."""

    train_loss: np.ndarray
    """Expected cross-entropy, nats, over the training population; its weights are those of `Training.mix`."""
    train_accuracy: np.ndarray
    """With the same weights; a tie of k best answers counts 1/k."""
    train_margin: np.ndarray
    """The smallest margin of a trained triple."""
    train_margin_mean: np.ndarray
    """The mean margin of the trained triples, each counted once."""
    held_out_loss: np.ndarray
    """Mean over the held-out implications."""
    held_out_accuracy: np.ndarray
    held_out_margin: np.ndarray
    """The smallest margin of a held-out implication."""
    held_out_margin_mean: np.ndarray
    nuclear: np.ndarray
    """‖W_OV‖_*, answers by the tokens that W_OV is compared on; see `compared`."""
    frobenius: np.ndarray
    """‖W_OV‖_F of the same."""
    effective_rank: np.ndarray
    """exp of the entropy of the singular values over their sum (Roy and Vetterli 2007)."""

    @property
    def normalized_nuclear(self) -> np.ndarray:
        """‖W_OV‖_* over the smallest training margin; the nuclear optimum of `margin_problem`, where that
        problem exists, bounds it from below. NaN while the margin is not positive."""
        return self.nuclear / np.where(self.train_margin > 0, self.train_margin, np.nan)

    @property
    def normalized_frobenius(self) -> np.ndarray:
        """‖W_OV‖_F over the smallest training margin; half its square is bounded by the Frobenius optimum."""
        return self.frobenius / np.where(self.train_margin > 0, self.train_margin, np.nan)


MEASURES = tuple(field.name for field in fields(Measures))
"""The names of the measured numbers."""


class Meter:
    """Measures networks of one experiment; what does not change between steps is laid out once."""

    def __init__(self, experiment: Experiment, dtype: torch.dtype) -> None:
        task, training = experiment.task, experiment.training
        if training.gradient == "exact" or all(s.model.ignores_noise for s in experiment.settings):
            noise_CN, share_C = exact_noise(experiment)
        else:
            rng = np.random.default_rng([0, 2])
            noise_CN = draw_noise(task, rng, (training.evaluation_draws,)).astype(float)
            share_C = np.full(len(noise_CN), 1 / len(noise_CN))
        corners_NN = (
            task.noise_places * np.eye(task.noise) if task.noise_places else np.zeros((1, task.noise))
        )

        def tensor(array: np.ndarray) -> Tensor:
            return torch.as_tensor(array, dtype=dtype, device=training.device)

        self.task, self.softmax = task, experiment.settings[0].model.attention == "softmax"
        self.base_PV, self.noise_CN = tensor(base_counts(task)), tensor(noise_CN)
        self.corners_NN, self.share_C = tensor(corners_NN), tensor(share_C)
        self.label_P = torch.tensor(task.triples.answer, device=training.device)
        self.trained_P, self.weight_P = task.triples.trained, training_weights(task, training.mix)
        self.compared = [compared(task, setting.model) for setting in experiment.settings]

    def __call__(self, networks: list[Network]) -> Measures:
        """Measure all runs."""
        table_SVGE = torch.stack([network.table() for network in networks], dim=2)
        loss_GSP, credit_GSP, margin_GSP = self._triples(table_SVGE)
        trained, asked = self.trained_P, ~self.trained_P
        numbers = {
            "train_loss": loss_GSP[..., trained] @ self.weight_P[trained],
            "train_accuracy": credit_GSP[..., trained] @ self.weight_P[trained],
            "train_margin": margin_GSP[..., trained].min(axis=-1),
            "train_margin_mean": margin_GSP[..., trained].mean(axis=-1),
        }
        nothing = np.full(loss_GSP.shape[:2], np.nan)
        for name, values, statistic in (
            ("loss", loss_GSP, np.mean),
            ("accuracy", credit_GSP, np.mean),
            ("margin", margin_GSP, np.min),
            ("margin_mean", margin_GSP, np.mean),
        ):
            numbers[f"held_out_{name}"] = statistic(values[..., asked], axis=-1) if asked.any() else nothing
        spectra = [
            singular_values(network.columns()[:, columns])
            for network, columns in zip(networks, self.compared, strict=True)
        ]
        for name, statistic in (
            ("nuclear", lambda sigma: sigma.sum(axis=-1)),
            ("frobenius", lambda sigma: np.sqrt((sigma**2).sum(axis=-1))),
            ("effective_rank", effective_rank),
        ):
            numbers[name] = np.stack([statistic(sigma) for sigma in spectra])
        return Measures(**numbers)

    def _triples(self, table_SVGE: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Expected loss, expected credit and margin of every triple, each (G, S, P)."""
        table_GSVE = table_SVGE.permute(2, 0, 1, 3)
        own_GSPE = self.base_PV @ table_GSVE
        noise_table_GSNE = table_GSVE[:, :, self.task.noise_columns]

        def behind(noise_CN: Tensor) -> Tensor:
            """Wrong answers' logits minus the right one's, (G, S, P, C, A); the right one's is -∞."""
            noise_GSCE = noise_CN @ noise_table_GSNE
            logits = logits_of(own_GSPE[..., :, None, :] + noise_GSCE[..., None, :, :], self.softmax)
            label = self.label_P[:, None, None].expand(*logits.shape[:-1], 1)
            return logits.sub_(logits.gather(-1, label)).scatter_(-1, label, -torch.inf)

        loss_GSP, credit_GSP = torch.zeros(
            2, *own_GSPE.shape[:3], dtype=torch.float64, device=own_GSPE.device
        )
        step = max(1, _CHUNK // own_GSPE.numel())
        for start in range(0, len(self.noise_CN), step):
            behind_GSPCA = behind(self.noise_CN[start : start + step])
            share_C = self.share_C[start : start + step].double()
            loss_GSP += torch.nn.functional.softplus(behind_GSPCA.logsumexp(dim=-1)).double() @ share_C
            top_GSPC = behind_GSPCA.amax(dim=-1)
            credit_GSPC = (top_GSPC < 0).double()
            if (tied_GSPC := top_GSPC == 0).any():
                credit_GSPC[tied_GSPC] = 1 / (1 + (behind_GSPCA[tied_GSPC] == 0).sum(dim=-1).double())
            credit_GSP += credit_GSPC @ share_C
        margin_GSP = -behind(self.corners_NN).amax(dim=(-2, -1))
        loss, credit, margin = (part.double().cpu().numpy() for part in (loss_GSP, credit_GSP, margin_GSP))
        return loss, credit, margin


def singular_values(weights: Tensor) -> np.ndarray:
    """Singular values in float64 of a stack of matrices (S, J, A), (S, min(J, A)); NaN where not finite."""
    matrices = weights.double().cpu()
    finite = matrices.isfinite().flatten(1).all(dim=1)
    sigma = torch.linalg.svdvals(torch.where(finite[:, None, None], matrices, 0.0)).numpy()
    return np.where(finite.numpy()[:, None], sigma, np.nan)


def effective_rank(sigma: np.ndarray) -> np.ndarray:
    """exp of the entropy of the singular values over their sum, on the last axis; NaN for a zero matrix."""
    with np.errstate(divide="ignore", invalid="ignore"):
        share = sigma / sigma.sum(axis=-1, keepdims=True)
        return np.exp(-np.where(share == 0, 0, share * np.log(share)).sum(axis=-1))


def compared(task: Task, model: Model) -> np.ndarray:
    """(J,), the input tokens on which W_OV is measured: those that the model may attend to.

    Subjects and relations where noise and EOS have weight 0 for certain: their columns of W_OV then stay
    where they started, tell nothing, and are in no logit. Else every input token.
    """
    return np.arange(len(task.inputs))[task.content if model.ignores_noise else slice(None)]


def margin_problem(task: Task, model: Model, norm: Norm = "nuclear") -> MarginProblem:
    """The max-margin problem of Theorem 1 whose solution the trained W_OV is to align with.

    Columns are the tokens of `compared`, rows the answers, and an example's features are the attention it
    pays: attention_scale (e_subject + e_relation) with attends "content". Where noise and EOS are attended
    to, every margin must hold for every noise count; it does if it holds at the corners, T - 3 tokens of one
    kind, so each triple is there once for each kind of noise. Answers' own columns of W_OV are in neither:
    no sequence holds an answer.

    The problem is the trained model's own only with W_KQ fixed (its scale decides the unit of the margin) and
    orthonormal embeddings (else W_OV's norm is not its table's): raises `LabError` otherwise.
    """
    if model.key_query != "fixed" or model.embeddings != "orthonormal" or model.attends == "random":
        raise LabError(
            "the margin problem needs W_KQ fixed on content or all tokens and orthonormal embeddings, got "
            f"key_query {model.key_query!r}, attends {model.attends!r}, embeddings {model.embeddings!r}"
        )
    triples = np.flatnonzero(task.triples.trained)
    corners = task.noise_places * np.eye(task.noise) if task.noise_places else np.zeros((1, task.noise))
    if model.ignores_noise:
        corners = np.zeros((1, task.noise))
    counts_XV = np.repeat(base_counts(task)[triples], len(corners), axis=0)
    counts_XV[:, task.noise_columns] = np.tile(corners, (len(triples), 1))
    weight_V = np.zeros(len(task.inputs))
    weight_V[task.content if model.attends == "content" else slice(None)] = model.attention_scale
    features_XV = counts_XV * (np.exp(weight_V) if model.attention == "softmax" else weight_V)
    if model.attention == "softmax":
        features_XV /= features_XV.sum(axis=1, keepdims=True)
    return MarginProblem(
        features=sp.csr_array(features_XV[:, compared(task, model)]),
        labels=np.repeat(task.triples.answer[triples], len(corners)),
        answers=task.answers,
        norm=norm,
    )


def blocks(task: Task, weights: np.ndarray) -> dict[tuple[str, str], np.ndarray]:
    """W_OV (…, A, V) cut into (answers of a relation, tokens): what the paper's heat maps show.

    The first name is "fact" or "implication" ("implication 2" … for more), the second "bridges", "held_out"
    (subjects that are bridges of that implication, or are not; for the fact, of any) or "relations". The
    block ("implication", "held_out") is the one that a model fills in or leaves empty.
    """
    place = np.concatenate([np.arange(size) for size in task.sizes])
    is_bridge = place < task.bridge_counts[:, np.repeat(np.arange(task.groups), task.sizes)]
    cut: dict[tuple[str, str], np.ndarray] = {}
    for relation in range(task.relations):
        name = "fact" if relation == 0 else "implication" if relation == 1 else f"implication {relation}"
        bridge = is_bridge.any(axis=0) if relation == 0 else is_bridge[relation - 1]
        rows = weights[..., relation * task.groups : (relation + 1) * task.groups, :]
        cut[name, "bridges"] = rows[..., np.flatnonzero(bridge)]
        cut[name, "held_out"] = rows[..., np.flatnonzero(~bridge)]
        cut[name, "relations"] = rows[..., slice(task.tokens["relations"].start, task.content.stop)]
    return cut
