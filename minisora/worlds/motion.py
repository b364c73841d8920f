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


ROOM = {"clockwise": (CIRCLE, CIRCLE), "counterclockwise": (CIRCLE, CIRCLE), "sway": (SWING, 0.0), "bob": (0.0, SWING)}


def _vectors(table: dict[str, tuple[float, float]]) -> dict[str, Tensor]:
    return {name: torch.tensor(vector, dtype=torch.float64) for name, vector in table.items()}


_DIRECTION, _ROOM, _NOWHERE = _vectors(DIRECTIONS), _vectors(ROOM), torch.zeros(2, dtype=torch.float64)


def path(
    motion: str, start: tuple[float, float], speed: float, phase: float, reach: float, seconds: Tensor, extent: Tensor
) -> Tensor:
    """(…, t, 2) the centre of a thing, in units, for frames of extent (…, 2).

    `start` is in the box of allowed centres, `speed` in boxes a second, `phase` in turns, `reach` in units.
    """
    room = reach + _ROOM.get(motion, _NOWHERE)  # how far the thing strays from its path to each side
    boxed = torch.tensor(start, dtype=torch.float64).expand(len(seconds), 2)
    if motion in DIRECTIONS:
        boxed = reflect(boxed + (speed * seconds)[:, None] * _DIRECTION[motion])
    centre = room + boxed * (extent[..., None, :] - 2 * room).clamp_min_(0)
    return centre + wave(motion, seconds, phase) if motion in ROOM else centre


def wave(motion: str, seconds: Tensor, phase: float) -> Tensor:
    """(t, 2) how far a motion stands from its path, in units. y points down, so (cos, sin) runs clockwise."""
    if motion in ("clockwise", "counterclockwise"):
        turn = 2 * math.pi * ((seconds / CIRCLE_PERIOD) * (1 if motion == "clockwise" else -1) + phase)
        return _ROOM[motion] * torch.stack([turn.cos(), turn.sin()], dim=1)
    return _ROOM[motion] * (2 * math.pi * (seconds / SWING_PERIOD + phase)).sin()[:, None]
