"""Training on several processes: torchrun starts them, each takes its turns of every batch, and the gradients add up.

    torchrun --standalone --nproc-per-node 2 --no-python minisora train toy --stage dit

A turn's noise follows from its number and not from who takes it, so two ranks make the weights that one process with
`--accumulate 2` makes, on CPUs bit for bit, and can be resumed as such. It also pays on one CPU: two processes waited
for each other less than two threads.
"""

import atexit
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import NoReturn

import torch
import torch.distributed as dist
import torch.distributed.nn
from torch import Tensor, nn

from minisora.core.recipe import Recipe
from minisora.core.runtime import Ranks, ranks

PATIENCE = timedelta(hours=12)
"""How long ranks wait for each other: one of them may be rendering and encoding clips for all."""


def join() -> Ranks:
    """Meet the other ranks, if there are any and they have not met.

    `torch.distributed.nn` is loaded before they do, not because anything of it is used: its functions keep the group of
    their first import as a default, and a group that is kept does not end its threads. One that still frees a tensor
    while Python ends takes the process along.
    """
    this = ranks()
    if this.world > 1 and not dist.is_initialized():
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        dist.init_process_group(backend, timeout=PATIENCE)
        atexit.register(dist.destroy_process_group)
    return this


def shared(recipe: Recipe, world: int) -> Recipe:
    """The recipe with as many passes for each batch as give every rank the same number."""
    passes = -(-recipe.accumulate // world) * world
    return replace(recipe, accumulate=passes)


@contextmanager
def main_first() -> Iterator[None]:
    """What is inside is done by rank 0, and then by the others, who find its files; nobody goes on before all have."""
    this = join()
    if not this.main:
        wait()
    yield
    if this.main:
        wait()
    wait()


def wait() -> None:
    if dist.is_initialized():
        dist.barrier()


def leave() -> NoReturn:
    """End a run that was asked to end; whoever left before the others would take them along."""
    wait()
    raise KeyboardInterrupt


def agree(*values: float) -> list[float]:
    """For each value the largest that any rank gives: one clock for all, and one answer to 'does somebody stop?'"""
    if not dist.is_initialized():
        return list(values)
    largest = torch.tensor(values, dtype=torch.float64)
    dist.all_reduce(largest, dist.ReduceOp.MAX)
    return largest.tolist()


def add_up(sums: Mapping[str, float]) -> dict[str, float]:
    """The sums over all ranks; each has the same names."""
    if not dist.is_initialized():
        return dict(sums)
    total = torch.tensor(list(sums.values()), dtype=torch.float64)
    dist.all_reduce(total)
    return dict(zip(sums, total.tolist(), strict=True))


def add_up_gradients(model: nn.Module) -> None:
    """Every parameter's gradient becomes the sum of all ranks'; one that no rank has a gradient for stays without."""
    if not dist.is_initialized():
        return
    learnt = [parameter for parameter in model.parameters() if parameter.requires_grad]
    has = torch.tensor([float(parameter.grad is not None) for parameter in learnt], device=learnt[0].device)
    flat = torch.cat([has, *(_gradient(parameter).flatten() for parameter in learnt)])
    dist.all_reduce(flat)
    sums = flat[len(has) :].split([parameter.numel() for parameter in learnt])
    for parameter, total, count in zip(learnt, sums, flat[: len(has)].tolist(), strict=True):
        if count:
            parameter.grad = total.view_as(parameter).to(parameter.dtype)


def _gradient(parameter: nn.Parameter) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
