"""The game behind the craft world: its rules in one place, a story that keeps to them, and how a story is drawn.

The player acts four times a second and does one thing at a time: walk to the next cell, mine a block, place one.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from minisora.core.errors import MinisoraError
from minisora.worlds import sprites
from minisora.worlds.raster import Canvas
from minisora.worlds.terrain import scatter
from minisora.worlds.tiles import CODE, LOOKS, TILES, Layout, paint, resample, stamp

BEATS = 4  # actions a second
HEADINGS = {"left": (0, -1), "right": (0, 1), "up": (-1, 0), "down": (1, 0)}  # rows and columns
OPPOSITE = {"left": "right", "right": "left", "up": "down", "down": "up"}

# The rules. A player walks to one of the four cells next to it, or changes the tile of one of them, or rests.
WALKABLE = ("grass", "sand", "snow", "dirt", "planks")
MINED = {"stone": "dirt", "tree": "grass", "planks": "water"}  # block: what is left of it
PLACED = {"stone": ("grass", "sand", "snow", "dirt"), "tree": ("grass",), "planks": ("water",)}  # block: allowed on


class Action(NamedTuple):
    verb: str  # walk, mine, place or rest
    heading: str
    tile: str = ""  # what is mined or placed


def turned(action: Action, before: str) -> str:
    """What an action turns the tile ahead into; a MinisoraError where the rules forbid it."""
    if action.verb == "mine" and before == action.tile:
        return MINED[before]
    if action.verb == "place" and before in PLACED[action.tile]:
        return action.tile
    if action.verb == "rest" or (action.verb == "walk" and before in WALKABLE):
        return before
    raise MinisoraError(f"the rules of the game forbid to {action.verb} {action.tile or 'on'} where there is {before}")


def undo(action: Action) -> Action:
    """The action that takes another one back. Mining and placing are opposites, and so are left and right."""
    if action.verb == "walk":
        return action._replace(heading=OPPOSITE[action.heading])
    return action._replace(verb={"mine": "place", "place": "mine"}[action.verb])


@dataclass(frozen=True)
class Story:
    """What happens: the actions, and how things stand before each of them."""

    plan: Layout
    actions: tuple[Action, ...]
    cells: Tensor  # (beats, 2) float64: the player's row and column
    grids: Tensor  # (beats, rows + 2, columns + 2) int64: tile codes, with a margin of one cell around what is seen


def play(land: Tensor, plan: Layout, start: tuple[int, int], actions: tuple[Action, ...]) -> Story:
    """The story of these actions on a land (rows + 2, columns + 2), by the rules."""
    names, grid, cell = list(TILES), land.clone(), torch.tensor(start)
    offset = 1 - torch.tensor(plan.first)  # from the world's rows and columns to places in the grid
    cells, grids = [], []
    for action in actions:
        cells.append(cell.double())
        grids.append(grid)
        ahead = cell + torch.tensor(HEADINGS[action.heading])
        place = tuple((ahead + offset).tolist())
        after = CODE[turned(action, names[int(grid[place])])]
        if after != grid[place]:
            grid = grid.clone()
            grid[place] = after
        cell = ahead if action.verb == "walk" else cell
    return Story(plan, actions, torch.stack(cells), torch.stack(grids))


def moment(seconds: Tensor) -> tuple[Tensor, Tensor]:
    """The beat that each time falls in, and how much of that beat is over (0 … 1)."""
    beat = (seconds * BEATS + 1e-9).floor().long()
    return beat, (seconds * BEATS - beat).clamp_min(0)


def follow(story: Story, seconds: Tensor) -> Tensor:
    """(t, 2) the player's centre in pixels: steady while it walks, a short lunge at what it mines or places."""
    beat, over = moment(seconds)
    after = torch.cat([story.cells[1:], story.cells[-1:]])  # the story's last beat is never drawn beyond its start
    lunges = torch.tensor([action.verb in ("mine", "place") for action in story.actions]).double()
    ways = torch.tensor([HEADINGS[action.heading] for action in story.actions]).double()
    cell = torch.lerp(story.cells[beat], after[beat], over[:, None])
    lunge = 0.14 * lunges[beat] * torch.sin(torch.pi * over)
    return story.plan.centre(cell + lunge[:, None] * ways[beat])


def draw(story: Story, shirt: str, salt: int, seconds: Tensor) -> Tensor:
    """uint8 (t, height, width, 3). Each distinct beat is painted once; then the player goes on top."""
    plan, (beat, over) = story.plan, moment(seconds)
    used, which = beat.unique(return_inverse=True)
    rows, columns = (torch.arange(n) + f - 1 for n, f in zip(story.grids.shape[1:], plan.first, strict=True))
    row, column = torch.meshgrid(rows, columns, indexing="ij")
    shimmer = (row + column + used[:, None, None] // 2) % LOOKS
    looks = (scatter(salt + 9, row, column) * LOOKS).long()
    art = paint(story.grids[used], torch.where(story.grids[used] == CODE["water"], shimmer, looks))
    canvas = Canvas(len(seconds), resample(art, plan)[which])
    centres, pixel = follow(story, seconds), plan.side / 16
    _draw_work(canvas, story, beat, over, centres)
    bodies = []
    for k, share in zip(beat.tolist(), over.tolist(), strict=True):
        stepping = story.actions[k].verb == "walk" and 0.2 < share < 0.8
        legs = ("left", "right")[k % 2] if stepping else "stand"
        bodies.append(sprites.player(shirt, story.actions[k].heading, legs))
    stamp(canvas, centres, torch.stack(bodies), pixel)
    return canvas.frames()


def _draw_work(canvas: Canvas, story: Story, beat: Tensor, over: Tensor, centres: Tensor) -> None:
    """In the midst of an action: the tool or the block in hand, and the cracks in what is being mined."""
    hands, cracks, ways = [], [], []
    for k, share in zip(beat.tolist(), over.tolist(), strict=True):
        action = story.actions[k]
        ways.append(HEADINGS[action.heading][::-1])
        busy = action.verb in ("mine", "place") and share > 0
        hands.append(sprites.in_hand(action.verb, action.tile) if busy else torch.zeros(8, 8, 4))
        cracks.append(sprites.crack() * (share if busy and action.verb == "mine" else 0.0))
    if not any(hand.any() for hand in hands):
        return
    side, way = story.plan.side, torch.tensor(ways).double()
    still = story.plan.centre(story.cells[beat])
    stamp(canvas, still + side * way, torch.stack(cracks), side / 16)
    stamp(canvas, centres + 0.55 * side * way, torch.stack(hands), side / 16)
