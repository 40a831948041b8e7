"""The state of an unfinished training in one safetensors file: weights, AdamW's moments, records; no pickle.

Batches are drawn anew from their seed and step, so no random state is kept. The header holds, as JSON, the
experiment and the step; the file is replaced in one piece, so a kill leaves the last whole state.
"""

import json
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from spillover.errors import LabError
from spillover.runs.files import atomic, jsonable, writing
from spillover.symbolic.experiment import Experiment

_FORMAT = 1

Records = dict[str, list[np.ndarray]]
"""What is measured, by name: one array for each recorded step."""


class Checkpoint:
    """Where one experiment's state is kept. Raises `LabError` for a folder that is not there."""

    def __init__(self, path: Path, experiment: Experiment) -> None:
        if not path.parent.is_dir():
            raise LabError(f"there is no folder {path.parent} to keep the state in; make it first")
        self.path = path
        self.experiment = json.dumps(jsonable(experiment), sort_keys=True)

    def write(self, step: int, state: dict[str, Tensor], records: Records) -> None:
        """Replace the file by the state after `step` updates. Raises `RunError` where that cannot be."""
        tensors = {f"state/{name}": tensor.cpu() for name, tensor in state.items()}
        tensors |= {f"records/{name}": torch.from_numpy(np.stack(values)) for name, values in records.items()}
        tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
        header = {"format": str(_FORMAT), "experiment": self.experiment, "step": str(step)}
        with writing(self.path), atomic(self.path) as file:
            file.write(save(tensors, header))

    def read(self, state: dict[str, Tensor], records: Records) -> int:
        """Put the file's state into the given tensors and records; its step, or 0 where there is no file.

        Raises `LabError` for a file that is not such a state, or is that of another experiment.
        """
        if not self.path.exists():
            return 0
        if not self.path.is_file():  # a pipe would keep its reader waiting
            raise LabError(f"{self.path} is no plain file; remove it, or use another folder")
        try:
            with safe_open(self.path, framework="pt") as file:
                header = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        except (OSError, SafetensorError) as error:
            raise LabError(f"{self.path} is not the state of a training: {error}") from error
        if header.get("format") != str(_FORMAT):
            raise LabError(f"{self.path} is not the state of a training that this version can go on from")
        if header.get("experiment") != self.experiment:
            raise LabError(
                f"{self.path} is the state of another experiment; take another file or remove this one"
            )
        try:
            for name, tensor in state.items():
                tensor.copy_(tensors[f"state/{name}"])
            step = int(header["step"])
        except (LookupError, RuntimeError, ValueError) as error:
            raise LabError(f"{self.path} is damaged; remove it to train from the start") from error
        for name, tensor in tensors.items():
            if name.startswith("records/"):
                records[name.removeprefix("records/")] = list(tensor.numpy())
        return step
