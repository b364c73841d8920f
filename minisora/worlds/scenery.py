"""Places in a picture-book style, all in neutral hues, so that nothing here is ever taken for a thing.

A floor under a wall or sky, three walls to hide behind, and three kinds of landmark along a panorama. Everything is
drawn a few times finer than the picture and averaged down, which is all the anti-aliasing it needs.
"""

import math

import torch
from torch import Tensor

from minisora.worlds.language import BACKGROUNDS
from minisora.worlds.raster import Color, backdrop
from minisora.worlds.scene import Frame, dice

HORIZON = 0.66  # shares of the picture's height
WALL_FOOT = 0.88
CLAY, MORTAR, STONE, TIMBER, PICKET = (
    (166, 130, 119),
    (200, 194, 186),
    (186, 182, 175),
    (164, 143, 120),
    (190, 188, 182),
)
BARK, LEAVES, GLASS = (112, 100, 90), (122, 134, 118), (196, 204, 208)
SPACING = 0.46  # units between landmarks


def fineness(frame: Frame) -> int:
    """How many samples to a pixel's side: small pictures need more."""
    return 3 if frame.unit <= 100 else 2


def grid(frame: Frame, width: int, left: float = 0.0) -> tuple[Tensor, Tensor]:
    """x (1, wk) and y (hk, 1) in units, of the samples in a strip that begins at `left` pixels."""
    k = fineness(frame)
    x = left + (torch.arange(width * k, dtype=torch.float64) + 0.5) / k
    y = (torch.arange(frame.height * k, dtype=torch.float64) + 0.5) / k
    return (x[None] / frame.unit).float(), (y[:, None] / frame.unit).float()


def shrink(fine: Tensor, down: int, across: int) -> Tensor:
    """(hk, wk, …) → (h, w, …): the mean of each block of samples."""
    return fine.unflatten(1, (-1, across)).mean(2).unflatten(0, (-1, down)).mean(1)


def room(background: str, height: int, width: int, unit: int) -> Tensor:
    """(h, w, 3) a floor and what stands behind it, in two tones of one background, with a skirting line between."""
    behind = backdrop(BACKGROUNDS[background], height, width)
    y = (torch.arange(height) + 0.5) / height
    near = ((y - HORIZON) / (1 - HORIZON)).clamp(0, 1)[:, None, None]  # 0 at the horizon, 1 at the viewer's feet
    gray = torch.tensor((92.0, 88.0, 86.0))
    floor = torch.lerp(torch.tensor(BACKGROUNDS[background]).float(), gray, 0.42) * (0.92 + 0.16 * near)
    edge = ((y - HORIZON) * height + 0.5).clamp(0, 1)[:, None, None]
    line = (1.2 - ((y - HORIZON) * height / (unit / 64)).abs()).clamp(0, 1)
    return torch.lerp(behind, floor, edge) * (1 - 0.22 * line[:, None, None])


def shade(color: Color, light: Tensor) -> Tensor:
    return torch.tensor(color, dtype=torch.float32) * light[..., None]


def speckle(column: Tensor, row: Tensor | float = 0.0) -> Tensor:
    """A value in 0 … 1 for every brick or board, from its whole-numbered place."""
    return (43.7 * (torch.sin(12.99 * column + 1) + torch.sin(78.23 * torch.as_tensor(row) + 2))).remainder(1.0)


def bricks(x: Tensor, y: Tensor, width: float) -> tuple[Tensor, Tensor]:
    """Running bond under a coping of stone. Walls return (rgb, inside) for x, y in units from their top-left corner."""
    row = (y / 0.066).floor()
    along = x / 0.15 + 0.5 * row.remainder(2)
    joint = ((y / 0.066).frac() < 0.16) | (along.frac() < 0.07)
    rgb = shade(CLAY, 0.88 + 0.22 * speckle(along.floor(), row))
    rgb = torch.where(joint[..., None], torch.tensor(MORTAR).float(), rgb)
    coping = (y < 0.05) & (x >= 0)
    rgb = torch.where(coping[..., None], shade(STONE, 1.06 - 5 * y + 0 * x), rgb)
    return rgb, (x >= 0) & (x < width) & (y >= 0)


def planks(x: Tensor, y: Tensor, width: float) -> tuple[Tensor, Tensor]:
    """Upright boards with a grain, in a darker frame."""
    board = width / max(round(width / 0.1), 1)
    number = (x / board).floor()
    grain = torch.sin(70 * x + 2.5 * torch.sin(9 * y + 5 * number)) * 0.035
    light = 0.9 + 0.18 * speckle(number) + grain
    light = torch.where((x / board).frac() < 0.09, 0.68, light)
    rim = (torch.minimum(x, width - x) < 0.028) | (y < 0.04)
    light = torch.where(rim, 0.74 + 0 * light, light)
    return shade(TIMBER, light), (x >= 0) & (x < width) & (y >= 0)


def pickets(x: Tensor, y: Tensor, width: float) -> tuple[Tensor, Tensor]:
    """Pointed slats nailed side by side to two rails."""
    slat = width / max(round(width / 0.085), 1)
    across = (x / slat).frac() - 0.5
    light = 0.94 + 0.12 * speckle((x / slat).floor()) - 0.1 * across
    light = torch.where(across.abs() > 0.42, 0.6, light)
    for rail in (0.11, 0.34):
        light = torch.where((y - rail).abs() < 0.022, light * 0.86, light)
    return shade(PICKET, light + 0 * y), (x >= 0) & (x < width) & (y >= 0.1 * across.abs())


WALLS = {"brick": bricks, "wood": planks, "fence": pickets}


def wall(look: str, frame: Frame, left: float, right: float, top: float) -> tuple[Tensor, Tensor, Tensor]:
    """A wall from `left` to `right` and down from `top`, in units: its rgb (h, w, 3), how opaque it is (h, w), and the
    light (h, w) that its shadow leaves on the floor."""
    x, y = grid(frame, frame.width)
    k, foot = fineness(frame), WALL_FOOT * frame.height / frame.unit
    rgb, inside = WALLS[look](x - left, y - top, right - left)
    inside = inside & (y < foot)
    round_off = 0.86 + 0.2 * ((right - x) / 0.05).clamp(0, 1) - 0.06 * ((x - left) / 0.03).clamp(0, 1)
    rgb = rgb * (round_off * (1 - 0.25 * (1 - (foot - y) / 0.05).clamp(0, 1)))[..., None]
    sideways = (torch.maximum(left - x, x - right - 0.03) / 0.06).clamp_min(0)
    shadow = torch.exp(-((((y - foot) / 0.035).clamp(-4, 4)) ** 2) - sideways**2)
    alpha = shrink(inside.float(), k, k)
    rgb = shrink(rgb * inside[..., None], k, k) / alpha.clamp_min(1e-6)[..., None]
    return rgb, alpha, 1 - 0.45 * shrink(shadow, k, k)


def tree(x: Tensor, y: Tensor, size: float) -> tuple[Tensor, Tensor]:
    """Landmarks return (rgb, inside) for x, y in units from the middle of their foot; y is negative above it."""
    trunk = (x.abs() < 0.024 - 0.02 * y * (y > -0.06)) & (y < 0) & (y > -0.7 * size)
    crown = torch.minimum(torch.hypot(x, y + size) - 0.46 * size, torch.hypot(x - 0.1, y + 0.75 * size) - 0.3 * size)
    light = 0.93 + 0.16 * (torch.hypot(x + 0.16 * size, y + 1.14 * size) < 0.28 * size)
    rgb = torch.where((crown < 0)[..., None], shade(LEAVES, light), torch.tensor(BARK).float())
    return rgb, trunk | (crown < 0)


def pillar(x: Tensor, y: Tensor, size: float) -> tuple[Tensor, Tensor]:
    tall = 1.2 * size
    half = 0.055 + 0.022 * (y > -0.05) + 0.022 * (y < 0.06 - tall)
    flutes = 0.06 * torch.sin(x * 130) * (half < 0.06)
    return shade(STONE, 0.9 - 2.4 * x + flutes), (x.abs() < half) & (y < 0) & (y > -tall)


def window(x: Tensor, y: Tensor, size: float) -> tuple[Tensor, Tensor]:
    half, middle = 0.3 * size, -0.62 * size - 0.1
    across, down = x.abs() / half, (y - middle).abs() / (1.35 * half)
    bar = (across < 0.09) | (down < 0.07) | (torch.maximum(across, down) > 0.84)
    shine = ((x + y - middle) / half).remainder(1.1) < 0.25
    rgb = torch.where(bar[..., None], torch.tensor(BARK).float(), shade(GLASS, 0.94 + 0.1 * shine))
    return rgb, torch.maximum(across, down) < 1


LANDMARKS = {"trees": tree, "pillars": pillar, "windows": window}


def panorama(kind: str, background: str, seed: int, frame: Frame, left: int, right: int) -> Tensor:
    """(h, wk + 1, 3) a wide landscape from `left` to `right` pixels, summed from its left end up to every sample.

    A camera that looks at pixels a … b of it sees the sum up to b less the sum up to a: exact at any fraction.
    """
    x, y = grid(frame, right - left, left)
    k = fineness(frame)
    fine = room(background, frame.height * k, (right - left) * k, frame.unit * k)
    foot = HORIZON * frame.height / frame.unit
    above = math.ceil(HORIZON * len(y))
    for number in range(math.floor(left / frame.unit / SPACING) - 1, math.ceil(right / frame.unit / SPACING) + 2):
        rng = dice("occlusion", seed, f"landmark {number}")
        middle, size = (number + rng.uniform(-0.22, 0.22)) * SPACING, rng.uniform(0.3, 0.44)
        near = ((x[0] - middle).abs() < 0.25).nonzero().flatten()
        if len(near):
            part = slice(int(near[0]), int(near[-1]) + 1)
            rgb, inside = LANDMARKS[kind](x[:, part] - middle, y[:above] - foot, size)
            fine[:above, part] = torch.where(inside[..., None], rgb, fine[:above, part])
    rows = shrink(fine, k, 1).double() / k
    return torch.cat([torch.zeros_like(rows[:, :1]), rows.cumsum(1)], dim=1)


def look(summed: Tensor, frame: Frame, starts: Tensor) -> Tensor:
    """(t, h, w, 3) what a camera sees whose left edge is `starts` (t,) pixels from the panorama's left end."""
    k = fineness(frame)
    place = (starts[:, None] + torch.arange(frame.width + 1)) * k
    whole = place.floor().long().clamp(0, summed.shape[1] - 2)
    share = (place - whole)[None, :, :, None]
    upto = torch.lerp(summed[:, whole], summed[:, whole + 1], share)  # (h, t, w + 1, 3)
    return upto.diff(dim=2).transpose(0, 1).float().contiguous()
