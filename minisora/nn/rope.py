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


def rotations(pos: Tensor, head_width: int, theta: float = 1e4) -> Tensor:
    """(n, 3) positions → (n, head_width / 2) complex numbers of length one."""
    pos = pos.double()  # a minute of video has large angles: only their remainder may be rounded
    angles = []
    for axis, width in enumerate(split_axes(head_width)):
        exponent = torch.arange(0, width, 2, dtype=torch.float64, device=pos.device) / width
        angles.append(pos[:, axis, None] * theta**-exponent)
    angle = torch.remainder(torch.cat(angles, -1), 2 * math.pi).float()
    return torch.polar(torch.ones_like(angle), angle)


def rotate(x: Tensor, turns: Tensor) -> Tensor:
    """Turn the channel pairs of x (n, heads, head_width) by (n, head_width / 2) rotations."""
    pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * turns[:, None]).flatten(-2).to(x.dtype)
