"""How things travel in the flat worlds: straight and back from the walls, in circles, from side to side.

A thing's path lives in the box that its centre may visit, so it is never cut off by the frame, whatever the frame's
shape. Straight motion is measured in boxes (0 … 1 across), so it meets the walls at the same moment in every frame.
"""

import math

import torch
from torch import Tensor

from minisora.worlds.scene import reflect

DIRECTIONS = {"left": (-1.0, 0.0), "right": (1.0, 0.0), "up": (0.0, -1.0), "down": (0.0, 1.0)}
CIRCLE, CIRCLE_PERIOD = 0.13, 2.0  # radius in units of the short side, seconds
SWING, SWING_PERIOD = 0.15, 1.6


def swing_room(motion: str) -> tuple[float, float]:
    """How far, in units, a motion strays from its path to each side: (x, y)."""
    return {
        "clockwise": (CIRCLE, CIRCLE), "counterclockwise": (CIRCLE, CIRCLE), "sway": (SWING, 0.0), "bob": (0.0, SWING),
    }.get(motion, (0.0, 0.0))  # fmt: skip


def path(
    motion: str, start: tuple[float, float], speed: float, phase: float, reach: float, seconds: Tensor, extent: Tensor
) -> Tensor:
    """(…, t, 2) the centre of a thing, in units, for frames of extent (…, 2).

    `start` is in the box of allowed centres, `speed` in boxes a second, `phase` in turns, `reach` in units.
    """
    direction = torch.tensor(DIRECTIONS.get(motion, (0.0, 0.0)), dtype=torch.float64)
    boxed = reflect(torch.tensor(start, dtype=torch.float64) + speed * seconds[:, None] * direction)
    room = torch.tensor(swing_room(motion), dtype=torch.float64)
    centre = reach + room + boxed * (extent[..., None, :] - 2 * (reach + room)).clamp_min(0)
    return centre + room * wave(motion, seconds, phase)


def wave(motion: str, seconds: Tensor, phase: float) -> Tensor:
    """(t, 2) where a motion stands within its room, −1 … 1 on each axis. y points down, so (cos, sin) is clockwise."""
    if motion in ("clockwise", "counterclockwise"):
        turn = 2 * math.pi * ((seconds / CIRCLE_PERIOD) * (1 if motion == "clockwise" else -1) + phase)
        return torch.stack([turn.cos(), turn.sin()], dim=1)
    swing = (2 * math.pi * (seconds / SWING_PERIOD + phase)).sin()
    return torch.stack([swing, swing], dim=1)
