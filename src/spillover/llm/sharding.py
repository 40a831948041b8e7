"""A model over several processes, each of which holds its rows of every parameter (torch's FSDP2).

Sharded by torch itself, since accelerate does so on GPUs only. Parameters are gathered and gradients reduced
in float32, layer by layer, so that a step is the step of one process but for the order of the sums.
"""

import copy
from typing import Any

import torch
from torch import nn
from torch.distributed import all_reduce
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from spillover.llm.processes import is_main, rank, world


def share(rows: Any) -> Any:
    """This process's rows of a batch (a sequence or a tensor): all where it is alone, maybe none of a few."""
    return rows[rank() :: world()]


def of_all_rows(values_b: torch.Tensor, rows: int) -> torch.Tensor:
    """The values of all `rows` of a batch; `values_b` begins with those of this process's `share`."""
    if world() == 1:
        return values_b
    values_B = values_b.new_zeros(rows)
    mine = share(values_B)
    mine.copy_(values_b[: len(mine)])
    all_reduce(values_B)
    return values_B


def mean_over_processes(value: torch.Tensor) -> torch.Tensor:
    """The mean of a scalar that each process has one of; carries no gradient."""
    mean = value.detach()
    if world() > 1:
        mean = mean / world()
        all_reduce(mean)
    return mean


def shard(model: Any) -> Any:
    """Leave each process its rows of the parameters of `model`, which until then is whole in all of them.

    Returns what `gather` fills: in the main process a copy without memory for parameters, else None.
    """
    empty = _without_memory(model) if is_main() else None
    mesh = init_device_mesh(model.device.type, (world(),))
    for module in list(model.modules()):
        if type(module).__name__ in (model._no_split_modules or ()):
            fully_shard(module, mesh=mesh)
    fully_shard(model, mesh=mesh)
    return empty


def gather(model: Any, empty: Any) -> Any:
    """The sharded model made whole, on the CPU, in the main process; None in the others."""
    for name, parameter in model.named_parameters():
        whole = parameter.detach().full_tensor()
        if empty is not None:
            filled = nn.Parameter(whole.cpu(), requires_grad=parameter.requires_grad)
            torch.utils.swap_tensors(empty.get_parameter(name), filled)  # in all the places of a tied one
    return None if empty is None else empty.cpu()


def _without_memory(model: Any) -> Any:
    blank = {
        id(parameter): nn.Parameter(torch.empty_like(parameter, device="meta"), parameter.requires_grad)
        for parameter in model.parameters()
    }
    return copy.deepcopy(model, blank)
