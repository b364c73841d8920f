"""UniPC (Zhao et al. 2023): a multistep predictor and corrector of order 2 that asks the model once per step.

With λ = log((1 - t) / t), half the log of the signal-to-noise ratio, a step from t to s has the exact solution
x_s = (s/t) x_t + (1 - s/t) E[x0(u)]: the straight step towards the mean of the clean predictions on the way, where
u = (λ - λ_t) / h runs from 0 to 1 over h = λ_s - λ_t, with a density proportional to exp(h u). All that a solver has
to do is to guess x0(u) from the few values it has seen.
"""

import torch
from torch import Tensor

from minisora.diffusion.flow import Callback, Velocity, clean, wide
from minisora.diffusion.schedule import pairs


def unipc(velocity: Velocity, x: Tensor, times: Tensor, callback: Callback | None = None) -> Tensor:
    """Order 2 with B(h) = e^h - 1 ("bh2"), x0-prediction, and order 1 at the last step.

    At t = 1 there is no signal and λ = -∞. The limits of all formulas exist, so that a schedule may start there: a
    prediction infinitely far back has no say in the next one.
    """
    steps = pairs(times)
    lam = [torch.log((1 - t) / t) for t, _ in steps]
    seen: list[Tensor] = []  # the last three clean predictions, oldest first
    start = x  # the corrected state at the step before
    for step, (t, after) in enumerate(steps):
        x0 = clean(x, velocity(x, t), t)
        seen = [*seen[-2:], wide(x0)]
        if step > 0:
            x = _towards(start, _corrected(seen, lam[max(0, step - 2) : step + 1]), *steps[step - 1])
        start, target = x, seen[-1]
        if 0 < step < len(steps) - 1:
            h = torch.log((1 - after) / after) - lam[step]
            slope = (seen[-2] - seen[-1]) / ((lam[step - 1] - lam[step]) / h)
            target = target + slope / 2  # E[u] → 1/2 as h → 0
        x = _towards(start, target, t, after)
        if callback:
            callback(step, t, x, x0)
    return x


def _towards(x: Tensor, x0: Tensor, t: Tensor, s: Tensor) -> Tensor:
    """The straight step from t to s if the clean x is x0."""
    return (s / t * wide(x) + (1 - s / t) * x0).to(x.dtype)


def _corrected(seen: list[Tensor], lam: list[Tensor]) -> Tensor:
    """E[x0(u)] for the step just taken, now that x0 is known at its end, from a line or a parabola in u."""
    first, last = seen[-2:]  # at u = 0 and u = 1
    if len(seen) == 2:
        return first + (last - first) / 2
    h = lam[-1] - lam[-2]
    r = (lam[-3] - lam[-2]) / h  # where u was one step earlier, below 0
    u1 = -1 / torch.expm1(-h) - 1 / h  # E[u]
    u2 = -1 / torch.expm1(-h) - 2 / h * u1  # E[u²]
    slope = (seen[-3] - first) / r  # of the lines from u = 0 back to r …
    rise = last - first  # … and on to 1
    bend = (rise - slope) / (1 - r)
    return first + u1 * rise + (u2 - u1) * bend
