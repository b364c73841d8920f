"""Rectified flow on one page: the straight path from data (t = 0) to noise (t = 1), its velocity, and the loss.

A time is one number for all of x, or one per token: (n,) against tokens (n, d). Whatever the dtypes, sums are done in
at least fp32 and the answer has the dtype of x, so that neither a bf16 model nor float64 times change what x is.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.special import ndtr, ndtri

from minisora.core.errors import MinisoraError
from minisora.diffusion.schedule import shift as shifted

Velocity = Callable[[Tensor, Tensor], Tensor]
"""velocity(x, t): where x moves at time t, which is a float64 tensor without dimensions."""
Callback = Callable[[int, Tensor, Tensor, Tensor], object]
"""callback(step, t, x, x0): what a sampler tells after every step; see samplers.py."""
Time = Tensor | float


def mix(x: Tensor, noise: Tensor, t: Time) -> Tensor:
    """The path: x_t = (1 - t) x + t ε."""
    t = _per_token(t, x)
    return ((1 - t) * wide(x) + t * wide(noise)).to(x.dtype)


def velocity(x: Tensor, noise: Tensor) -> Tensor:
    """The path's derivative, dx_t/dt = ε - x: the same at every t, since the path is straight."""
    return noise - x


def move(x_t: Tensor, v: Tensor, t: Time, to: Time) -> Tensor:
    """Follow the straight line with velocity v from time t to another time: x_t + (to - t) v."""
    distance = _per_token(to, x_t) - _per_token(t, x_t)
    return (wide(x_t) + distance * wide(v)).to(x_t.dtype)


def clean(x_t: Tensor, v: Tensor, t: Time) -> Tensor:
    """Where the line meets the data: x = x_t - t v."""
    return move(x_t, v, t, to=0.0)


def noise_of(x_t: Tensor, v: Tensor, t: Time) -> Tensor:
    """Where the line meets the noise: ε = x_t + (1 - t) v."""
    return move(x_t, v, t, to=1.0)


def loss(v: Tensor, target: Tensor, where: Tensor | None = None) -> Tensor:
    """Mean squared error over the tokens in `where` (n,), or over all: known tokens have nothing to learn."""
    error = (wide(v) - wide(target)).square()
    if where is None:
        return error.mean()
    per_token = error.flatten(1).mean(1)  # (n, d) → (n,)
    return per_token.where(where, 0.0).sum() / where.sum().clamp(min=1)


def sample_times(
    n: int, generator: torch.Generator, shift: float = 1.0, mean: float = 0.0, std: float = 1.0,
    within: tuple[float, float] = (0.0, 1.0),
) -> Tensor:  # fmt: skip
    """Times to train at, one per clip, (n,): logit-normal (Esser et al. 2024), then shifted like the schedule.

    The middle of the path is the hardest to learn: near t = 0 and t = 1 the best answer is nearly -x_t or x_t itself.
    An expert for some times only is trained `within` them: the same times, without those outside.
    """
    if not (std > 0 and 0 < shift < math.inf):
        raise MinisoraError(f"times cannot be spread by std {std} and shifted by {shift}: both have to be above 0")
    if not 0 <= within[0] < within[1] <= 1:
        raise MinisoraError(f"times within {within[0]} … {within[1]} cannot be: they have to lie, in order, in 0 … 1")
    bounds = shifted(torch.tensor(within, dtype=torch.float64, device=generator.device), 1 / shift)
    low, high = ndtr((bounds.clamp(0, 1).logit() - mean) / std)  # the shares of a Gaussian below the bounds
    share = low + (high - low) * torch.rand(n, generator=generator, device=generator.device, dtype=torch.float64)
    return shifted((mean + std * ndtri(share)).sigmoid(), shift).clamp(*within)


def wide(x: Tensor) -> Tensor:
    """x in fp32, or in float64 if it was."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _per_token(t: Time, x: Tensor) -> Time:
    """A time per token, (n,), becomes (n, 1, …) to stand beside x; one time for all stays as exact as it is."""
    if isinstance(t, Tensor) and t.ndim == 1:
        return t.to(wide(x)).reshape(-1, *[1] * (x.ndim - 1))
    return t
