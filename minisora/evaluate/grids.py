"""Reading a craft clip: which tile every cell shows and where the player stands, from pixels only.

A tile is told by the mean color of its cell's middle. The player is found by synthesis: a cell is the player's if what
the world would draw there, sharp or blurred, explains the cell much better with the player than with any tile alone.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor

from minisora.worlds.craft import SHIRTS
from minisora.worlds.game import BEATS, HEADINGS, WALKABLE
from minisora.worlds.sprites import player
from minisora.worlds.tiles import ART, CODE, TILES, average, layout, textures

UNREAD, HIDDEN = -1, -2  # a cell that looks like no tile; one behind the player, or partly outside the picture
BLUR = 45.0  # grey levels: further than this from the color of every tile, a cell cannot be read
SOFT = (0.0, 0.7, 1.2)  # pixels of blur that a clip may have suffered
NOISE = 60.0  # squared grey levels that are not worth explaining
ALIKE, TWIN = 0.3, 0.8  # log of how much better a player explains a cell: enough for one, too much for a second one
N = 4  # samples along a cell in which the player is looked for; at the edges they show neighbors too, and count less
WEIGHT = torch.tensor([0.45, 1.0, 1.0, 0.45])
WEIGHT = (WEIGHT[:, None, None] * WEIGHT[:, None] / WEIGHT.sum() ** 2 / 3).sqrt().expand(N, N, 3)


@dataclass(frozen=True)
class Reading:
    """What the pixels show at the moments between actions."""

    grids: Tensor  # (k, rows, columns) int64 tile codes, UNREAD or HIDDEN
    cells: Tensor  # (k, 2) int64: the player's row and column in the grid
    found: Tensor  # (k,) bool: whether exactly one player is there
    shirt: str


def read(frames: Tensor, fps: float = 8.0) -> Reading:
    """The grid and the player in the first frame after each action is over."""
    last = int((len(frames) - 1) / fps * BEATS + 1e-9)
    moments = (torch.arange(last + 1) * fps / BEATS - 1e-9).ceil().long().clamp(0, len(frames) - 1).unique()
    video = frames[moments].float()
    plan = layout(*video.shape[1:3])
    grids = _tiles(video)
    likeness = _likeness(_samples(video), plan.side).flatten(1, 2)  # (k, cells, shirts)
    shirt = int(likeness.amax(1).sum(0).argmax())  # a player keeps the shirt, so all moments vote
    like = likeness[..., shirt]
    best = like.argmax(1)
    found = (like.amax(1) > ALIKE) & ((like > TWIN).sum(1) <= 1)
    grids.flatten(1)[found, best[found]] = HIDDEN
    return Reading(grids, torch.stack([best // plan.columns, best % plan.columns], dim=1), found, SHIRTS[shirt])


def _split(video: Tensor, starts: tuple[float, ...], length: float) -> tuple[Tensor, list[Tensor]]:
    """Means over parts of every cell, from these shares of it on; and which rows and columns of parts are seen."""
    plan, seen = layout(*video.shape[1:3]), []
    sizes, cells = (plan.height, plan.width), (plan.rows, plan.columns)
    for axis, (size, count, corner) in enumerate(zip(sizes, cells, plan.corner, strict=True), start=1):
        part = (torch.arange(count, dtype=torch.float64)[:, None] + torch.tensor(starts)).flatten()
        start, end = corner + part * plan.side, corner + (part + length) * plan.side
        video = average(video, axis, start, end)
        seen.append((start > -1e-6) & (end < size + 1e-6))
    return video, seen


def _tiles(video: Tensor) -> Tensor:
    """(k, rows, columns) the tile whose color is nearest to that of each cell's middle."""
    middle, (rows, columns) = _split(video, (0.25,), 0.5)
    inks = torch.tensor([color for color, _ in TILES.values()]).float()
    away = torch.cdist(middle.flatten(0, 2), inks).unflatten(0, middle.shape[:3])
    codes = torch.where(away.amin(-1) < BLUR, away.argmin(-1), UNREAD)
    return codes.masked_fill(~(rows[:, None] & columns), HIDDEN)


def _samples(video: Tensor) -> Tensor:
    """(k, rows, columns, n * n * 3) a coarse picture of every cell, weighted."""
    fine, _ = _split(video, tuple(i / N for i in range(N)), 1 / N)
    cells = rearrange(fine, "k (rows a) (columns b) rgb -> k rows columns a b rgb", a=N, b=N)
    return (cells * WEIGHT).flatten(3)


def _likeness(samples: Tensor, side: float) -> Tensor:
    """(k, rows, columns, shirts) log ratio of the errors that the best tile and the best player leave."""
    tiles, players = _templates(round(side, 2))
    alone = torch.cdist(samples.flatten(0, 2), tiles).square().amin(-1)
    errors = torch.cdist(samples.flatten(0, 2), players).square()
    errors = rearrange(errors, "cells (shirts looks) -> cells shirts looks", shirts=len(SHIRTS)).amin(-1)
    return ((alone[:, None] + NOISE) / (errors + NOISE)).log().unflatten(0, samples.shape[:3])


@lru_cache(maxsize=16)
def _templates(side: float) -> tuple[Tensor, Tensor]:
    """What cells look like at this size, for every blur: tiles (n, 48), players (shirts * m, 48) on every ground."""
    arts = textures().mean(dim=1)  # (tiles, 16, 16, 3)
    plain = torch.tensor([color for color, _ in TILES.values()]).float()[:, None, None].expand_as(arts)
    players = []
    for shirt in SHIRTS:
        for facing in HEADINGS:
            body = player(shirt, facing, "stand")
            for ground in (plain[CODE[name]] for name in WALKABLE):
                players.append((torch.lerp(ground, body[..., :3], body[..., 3:]), ground))
    inside, around = (torch.stack(list(part)) for part in zip(*players, strict=True))
    tiles = torch.cat([arts, plain])
    soft_tiles = torch.cat([_soften(tiles, tiles, blur * ART / side) for blur in SOFT])
    soft_players = [_soften(inside, around, blur * ART / side) for blur in SOFT]
    by_shirt = [part.unflatten(0, (len(SHIRTS), -1)) for part in soft_players]
    return soft_tiles, torch.cat(by_shirt, dim=1).flatten(0, 1)


def _soften(arts: Tensor, around: Tensor, blur: float) -> Tensor:
    """Samples of cells (n, 16, 16, 3) among eight equal neighbors, blurred by so many art pixels."""
    field = repeat(around, "n y x rgb -> n rgb (r y) (s x)", r=3, s=3).clone()
    field[..., ART : 2 * ART, ART : 2 * ART] = rearrange(arts, "n y x rgb -> n rgb y x")
    if blur > 0:
        reach = min(int(3 * blur) + 1, ART)
        bell = torch.exp(-torch.arange(-reach, reach + 1).float().square() / (2 * blur**2))
        bell = (bell / bell.sum()).expand(3, 1, 1, -1)
        field = F.conv2d(field, bell, padding=(0, reach), groups=3)
        field = F.conv2d(field, bell.transpose(2, 3), padding=(reach, 0), groups=3)
    cell = field[..., ART : 2 * ART, ART : 2 * ART]
    coarse = rearrange(F.avg_pool2d(cell, ART // N), "n rgb y x -> n y x rgb")
    return (coarse * WEIGHT).flatten(1)
