"""World 6, craft: a land of blocks under a player's control, seen from above.

The player acts four times a second by the rules of a game: walk, mine, place. A clip is a simulation of a digital
world if its grid changes by these rules and by nothing else, which can be read back from the pixels exactly.
"""

import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from minisora.core.errors import MinisoraError, check_choice
from minisora.worlds import language, sprites
from minisora.worlds.language import COLORS
from minisora.worlds.raster import Canvas
from minisora.worlds.scene import Scene, State, check_seconds, clock, dice, narrow
from minisora.worlds.terrain import GROUND, is_typical, land, scatter
from minisora.worlds.tiles import CELLS, CODE, LOOKS, TILES, Layout, layout, paint, resample, stamp

Words = str | Iterable[str] | None
BEATS = 4  # actions a second
PHASE = 8  # beats of work, and then as many in which the work is undone, and so on
HEADINGS = {"left": (0, -1), "right": (0, 1), "up": (-1, 0), "down": (1, 0)}  # rows and columns
OPPOSITE = {"left": "right", "right": "left", "up": "down", "down": "up"}
SHIRTS = ("red", "orange", "yellow", "cyan", "purple", "pink")  # the colors that no tile comes near

# The rules. A player walks to one of the four cells next to it, or changes the tile of one of them, or rests.
WALKABLE = ("grass", "sand", "snow", "dirt", "planks")
MINED = {"stone": "dirt", "tree": "grass", "planks": "water"}  # what is left when a block is mined
PLACED = {"stone": ("grass", "sand", "snow", "dirt"), "tree": ("grass",), "planks": ("water",)}  # block: allowed on


class Action(NamedTuple):
    verb: str  # walk, mine, place or rest
    heading: str
    tile: str = ""  # what is mined or placed


class Work(NamedTuple):
    """An activity: what is done to each of several cells, which lie ahead on the path or in a row beside it."""

    verb: str
    tile: str
    ahead: bool
    surroundings: tuple[str, ...]


ACTIVITIES = {
    "walk": Work("walk", "", True, tuple(GROUND)),
    "tunnel": Work("mine", "stone", True, ("meadow", "desert", "cave", "snow")),
    "bridge": Work("place", "planks", True, ("meadow", "desert", "lake")),
    "chop": Work("mine", "tree", False, ("meadow", "forest", "snow")),
    "wall": Work("place", "stone", False, ("meadow", "desert", "cave", "snow")),
    "plant": Work("place", "tree", False, ("meadow", "forest")),
}


@dataclass(frozen=True)
class CraftScene(Scene):
    world = "craft"
    surroundings: str
    color: str  # of the player's shirt
    activity: str
    heading: str  # of the player's walk
    side: str  # on which the work lies, where it lies beside the path
    count: int  # of blocks mined or placed; of steps, for a walk
    start: tuple[int, int]  # row and column of the player's first cell
    salt: int  # of the land


@dataclass(frozen=True)
class Story:
    """What happens: the actions, and how things stand before each of them."""

    plan: Layout
    actions: tuple[Action, ...]
    cells: Tensor  # (beats, 2) float64: the player's row and column
    grids: Tensor  # (beats, rows + 2, columns + 2) int64: tile codes, with a margin of one cell around what is seen


def turned(action: Action, before: str) -> str:
    """What a tile turns into under an action; a MinisoraError where the rules forbid the action."""
    if action.verb == "mine" and before == action.tile:
        return MINED[before]
    if action.verb == "place" and before in PLACED[action.tile]:
        return action.tile
    if action.verb in ("walk", "rest") and before in WALKABLE:
        return before
    raise MinisoraError(f"the rules of craft forbid to {action.verb} {action.tile or 'on'} where there is {before}")


# --- drawing a scene --------------------------------------------------------------------------------------------


def sample(
    seed: int,
    seconds: float = 2.0,
    *,
    activity: Words = None,
    surroundings: Words = None,
    color: Words = None,
    heading: Words = None,
    count: int | None = None,
) -> CraftScene:
    """Draw a scene. Each constraint is one word or several to draw from; `count` is of blocks mined or placed."""
    rng, seconds = dice("craft", seed), check_seconds(seconds)
    most = max(1, min(PHASE, int(seconds * BEATS)) // 2)
    if count is not None and not 1 <= count <= most:
        raise MinisoraError(f"{count} blocks do not fit in {seconds:g} seconds of craft: ask for 1 to {most}")
    lands = narrow("surroundings", surroundings, GROUND)
    works = [name for name in narrow("activity", activity, ACTIVITIES) if count is None or name != "walk"]
    works = [name for name in works if set(lands) & set(ACTIVITIES[name].surroundings)]
    if not works:
        raise MinisoraError(f"none of these activities can be done in {', '.join(lands)}: see ACTIVITIES")
    work = rng.choice(works)
    place = rng.choice([name for name in lands if name in ACTIVITIES[work].surroundings])
    shirt, way = rng.choice(narrow("color", color, SHIRTS)), rng.choice(narrow("heading", heading, HEADINGS))
    side = rng.choice(("up", "down") if way in ("left", "right") else ("left", "right"))
    number = count or (rng.randint(3, max(3, 2 * most - 2)) if work == "walk" else rng.randint((most + 1) // 2, most))
    for _ in range(200):
        start, salt = _start(rng, work, way, side, number), rng.randrange(1 << 30)
        scene = CraftScene(seed, seconds, place, shirt, work, way, side, number, start, salt)
        view = world(scene, (-CELLS, -CELLS), 2 * CELLS, 2 * CELLS)
        middle = slice(CELLS // 2, -CELLS // 2)
        if all(is_typical(place, part) for part in (view[middle, middle], view[middle], view[:, middle])):
            return scene
    raise MinisoraError(f"seed {seed} finds no {place} for this activity: try another seed")


def _start(rng: random.Random, activity: str, heading: str, side: str, count: int) -> tuple[int, int]:
    """A first cell from which all that happens stays within the middle 8x8 cells, with a cell to spare if it can."""
    ahead = ACTIVITIES[activity].ahead
    corners = [(0, 0), (count, 0), (0, 0 if ahead else 1), (count + 1 if activity == "bridge" else count, 0)]
    reach = [[a * d + b * s for a, b in corners] for d, s in zip(HEADINGS[heading], HEADINGS[side], strict=True)]
    first = []
    for offsets in reach:
        low, high = -CELLS // 2 - min(offsets), CELLS // 2 - 1 - max(offsets)
        spare = 1 if high - low >= 2 else 0
        first.append(rng.randint(low + spare, high - spare))
    return first[0], first[1]


def world(scene: CraftScene, first: tuple[int, int], rows: int, columns: int) -> Tensor:
    """(rows, columns) the scene's tile codes before anything has happened, from the cell `first` on."""
    row, column = torch.meshgrid(torch.arange(rows) + first[0], torch.arange(columns) + first[1], indexing="ij")
    code, work, count = land(scene.surroundings, scene.salt, row, column), ACTIVITIES[scene.activity], scene.count
    away = row - scene.start[0], column - scene.start[1]
    along, beside = (sum(d * x for d, x in zip(HEADINGS[way], away, strict=True)) for way in (scene.heading, scene.side))
    jitter = scatter(scene.salt + 3, row, column)
    ground = CODE[GROUND[scene.surroundings]]

    def put(tile: int, where: Tensor) -> None:
        code[where] = tile

    put(ground, (beside.abs() <= 1) & (along.abs() <= 1) & (jitter < 0.6))  # some room at the start
    if scene.activity == "walk" and scene.surroundings == "lake":
        put(ground, (beside.abs() == 1) & (along >= 0) & (along <= count) & (jitter < 0.3))
    if scene.activity == "tunnel":  # an outcrop of rock, broad enough for a tunnel
        put(CODE["stone"], (along >= 1) & (along <= count + 1) & (beside.abs() <= 1 + (jitter < 0.5).long()))
    if scene.activity == "bridge":  # a river, or a strait
        bend = (1.6 * torch.sin(0.6 * beside + scene.salt % 7)).round() - round(1.6 * float(torch.tensor(scene.salt % 7.0).sin()))
        put(CODE["water"], (along - bend >= 1) & (along - bend <= count))
        put(ground, (beside.abs() <= 1) & (along == count + 1) & (jitter < 0.6))
    put(ground, (beside == 0) & (along >= 0) & (along <= count + (scene.activity == "bridge")))
    row_of_work = (beside == 0) & (along >= 1) & (along <= count) if work.ahead else (beside == 1) & (along >= 0) & (along < count)
    if scene.activity != "walk":
        put({"bridge": CODE["water"], "tunnel": CODE["stone"], "chop": CODE["tree"]}.get(scene.activity, ground), row_of_work)
    return code
