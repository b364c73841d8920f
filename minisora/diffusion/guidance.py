"""Classifier-free guidance: go further in the direction in which a prompt changes things (Ho & Salimans 2022).

It hides inside the callable, so that samplers and models know nothing of it.
"""

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from minisora.core.errors import MinisoraError
from minisora.diffusion.flow import Velocity, clean, wide


def combine(
    conditional: Tensor, unconditional: Tensor, scale: float, rescale: float = 0.0, seg: Tensor | None = None
) -> Tensor:
    """u + scale (c - u): 0 ignores the prompt, 1 is the model itself, more exaggerates the prompt.

    Exaggeration raises the contrast. `rescale` brings back that share of it: 1 gives the result the standard deviation
    of `conditional` (Lin et al. 2023, section 3.4), for each clip of a packed batch by its segment number `seg` (n,).
    """
    c, u = wide(conditional), wide(unconditional)
    guided = c if scale == 1 else u + scale * (c - u)
    if rescale:
        factor = _std(c, seg) / _std(guided, seg).clamp(min=torch.finfo(c.dtype).tiny)
        guided = guided * (1 - rescale + rescale * factor)
    return guided.to(conditional.dtype)


def guided(
    conditional: Velocity,
    unconditional: Velocity,
    scale: float,
    rescale: float = 0.0,
    interval: tuple[float, float] = (0.0, 1.0),
    seg: Tensor | None = None,
) -> Velocity:
    """The guided velocity for a sampler. Outside the interval of t, and at scale 1, only the conditional one runs.

    A limited interval (Kynkäänniemi et al. 2024) saves half the work there. It keeps variety, which guidance costs at
    high noise, and true colors, which it costs at low noise.
    """
    low, high = interval
    if not (0 <= rescale <= 1 and 0 <= low < high <= 1):
        raise MinisoraError(f"guidance: rescale {rescale} and interval {low} … {high} have to lie, in order, in 0 … 1")

    def velocity(x: Tensor, t: Tensor) -> Tensor:
        c = conditional(x, t)
        if scale == 1 or not low <= t <= high:
            return c
        u = unconditional(x, t)
        if not rescale:
            return combine(c, u, scale)
        # The contrast that people see is that of the clean clip, so rescaling acts on x0. A velocity holds noise too
        # (v = ε - x): scaled by k, it would leave 1 - k of the noise in x0 = x_t - t v. Combining is linear, so that
        # without rescaling both ways are one.
        state = wide(x)  # v = (x_t - x0) / t magnifies rounding at small t
        x0 = combine(clean(state, c, t), clean(state, u, t), scale, rescale, seg)
        return ((state - x0) / t).to(c.dtype)

    return velocity


def turning(first: Velocity, second: Velocity, share: Tensor) -> Velocity:
    """From one velocity to another, by the share (n,) that the second has in each token."""

    def velocity(x: Tensor, t: Tensor) -> Tensor:
        before, after = first(x, t), second(x, t)
        return torch.lerp(before, after, share.to(before)[:, None])

    return velocity


def relayed(early: Velocity, late: Velocity, below: float) -> Velocity:
    """One velocity while there is much noise, and another one from the time `below` down."""

    def velocity(x: Tensor, t: Tensor) -> Tensor:
        return late(x, t) if float(t) <= below else early(x, t)

    return velocity


def _std(x: Tensor, seg: Tensor | None) -> Tensor:
    """The standard deviation over a clip's tokens and channels, given to each of its tokens: (n, 1, …)."""
    if seg is None:
        return x.std(correction=0)
    # A product with the 0/1 matrix of who belongs where: unlike scattered sums, it adds in a fixed order on a GPU.
    member = one_hot(seg.long()).to(x.dtype)  # (n, clips)
    size = member.sum(0)

    def mean(values: Tensor) -> Tensor:  # (n, …) → (n, 1, …)
        per_clip = (values.flatten(1).mean(1) @ member) / size
        return per_clip[seg].reshape(-1, *[1] * (values.ndim - 1))

    return mean((x - mean(x)).square()).sqrt()
