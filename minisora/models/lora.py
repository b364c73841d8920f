"""Low-rank additions (LoRA, Hu et al. 2021): what a trained model learns later, beside its weights and not in them.

A matrix W stays as it is, and a product of two thin ones is learned beside it: W + U D. Without the addition the model
is exactly what it was, so nothing that it knew is forgotten; with it, the sum is one matrix and costs no time.
"""

import copy
from collections.abc import Iterator, Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from minisora.core.errors import MinisoraError

Model = TypeVar("Model", bound=nn.Module)
Addition = Mapping[str, Tensor]
"""For each layer by its name: NAME.up (rows, rank) and NAME.down (rank, columns)."""


class LowRank(nn.Module):
    """A weight with its addition, which is nothing at first."""

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        rows, columns = weight.shape
        self.up = nn.Parameter(torch.zeros(rows, rank, device=weight.device))
        self.down = nn.Parameter(torch.randn(rank, columns, device=weight.device) / columns**0.5)

    def forward(self, weight: Tensor) -> Tensor:
        return weight + (self.up @ self.down).to(weight.dtype)


def attach(model: Model, rank: int) -> Model:
    """Freeze a model, and give each linear layer of its blocks an addition, which alone will learn."""
    layers = dict(_layers(model))
    most = min(min(layer.weight.shape) for layer in layers.values())
    if not 1 <= rank <= most:
        raise MinisoraError(f"an addition of rank {rank} cannot be: take 1 to {most}, such as 16")
    model.requires_grad_(False)
    for layer in layers.values():
        parametrize.register_parametrization(layer, "weight", LowRank(layer.weight, rank))
    return model


def addition(model: nn.Module) -> dict[str, Tensor]:
    """What an attached model has learned."""
    low_ranks = ((name, layer.parametrizations["weight"][0]) for name, layer in _layers(model))  # type: ignore[index]
    return {f"{name}.{part}": getattr(low, part).detach() for name, low in low_ranks for part in ("up", "down")}


def added(model: Model, addition: Addition, scale: float = 1.0) -> Model:
    """A copy of a model whose weights are those with so much of an addition."""
    made = copy.deepcopy(model)
    layers = dict(_layers(made))
    for name in {key.rpartition(".")[0] for key in addition}:
        up, down = (addition.get(f"{name}.{part}") for part in ("up", "down"))
        weight = layers[name].weight if name in layers else None
        if weight is None or up is None or down is None or (len(up), *down.shape[1:]) != weight.shape:
            raise MinisoraError(
                f"the addition to {name} does not fit the model: take the one that was learned beside it"
            )
        product = up.to(weight.device, torch.float32) @ down.to(weight.device, torch.float32)
        weight.data = (weight.float() + scale * product).to(weight.dtype)
    return made


def truncated(addition: Addition, rank: int) -> dict[str, Tensor]:
    """The nearest addition of lower rank: its largest singular values (Eckart & Young 1936)."""
    shorter = {}
    for name in (key.removesuffix(".up") for key in addition if key.endswith(".up")):
        rows, values, columns = torch.linalg.svd(addition[f"{name}.up"] @ addition[f"{name}.down"], full_matrices=False)
        root = values[:rank].sqrt()
        shorter[f"{name}.up"], shorter[f"{name}.down"] = rows[:, :rank] * root, root[:, None] * columns[:rank]
    return shorter


def _layers(model: nn.Module) -> Iterator[tuple[str, nn.Linear]]:
    """The linear layers of a model's blocks, which stand in an `nn.ModuleList`, by name."""
    for path, blocks in model.named_modules():
        if isinstance(blocks, nn.ModuleList):
            for name, layer in blocks.named_modules():
                if isinstance(layer, nn.Linear):
                    yield f"{path}.{name}", layer
