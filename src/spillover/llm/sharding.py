"""A model over several processes, each of which holds its rows of every parameter (torch's FSDP2).

Sharded by torch itself, since accelerate does so on GPUs only. Weights are gathered, layer by layer, in the
number that is computed in; weights, sums of gradients and optimizer are float32. So a step is the step of one
process but for the order of the sums and what bfloat16 rounds.
"""

import copy
from typing import Any

import torch
from torch import nn
from torch.distributed import all_reduce
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

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


def layers(model: Any) -> list[nn.Module]:
    """The parts of a model that are gathered one after another; what is in none of them is gathered first."""
    return [module for module in model.modules() if type(module).__name__ in (model._no_split_modules or ())]


def shard(model: Any, dtype: torch.dtype = torch.float32) -> Any:
    """Leave each process its rows of the parameters of `model`, which until then is whole in all of them.

    It computes in `dtype`, on the GPU if there is one, where each layer arrives only as it is sharded.
    Returns what `gather` fills: in the main process a copy without memory for parameters, else None.
    """
    empty = _without_memory(model) if is_main() else None
    mesh = init_device_mesh("cuda" if torch.cuda.is_available() else "cpu", (world(),))
    precision = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32)
    for module in layers(model):
        fully_shard(module, mesh=mesh, mp_policy=precision)
    fully_shard(model, mesh=mesh, mp_policy=precision)
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
