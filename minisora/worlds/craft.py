"""World 6, craft: a land of blocks under a player's control, seen from above.

A clip simulates a digital world if its grid changes by the rules of the game and by nothing else, which can be read
back from the pixels exactly. The rules are in game.py; here is what the player sets out to do, and where.
"""

import math
import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from minisora.core.errors import MinisoraError, check_choice
from minisora.worlds import language
from minisora.worlds.game import BEATS, HEADINGS, Action, Story, draw, follow, moment, play, undo
from minisora.worlds.scene import Scene, State, check_seconds, clock, dice, narrow
from minisora.worlds.terrain import GROUND, is_typical, land, scatter
from minisora.worlds.tiles import CELLS, CODE, TILES, layout

Words = str | Iterable[str] | None
WORK, PHASE = 8, 9  # beats of work at most, and with a rest; a longer scene goes on with undoing it, and so on
SHIRTS = ("red", "orange", "yellow", "cyan", "purple", "pink")  # the colors that no tile comes near


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
    most = max(1, min(WORK, int(seconds * BEATS)) // 2)
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
    code, count, jitter = (
        land(scene.surroundings, scene.salt, row, column),
        scene.count,
        scatter(scene.salt + 3, row, column),
    )
    a, b = (_steps(row - scene.start[0], column - scene.start[1], way) for way in (scene.heading, scene.side))
    ground, near = CODE[GROUND[scene.surroundings]], b.abs() <= 1  # a: cells along the path; b: cells beside it

    def put(tile: int, where: Tensor) -> None:
        code[where] = tile

    put(ground, near & (a.abs() <= 1) & (jitter < 0.6))  # some room at the start
    end = count
    if scene.activity == "walk":
        put(ground, near & (a >= 0) & (a <= count) & (jitter < 0.3))
    elif scene.activity == "tunnel":  # an outcrop of rock, broad enough to dig into
        put(CODE["stone"], (a >= 1) & (a <= count + 1) & (b.abs() <= 1 + (jitter < 0.5).long()))
    elif scene.activity == "bridge":  # a river, or a strait, and a landing on the far side
        bend = (1.6 * (torch.sin(0.6 * b + scene.salt % 7) - math.sin(scene.salt % 7))).round()
        put(CODE["water"], (a - bend >= 1) & (a - bend <= torch.where(near, count, min(count, 2))))
        put(ground, near & (a == count + 1) & (jitter < 0.6))
        end = count + 1
    put(ground, (b == 0) & (a >= 0) & (a <= end))
    work = (b == 0) & (a >= 1) & (a <= count) if ACTIVITIES[scene.activity].ahead else (b == 1) & (a >= 0) & (a < count)
    before = {"walk": ground, "tunnel": CODE["stone"], "bridge": CODE["water"], "chop": CODE["tree"]}
    put(before.get(scene.activity, ground), work)
    return code


def _steps(rows: Tensor, columns: Tensor, heading: str) -> Tensor:
    """How many cells an offset goes in a direction."""
    return rows * HEADINGS[heading][0] + columns * HEADINGS[heading][1]


# --- what happens -----------------------------------------------------------------------------------------------


def actions(scene: CraftScene, beats: int) -> tuple[Action, ...]:
    """The work, a rest until the phase is over, all of it undone, a rest, and so on."""
    work, step = ACTIVITIES[scene.activity], Action("walk", scene.heading)
    deed = Action(work.verb, scene.heading if work.ahead else scene.side, work.tile)
    forth = [step] * scene.count if scene.activity == "walk" else [deed, step] * scene.count
    back = [undo(action) for action in reversed(forth)]
    cycle = [
        action
        for phase in (forth, back)
        for action in phase + [Action("rest", phase[-1].heading)] * (PHASE - len(phase))
    ]
    return tuple(cycle[beat % len(cycle)] for beat in range(beats))


def story(scene: CraftScene, seconds: float, height: int, width: int) -> Story:
    """All that happens in the cells that a frame of this size shows."""
    plan = layout(height, width)
    first, beats = plan.first, int(moment(torch.tensor(seconds, dtype=torch.float64))[0]) + 2
    wild = world(scene, (first[0] - 1, first[1] - 1), plan.rows + 2, plan.columns + 2)
    return play(wild, plan, scene.start, actions(scene, beats))


def render(scene: CraftScene, frames: int, height: int, width: int, fps: float = 8.0) -> Tensor:
    """uint8 (frames, height, width, 3)."""
    seconds = clock(frames, height, width, fps)
    return draw(story(scene, float(seconds[-1]), height, width), scene.color, scene.salt, seconds)


def state(scene: CraftScene, frames: int, height: int, width: int, fps: float = 8.0) -> State:
    """The player's centre, and the grid as tile codes: `tiles.layout(height, width)` says where its cells lie.

    The grid changes at the end of an action, so in every frame it is what the actions that are over have left.
    """
    seconds = clock(frames, height, width, fps)
    told = story(scene, float(seconds[-1]), height, width)
    thing = {name: getattr(scene, name) for name in ("color", "activity", "heading", "surroundings")}
    if scene.activity != "walk":
        thing["count"] = str(scene.count)
    if not ACTIVITIES[scene.activity].ahead:
        thing["side"] = scene.side
    grid = told.grids[moment(seconds)[0], 1:-1, 1:-1]
    return State((thing,), follow(told, seconds)[None], torch.ones(1, frames, dtype=torch.float64), grid=grid)


# --- what is said -----------------------------------------------------------------------------------------------


def caption(scene: CraftScene, detail: str = "short") -> str:
    """What the player is doing, and where. Descriptive captions also say how it is done and what lies around.

    The task is told as something going on ("is building a wall of three stones"), so it is true of any beginning.
    """
    check_choice("caption detail", detail, ("short", "descriptive"))
    rng = dice("craft", scene.seed, detail)
    names = ("surroundings", "color", "activity", "heading", "side")
    words = {name: language.word(rng, name, getattr(scene, name)) for name in names}
    work = ACTIVITIES[scene.activity]
    if scene.activity != "walk":
        block = work.tile.removesuffix("s") + "s" * (scene.count > 1)
        words["count"] = f"{language.word(rng, 'count', str(scene.count))} {block}"
    words["task"] = language.say(rng, "craft.stroll" if scene.activity == "walk" else "craft.task", **words)
    text = language.say(rng, f"craft.{detail}", **words)
    if detail == "descriptive":
        text += " " + language.say(rng, f"craft.{scene.activity}", **words)
        if around := nearby(scene):
            tiles = language.join([language.word(rng, "tile", name) for name in around])
            text += " " + language.say(rng, "craft.around", tiles=tiles)
    if scene.seconds > (PHASE + 1) / BEATS:  # a beat of it is seen
        text = text.rstrip(".") + ". " + language.say(rng, "craft.turn" if scene.activity == "walk" else "craft.undo")
    return language.sentence(text)


def nearby(scene: CraftScene) -> list[str]:
    """Tiles other than the ground and the worked ones that lie in the middle of the frame, whatever its shape."""
    view = world(scene, (-CELLS // 2, -CELLS // 2), CELLS, CELLS)
    known = (GROUND[scene.surroundings], ACTIVITIES[scene.activity].tile, "planks")
    return [name for name in TILES if name not in known and int((view == CODE[name]).sum()) >= 2]
