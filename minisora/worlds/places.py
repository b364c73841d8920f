"""Where the events of the physics world take place: a plain in daylight, and the dust of the Moon under its stars.

Everything here is pale, dark or gray, so that only the balls are vivid. The ground is lit and shaded by the things that
stand on it; how a ball and the rod of a pendulum look is here too.
"""

from functools import lru_cache

import torch
from torch import Tensor

from minisora.worlds.raster import Canvas, Color, coverage
from minisora.worlds.scene import Frame
from minisora.worlds.scenery import fineness, grid, shrink

FAR = 0.075  # units from the line where balls touch the floor up to the floor's far edge
LIGHT = (-0.48, -0.62, 0.62)  # from the upper left, and from in front
STEEL = (94, 98, 108)


def floor_line(frame: Frame) -> float:
    """How far down, in units, balls touch the floor. Tall frames show more of the ground, so that nothing sinks."""
    tall = frame.height / frame.unit
    return tall - 0.1 - 0.25 * (tall - 1)


@lru_cache(maxsize=16)
def place(name: str, height: int, width: int) -> Tensor:
    """(h, w, 3) the empty place."""
    frame = Frame(height, width)
    x, y = grid(frame, width)
    k = fineness(frame)
    return shrink({"earth": plain, "moon": dust}[name](x, y, floor_line(frame) - FAR), k, k)


def plain(x: Tensor, y: Tensor, horizon: float) -> Tensor:
    """A pale sky with clouds over soft hills and sand."""
    rgb = mix((186, 210, 231), (236, 240, 240), (y / horizon).clamp(0, 1) + 0 * x)
    for across, up, size in ((0.16, 0.62, 0.13), (0.29, 0.66, 0.09), (0.74, 0.72, 0.11), (0.86, 0.69, 0.08)):
        for puff in (-0.9, 0.0, 0.8):  # of each cloud, in the middle and to either side
            dx, dy = (x - across * x.max()) / size - puff, (horizon - up - y) / size + 0.3 * abs(puff)
            rgb = mix(rgb, (250, 251, 250), 0.55 * torch.exp(-1.6 * dx**2 - 6 * dy**2))
    for tone, rise, pitch, phase in (((199, 208, 207), 0.1, 4.3, 0.4), ((176, 187, 180), 0.055, 7.1, 2.0)):
        crest = horizon - rise * (1 + 0.45 * torch.sin(pitch * x + phase) + 0.2 * torch.sin(2.7 * pitch * x))
        rgb = mix(rgb, tone, (y > crest).float())
    near = ((y - horizon) / 0.3).clamp(0, 1)
    sand = mix((221, 208, 186), (186, 169, 145), near + 0 * x)
    return torch.where((y > horizon)[..., None], sand, rgb)


def dust(x: Tensor, y: Tensor, horizon: float) -> Tensor:
    """A black sky full of stars over gray ridges and craters; far off, the Earth."""
    rgb = mix((9, 10, 18), (27, 28, 40), (y / horizon).clamp(0, 1) + 0 * x)
    dx, dy, one, two = lattice(x, y, 0.085, 0.085)
    star = torch.exp(-(((dx**2 + dy**2).sqrt() * 0.085 / (0.004 + 0.004 * one)) ** 2)) * (two > 0.35)
    rgb = mix(rgb, (236, 236, 228), star * (0.35 + 0.65 * one))
    dx, dy = (x - 0.83 * x.max()) / 0.06, (y - horizon + 0.66) / 0.06
    day = (0.75 - 0.5 * dx - 0.5 * dy).clamp(0.12, 1)
    rgb = mix(rgb, mix((20, 21, 28), (168, 184, 204), day), (dx**2 + dy**2 < 1).float())
    crest = horizon - 0.05 * (1.1 + torch.sin(3.7 * x + 1) + 0.4 * torch.sin(11 * x))
    rgb = mix(rgb, (84, 84, 90), (y > crest).float())
    near = ((y - horizon) / 0.3).clamp(0, 1)
    ground = mix((150, 150, 154), (112, 112, 117), near + 0 * x)
    dx, dy, one, two = lattice(x, y - horizon, 0.22, 0.075)
    ring = torch.hypot(dx * 0.22, dy * 0.22) / (0.03 + 0.035 * one)
    ground = mix(ground, (92, 92, 97), 0.6 * (ring < 1) * (two > 0.3))
    ground = mix(ground, (176, 176, 180), 0.6 * ((ring - 1).abs() < 0.16) * (dy > 0) * (two > 0.3))
    return torch.where((y > horizon)[..., None], ground, rgb)


def mix(under: Tensor | Color, over: Tensor | Color, share: Tensor) -> Tensor:
    under, over = torch.as_tensor(under, dtype=torch.float32), torch.as_tensor(over, dtype=torch.float32)
    return under + (over - under) * share[..., None].float()


def lattice(x: Tensor, y: Tensor, across: float, down: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Scatter one mark in each cell: where a sample lies from its cell's mark, in cells, and two numbers in 0 … 1."""
    column, row = (x / across).floor().long(), (y / down).floor().long()
    mixed = column * 374761393 + row * 668265263
    mixed = (mixed ^ (mixed >> 13)) * 1274126177 & 0x7FFFFFFF
    one, two, three, four = (((mixed >> bits) & 127) / 127 for bits in (2, 9, 16, 23))
    dx, dy = (x / across).remainder(1) - 0.2 - 0.6 * one, (y / down).remainder(1) - 0.2 - 0.6 * three
    return dx, dy, two, four


def shade(canvas: Canvas, track: Tensor, radius: float, floor: float, seen: Tensor) -> None:
    """A soft shadow on the floor, weaker the higher the ball. Lengths are in pixels; `seen` (t,) is its opacity."""
    above = ((floor - radius - track[:, 1]) / radius).clamp_min(0).float()[:, None, None]
    window = canvas.window(torch.stack([track[:, 0], torch.full_like(track[:, 1], floor)], dim=1), 2 * radius)
    wide = radius * (0.95 + 0.12 * above.clamp_max(6))
    away = (window.x / wide) ** 2 + (window.y / (0.26 * wide)) ** 2
    strength = 0.55 * torch.exp(-above / 3) * seen.float()[:, None, None]
    canvas.blend(window, strength * torch.exp(-1.2 * away), (24, 24, 30))


def ball(canvas: Canvas, track: Tensor, radius: float, color: Color, seen: Tensor) -> None:
    """A glossy ball, lit from the upper left."""
    window = canvas.window(track, radius + 1)
    x, y = window.x / radius, window.y / radius
    around = torch.hypot(x, y)
    facing = (x * LIGHT[0] + y * LIGHT[1] + (1 - around**2).clamp_min(0).sqrt() * LIGHT[2]).clamp_min(0)
    paint = mix((0, 0, 0), color, (0.7 + 0.36 * facing) * (1 - 0.12 * around**4))
    paint = mix(paint, (255, 255, 255), 0.6 * facing**24)
    inside = coverage((around - 1) * radius) * seen.float()[:, None, None]
    canvas.blend(window, inside, paint.clamp(0, 255))


def rod(canvas: Canvas, pivot: tuple[float, float], track: Tensor, unit: float) -> None:
    """A thin rod from a pivot to a bob, and the post on which it hangs, in pixels."""
    window = canvas.window(torch.tensor([pivot], dtype=torch.float64).expand(len(track), 2), unit)
    post = torch.maximum(window.x.abs() - 0.028 * unit, window.y)
    canvas.blend(window, coverage(post), STEEL)
    bob = (track - torch.tensor(pivot, dtype=torch.float64)).float()[:, :, None, None]
    along = (window.x * bob[:, 0] + window.y * bob[:, 1]) / (bob**2).sum(1)
    along = along.clamp(0, 1)
    away = torch.hypot(window.x - along * bob[:, 0], window.y - along * bob[:, 1])
    canvas.blend(window, coverage(away - max(0.5, 0.009 * unit)), STEEL)
    canvas.blend(window, coverage(torch.hypot(window.x, window.y) - 0.032 * unit), (150, 154, 163))
