"""The land of the craft world: a pure function of a salt and a cell's row and column, so a wider frame shows more.

`land` is the wild country of one of six surroundings; `recognize` names the surroundings of a grid of tiles.
"""

import torch
from torch import Tensor

from minisora.worlds.tiles import CODE

# The plain ground of each of the surroundings, on which a player can walk.
GROUND = {"meadow": "grass", "forest": "grass", "desert": "sand", "lake": "sand", "cave": "dirt", "snow": "snow"}
FOREST = 0.3  # more trees than this share of the green, and a meadow is a forest


def scatter(salt: int, row: Tensor, column: Tensor) -> Tensor:
    """A number in [0, 1) for every cell, as good as random and always the same (an integer hash)."""
    x = (row * 0x1F123BB5 + column * 0x5F356495 + salt * 0x2C1B3C6D + 0x3AD8025F) & 0xFFFFFFFF
    for multiplier in (0x045D9F3B, 0x119DE1F3, 0x344B5409):
        x = ((x ^ (x >> 16)) * multiplier) & 0xFFFFFFFF
    return ((x ^ (x >> 15)) & 0xFFFFFF).double() / 0x1000000


def hills(salt: int, row: Tensor, column: Tensor, scale: float) -> Tensor:
    """Smooth heights, about 0 … 1, that rise and fall over `scale` cells: scattered numbers, interpolated."""
    y, x = row / scale, column / scale
    y0, x0 = y.floor(), x.floor()
    v, u = ((d * d * (3 - 2 * d)) for d in (y - y0, x - x0))
    down, right = torch.tensor([0, 0, 1, 1]).view(4, 1, 1), torch.tensor([0, 1, 0, 1]).view(4, 1, 1)
    corners = scatter(salt, y0.long() + down, x0.long() + right)
    upper, lower = (corners[i] + u * (corners[i + 1] - corners[i]) for i in (0, 2))
    return upper + v * (lower - upper)


def land(surroundings: str, salt: int, row: Tensor, column: Tensor) -> Tensor:
    """Tile codes (int64) of the wild country."""
    high, far, odd = hills(salt, row, column, 3.3), hills(salt + 1, row, column, 4.7), scatter(salt + 2, row, column)
    code = torch.full(high.shape, CODE[GROUND[surroundings]])

    def put(tile: str, where: Tensor) -> None:
        code[where] = CODE[tile]

    if surroundings == "meadow":
        put("tree", (odd < 0.16) & (high > 0.45))
        put("stone", odd > 0.97)
        put("sand", far > 0.76)
        put("water", far > 0.82)
    elif surroundings == "forest":
        put("tree", odd < 0.2 + 0.5 * high)
        put("stone", odd > 0.98)
        put("water", far > 0.88)
    elif surroundings == "desert":
        put("stone", (odd < 0.3) & (high > 0.6))
        put("grass", far > 0.74)
        put("tree", (far > 0.74) & (odd > 0.6))
        put("water", far > 0.82)
    elif surroundings == "lake":
        put("water", high < 0.66)
        put("grass", high > 0.74)
        put("tree", (high > 0.78) & (odd < 0.3))
    elif surroundings == "cave":
        put("stone", high < 0.7)
        put("water", far > 0.84)
    else:
        put("tree", (odd < 0.22) & (high > 0.5))
        put("stone", (odd > 0.9) & (far > 0.5))
        put("water", far < 0.1)
    return code


def recognize(grid: Tensor) -> str:
    """The surroundings that a grid of tile codes shows: what covers most of it."""
    share = torch.bincount(grid.flatten(), minlength=len(CODE)).double()
    grass, sand, snow, dirt, water, stone, tree, _ = share.tolist()
    cover = {"green": grass + tree, "desert": sand, "snow": snow, "lake": water, "cave": stone + dirt}
    most = max(cover, key=lambda name: cover[name])
    return most if most != "green" else "forest" if tree > FOREST * (grass + tree) else "meadow"


def is_typical(surroundings: str, grid: Tensor) -> bool:
    """Whether a grid shows its surroundings beyond doubt, so that a few blocks more or fewer change nothing."""
    trees, grass = (float((grid == CODE[name]).sum()) for name in ("tree", "grass"))
    clear = abs(trees / max(trees + grass, 1.0) - FOREST) > 0.08 or surroundings not in ("meadow", "forest")
    ground = {"meadow": ("grass", "tree"), "forest": ("grass", "tree"), "lake": ("water",), "cave": ("stone", "dirt")}
    main = ground.get(surroundings, (GROUND[surroundings],))
    share = sum(float((grid == CODE[name]).double().mean()) for name in main)
    return recognize(grid) == surroundings and share > 0.52 and clear
