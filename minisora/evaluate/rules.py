"""The craft world's checker: does the grid change by the rules of the game, and by nothing else?

It reads pixels at the moments between actions: every cell's tile from the color of its middle, and the player from
the shirt. From the scene it takes only what a caption says; a player may stand anywhere, in any land of the right kind.
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from minisora.evaluate.report import Control, Report
from minisora.worlds import craft
from minisora.worlds.craft import ACTIVITIES, SHIRTS, WORK, CraftScene
from minisora.worlds.game import BEATS, HEADINGS, MINED, PLACED, WALKABLE, Story, draw
from minisora.worlds.language import COLORS
from minisora.worlds.scene import dice
from minisora.worlds.terrain import recognize
from minisora.worlds.tiles import CODE, TILES, average, layout

NAMES = list(TILES)
TURNS = {(CODE[block], CODE[left]) for block, left in MINED.items()}  # what may turn into what
TURNS |= {(CODE[ground], CODE[block]) for block, grounds in PLACED.items() for ground in grounds}
FREE = {CODE[name] for name in WALKABLE}
MIDDLE, CHEST = ((0.25, 0.75), (0.25, 0.75)), ((0.5, 0.75), (0.25, 0.75))  # of a cell: from where to where, down and across
BLUR = 42.0  # grey levels: further than this from every color, a cell or a shirt is not told
UNREAD = -1
HEADING = {way: heading for heading, way in HEADINGS.items()}


@dataclass(frozen=True)
class Reading:
    """What the pixels show between actions."""

    grids: Tensor  # (k, rows, columns) int64 tile codes, or UNREAD
    cells: Tensor  # (k, 2) int64: the player's row and column in the grid
    shirts: list[str]  # the color found at that place; "" where there is no player, or more than one


@dataclass(frozen=True)
class Event:
    """What happened between two readings."""

    beat: int
    step: tuple[int, int]
    turns: tuple[tuple[int, int], ...]  # tiles of cells next to the player, before and after
    toward: tuple[tuple[int, int], ...]  # where these cells lie, from the player
    stray: int  # cells elsewhere that changed
    free: bool  # whether the player went onto a tile that can be walked on


def check(frames: Tensor, scene: CraftScene, fps: float = 8.0) -> Report:
    """Hold a clip against the rules of the game and against the scene's caption."""
    reading = read(frames, fps)
    events = happenings(reading)
    lost = float((reading.grids == UNREAD).double().mean())
    legible, moved = lost < 0.02, len(events) > 0
    reach = max(1, math.ceil(BEATS / fps))  # actions between two readings
    longest = max((abs(e.step[0]) + abs(e.step[1]) for e in events), default=0)
    broken = sum(not _is_legal(event, reach) for event in events)
    stray = sum(event.stray for event in events)
    claims = {
        "player": all(shirt == scene.color for shirt in reading.shirts),
        "moves": moved and longest <= reach and all(event.free for event in events),
        "rules": moved and legible and broken == 0,
        "nothing else": moved and legible and stray == 0,
        "activity": moved and _is_activity(events, scene, reach),
        "surroundings": legible and recognize(reading.grids[0].clamp_min(0)) == scene.surroundings,
    }
    measures = {"unread": lost, "longest step": float(longest), "broken rules": float(broken), "stray": float(stray)}
    return Report(claims, measures)


# --- reading ----------------------------------------------------------------------------------------------------


def read(frames: Tensor, fps: float = 8.0) -> Reading:
    """The grid and the player at the frame nearest to the start of each action."""
    last = int((len(frames) - 1) / fps * BEATS + 1e-9)
    moments = (torch.arange(last + 1) * fps / BEATS).round().long().unique()
    video = frames[moments].float()
    middle, chest = (_patches(video, *part) for part in (MIDDLE, CHEST))
    inks = torch.tensor([color for color, _ in TILES.values()] + [COLORS[name] for name in SHIRTS]).float()
    away = torch.cdist(middle, inks[: len(TILES)])
    grids = torch.where(away.amin(-1) < BLUR, away.argmin(-1), UNREAD)
    distance = torch.cdist(chest, inks)  # (k, rows, columns, tiles and shirts)
    nearest = distance.argmin(-1)
    likeness = torch.where(nearest >= len(TILES), distance[..., len(TILES) :].amin(-1), 999.0).flatten(1)
    best = likeness.argmin(1)
    alone = (likeness.amin(1) < 2 * BLUR) & ((likeness < BLUR).sum(1) <= 1)
    names = [SHIRTS[int(i) - len(TILES)] if ok else "" for i, ok in zip(nearest.flatten(1)[range(len(best)), best], alone)]
    columns = grids.shape[2]
    cells = torch.stack([best // columns, best % columns], dim=1)
    grids[torch.arange(len(best)), cells[:, 0], cells[:, 1]] = _hidden(alone)
    return Reading(grids, cells, names)
