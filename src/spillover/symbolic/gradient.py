"""The gradient of the loss of many runs at once, with respect to their tables.

Settings of one seed read the same counts, so their tables stand side by side and one product serves all. The
right answer's part of the gradient is minus the sum of the others' probabilities and never p - 1, which
rounds to 0 once an answer is certain; the late phase lives on what is left.

Shapes: S seeds, G settings, V input tokens, A answers, E entries of a table's row (A, or A + 1 with a softmax
denominator), W = G E, B rows, R input tokens besides subjects, P trained triples, C noise counts, N noise
tokens.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from spillover.errors import LabError
from spillover.symbolic.experiment import Experiment
from spillover.symbolic.task import Sampler, base_counts, noise_counts, training_weights

ROWS = 20_000
"""The most rows (triples times noise counts) that are laid out one by one."""
_BLOCK = 64  # steps whose batches are drawn together


@dataclass(frozen=True, kw_only=True, eq=False)
class Rows:
    """Sequences of every seed: which subject, and the counts of all other input tokens."""

    at: Tensor
    """(S * B,), the subject's row in the tables of all seeds, one below the other."""
    rest_SBR: Tensor
    label_SB11: Tensor

    @staticmethod
    def of(subject_SB: Tensor, rest_SBR: Tensor, label_SB: Tensor, columns: int) -> "Rows":
        """Rows for tables with that many columns V."""
        offset_S1 = columns * torch.arange(len(subject_SB), device=subject_SB.device)[:, None]
        return Rows(
            at=(subject_SB + offset_S1).flatten(), rest_SBR=rest_SBR, label_SB11=label_SB[..., None, None]
        )


def logits_of(read: Tensor, softmax: bool) -> Tensor:
    """What counts times table give, (..., E), as logits (..., A)."""
    return read[..., :-1] / read[..., -1:] if softmax else read


class Sampled:
    """Gradients of sampled batches; a step's batch depends on its seed and its number alone."""

    def __init__(self, experiment: Experiment, dtype: torch.dtype) -> None:
        self.task, self.training, self.dtype = experiment.task, experiment.training, dtype
        self.sampler = Sampler(task=self.task, batch=self.training.batch, mix=self.training.mix)
        self.rest_PR = base_counts(self.task)[:, self.task.subject_count :]
        self.block = -1

    def __call__(self, step: int, table_SVGE: Tensor, softmax: bool, rescale_G: Tensor | None) -> Tensor:
        """The gradient at a step, shaped like the table."""
        if step // _BLOCK != self.block:
            self.block = step // _BLOCK
            self.drawn = self._draw()
        rows = self.drawn[step % _BLOCK]
        return rows_gradient(rows, 1 / self.training.batch, table_SVGE, softmax, rescale_G)

    def _draw(self) -> list[Rows]:
        triples, task = self.task.triples, self.task
        parts = [self.sampler.block(seed, self.block, _BLOCK) for seed in self.training.seeds]
        rows_KSB, noise_KSBN = (np.stack(part, axis=1) for part in zip(*parts, strict=True))
        rest_KSBR = self.rest_PR[rows_KSB]
        rest_KSBR[..., task.relations : -1] = noise_KSBN
        offset_S1 = len(task.inputs) * np.arange(rows_KSB.shape[1])[:, None]
        at_KSB, label_KSB, rest = (
            torch.from_numpy(array).to(self.training.device)
            for array in (triples.subject[rows_KSB] + offset_S1, triples.answer[rows_KSB], rest_KSBR)
        )
        steps = zip(at_KSB.flatten(1), rest.to(self.dtype), label_KSB[..., None, None], strict=True)
        return [Rows(at=at, rest_SBR=rest, label_SB11=label) for at, rest, label in steps]


class Exact:
    """The gradient of the expected loss over the training triples and all noise counts.

    Few rows are laid out one by one. Many (reference: 100 triples x 2,380 noise counts) need linear
    attention: a row's logits are then a sum of the triple's and the noise's, so the exponentials factor and
    the sum over answers is a matrix product, (P, A) times (A, C).
    """

    def __init__(self, experiment: Experiment, dtype: torch.dtype) -> None:
        task, training = experiment.task, experiment.training
        trained = np.flatnonzero(task.triples.trained)
        noise_CN, share_C = exact_noise(experiment)
        weight_P = training_weights(task, training.mix)[trained]
        base_PV = base_counts(task)[trained]
        label_P = task.triples.answer[trained]
        self.noise = task.noise_columns
        rows = len(trained) * len(share_C)
        self.laid_out = rows <= ROWS
        if not self.laid_out and experiment.settings[0].model.attention == "softmax":
            raise LabError(
                f"the exact population has {rows:,} rows of triples and noise, and softmax attention takes "
                f"{ROWS:,} at most; use fewer noise tokens, shorter sequences or a sampled gradient"
            )

        if not self.laid_out and any(
            setting.optimizer.rule == "normalized_gd" for setting in experiment.settings
        ):
            raise LabError(
                f"the exact population has {rows:,} rows of triples and noise, and normalized descent takes "
                f"{ROWS:,} at most; use a model that ignores noise, fewer noise tokens or shorter sequences"
            )

        def tensor(array: np.ndarray) -> Tensor:
            made = torch.as_tensor(array, device=training.device)
            return made.to(dtype) if made.is_floating_point() else made

        self.label_P, self.base_PV, self.noise_CN = tensor(label_P), tensor(base_PV), tensor(noise_CN)
        if not self.laid_out:
            self.share_PC = tensor(np.outer(weight_P, share_C))
            self.is_label_AP = tensor((np.arange(task.answers)[:, None] == label_P).astype(float))
        else:
            rest_BR = np.repeat(base_PV[:, task.subject_count :], len(share_C), axis=0)
            rest_BR[:, task.relations : -1] = np.tile(noise_CN, (len(trained), 1))
            subject_B, label_B = (
                tensor(np.repeat(array, len(share_C))) for array in (task.triples.subject[trained], label_P)
            )
            seeds = len(training.seeds)
            self.rows = Rows.of(
                subject_B.expand(seeds, -1),
                tensor(rest_BR).expand(seeds, -1, -1),
                label_B.expand(seeds, -1),
                len(task.inputs),
            )
            self.weight_B11 = tensor(np.outer(weight_P, share_C).ravel())[:, None, None]

    def __call__(self, step: int, table_SVGE: Tensor, softmax: bool, rescale_G: Tensor | None) -> Tensor:
        """The gradient, shaped like the table; the step plays no role."""
        if self.laid_out:
            return rows_gradient(self.rows, self.weight_B11, table_SVGE, softmax, rescale_G)
        return self._factored(table_SVGE)

    def _factored(self, table_SVGA: Tensor) -> Tensor:
        """The gradient of the mean over triples and noise of log(1 + Σ over wrong answers of e^-margin).

        A sum of e^-margin is `wrong` @ `odds` over the right answer's own `odds`; the largest noise logit
        that is taken off for safety cancels in it.
        """
        table_SGVA = table_SVGA.transpose(1, 2)
        own_SGPA = self.base_PV @ table_SGVA
        noise_SGCA = self.noise_CN @ table_SGVA[:, :, self.noise]
        label_SGP1 = self.label_P.expand(*own_SGPA.shape[:2], -1)[..., None]
        wrong_SGPA = (own_SGPA - own_SGPA.gather(-1, label_SGP1)).exp_().scatter_(-1, label_SGP1, 0.0)
        odds_SGAC = (noise_SGCA - noise_SGCA.amax(dim=-1, keepdim=True)).exp_().mT.contiguous()

        sum_SGPC = wrong_SGPA @ odds_SGAC
        right_SGPC = odds_SGAC.index_select(2, self.label_P)
        slope_SGPC = self.share_PC / (sum_SGPC + right_SGPC)  # by the sum
        behind_SGPA = (slope_SGPC @ odds_SGAC.mT).mul_(wrong_SGPA)
        own_slope_SGPA = behind_SGPA.scatter_(-1, label_SGP1, -behind_SGPA.sum(dim=-1, keepdim=True))
        odds_slope_SGAC = wrong_SGPA.mT @ slope_SGPC
        odds_slope_SGAC -= self.is_label_AP @ slope_SGPC.mul_(sum_SGPC).div_(right_SGPC)
        noise_slope_SGAC = odds_slope_SGAC.mul_(odds_SGAC)

        slope_SGVA = self.base_PV.T @ own_slope_SGPA
        slope_SGVA[:, :, self.noise] += (noise_slope_SGAC @ self.noise_CN).mT
        return slope_SGVA.transpose(1, 2)


def exact_noise(experiment: Experiment) -> tuple[np.ndarray, np.ndarray]:
    """All noise counts (C, N) and their probabilities; a single row of zeros where no model sees noise."""
    if all(setting.model.ignores_noise for setting in experiment.settings):
        return np.zeros((1, experiment.task.noise)), np.ones(1)
    return noise_counts(experiment.task)


def rows_gradient(
    rows: Rows,
    weight: Tensor | float,
    table_SVGE: Tensor,
    softmax: bool,
    rescale_G: Tensor | None = None,
) -> Tensor:
    """The gradient of Σ weight * loss over the rows, for each run, (S, V, G, E).

    Where `rescale_G` is true, each run's gradient is multiplied by a positive number of its own, such that
    the largest probability of a wrong answer counts as 1: only the direction is meant, and it never
    underflows.
    """
    seeds, columns, settings, entries = table_SVGE.shape
    batch, rest = rows.rest_SBR.shape[1:]
    table_SVW = table_SVGE.flatten(2)
    read_SBW = table_SVW.flatten(0, 1).index_select(0, rows.at).view(seeds, batch, -1)
    read_SBW.baddbmm_(rows.rest_SBR, table_SVW[:, columns - rest :])
    read_SBGE = read_SBW.view(seeds, batch, settings, entries)
    logits_SBGA = logits_of(read_SBGE, softmax)
    label_SBG1 = rows.label_SB11.expand(-1, -1, settings, 1)
    if rescale_G is None:
        wrong_SBGA = torch.softmax(logits_SBGA, dim=-1)
    else:
        wrong_SBGA = torch.log_softmax(logits_SBGA, dim=-1)
        top_S1G1 = wrong_SBGA.scatter(-1, label_SBG1, -torch.inf).amax(dim=(1, 3), keepdim=True)
        wrong_SBGA.sub_(top_S1G1 * rescale_G[:, None]).exp_()
    wrong_SBGA.scatter_(-1, label_SBG1, 0.0)
    if isinstance(weight, Tensor):
        wrong_SBGA *= weight
    slope_SBGA = wrong_SBGA.scatter_(-1, label_SBG1, wrong_SBGA.sum(dim=-1, keepdim=True).neg_())
    if softmax:
        slope_SBGA = slope_SBGA / read_SBGE[..., -1:]
        slope_SBGA = torch.cat([slope_SBGA, -(slope_SBGA * logits_SBGA).sum(dim=-1, keepdim=True)], dim=-1)
    slope_SBW = slope_SBGA.flatten(2)
    scale = 1.0 if isinstance(weight, Tensor) else weight
    slope_SVW = torch.zeros_like(table_SVW)
    slope_SVW.view(seeds * columns, -1).index_add_(0, rows.at, slope_SBW.view(seeds * batch, -1), alpha=scale)
    slope_SVW[:, columns - rest :].baddbmm_(rows.rest_SBR.mT, slope_SBW, alpha=scale)
    return slope_SVW.view_as(table_SVGE)
