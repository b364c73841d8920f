"""The laws of the physics world in closed form: where a thing is at any time, with nothing stepped and no drift.

Lengths are in units (the short side of the picture is 1), times in seconds, heights upwards, masses in any one unit.
"""

import math

import numpy as np
import torch
from scipy.special import ellipj, ellipk
from torch import Tensor


def bounce(seconds: Tensor, height: float, up: float, gravity: float, restitution: float) -> Tensor:
    """(t,) the height above the floor of a ball that starts at `height` with upward speed `up`.

    Each impact keeps the share `restitution` of the speed, so the hops last 2u/g · (e, e², e³, …): a geometric series,
    whose sum says in which hop a moment lies and when the ball has come to rest.
    """
    landing = first_landing(height, up, gravity)
    impact = gravity * landing - up  # the speed u with which the ball first meets the floor
    flight = height + up * seconds - gravity / 2 * seconds**2
    e, hop = restitution, max(2 * impact * restitution / gravity, 1e-12)  # how long the first hop lasts
    since = (seconds - landing).clamp_min(0)
    left = (1 - since * (1 - e) / hop).clamp_min(0)  # e^n at the start of hop n; 0 once the ball lies still
    number = (left.clamp_min(1e-12).log() / math.log(e)).floor()
    begun = hop * (1 - e**number) / (1 - e)
    into = since - begun
    hopping = (impact * e ** (number + 1) * into - gravity / 2 * into**2).clamp_min(0) * (left > 1e-12)
    return torch.where(seconds <= landing, flight, hopping)


def first_landing(height: float, up: float, gravity: float) -> float:
    """When a ball in free flight first meets the floor."""
    return (up + math.sqrt(up**2 + 2 * gravity * height)) / gravity


def swing(seconds: Tensor, amplitude: float, length: float, gravity: float) -> Tensor:
    """(t,) the angle of a pendulum let go at rest at `amplitude` radians: the exact solution, at any amplitude.

    sin(θ/2) = k · cd(√(g/l) t | k²) with k = sin(amplitude/2), where cd = cn/dn is one of Jacobi's elliptic functions.
    """
    k = math.sin(amplitude / 2)
    _, cn, dn, _ = ellipj(math.sqrt(gravity / length) * seconds.numpy(), k**2)
    return torch.from_numpy(2 * np.arcsin(k * cn / dn))


def swing_period(amplitude: float, length: float, gravity: float) -> float:
    return 4 * math.sqrt(length / gravity) * float(ellipk(math.sin(amplitude / 2) ** 2))


def slide(seconds: Tensor, speed: float, braking: float) -> Tensor:
    """(t,) how far a thing has come that starts at `speed` and brakes evenly until it stands."""
    moving = seconds.clamp_max(speed / braking) if braking > 0 else seconds
    return speed * moving - braking / 2 * moving**2


def exchange(v: float, w: float, m: float, n: float) -> tuple[float, float]:
    """The speeds after an elastic collision in a line of masses m and n: momentum and energy are kept."""
    shared = (m * v + n * w) / (m + n)
    return 2 * shared - v, 2 * shared - w


def collide(
    seconds: Tensor,
    x: tuple[float, float],
    speed: tuple[float, float],
    radius: tuple[float, float],
    mass: tuple[float, float],
    width: float,
) -> Tensor:
    """(2, t) two balls on a line between two walls. Between impacts they roll evenly, so it is enough to know those."""
    (a, b), (v, w), (r, s), (m, n) = x, speed, radius, mass
    now, last, knots = 0.0, float(seconds.max()), []
    while True:
        knots.append((now, a, v, b, w))
        left = max(0.0, a - r) / -v if v < 0 else math.inf
        right = max(0.0, width - s - b) / w if w > 0 else math.inf
        meet = max(0.0, b - a - r - s) / (v - w) if v > w else math.inf
        wait = min(left, right, meet)
        if now + wait > last:
            break
        now, a, b = now + wait, a + v * wait, b + w * wait
        if wait == meet:
            v, w = exchange(v, w, m, n)
        elif wait == left:
            v = -v
        else:
            w = -w
    knot = torch.tensor(knots, dtype=torch.float64)
    now, a, v, b, w = knot[torch.searchsorted(knot[:, 0].contiguous(), seconds, right=True) - 1].unbind(-1)
    return torch.stack([a + v * (seconds - now), b + w * (seconds - now)])
