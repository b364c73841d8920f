"""What the painter world paints with: figures as lines, the paper on its desk, and the brush.

A painted line grows piece by piece: every pixel keeps its distance to what has been painted so far, which can only
fall, so paint that is there stays there.
"""

import math
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from minisora.worlds.language import BACKGROUNDS
from minisora.worlds.raster import Canvas, Color, backdrop, coverage

# Sizes, in units of the short side.
MARGIN = 0.045  # of desk around the paper
LEAN = torch.tensor([0.13, -0.16], dtype=torch.float64)  # from the tip of the brush to the end of its handle
BRISTLES, FERRULE = 0.34, 0.52  # where along the brush the bristles end, and the metal

DESK: Color = (141, 113, 90)
WOOD, STEEL, ASH, SILVER = (74, 48, 36), (98, 102, 108), (205, 176, 140), (176, 180, 186)
# Handle and ferrule: dark on pale paper and pale on dark paper; neither looks like any paint.
TOOLS: dict[str, tuple[Color, Color]] = {
    "white": (WOOD, STEEL), "cream": (WOOD, STEEL), "navy": (ASH, SILVER), "black": (ASH, SILVER),
}  # fmt: skip


def _corners(*points: tuple[float, float]) -> Tensor:
    return torch.tensor(points, dtype=torch.float64)


def _polar(turns: float, first: float, last: float) -> Tensor:
    """An arc of so many turns, clockwise from the top, from one radius to another, in the middle of its box."""
    share = torch.linspace(0, 1, 65, dtype=torch.float64)[:, None]
    angle = 2 * math.pi * turns * share
    points = (first + (last - first) * share) * torch.cat([angle.sin(), -angle.cos()], dim=1)
    return points - (points.amin(0) + points.amax(0)) / 2


_X = torch.linspace(-1, 1, 65, dtype=torch.float64)
# Each figure is a line through points in a box from −1 to 1, with y downwards.
FIGURES: dict[str, Tensor] = {
    "horizontal": _corners((-1, 0), (1, 0)),
    "vertical": _corners((0, -1), (0, 1)),
    "wave": torch.stack([_X, -0.6 * (1.5 * math.pi * (_X + 1)).sin()], dim=1),
    "zigzag": _corners((-1, 0.6), (-0.5, -0.6), (0, 0.6), (0.5, -0.6), (1, 0.6)),
    "arch": torch.stack([_X, 0.6 - 1.2 * (1 - _X**2).sqrt()], dim=1),
    "circle": _polar(1, 1, 1),
    "spiral": _polar(1.6, 0.08, 1),
    "square": _corners((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9), (-0.9, -0.9)),
}
ROUND = ("circle", "spiral", "square")  # as high as they are wide; the others stretch in a long cell
STRETCH = 1.5


def along(line: Tensor, share: Tensor) -> Tensor:
    """(t, 2) the points at these shares (t,) of a line's length."""
    reach = torch.cat([torch.zeros(1), (line[1:] - line[:-1]).norm(dim=1).cumsum(0)]).to(line)
    goal = share.clamp(0, 1) * reach[-1]
    index = torch.searchsorted(reach, goal, right=True).clamp(1, len(line) - 1)
    part = (goal - reach[index - 1]) / (reach[index] - reach[index - 1])
    return torch.lerp(line[index - 1], line[index], part[:, None])


def approach(near: Tensor, points: Tensor, reach: float) -> None:
    """Lower each pixel's distance to what is painted by a new piece of line (k, 2), within reach of it."""
    height, width = near.shape
    left, top = (points.amin(0) - reach).floor().clamp_min(0).int().tolist()
    right, bottom = (points.amax(0) + reach).ceil().int().tolist()
    window = near[top:bottom, left:right]
    start, way = points[:-1, :, None, None], (points[1:] - points[:-1])[:, :, None, None]
    dx = torch.arange(left, min(right, width)) + 0.5 - start[:, 0]
    dy = (torch.arange(top, min(bottom, height)) + 0.5)[:, None] - start[:, 1]
    share = ((dx * way[:, 0] + dy * way[:, 1]) / (way**2).sum(1).clamp_min(1e-9)).clamp_(0, 1)
    distance = torch.hypot(dx - share * way[:, 0], dy - share * way[:, 1]).amin(0)
    window.copy_(torch.minimum(window, distance))


@lru_cache(maxsize=16)
def grain(height: int, width: int) -> Tensor:
    """(h, w) the tooth of the paper, about −1 … 1: it roughens edges and shows through the paint."""
    cells = [min(side, math.ceil(64 * side / min(height, width))) for side in (height, width)]
    noise = torch.randn(1, 1, *cells, generator=torch.Generator().manual_seed(5)) / 1.6
    return interpolate(noise, (height, width), mode="bilinear", align_corners=False)[0, 0].clamp(-1.5, 1.5)


@lru_cache(maxsize=64)
def sheet(background: str, height: int, width: int) -> Tensor:
    """(h, w, 3) bare paper on a desk, with a soft shadow under it."""
    unit = min(height, width)
    x, y = (torch.arange(side) + 0.5 - side / 2 for side in (width, height))
    edge = torch.maximum(y.abs()[:, None] - height / 2, x.abs() - width / 2) + MARGIN * unit
    shadow = coverage(torch.roll(edge, (int(0.015 * unit), int(0.01 * unit)), (0, 1)) / (0.05 * unit))
    tooth = grain(height, width)[..., None]
    desk = backdrop(DESK, height, width) * (1 - 0.35 * shadow[..., None]) + 2 * tooth
    paper = backdrop(BACKGROUNDS[background], height, width, light=0.025) + 2.5 * tooth
    return torch.lerp(desk, paper, coverage(edge)[..., None])


def draw_brush(
    canvas: Canvas, tools: tuple[Color, Color], tip: Tensor, lift: Tensor, paints: Tensor, belly: float
) -> None:
    """Seen from above, leaning to the upper right. Its shadow moves away as it is lifted (t,) 0 … 1.

    `tip` (t, 2) is in pixels, `paints` (t, 3) is the color that the bristles hold, `belly` their radius in units.
    """
    unit, (handle, ferrule) = min(canvas.height, canvas.width), tools
    lean, thick, belly = LEAN * unit, 0.026 * unit, max(belly, 0.026) * unit
    window = canvas.window(tip + lean / 2, 0.75 * float(lean.norm()))
    x, y = window.x + float(lean[0] / 2), window.y + float(lean[1] / 2)  # from the tip
    fall = ((0.012 + 0.05 * lift) * unit).float()[:, None, None]
    shadow = rod(x - 0.8 * fall, y - fall, lean, (0, 1), (thick, thick))
    canvas.blend(window, 0.2 * coverage(shadow / (0.03 * unit)), (20, 14, 12))
    canvas.blend(window, coverage(rod(x, y, lean, (FERRULE, 0.97), (1.1 * thick, 0.8 * thick))), handle)
    canvas.blend(
        window, coverage(rod(x, y, lean, (0.07, BRISTLES), (0.35 * belly, belly))), paints[:, None, None] * 0.92
    )
    canvas.blend(window, coverage(rod(x, y, lean, (BRISTLES, FERRULE), (thick, thick))), ferrule)


def rod(x: Tensor, y: Tensor, way: Tensor, ends: tuple[float, float], radii: tuple[float, float]) -> Tensor:
    """Signed distance to the part of a rod along `way` between two shares of it, thicker at one end than the other."""
    right, down = way.tolist()
    share = ((x * right + y * down) / (right**2 + down**2)).clamp(*ends)
    radius = radii[0] + (radii[1] - radii[0]) * (share - ends[0]) / (ends[1] - ends[0])
    return torch.hypot(x - share * right, y - share * down) - radius
