"""The checkered floor of the 3D world: filtered squares, soft shadows, and haze far away.

The squares are averaged over each pixel's footprint in closed form, so that they never flicker. Nothing moves on the
floor, so its light is baked once for a whole clip.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from minisora.worlds.raster import Color
from minisora.worlds.scene import Frame
from minisora.worlds.space import Camera, Solid, directions

REACH = 2.0  # the baked light covers the floor this far from its centre
SLICES = 12  # a solid casts its shadow as a pile of this many slices
PENUMBRA = 0.3  # how much softer a shadow grows with every unit of height


@dataclass(frozen=True)
class Floor:
    light: Color  # of one half of the squares
    dark: Color  # of the other half
    haze: Color  # into which the floor fades far away
    square: float  # side of one square
    sun: tuple[float, float, float]  # unit vector towards the light


def bake(solids: Sequence[Solid], floor: Floor, frame: Frame) -> Tensor:
    """(n, n) how brightly each spot of the floor is lit, out to REACH on every side.

    Every slice of a solid shades the spot that lies below it along the light, the more softly the higher it hangs. One
    wide, faint shade around the foot stands for the sky's light that the solid keeps away.
    """
    n = min(max(2 * frame.unit, 96), 768)
    axis = (torch.arange(n) + 0.5) * (2 * REACH / n) - REACH
    lit = torch.ones(n, n)
    slope = (floor.sun[0] / floor.sun[2], floor.sun[1] / floor.sun[2])
    z = (torch.arange(SLICES)[:, None, None] + 0.5) * (1 / SLICES)  # of the solid's height
    for solid in solids:
        far = 2 * solid.half * max(map(abs, slope)) + 1.5 * solid.radius + 0.3  # no shade reaches beyond
        rows, columns = (_near(axis, at, far) for at in (solid.y, solid.x))
        y, x = axis[rows][:, None] - solid.y, axis[columns][None, :] - solid.x
        high = 2 * solid.half * z
        radius = solid.radius * (2 * (z * (1 - z)).sqrt() if solid.kind == "sphere" else torch.ones_like(z))
        edge = _outline(solid, x + high * slope[0], y + high * slope[1], radius)
        shade = _soft(edge, 0.03 + PENUMBRA * high).amax(0)
        foot = _soft(_outline(solid, x, y, 0.8 * radius.amax()) - 0.06, torch.tensor(0.3))
        lit[rows, columns] *= (1 - 0.42 * shade) * (1 - 0.3 * foot)
    return lit


def _near(axis: Tensor, at: float, far: float) -> slice:
    return slice(int((axis < at - far).sum()), int((axis < at + far).sum()))


def _outline(solid: Solid, x: Tensor, y: Tensor, radius: Tensor) -> Tensor:
    """Signed distance to the edge of a level slice of a solid."""
    if solid.kind != "box":
        return torch.hypot(x, y) - radius
    cos, sin = math.cos(solid.turn), math.sin(solid.turn)
    u, v = (cos * x + sin * y).abs() - radius, (cos * y - sin * x).abs() - radius
    return torch.hypot(u.clamp_min(0), v.clamp_min(0)) + torch.maximum(u, v).clamp_max(0)


def _soft(distance: Tensor, width: Tensor) -> Tensor:
    """1 inside an edge, 0 outside, smooth over a width."""
    x = (0.5 - distance / width).clamp(0, 1)
    return x * x * (3 - 2 * x)


def ground(floor: Floor, baked: Tensor, camera: Camera, frame: Frame) -> Tensor:
    """float (t, h, w, 3) the floor as it looks where nothing stands before it, and the haze beyond."""
    pixel = 1 / (frame.unit * camera.focal[:, None])
    x, y = (((torch.arange(size) + 0.5 - size / 2) * pixel).float() for size in (frame.width, frame.height))
    right, down = camera.right.float(), camera.down.float()
    ray = directions(right, down, camera.forward.float(), x, y)
    eye = camera.position.float()[..., None, None]
    reach = eye[:, 2] / (-ray[2]).clamp_min(1e-3)
    spot = [eye[:, k] + reach * ray[k] for k in range(2)]
    squares = torch.tensor(0.5)
    slant = down[:, 2, None, None] * reach / eye[:, 2]
    for k in range(2):
        # How far one pixel to the right and one down go on the floor: the pixel's footprint there.
        step = right[:, k, None, None].abs() + (down[:, k, None, None] + slant * ray[k]).abs()
        size = step * reach * pixel.float()[..., None]
        squares = squares * _stripes(spot[k] / floor.square, (size / floor.square).clamp_min(1e-3))
    grid = torch.stack(spot, dim=-1) / REACH
    lit = grid_sample(baked.expand(len(grid), 1, -1, -1), grid, padding_mode="border", align_corners=False)[:, 0]
    away = spot[0].square() + spot[1].square()
    lit = lit * (0.8 + 0.24 / (1 + 0.16 * away))  # a pool of light around the middle
    fog = torch.exp(-0.012 * (away - 1.5).clamp_min(0))
    light, dark, haze = (torch.tensor(color, dtype=torch.float32) for color in (floor.light, floor.dark, floor.haze))
    even, odd = fog * lit * (0.5 + squares), fog * lit * (0.5 - squares)
    return torch.stack([even * light[c] + odd * dark[c] + (1 - fog) * haze[c] for c in range(3)], dim=-1)


def _stripes(x: Tensor, width: Tensor) -> Tensor:
    """A wave that is 1 on even and −1 on odd stripes, averaged over `width` around x."""
    high, low = (((end - 2 * (end / 2).floor()) - 1).abs() for end in (x + width / 2, x - width / 2))
    return (low - high) / width  # 1 − |x mod 2 − 1| is the wave's integral
