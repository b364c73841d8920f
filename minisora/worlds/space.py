"""Solids and cameras in space, before any pixel is drawn.

x and y lie in the floor and z points up. A picture's short side is 1, as everywhere in the worlds.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from minisora.worlds.raster import Color
from minisora.worlds.scene import Frame


@dataclass(frozen=True)
class Solid:
    kind: str  # "box", "sphere" or "cylinder"
    paint: Color
    x: float
    y: float
    radius: float  # half its width
    half: float  # half its height: its centre is that far above the floor
    turn: float = 0.0  # radians about the vertical

    @property
    def centre(self) -> tuple[float, float, float]:
        return self.x, self.y, self.half

    @property
    def reach(self) -> float:
        """The radius of the ball around it."""
        return math.hypot({"box": math.sqrt(2), "cylinder": 1.0, "sphere": 0.0}[self.kind] * self.radius, self.half)


@dataclass(frozen=True)
class Camera:
    """Where a pinhole camera is in each of t frames; float64 (t, 3), the focal length (t,); or (k, t, …)."""

    position: Tensor
    right: Tensor
    down: Tensor
    forward: Tensor
    focal: Tensor  # in short sides

    def __getitem__(self, frames: slice) -> "Camera":
        fields = (self.position, self.right, self.down, self.forward, self.focal)
        return Camera(*(field[frames] for field in fields))


def aim(position: Tensor, heading: Tensor, pitch: Tensor, focal: Tensor) -> Camera:
    """A camera that looks along a heading (radians from x towards y) and `pitch` radians down; it never rolls."""
    cos, sin, level, drop = heading.cos(), heading.sin(), pitch.cos(), pitch.sin()
    right = torch.stack([sin, -cos, torch.zeros_like(sin)], dim=-1)
    down = torch.stack([-cos * drop, -sin * drop, -level], dim=-1)
    forward = torch.stack([cos * level, sin * level, -drop], dim=-1)
    return Camera(position, right, down, forward, focal)


def project(camera: Camera, points: Tensor, frame: Frame) -> tuple[Tensor, Tensor]:
    """Points (n, 3) → their places in the picture (n, t, 2), in pixels, and their depths (n, t)."""
    away = points[:, None, :] - camera.position
    depth = (away * camera.forward).sum(-1)
    across, down = ((away * axis).sum(-1) * camera.focal / depth for axis in (camera.right, camera.down))
    return (torch.stack([across, down], dim=-1) + frame.extent / 2) * frame.unit, depth


def directions(right: Tensor, down: Tensor, forward: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Axes (…, t, 3) and places x (…, t, w), y (…, t, h) in the image plane → rays (3, …, t, h, w).

    A ray is one unit long along the camera's axis, so a distance along it is a depth.
    """
    rows = y[..., None] * down[..., None, :] + forward[..., None, :]
    return torch.stack(
        [torch.addcmul(rows[..., k, None], x[..., None, :], right[..., k, None, None]) for k in range(3)]
    )
