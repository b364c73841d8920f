"""Rotary positions in three axes: a token's place in time, height and width turns its queries and keys.

A pair of channels is a complex number, turned by position · frequency. The product of a query and a key then
depends only on how far apart they stand, along each axis. Positions may be fractional.
"""

import math

import torch
from torch import Tensor


def split_axes(head_width: int) -> tuple[int, int, int]:
    """How many channels of a head tell time, height and width: a third each, time takes what is left."""
    space = 2 * (head_width // 6)
    return head_width - 2 * space, space, space


def rotations(pos: Tensor, head_width: int, theta: float = 1e4, ring: Tensor | None = None) -> Tensor:
    """(n, 3) positions → (n, head_width / 2) complex numbers of length one.

    `ring` (n,) is the number of places after which a token's time goes round, or 0 where it does not.
    """
    pos = pos.double()  # a minute of video has large angles: only their remainder may be rounded
    angles = []
    for axis, width in enumerate(split_axes(head_width)):
        exponent = torch.arange(0, width, 2, dtype=torch.float64, device=pos.device) / width
        frequency = theta**-exponent
        if axis == 0 and ring is not None:
            frequency = closed(frequency, ring)
        angles.append(pos[:, axis, None] * frequency)
    angle = torch.remainder(torch.cat(angles, -1), 2 * math.pi).float()
    return torch.polar(torch.ones_like(angle), angle)


def closed(frequency: Tensor, ring: Tensor) -> Tensor:
    """(f,) and (n,) → (n, f): the nearest frequencies at which a ring closes, 2π j / ring for a whole number j."""
    first = 2 * math.pi / ring.clamp(min=1).double()[:, None]
    return torch.where(ring[:, None] > 0, (frequency / first).round() * first, frequency)


def rotate(x: Tensor, turns: Tensor) -> Tensor:
    """Turn the channel pairs of x (n, heads, head_width) by (n, head_width / 2) rotations."""
    pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * turns[:, None]).flatten(-2).to(x.dtype)
