"""A training step that is recorded once and replayed, so that a GPU never waits for Python.

The mathematics is that of minisora/train/optim.py and ema.py. On an H200 a step of the toy's transformer took 85 ms
with Python in between, and 30 ms replayed.
"""

import math
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from minisora.core.errors import MinisoraError
from minisora.core.recipe import Recipe
from minisora.train.distributed import add_up, add_up_gradients, agree, join
from minisora.train.ema import kept
from minisora.train.optim import BETAS, kinds, orthogonal

MOMENTUM = 0.95


class Optimiser:
    """Muon and AdamW as in minisora/train/optim.py, and the average, in few launches that wait for nothing.

    How far a step goes, and how much the average keeps, are numbers on the GPU: a recorded step reads them anew.
    """

    def __init__(self, model: nn.Module, average: nn.Module, recipe: Recipe) -> None:
        assert recipe.matrix_rate is not None
        matrices, others, rest = kinds(model)
        self.model, self.recipe, self.parameters = model, recipe, [*matrices, *others, *rest]
        device = self.parameters[0].device
        self.pairs = [
            (old, new) for old, new in zip(average.parameters(), model.parameters(), strict=True) if new.requires_grad
        ]
        self.scale, self.keep = torch.zeros((), device=device), torch.ones((), device=device)
        self.rate = torch.zeros((), device=device)
        self.shapes: dict[torch.Size, list[nn.Parameter]] = {}
        for matrix in matrices:
            self.shapes.setdefault(matrix.shape, []).append(matrix)
        self.momenta = {shape: torch.zeros(len(some), *shape, device=device) for shape, some in self.shapes.items()}
        groups = [{"params": others, "weight_decay": recipe.weight_decay}, {"params": rest, "weight_decay": 0.0}]
        cuda = device.type == "cuda"
        self.adam = torch.optim.AdamW(groups, self.rate, BETAS, fused=cuda or None, capturable=cuda)

    @torch.no_grad()
    def step(self) -> None:
        add_up_gradients(self.model)
        self.norm = nn.utils.clip_grad_norm_(self.parameters, self.recipe.clip, foreach=True)
        self.rate.copy_(self.recipe.rate * self.scale)
        self.adam.step()
        rate = self.recipe.matrix_rate * self.scale  # type: ignore[operator]
        for shape, matrices in self.shapes.items():
            gradient, momentum = torch.stack([matrix.grad for matrix in matrices]), self.momenta[shape]  # type: ignore[misc]
            momentum.lerp_(gradient, 1 - MOMENTUM)
            moves = orthogonal(torch.lerp(gradient, momentum, MOMENTUM).flatten(2)).to(momentum)
            rows, columns = moves.shape[1:]
            torch._foreach_mul_(matrices, 1 - rate * self.recipe.weight_decay)
            steps = (moves * (-(max(1.0, rows / columns) ** 0.5) * rate)).view(momentum.shape)
            torch._foreach_add_(matrices, list(steps.unbind()))
        for parameter in self.parameters:
            parameter.grad = None
        old, new = ([pair[side] for pair in self.pairs] for side in (0, 1))
        torch._foreach_mul_(old, self.keep)
        torch._foreach_add_(old, torch._foreach_mul(new, 1 - self.keep))


def recorded(once: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """On a GPU a step is recorded as one graph, after three to warm up."""
    if device.type != "cuda":
        return once
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            once()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        once()
    return graph.replay


def prepare(
    model: nn.Module, average: nn.Module, make_loss: Callable[[], Tensor], recipe: Recipe
) -> tuple[Optimiser, Tensor, Callable[[], None]]:  # fmt: skip
    """The optimiser, where losses add up, and a step: it does nothing until the optimiser's scale is above 0."""
    optimiser, world = Optimiser(model, average, recipe), join().world
    total = torch.zeros((), device=optimiser.scale.device)

    def once() -> None:
        value = make_loss() / world
        value.backward()
        optimiser.step()
        total.add_(value.detach())

    return optimiser, total, recorded(once, total.device)


def train(
    model: nn.Module, average: nn.Module, make_loss: Callable[[], Tensor], recipe: Recipe, seconds: float,
    report: Callable[[dict], None],
) -> int:  # fmt: skip
    """Steps until the time is over; the rate falls over the last share `recipe.decay` of it."""
    begun, step = time.monotonic(), 0
    optimiser, total, once = prepare(model, average, make_loss, recipe)
    total.zero_()
    while (share := agree((time.monotonic() - begun) / seconds)[0]) < 1:
        optimiser.scale.fill_(min(1.0, (step + 1) / recipe.warmup, (1 - share) / recipe.decay))
        optimiser.keep.fill_(kept(recipe.ema, step))
        once()
        step += 1
        if step % 100 == 0:
            mean = add_up({"loss": total.item()})["loss"] / 100  # waits for the GPU, so that Python is never far ahead
            total.zero_()
            if not math.isfinite(mean):
                raise MinisoraError(f"the loss was not finite before step {step}: train with a lower --rate")
            report({"step": step, "loss": mean, "scale": optimiser.scale.item(), "seconds": time.monotonic() - begun})
    return step
