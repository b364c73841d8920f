"""The craft world's checker: does the grid change by the rules of the game, and by nothing else?

It judges what grids.py reads from the pixels between actions. From the scene it takes only what a caption says: the
player may stand anywhere, in any land of the right kind.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from minisora.evaluate.grids import HIDDEN, UNREAD, Reading, read
from minisora.evaluate.report import Control, Report
from minisora.worlds import craft
from minisora.worlds.craft import ACTIVITIES, SHIRTS, WORK, CraftScene
from minisora.worlds.game import HEADINGS, MINED, OPPOSITE, PLACED, WALKABLE, Action, Story, draw
from minisora.worlds.scene import clock, dice
from minisora.worlds.terrain import recognize
from minisora.worlds.tiles import CELLS, CODE, TILES

TURNS = {(CODE[block], CODE[left]) for block, left in MINED.items()}  # which tile may turn into which
TURNS |= {(CODE[ground], CODE[block]) for block, grounds in PLACED.items() for ground in grounds}
FREE = {CODE[name] for name in WALKABLE}


@dataclass(frozen=True)
class Event:
    """What happened between two readings."""

    step: tuple[int, int]  # rows and columns
    free: bool  # whether the cell that the player is now in can be walked on
    turns: list[tuple[int, int]]  # tiles next to the player that changed, before and after
    toward: list[tuple[int, int]]  # where they lie, seen from the player
    stray: int  # tiles elsewhere that changed


def check(frames: Tensor, scene: CraftScene, fps: float = 8.0) -> Report:
    """Hold a clip against the rules of the game and against the scene's caption. It needs 4 frames a second or more."""
    reading = read(frames, fps)
    events, moved = happenings(reading), len(reading.cells) > 1
    unread = float((reading.grids == UNREAD).double().mean())
    longest = max((abs(event.step[0]) + abs(event.step[1]) for event in events), default=0)
    broken, stray = sum(not is_legal(event) for event in events), sum(event.stray for event in events)
    first, legible = reading.grids[0][reading.grids[0] >= 0], unread < 0.02
    claims = {
        "player": bool(reading.found.all()) and reading.shirt == scene.color,
        "moves": moved and longest <= 1 and all(event.free for event in events),
        "rules": moved and legible and broken == 0,
        "nothing else": moved and legible and stray == 0,
        "activity": moved and is_activity(events[:WORK], scene),
        "surroundings": legible and recognize(first) == scene.surroundings,
    }
    measures = {"unread": unread, "longest step": float(longest), "broken rules": float(broken), "stray": float(stray)}
    return Report(claims, measures)


# --- judging ----------------------------------------------------------------------------------------------------


def happenings(reading: Reading) -> list[Event]:
    """What changed from reading to reading. A cell that cannot be seen is taken to be as it was last seen."""
    known, events = reading.grids[0].clone(), []
    for now, here, there in zip(reading.grids[1:], reading.cells, reading.cells[1:], strict=False):
        ground = int(known[tuple(there)])
        changed = (known >= 0) & (now >= 0) & (known != now)
        turns, toward, stray = [], [], 0
        for cell in changed.nonzero():
            way = (cell - here).tolist()
            if tuple(way) in HEADINGS.values():
                turns.append((int(known[tuple(cell)]), int(now[tuple(cell)])))
                toward.append(tuple(way))
            else:
                stray += 1
        row, column = (there - here).tolist()
        events.append(Event((row, column), ground in FREE or ground == HIDDEN, turns, toward, stray))
        known = torch.where(now >= 0, now, known)
    return events


def is_legal(event: Event) -> bool:
    """One action at a time, and a tile turns only into what the rules allow."""
    return not event.turns or (len(event.turns) == 1 and event.step == (0, 0) and event.turns[0] in TURNS)


def is_activity(events: list[Event], scene: CraftScene) -> bool:
    """Whether the player goes the right way and does the right thing, as often as the time allows."""
    work, way, count = ACTIVITIES[scene.activity], HEADINGS[scene.heading], scene.count
    steps = [event.step for event in events if event.step != (0, 0)]
    turns = [turn for event in events for turn in event.turns]
    toward = [direction for event in events for direction in event.toward]
    if any(step != way for step in steps):
        return False
    if scene.activity == "walk":
        return not turns and len(steps) >= min(3, len(events))
    before, after = (CODE[work.tile], CODE[MINED[work.tile]]) if work.verb == "mine" else (None, CODE[work.tile])
    right = all(turn[1] == after and before in (None, turn[0]) for turn in turns)
    placed = all((direction == way) == work.ahead for direction in toward)
    return (
        right and placed and len(turns) == min(count, -(-len(events) // 2)) and len(steps) >= min(1, len(events) // 2)
    )


# --- controls ---------------------------------------------------------------------------------------------------


# What spoils a story: the story, its scene, the number of beats that are shown, and dice.
Spoil = Callable[[Story, CraftScene, int, random.Random], Story]


def _spoiled(spoil: Spoil) -> Control:
    """A control that the world's own painter draws, from a story that breaks the rules."""

    def control(scene: CraftScene, frames: int, height: int, width: int, fps: float = 8.0) -> Tensor:
        seconds = clock(frames, height, width, fps)
        story = craft.story(scene, float(seconds[-1]), height, width)
        copy = replace(story, grids=story.grids.clone(), cells=story.cells.clone())
        spoilt = spoil(copy, scene, len(story.cells) - 1, dice("craft", scene.seed, spoil.__name__))
        return draw(spoilt, scene.color, scene.salt, seconds)

    return control  # type: ignore[return-value]


def _place(story: Story, cell: Tensor) -> tuple[int, int]:
    """Where a cell, given as the world's row and column, lies in the story's grids."""
    row, column = (cell + 1 - torch.tensor(story.plan.first)).long().tolist()
    return row, column


def _faraway(story: Story, cells: Tensor, rng: random.Random) -> Tensor:
    """A cell of the always visible middle, at least three steps from any of these."""
    middle = torch.cartesian_prod(*2 * [torch.arange(CELLS) - CELLS // 2])
    apart = (middle[:, None] - cells[None]).abs().sum(-1).amin(1)
    return rng.choice(list(middle[apart >= min(3.0, float(apart.max()))]))


def random_edits(story: Story, scene: CraftScene, beats: int, rng: random.Random) -> Story:
    """A few cells away from the player turn into something else on their own."""
    for _ in range(3):
        row, column = _place(story, _faraway(story, story.cells, rng))
        beat = rng.randrange(1, max(2, beats))
        story.grids[beat:, row, column] = (story.grids[beat, row, column] + rng.randrange(1, len(TILES))) % len(TILES)
    return story


def teleport(story: Story, scene: CraftScene, beats: int, rng: random.Random) -> Story:
    """For one beat the player is somewhere else."""
    beat = rng.randrange(1, max(2, beats))
    story.cells[beat] = _faraway(story, story.cells[max(0, beat - 1) : beat + 2], rng).double()
    return story


def through_blocks(story: Story, scene: CraftScene, beats: int, rng: random.Random) -> Story:
    """The player walks over a stone."""
    row, column = _place(story, story.cells[0] + torch.tensor(HEADINGS[scene.heading]))
    story.grids[:, row, column] = CODE["stone"]
    return story


def forbidden_turn(story: Story, scene: CraftScene, beats: int, rng: random.Random) -> Story:
    """The first tile to change, or in a mere walk one beside the player, turns into what it must not."""
    changes = (story.grids[:beats] != story.grids[0]).nonzero().tolist()
    if changes:
        beat, row, column = changes[0]
    else:
        beat, (row, column) = 1, _place(story, story.cells[0] + torch.tensor(HEADINGS[scene.side]))
    before = int(story.grids[0, row, column])
    wrong = [code for code in range(len(TILES)) if code != before and (before, code) not in TURNS]
    story.grids[beat:, row, column] = rng.choice(wrong)
    return story


def idle(story: Story, scene: CraftScene, beats: int, rng: random.Random) -> Story:
    """Nothing happens."""
    story.grids[:], story.cells[:] = story.grids[0].clone(), story.cells[0].clone()
    return replace(story, actions=tuple(Action("rest", scene.heading) for _ in story.actions))


def other_activity(scene: CraftScene, frames: int, height: int, width: int, fps: float = 8.0) -> Tensor:
    """Another activity, by the rules, in the same surroundings."""
    place, others = scene.surroundings, [name for name in ACTIVITIES if name != scene.activity]
    other = craft.sample(scene.seed, scene.seconds, activity=others, surroundings=place, color=scene.color)
    return craft.render(other, frames, height, width, fps)


def other_way(scene: CraftScene, frames: int, height: int, width: int, fps: float = 8.0) -> Tensor:
    """The same activity in the opposite direction."""
    away = OPPOSITE[scene.heading]
    place, color = scene.surroundings, scene.color
    other = craft.sample(
        scene.seed, scene.seconds, heading=away, activity=scene.activity, surroundings=place, color=color
    )
    return craft.render(other, frames, height, width, fps)


def other_shirt(scene: CraftScene, frames: int, height: int, width: int, fps: float = 8.0) -> Tensor:
    """The same scene in a shirt of another color."""
    color = dice("craft", scene.seed, "shirt").choice([color for color in SHIRTS if color != scene.color])
    return craft.render(replace(scene, color=color), frames, height, width, fps)


CONTROLS: dict[str, Control] = {
    "random edits": _spoiled(random_edits),
    "teleport": _spoiled(teleport),
    "through blocks": _spoiled(through_blocks),
    "forbidden turn": _spoiled(forbidden_turn),
    "idle": _spoiled(idle),
    "other activity": other_activity,
    "other way": other_way,
    "other shirt": other_shirt,
}  # type: ignore[assignment]
