"""Pixel art for the craft world: textures of 16x16 art pixels a cell, a player, tools, and how they meet real pixels.

Whatever the picture's size, the art is the same and is averaged over the area of each real pixel, so it is exact and
anti-aliased at any size. Light comes from the top left: what stands higher shades the cells to its right and below.
"""

import math
import random
from dataclasses import dataclass
from functools import cache

import torch
from einops import rearrange
from torch import Tensor

from minisora.worlds.raster import Canvas, Color
from minisora.worlds.scene import dice

CELLS = 8  # along the short side of every picture
ART = 16  # art pixels along a cell
LOOKS = 4  # textures of each tile, so that a meadow is not a chessboard; for water, the moments of its shimmer

# Every tile's color, far enough from all others to be told apart at 4 pixels a cell, and how high it stands.
TILES: dict[str, tuple[Color, int]] = {
    "grass": ((122, 181, 84), 1), "sand": ((231, 208, 150), 1), "snow": ((231, 239, 246), 1),
    "dirt": ((104, 77, 58), 1), "water": ((48, 112, 190), 0), "stone": ((130, 132, 143), 2),
    "tree": ((36, 102, 58), 2), "planks": ((181, 126, 68), 1),
}  # fmt: skip
CODE = {name: code for code, name in enumerate(TILES)}
HEIGHT = torch.tensor([height for _, height in TILES.values()])


@dataclass(frozen=True)
class Layout:
    """Where the cells of a picture lie. The world's cell (0, 0) has its top left corner in the middle of the frame."""

    rows: int  # cells that can be seen, also in part
    columns: int
    height: int  # of the picture, in pixels
    width: int

    @property
    def side(self) -> float:
        """The side of a cell in pixels."""
        return min(self.height, self.width) / CELLS

    @property
    def corner(self) -> tuple[float, float]:
        """y, x in pixels of the first cell's top left corner: 0, or outside the picture if it is seen in part."""
        return self.height / 2 - self.rows // 2 * self.side, self.width / 2 - self.columns // 2 * self.side

    @property
    def first(self) -> tuple[int, int]:
        """The world's row and column of the cell in the top left corner."""
        return -self.rows // 2, -self.columns // 2

    def centre(self, cells: Tensor) -> Tensor:
        """(…, 2) x, y in pixels of the centres of cells (…, 2), given as the world's rows and columns."""
        row, column = (cells + 0.5 - torch.tensor(self.first)).unbind(-1)
        top, left = self.corner
        return torch.stack([left + column * self.side, top + row * self.side], dim=-1)


def layout(height: int, width: int) -> Layout:
    """The grid of cells behind a frame: 8 along its short side, as many as can be seen along the long one."""
    rows, columns = (2 * -(-size * CELLS // (2 * min(height, width))) for size in (height, width))
    return Layout(rows, columns, height, width)


# --- textures ---------------------------------------------------------------------------------------------------


def _dab(art: Tensor, x: int, y: int, light: float) -> None:
    """Make one art pixel lighter or darker."""
    art[y % ART, x % ART] += light


def _strew(art: Tensor, rng: random.Random, marks: int, light: float, length: int = 1) -> None:
    """Short strokes at random places, alternately lighter and darker than the tile."""
    for i in range(marks):
        x, y = rng.randrange(1, ART - length), rng.randrange(1, ART - 1)
        for step in range(length):
            _dab(art, x + step, y, light if i % 2 else -light)


def _grass(art: Tensor, rng: random.Random, look: int) -> None:
    for _ in range(5):
        x, y = rng.randrange(1, 14), rng.randrange(2, 15)
        for dx, dy, light in ((0, 0, -20), (1, -1, -20), (0, -1, 14)):
            _dab(art, x + dx, y + dy, light)
    if look == 3:  # a flower
        x, y = rng.randrange(3, 12), rng.randrange(3, 12)
        for dx, dy in ((1, 0), (-1, 0), (0, 1), (0, -1)):
            art[y + dy, x + dx] = torch.tensor((250.0, 244.0, 236.0))
        art[y, x] = torch.tensor((244.0, 196.0, 66.0))


def _water(art: Tensor, rng: random.Random, look: int) -> None:
    """Crests that travel to the right by a quarter of a cell from one look to the next."""
    for x, y, length in ((1, 3, 5), (9, 8, 4), (3, 13, 3)):
        for step in range(length):
            _dab(art, x + step + 4 * look, y, 34)
            _dab(art, x + step + 4 * look + 1, y + 1, -10)


def _stone(art: Tensor, rng: random.Random, look: int) -> None:
    """A cube with a bevel: two light edges, two dark ones, and a crack or two."""
    _strew(art, rng, 10, 9, length=2)
    x, y = rng.randrange(4, 9), rng.randrange(4, 9)
    for dx, dy in ((0, 0), (1, 1), (2, 1), (3, 2)):
        _dab(art, x + dx, y + dy, -26)
    art[:1] += 26
    art[:, :1] += 26
    art[-1:] -= 34
    art[:, -1:] -= 34


def _tree(art: Tensor, rng: random.Random, look: int) -> None:
    """A round crown, lit from the top left, over grass and the crown's own shadow."""
    y, x = torch.meshgrid(torch.arange(ART) + 0.5, torch.arange(ART) + 0.5, indexing="ij")
    angle = torch.atan2(y - 7.5, x - 7.5)
    far = torch.hypot(x - 7.5, y - 7.5) + 0.5 * torch.sin(6 * angle + look)
    light = (34 - 6.5 * torch.hypot(x - 5, y - 4.5)).clamp(-26, 30)
    leaves = (torch.sin(1.9 * x + look) * torch.sin(2.1 * y + 2 * look) > 0.45) * 15.0
    crown = art + (light + leaves)[..., None]
    shadow = torch.tensor(TILES["grass"][0]) * torch.where(torch.hypot(x - 9, y - 9) < 7.6, 0.62, 1.0)[..., None]
    art.copy_(torch.where((far < 7.4)[..., None], crown, shadow))
    art[(far > 6.6) & (far < 7.4) & (x + y > 15)] -= 14


def _planks(art: Tensor, rng: random.Random, look: int) -> None:
    """Four boards with their joints, nails and grain."""
    _strew(art, rng, 8, 10, length=4)
    art[0::4] += 16
    art[3::4] -= 40
    for board in range(4):
        joint = (5 * board + 3 * look) % ART
        art[4 * board : 4 * board + 3, joint] -= 30
        _dab(art, joint + 2, 4 * board + 1, -45)


def _plain(art: Tensor, rng: random.Random, look: int) -> None:
    _strew(art, rng, 12, 9, length=2)


def _pebbles(art: Tensor, rng: random.Random, look: int) -> None:
    _strew(art, rng, 12, 12, length=2)
    x, y = rng.randrange(2, 12), rng.randrange(2, 12)
    art[y : y + 2, x : x + 2] += 20
    art[y + 2, x : x + 3] -= 18


@cache
def textures() -> Tensor:
    """(tiles, looks, 16, 16, 3) every texture, its middle brought back to its tile's own color."""
    draw = {"grass": _grass, "water": _water, "stone": _stone, "tree": _tree, "planks": _planks, "dirt": _pebbles}
    arts = torch.zeros(len(TILES), LOOKS, ART, ART, 3)
    for code, (name, (color, _)) in enumerate(TILES.items()):
        for look in range(LOOKS):
            art = arts[code, look]
            art += torch.tensor(color)
            draw.get(name, _plain)(art, dice("craft", look, name), look)
            art += torch.tensor(color) - art[4:12, 4:12].mean(dim=(0, 1))
    return arts.clamp_(0, 255)


@cache
def _edges() -> Tensor:
    """(6, 256) what a higher or lower neighbor does to a cell's light, as factors to add to 1."""
    y, x = torch.meshgrid(torch.arange(ART), torch.arange(ART), indexing="ij")
    left, above = (x < 3) * -0.26, (y < 4) * -0.3  # shaded by something higher to the left, above, at the corner
    corner = ((x < 3) & (y < 4)) * -0.26
    rim_left, rim_top = (x < 1) * 0.1, (y < 1) * 0.16  # own upper edges in the light where the neighbor is lower
    front = (y >= ART - 3) * -0.3  # own side, seen from the front where the cell below is lower
    return torch.stack([left, above, corner, rim_left, rim_top, front]).float().reshape(6, -1)


def paint(grids: Tensor, looks: Tensor) -> Tensor:
    """Art (k, rows * 16, columns * 16, 3) of grids (k, rows + 2, columns + 2), given with a margin of one cell."""
    height = HEIGHT[grids]
    here, left, above = height[:, 1:-1, 1:-1], height[:, 1:-1, :-2], height[:, :-2, 1:-1]
    corner, below = height[:, :-2, :-2], height[:, 2:, 1:-1]
    shaded, roofed = left > here, above > here
    cases = [shaded, roofed, (corner > here) & ~shaded & ~roofed, left < here, above < here, below < here]
    light = 1 + torch.stack(cases, dim=-1).float() @ _edges()
    art = textures()[grids[:, 1:-1, 1:-1], looks[:, 1:-1, 1:-1]]  # (k, rows, columns, 16, 16, 3)
    lit = art * light.unflatten(-1, (ART, ART))[..., None]
    return rearrange(lit, "k rows columns y x rgb -> k (rows y) (columns x) rgb")


# --- from art pixels to pixels ----------------------------------------------------------------------------------


def average(values: Tensor, dim: int, start: Tensor, end: Tensor) -> Tensor:
    """Means of a piecewise constant signal over intervals [start, end), along one dimension, exactly."""
    reach = math.ceil(float((end - start).max()) - 1e-9) + 1
    taps = (start + 1e-9).floor()[:, None] + torch.arange(reach)
    weight = (torch.minimum(end[:, None], taps + 1) - torch.maximum(start[:, None], taps)).clamp_min(0)
    weight = (weight / weight.sum(1, keepdim=True)).to(values.dtype)
    if not weight[:, -1].any():  # whole pixels meet whole pixels
        taps, weight = taps[:, :-1], weight[:, :-1]
    taps = taps.long().clamp(0, values.shape[dim] - 1)
    shape = [len(weight) if i == dim else 1 for i in range(values.ndim)]
    return sum(values.index_select(dim, taps[:, i]) * weight[:, i].view(shape) for i in range(weight.shape[1]))  # type: ignore


def resample(art: Tensor, plan: Layout) -> Tensor:
    """(k, height, width, 3) art averaged over the area of each pixel."""
    for dim, (size, corner) in enumerate(zip((plan.height, plan.width), plan.corner, strict=True), start=1):
        edges = (torch.arange(size + 1, dtype=torch.float64) - corner) * (ART / plan.side)
        art = average(art, dim, edges[:-1], edges[1:])
    return art


def stamp(canvas: Canvas, track: Tensor, sprites: Tensor, pixel: float) -> None:
    """Lay sprites (t, n, n, 4) of art pixels this large over a clip, centred on a track (t, 2)."""
    n = sprites.shape[1]
    window = canvas.window(track, n * pixel / 2 + 1)
    edges = (torch.arange(n + 1) - n / 2) * pixel

    def share(offset: Tensor) -> Tensor:  # (t, s) → (t, s, n): how much of each pixel each art pixel covers
        high = torch.minimum(offset[..., None] + 0.5, edges[1:])
        return (high - torch.maximum(offset[..., None] - 0.5, edges[:-1])).clamp_min(0)

    inked = torch.cat([sprites[..., :3] * sprites[..., 3:], sprites[..., 3:]], dim=-1)
    rows, columns = share(window.y[:, :, 0]), share(window.x[:, 0, :])
    drawn = torch.einsum("tyi,tijc,txj->tyxc", rows, inked, columns)
    canvas.blend(window, drawn[..., 3], drawn[..., :3] / drawn[..., 3:].clamp_min(1e-6))
