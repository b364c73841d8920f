"""The times at which a sampler stops, from noise down to data. Larger clips want more of them near the noise."""

from itertools import pairwise
from math import inf
from typing import TypeVar

import torch
from torch import Tensor

from minisora.core.errors import MinisoraError

T = TypeVar("T", float, Tensor)


def shift(t: T, s: float) -> T:
    """Bend times towards the noise: s t / (1 + (s - 1) t) (Esser et al. 2024). Shifting by 1/s undoes it.

    At the same t a larger clip is easier to see through its noise, as neighbouring tokens tell the same. The odds
    (1 - t) / t of signal to noise are divided by s to make up for it.
    """
    s = _checked(s)
    return s * t / (1 + (s - 1) * t)


def _checked(s: float) -> float:
    if not 0 < s < inf:
        raise MinisoraError(f"times cannot be shifted by {s}: a shift is above 0, and 1 changes nothing")
    return s


_shift = shift  # schedule() has an argument of that name


def schedule(steps: int, shift: float = 1.0, start: float = 1.0, floor: float = 0.0) -> Tensor:
    """Times (steps + 1,) in float64 from exactly `start` down to exactly 0, evenly spaced before they are shifted.

    A start below 1 re-noises a given clip instead of starting from nothing. With a floor the even grid ends there, and
    the last step is a jump from its last stop but one to 0. The released Wan code starts at shift(1 - 1/1000, s).
    diffusers' UniPC did so too; since it takes custom sigmas (measured: 0.42.1), it has floor 1/1000 and a start of
    1 - 1e-6 in place of 1: `schedule(steps, s, floor=1/1000).clamp(max=1 - 1e-6)`. Its FlowMatchEuler scheduler is no
    yardstick: it evens out end points that are shifted already, so that it shifts twice (huggingface/diffusers#13243).
    """
    if steps < 1:
        raise MinisoraError(f"there is no schedule of {steps} steps: take at least 1")
    if not 0 < start <= 1:
        raise MinisoraError(f"a schedule cannot start at t = {start}: t goes from above 0 to 1, where all is noise")
    even = _shift(float(start), 1 / _checked(shift))
    if not 0 <= floor < even:
        raise MinisoraError(f"a schedule's floor of {floor} has to be at least 0 and below its start, here {even:g}")
    times = _shift(torch.linspace(even, floor, steps + 1, dtype=torch.float64), shift)
    times[0], times[-1] = start, 0.0  # exact, where rounding could have made a start of 1 greater than 1
    return times


def pairs(times: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Every step as (t, next t), in float64 and on the CPU: a time rounded to bf16 is off by whole steps."""
    times = times.detach().to("cpu", torch.float64)
    if times.ndim != 1 or len(times) < 2 or not (times[0] <= 1 and times[-1] >= 0 and (times.diff() < 0).all()):
        raise MinisoraError("a sampler needs at least two times that fall, within 1 … 0: make them with schedule()")
    return list(pairwise(times))
