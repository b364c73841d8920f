"""Samplers: one function each, from x at times[0] to x at times[-1] along a velocity, for x of any shape.

velocity(x, t) is any callable; t arrives as a float64 tensor without dimensions. A state stays in the dtype it came in,
so start from fp32 noise and let a bf16 model cast what it reads. `callback(step, t, x, x0)` is called once after every
step: its number from 0, the time just left, the new state, and the clean x that was predicted at t. What it returns is
ignored. The last x that it sees is the one returned.
"""

from collections.abc import Callable
from math import inf

import torch
from torch import Tensor

from minisora.core.errors import MinisoraError
from minisora.diffusion.flow import Callback, Velocity, clean, mix, move, noise_of, wide
from minisora.diffusion.schedule import pairs
from minisora.diffusion.unipc import unipc

Fresh = Callable[[Tensor], Tensor]
"""fresh(x): new noise in the shape of x."""


def euler(velocity: Velocity, x: Tensor, times: Tensor, callback: Callback | None = None) -> Tensor:
    """Order 1: follow the velocity in a straight line to the next time."""
    for step, (t, after) in enumerate(pairs(times)):
        v = velocity(x, t)
        x0 = clean(x, v, t)
        x = move(x, v, t, after)
        if callback:
            callback(step, t, x, x0)
    return x


def heun(velocity: Velocity, x: Tensor, times: Tensor, callback: Callback | None = None) -> Tensor:
    """Order 2: try an Euler step, look at the velocity there, and go with the mean of both. Two calls per step.

    A last step to t = 0 stays Euler's, as in EDM: a model is not trained there, and one short step costs no order.
    """
    for step, (t, after) in enumerate(pairs(times)):
        v = velocity(x, t)
        x0 = clean(x, v, t)
        if after > 0:
            v = (wide(v) + wide(velocity(move(x, v, t, after), after))) / 2
        x = move(x, v, t, after)
        if callback:
            callback(step, t, x, x0)
    return x


def sde(
    velocity: Velocity, x: Tensor, times: Tensor, fresh: Fresh = torch.randn_like, eta: float = 1.0,
    callback: Callback | None = None,
) -> Tensor:  # fmt: skip
    """Ancestral sampling: every step exchanges part of the noise for fresh noise. eta = 0 is Euler.

    Noising forward from s to t multiplies x_s by a = (1 - t) / (1 - s), so that it adds noise of variance
    b² = t² - a² s². By Bayes, x_s given x_t and x is Gaussian with variance σ² = (s b / t)². With η σ for σ and the
    model's x and ε, as in DDIM (Song et al. 2021),
        x_s = (1 - s) x + √(s² - σ²) ε + σ z,    z ~ N(0, 1).
    For any η the noise has variance s² in all, as the path asks. For small steps σ² → 2 η² t / (1 - t) (t - s), and the
    drift that the square root adds, -σ²/(2s) ε, is what Langevin dynamics needs to keep the marginals. Above η = 1 more
    is exchanged than the path added, at most all of it: then every step is a clean guess, noised anew.
    """
    if not 0 <= eta < inf:
        raise MinisoraError(f"eta is {eta}: 0 is no new noise, 1 as much as the path added, and more may be exchanged")
    for step, (t, after) in enumerate(pairs(times)):
        v = velocity(x, t)
        x0, noise = clean(x, v, t), noise_of(x, v, t)
        a = (1 - t) / (1 - after)
        sigma = (eta * after / t * (t**2 - (a * after) ** 2).clamp(min=0).sqrt()).clamp(max=after)
        keep = (after**2 - sigma**2).clamp(min=0).sqrt()
        x = move(x, v, t, after)  # (1 - s) x + s ε, and so it remains to exchange s - keep of the noise
        if sigma > 0:
            x = (wide(x) + (keep - after) * wide(noise) + sigma * fresh(wide(x))).to(x.dtype)
        if callback:
            callback(step, t, x, x0)
    return x


def rewrite(
    was: Velocity, velocity: Velocity, x: Tensor, times: Tensor, fresh: Fresh = torch.randn_like,
    callback: Callback | None = None,
) -> Tensor:  # fmt: skip
    """What is x where the one velocity leads, made what it would be where the other leads (Kulikov et al. 2024).

    Both are asked at the same noise, and x moves by the difference: where they agree, it stays exactly as it was.
    """
    made = wide(x)
    for step, (t, after) in enumerate(pairs(times)):
        noisy = mix(wide(x), fresh(made), t)
        difference = wide(velocity(noisy + (made - wide(x)), t)) - wide(was(noisy, t))
        made = made + (after - t) * difference
        if callback:
            callback(step, t, made, made)
    return made.to(x.dtype)


SAMPLERS = {"euler": euler, "heun": heun, "unipc": unipc, "sde": sde}
"""By name, for the command line."""
