"""What to train: a task, settings (a model with its optimizer) side by side, and how long, on what."""

from dataclasses import dataclass, field
from math import inf
from typing import Literal, get_args

import numpy as np

from spillover.errors import LabError
from spillover.symbolic.model import OV, Model
from spillover.symbolic.task import Mix, Task, check_whole

Rule = Literal["adamw", "gd", "normalized_gd"]
Gradient = Literal["sampled", "exact"]
Spacing = Literal["linear", "log"]
DType = Literal["float32", "float64"]


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """How a setting's weights move. Raises `LabError` for numbers that cannot be."""

    rule: Rule = "adamw"
    """"gd": minus the gradient; "normalized_gd": minus the gradient over its norm, each run by its own, so
    that weights go on growing when the loss is far below what a float can hold (Theorem 1's late phase)."""
    learning_rate: float = 5e-3
    weight_decay: float = 0.03
    """Decoupled, as AdamW has it; for "gd" that is the gradient of weight_decay / 2 · ‖weights‖².
    "normalized_gd" has none and needs 0."""
    decay_steps: int | None = None
    """The decay acts on so many steps and then no more; None for all."""

    def __post_init__(self) -> None:
        _check_choice("rule", self.rule, Rule)
        if not 0 < self.learning_rate < inf:
            raise LabError(f"the learning rate must be a positive number, got {self.learning_rate}")
        if not 0 <= self.weight_decay < inf:
            raise LabError(f"the weight decay must be a number of at least 0, got {self.weight_decay}")
        if self.rule == "normalized_gd" and self.weight_decay:
            raise LabError(f"{self.rule} has no weight decay; set weight_decay to 0, got {self.weight_decay}")
        if self.decay_steps is not None:
            check_whole("decay_steps", self.decay_steps, 0)

    def decay(self, step: int) -> float:
        """The weight decay of an update, counted from 0."""
        return self.weight_decay if self.decay_steps is None or step < self.decay_steps else 0.0


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One model with its optimizer; it is trained for every seed."""

    model: Model = field(default_factory=Model)
    optimizer: Optimizer = field(default_factory=Optimizer)


@dataclass(frozen=True, kw_only=True)
class Training:
    """How long, on which gradient, and what is recorded. Raises `LabError` for what cannot be."""

    steps: int = 2000
    seeds: tuple[int, ...] = (0,)
    """One run of every setting for each. A seed's start and batches depend on the seed alone."""
    gradient: Gradient = "sampled"
    """"exact" is the gradient of the expected loss over triples *and* noise: every distinct noise count with
    its multinomial probability; over triples alone where there is no noise or all models ignore it."""
    batch: int = 252
    """Rows of a sampled batch."""
    mix: Mix = "kinds"
    """How the training population weighs triples; see `task.training_weights`."""
    records: int = 50
    """How many steps are measured after step 0, the last among them; fewer where rounding makes two one."""
    spacing: Spacing = "linear"
    evaluation_draws: int = 16
    """With a sampled gradient, the noise counts that every triple is measured with, drawn once, the same for
    all runs and steps; with an exact gradient measures are exact, too."""
    keep_weights: bool = False
    """Keep W_OV of every recorded step, not only of the last."""
    stop_below: float | None = None
    """Stop at the first recorded step where the training loss of every run is below this."""
    dtype: DType = "float32"
    device: str = "cpu"
    threads: int = 1
    """Of torch on a CPU. A step is a few small products: a second thread saves a tenth to a fifth of it, and
    costs a hundred times as much as the step where another program holds its core."""

    def __post_init__(self) -> None:
        for name, choice in (("gradient", Gradient), ("mix", Mix), ("spacing", Spacing), ("dtype", DType)):
            _check_choice(name, getattr(self, name), choice)
        for name in ("steps", "batch", "records", "evaluation_draws", "threads"):
            check_whole(name, getattr(self, name), 1)
        object.__setattr__(self, "seeds", tuple(self.seeds))
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise LabError(f"give one seed or more, each once; got {self.seeds}")
        for seed in self.seeds:
            check_whole("a seed", seed, 0)
        if self.stop_below is not None and not 0 < self.stop_below < inf:
            raise LabError(f"stop_below must be a positive number, got {self.stop_below}")

    @property
    def recorded_steps(self) -> tuple[int, ...]:
        """0, the steps that are measured, and the last."""
        if self.spacing == "linear":
            steps = np.linspace(0, self.steps, self.records + 1)
        else:
            steps = np.concatenate([[0], np.geomspace(1, self.steps, self.records)])
        return tuple(np.unique(np.rint(steps).astype(int)).tolist())


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """Runs that train in one program: every setting for every seed.

    Settings may differ in everything but the kind of attention. Those of one seed see the same batches.
    """

    task: Task
    settings: tuple[Setting, ...]
    training: Training

    def __post_init__(self) -> None:
        object.__setattr__(self, "settings", tuple(self.settings))
        if not self.settings:
            raise LabError("an experiment needs at least one setting")
        if len({setting.model.attention for setting in self.settings}) > 1:
            raise LabError(
                "linear and softmax attention do not train side by side; use an experiment for each"
            )
        for setting in self.settings:
            setting.model.dimension(self.task)
        kinds = (
            1
            if self.training.mix == "triples"
            else len(np.unique(self.task.triples.kind[self.task.triples.trained]))
        )
        if self.training.gradient == "sampled" and self.training.batch < kinds:
            raise LabError(
                f"a batch of {self.training.batch} has no row for some of the {kinds} kinds of triple"
            )


def reference(
    *,
    ov: OV | tuple[OV, ...] = "factorized",
    d_h: int | tuple[int, ...] = 128,
    seeds: int = 1,
    steps: int = 2000,
) -> Experiment:
    """The paper's symbolic experiment: 80 subjects, 20 + 20 answers, 5 noise tokens, T = 16, d = 128 one-hot.

    One of four subjects of each group is a bridge; AdamW with learning rate 5e-3 and weight decay 0.03;
    batches of 252, a third each bridges' facts, bridges' implications and held-out subjects' facts; linear
    attention, W_KQ trained as one matrix; all starts normal with deviation 1/√d. `ov` and `d_h` may name
    several: every rank of the factorized model and one merged model train side by side, for seeds
    0 … seeds - 1.
    """
    check_whole("seeds", seeds, 1)
    models = [
        Model(ov=kind, d_h=rank, d=128)
        for kind in (ov if isinstance(ov, tuple) else (ov,))
        for rank in ((d_h if isinstance(d_h, tuple) else (d_h,)) if kind == "factorized" else (128,))
    ]
    return Experiment(
        task=Task(groups=20, subjects=4, bridges=1, noise=5, length=16),
        settings=tuple(Setting(model=model) for model in models),
        training=Training(steps=steps, seeds=tuple(range(seeds))),
    )


def _check_choice(name: str, value: object, choice: object) -> None:
    if value not in get_args(choice):
        raise LabError(f"{name} is {value!r}; it can be {' or '.join(get_args(choice))}")
