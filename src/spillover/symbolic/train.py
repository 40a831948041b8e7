"""Many runs trained in one program: an experiment -> the history of its runs.

Each seed has its own random streams, for its start and for its batches, so a run is the same whatever seeds
and settings train beside it, to the rounding of the products they share.

Shapes: K recorded steps, G settings, S seeds, V input tokens, A answers, N parameters of a seed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from spillover.errors import LabError
from spillover.symbolic.checkpoint import Checkpoint, Records
from spillover.symbolic.experiment import Experiment, Optimizer
from spillover.symbolic.gradient import Exact, Sampled
from spillover.symbolic.measure import MEASURES, Measures, Meter
from spillover.symbolic.model import Network
from spillover.symbolic.task import check_whole

Progress = Callable[[int, int], None]
"""Called with the steps done and the steps in all, at every recorded step."""


@dataclass(frozen=True, kw_only=True, eq=False)
class History:
    """What runs went through and where they ended."""

    experiment: Experiment
    steps: np.ndarray
    """(K,), recorded steps; the last is where training stopped."""
    measures: Measures
    """Every number (K, G, S)."""
    weights: np.ndarray
    """(G, S, A, V), W_OV at the end, answers by input tokens."""
    attention: np.ndarray
    """(G, S, V), the score of every input token at the end."""
    kept_weights: np.ndarray | None
    """(K, G, S, A, V), W_OV at every recorded step, with `Training.keep_weights`."""


def train(
    experiment: Experiment,
    *,
    checkpoint: Path | None = None,
    checkpoint_every: int = 1000,
    progress: Progress | None = None,
) -> History:
    """Train every setting for every seed.

    With a `checkpoint` file the state is written there every `checkpoint_every` steps; a later call with the
    same experiment and an existing file goes on from it, on the same machine bit by bit as if never cut off.
    Raises `LabError` for a device that is not there, a file of another experiment, or a run that diverges.
    """
    check_whole("checkpoint_every", checkpoint_every, 1)
    threads = torch.get_num_threads()
    torch.set_num_threads(experiment.training.threads)
    try:
        with torch.inference_mode():  # saves a fifth of a small step
            return _train(experiment, checkpoint, checkpoint_every, progress)
    finally:
        torch.set_num_threads(threads)


def _train(
    experiment: Experiment, checkpoint: Path | None, checkpoint_every: int, progress: Progress | None
) -> History:
    training = experiment.training
    device = _device(training.device)
    dtype = {"float32": torch.float32, "float64": torch.float64}[training.dtype]
    networks = [
        Network(setting.model, experiment.task, training.seeds, dtype, device)
        for setting in experiment.settings
    ]
    gradient = (Exact if training.gradient == "exact" else Sampled)(experiment, dtype)
    softmax = experiment.settings[0].model.attention == "softmax"
    updates = _Updates(networks, [setting.optimizer for setting in experiment.settings])
    meter = Meter(experiment, dtype)

    file = Checkpoint(checkpoint, experiment) if checkpoint else None
    records: Records = {}
    start = step = file.read(updates.state, records) if file else 0
    recorded = frozenset(training.recorded_steps)
    while True:
        if step in recorded and (not records or records["step"][-1] < step):
            _record(records, step, meter(networks), networks, experiment)
            if progress:
                progress(step, training.steps)
        finished = step == training.steps or _low_enough(records, step, training.stop_below)
        if file and (finished or (step % checkpoint_every == 0 and step > start)):
            file.write(step, updates.state, records)
        if finished:
            break
        tables = [network.table()[:, :, None] for network in networks]
        table_SVGE = tables[0] if len(tables) == 1 else torch.cat(tables, dim=2)
        slope_SVGE = gradient(step, table_SVGE, softmax, updates.rescale_G)
        updates.step(step, slope_SVGE)
        step += 1

    stacked = {name: np.stack(values) for name, values in records.items()}
    return History(
        experiment=experiment,
        steps=stacked["step"],
        measures=Measures(**{name: stacked[name] for name in MEASURES}),
        weights=_weights(networks),
        attention=np.stack([network.weights().cpu().numpy() for network in networks]),
        kept_weights=stacked.get("weights"),
    )


class _Updates:
    """Updates all networks: those with one optimizer together, each by itself where the norm is its own."""

    def __init__(self, networks: list[Network], optimizers: list[Optimizer]) -> None:
        self.networks = networks
        alike: dict[object, list[int]] = {}
        for number, optimizer in enumerate(optimizers):
            key = (optimizer, number) if optimizer.rule == "normalized_gd" else optimizer
            alike.setdefault(key, []).append(number)
        self.groups = [
            (numbers, _Parameters(optimizers[numbers[0]], [networks[i] for i in numbers]))
            for numbers in alike.values()
        ]
        self.state = {
            f"{place}/{name}": tensor
            for place, (_, group) in enumerate(self.groups)
            for name, tensor in group.state.items()
        }
        """All that a training has to keep, by name; changed in place."""
        normalized = torch.tensor([optimizer.rule == "normalized_gd" for optimizer in optimizers])
        self.rescale_G = normalized.to(self.state["0/weights"].device) if normalized.any() else None
        """Which settings' gradients count by their direction only; None where none does."""

    def step(self, step: int, slope_SVGE: Tensor) -> None:
        """Apply the gradients of update number `step`, from 0."""
        for numbers, group in self.groups:
            group.step(step, [self.networks[i].backward(slope_SVGE[:, :, i]) for i in numbers])


class _Parameters:
    """Networks whose parameters become views of one array (S, N), so that their rule is a few operations."""

    def __init__(self, optimizer: Optimizer, networks: list[Network]) -> None:
        self.optimizer = optimizer
        own = [parameter for network in networks for parameter in network.parameters.values()]
        self.weights_SN = torch.cat([parameter.flatten(1) for parameter in own], dim=1)
        self.state = {"weights": self.weights_SN}
        if optimizer.rule == "adamw":
            self.state |= {name: torch.zeros_like(self.weights_SN) for name in ("mean", "square")}
        self.count: Tensor | None = None
        self.names = [(i, name) for i, network in enumerate(networks) for name in network.parameters]
        views = iter(self.weights_SN.split([parameter[0].numel() for parameter in own], dim=1))
        for network in networks:
            for name, parameter in network.parameters.items():
                network.parameters[name] = next(views).view_as(parameter)

    def step(self, step: int, slopes: list[dict[str, Tensor]]) -> None:
        slope_SN = torch.cat([slopes[i][name].flatten(1) for i, name in self.names], dim=1)
        rate, decay = self.optimizer.learning_rate, self.optimizer.decay(step)
        if self.optimizer.rule == "gd":
            self.weights_SN.mul_(1 - rate * decay).sub_(slope_SN, alpha=rate)
        elif self.optimizer.rule == "normalized_gd":
            self.weights_SN.addcdiv_(slope_SN, slope_SN.norm(dim=1, keepdim=True), value=-rate)
        else:
            if self.count is None:
                self.count = torch.tensor(float(step), device=slope_SN.device)
            self.count.add_(1)
            torch.ops.aten._fused_adamw_(  # what torch.optim.AdamW calls; its class takes five times as long
                [self.weights_SN],
                [slope_SN],
                [self.state["mean"]],
                [self.state["square"]],
                [],
                [self.count],
                lr=rate,
                beta1=0.9,
                beta2=0.999,
                weight_decay=decay,
                eps=1e-8,
                amsgrad=False,
                maximize=False,
            )


def _record(
    records: Records, step: int, measures: Measures, networks: list[Network], experiment: Experiment
) -> None:
    """Append one step's numbers; raises `LabError` where a run's training loss is not finite."""
    lost = np.argwhere(~np.isfinite(measures.train_loss))
    if lost.size:
        setting, seed = lost[0]
        raise LabError(
            f"setting {setting} diverged for seed {experiment.training.seeds[seed]} by step {step}: its "
            "training loss is not finite; lower its learning rate, now "
            f"{experiment.settings[setting].optimizer.learning_rate:g}"
        )
    entry = {name: getattr(measures, name) for name in MEASURES} | {"step": np.array(step)}
    if experiment.training.keep_weights:
        entry["weights"] = _weights(networks)
    for name, value in entry.items():
        records.setdefault(name, []).append(value)


def _low_enough(records: Records, step: int, threshold: float | None) -> bool:
    """Whether this step was recorded with every training loss below the threshold."""
    return (
        threshold is not None
        and records["step"][-1] == step
        and bool((records["train_loss"][-1] < threshold).all())
    )


def _weights(networks: list[Network]) -> np.ndarray:
    """W_OV of all runs, (G, S, A, V)."""
    return np.stack([network.columns().mT.cpu().numpy() for network in networks])


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise LabError(f"device {name!r} is none that torch knows; it can be cpu or cuda") from error
    if device.type not in ("cpu", "cuda"):
        raise LabError(f"device {name!r} is not one that the lab runs on; it can be cpu or cuda")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise LabError("device 'cuda' is not there; use device cpu")
    return device
