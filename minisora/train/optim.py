"""The optimisers: Muon for the matrices inside a model, AdamW for everything else."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from torch.optim.optimizer import ParamsT

from minisora.core.recipe import Recipe
from minisora.core.runtime import bf16_pays

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
BETAS = (0.9, 0.95)
"""AdamW's usual 0.999 looks back on 1000 steps, which is a whole run here; 0.95 soon forgets a gradient's burst."""


def optimisers(model: nn.Module, recipe: Recipe) -> list[Optimizer]:
    """The optimisers of a model. Each group remembers its peak rate, of which `set_rate` takes a share."""
    matrices, weights, rest = kinds(model)
    if recipe.matrix_rate is None:
        matrices, weights = [], matrices + weights
    groups = [
        {"params": weights, "weight_decay": recipe.weight_decay},
        {"params": rest, "weight_decay": 0.0},
    ]
    made: list[Optimizer] = [AdamW([group for group in groups if group["params"]], recipe.rate, BETAS, fused=True)]
    if matrices and recipe.matrix_rate is not None:
        made.append(Muon(matrices, recipe.matrix_rate, recipe.weight_decay))
    for optimiser in made:
        for group in optimiser.param_groups:
            group["peak"] = group["lr"]
    return made


def set_rate(optimiser: Optimizer, scale: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = group["peak"] * scale


def kinds(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter], list[nn.Parameter]]:
    """(matrices for Muon, other weights, the rest). This is the rule, and the only place that decides it.

    Muon takes the weights of linear and convolutional layers that stand in an `nn.ModuleList`, which is how a model
    stacks its blocks: neither the first layer, nor the last, nor an embedding. A kernel is a matrix, too, from all
    that it sees to its output channels. Weight decay is for weights of such layers; norms, biases, tables and
    embeddings have sizes of their own to keep.
    """
    hidden, weights = set[nn.Parameter](), set[nn.Parameter]()
    for module in model.modules():
        inner = module.modules() if isinstance(module, nn.ModuleList) else ()
        hidden |= {layer.weight for layer in inner if isinstance(layer, LAYERS)}
        weights |= {module.weight} if isinstance(module, LAYERS) else set()
    learnt = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return (
        [parameter for parameter in learnt if parameter in hidden],
        [parameter for parameter in learnt if parameter in weights - hidden],
        [parameter for parameter in learnt if parameter not in weights | hidden],
    )


class Muon(Optimizer):
    """Muon (Jordan et al. 2024): momentum M = U S Vᵀ, and a step along U Vᵀ, so that no direction is left behind.

    torch.optim.Muon is the same, but takes one matrix at a time and always in bf16: here all matrices of one shape go
    together, in bf16 where that pays. On a CPU that does not know bf16, that is ten to forty times as fast.
    """

    def __init__(self, matrices: ParamsT, lr: float, weight_decay: float = 0.0, momentum: float = 0.95) -> None:
        super().__init__(matrices, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for matrices in _by_shape(matrix for matrix in group["params"] if matrix.grad is not None):
                self._move(matrices, group)

    def _move(self, matrices: list[Any], group: dict[str, Any]) -> None:
        ahead = []
        for matrix in matrices:
            momentum = self.state[matrix].setdefault("momentum", torch.zeros_like(matrix))
            momentum.lerp_(matrix.grad, 1 - group["momentum"])  # M ← μ M + (1 - μ) G
            ahead.append(torch.lerp(matrix.grad, momentum, group["momentum"]))  # Nesterov: where M is going
        moves = orthogonal(torch.stack(ahead).flatten(2))

        rows, columns = moves.shape[1:]
        rate = group["lr"] * max(1.0, rows / columns) ** 0.5  # tall matrices move further, for equal change of outputs
        for matrix, move in zip(matrices, moves, strict=True):
            matrix.mul_(1 - group["lr"] * group["weight_decay"])
            matrix.add_(move.reshape(matrix.shape), alpha=-rate)


def orthogonal(stack: Tensor, steps: int = 5) -> Tensor:
    """(n, rows, columns), U S Vᵀ each → about U Vᵀ: singular values near 1, by Newton–Schulz iterations.

    X ← a X + b (X Xᵀ) X + c (X Xᵀ)² X acts on every singular value s alone, as s ← a s + b s³ + c s⁵. These numbers
    lift small ones fast, and leave all within about 0.7 … 1.2, which is as good as 1 for a step.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    x = stack.to(torch.bfloat16 if bf16_pays(stack.device) else torch.float32)
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x  # the smaller of the two products X Xᵀ and Xᵀ X
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)  # singular values up to 1
    for _ in range(steps):
        square = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


def _by_shape(matrices: Iterable[Tensor]) -> Iterable[list[Tensor]]:
    groups = defaultdict[torch.Size, list[Tensor]](list)
    for matrix in matrices:
        groups[matrix.shape].append(matrix)
    return groups.values()
