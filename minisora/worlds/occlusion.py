"""World 3, occlusion: what goes out of sight goes on existing.

A thing slides behind a wall and comes out on the other side, on time; or the camera pans away from a thing and back
to it, and the thing is where it was. This is the world in which object permanence is measured.
"""

import math
import random
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from minisora.core.errors import MinisoraError, check_choice
from minisora.worlds import language, scenery
from minisora.worlds.language import COLORS
from minisora.worlds.motion import wave
from minisora.worlds.raster import REACH, SHAPES, Canvas
from minisora.worlds.scene import Frame, Scene, State, check_seconds, clock, dice, narrow, reflect
from minisora.worlds.shapes import behind, stands_out

RADIUS = {"small": 0.085, "large": 0.115}  # units: a large thing has room on both sides of its wall in a square frame
HALF = 1.05  # half the width of any shape, in radii, and a little
BACKGROUNDS = ("white", "cream", "gray", "navy")
SETTINGS = {"wall": tuple(scenery.WALLS), "camera": tuple(scenery.LANDMARKS)}
SHORTEST, LONGEST = 1.0, 2.0  # seconds for one way past the wall, or for one pan away and back
AWAY = 0.8  # the share of its pan at which the camera has lost the thing
WALL_TOP, FLOOR = 0.36, (0.76, 0.82)  # shares of the picture's height
BOB = 0.05  # units
Words = str | Iterable[str] | None


@dataclass(frozen=True)
class Thing:
    shape: str
    color: str
    size: str
    motion: str  # left, right, still or bob
    place: float  # 0 … 1 across the box that its centre may visit, counted from where the action begins

    @property
    def radius(self) -> float:
        return RADIUS[self.size]


@dataclass(frozen=True)
class OcclusionScene(Scene):
    world = "occlusion"
    kind: str  # wall or camera
    background: str
    setting: str  # which wall, or which landmarks
    direction: str  # where the thing slides first, or where the camera pans first
    things: tuple[Thing, ...]  # the one that goes out of sight; perhaps one on the wall, or one where the camera goes
    period: float  # seconds for one way past the wall, or for one pan away and back
    speed: float  # of the slide, in boxes a second
    middle: float  # of the wall, in the box of the sliding thing
    hidden: float  # seconds wholly behind the wall
    floor: float  # where things stand, as a share of the picture's height


def sample(
    seed: int,
    seconds: float = 2.0,
    *,
    kind: Words = None,
    count: int | None = None,
    shape: Words = None,
    color: Words = None,
    size: Words = None,
    direction: Words = None,
    background: Words = None,
) -> OcclusionScene:
    """Draw a scene of one or two things. Each constraint is one word or several to draw from."""
    rng, seconds = dice("occlusion", seed), check_seconds(seconds)
    if seconds < SHORTEST:
        raise MinisoraError(f"{seconds:g} seconds are too short to go out of sight and come back: allow 1 or more")
    if count not in (None, 1, 2):
        raise MinisoraError(f"an occlusion scene cannot have {count} things: it holds 1 or 2")
    colors = narrow("color", color, COLORS)
    places = behind(colors, narrow("background", background, BACKGROUNDS))
    what, place = rng.choice(narrow("kind", kind, SETTINGS)), rng.choice(places)
    way = rng.choice(narrow("direction", direction, ("left", "right")))
    fitting = [name for name in COLORS if stands_out(name, place)]
    colors = [name for name in colors if name in fitting]
    shapes, sizes, number = narrow("shape", shape, SHAPES), narrow("size", size, RADIUS), count or rng.choice((1, 2))
    period = min(seconds, LONGEST)
    speed = rng.uniform(0.92, 1.0) / period
    things: list[Thing] = []
    for _ in range(number):  # the second thing never shares the first one's color
        taken = [thing.color for thing in things]
        free = [name for name in colors if name not in taken] or [name for name in fitting if name not in taken]
        motion, spot = _role(rng, what, way, len(things), number, 1 - speed * period)
        things.append(Thing(rng.choice(shapes), rng.choice(free), rng.choice(sizes), motion, spot))
    hidden = 0.25 + period * rng.uniform(0.015, 0.05)  # two frames at 8 fps, and some more
    middle = _middle(rng, things[0], speed, period, hidden)
    setting, floor = rng.choice(SETTINGS[what]), rng.uniform(*FLOOR)
    return OcclusionScene(
        seed, seconds, what, place, setting, way, tuple(things), period, speed, middle, hidden, floor
    )  # fmt: skip


def _role(rng: random.Random, kind: str, way: str, index: int, number: int, slack: float) -> tuple[str, float]:
    """(motion, place) of the thing that goes out of sight (index 0) or of its companion."""
    if kind == "wall":
        return ("still", rng.uniform(0.35, 0.65)) if index else (way, rng.uniform(0, slack))
    span = (0.6, 0.8) if index else (0.25, 0.42) if number == 2 else (0.05, 0.42)
    return rng.choice(("still", "bob")), rng.uniform(*span)


def _middle(rng: random.Random, thing: Thing, speed: float, period: float, hidden: float) -> float:
    """Where the wall stands: anywhere that leaves the thing a frame or more in the open before and after."""
    half = HALF * thing.radius
    halfway, passage = thing.place + speed * period / 2, 2 * half / (1 - 2 * half) + speed * hidden / 2
    room = speed * period / 2 - passage - speed / 8
    return halfway + rng.uniform(-1, 1) * max(0.0, room)


@dataclass(frozen=True)
class Stage:
    """A scene laid out in a frame: what `paint` needs to know. The controls of a checker alter it."""

    tracks: Tensor  # (n, t, 2) float64 pixels
    pan: Tensor  # (t,) float64 pixels: how far the camera has turned to the right
    wall: tuple[float, float] | None  # its left and right edge, in units
    farthest: float  # pixels: where the pan turns back, whether or not the clip lasts that long


def lay_out(scene: OcclusionScene, frames: int, height: int, width: int, fps: float = 8.0) -> Stage:
    seconds, frame = clock(frames, height, width, fps), Frame(height, width)
    across, down = frame.extent.tolist()
    first, half = scene.things[0], HALF * scene.things[0].radius
    box, pan, wall, farthest, xs = across - 2 * half, torch.zeros_like(seconds), None, 0.0, []
    if scene.kind == "wall":
        middle, width_2 = half + scene.middle * box, half + scene.speed * scene.hidden / 2 * box
        wall = (middle - width_2, middle + width_2)
        xs.append(half + reflect(first.place + scene.speed * seconds) * box)
        xs += [wall[0] + thing.place * 2 * width_2 + 0 * seconds for thing in scene.things[1:]]
    else:
        start = half + first.place * box
        farthest = (start + half) / AWAY
        pan = farthest * (math.pi * seconds / scene.period).sin() ** 2
        xs.append(start - pan)
        for thing in scene.things[1:]:
            margin = HALF * thing.radius
            xs.append(farthest + margin + thing.place * (across - 2 * margin) - pan)
    if scene.direction == "left":
        xs, pan, farthest = [across - x for x in xs], -pan, -farthest
        wall = (across - wall[1], across - wall[0]) if wall else None
    ys = [_height(scene, index, seconds, down) for index in range(len(scene.things))]
    tracks = torch.stack([torch.stack([x, y], dim=1) for x, y in zip(xs, ys, strict=True)])
    return Stage(tracks * frame.unit, pan * frame.unit, wall, farthest * frame.unit)


def _height(scene: OcclusionScene, index: int, seconds: Tensor, down: float) -> Tensor:
    """(t,) the y of a thing in units: it stands on the floor or on the wall, or bobs above the floor."""
    thing = scene.things[index]
    on_wall = scene.kind == "wall" and index > 0
    y = (WALL_TOP if on_wall else scene.floor) * down - _profile(thing.shape)[1] * thing.radius + 0 * seconds
    return y - BOB * (1.2 + wave("bob", seconds, thing.place)[:, 1]) if thing.motion == "bob" else y


def render(scene: OcclusionScene, frames: int, height: int, width: int, fps: float = 8.0) -> Tensor:
    """uint8 (frames, height, width, 3)."""
    return paint(scene, lay_out(scene, frames, height, width, fps), height, width)


def paint(scene: OcclusionScene, stage: Stage, height: int, width: int, wall_in_front: bool = True) -> Tensor:
    """Draw a stage, from the back to the front."""
    frame, frames = Frame(height, width), stage.tracks.shape[1]
    if stage.wall is None:
        left, right = math.floor(min(0, stage.farthest)), math.ceil(max(0, stage.farthest)) + width
        summed = scenery.panorama(scene.setting, scene.background, scene.seed, frame, left, right)
        canvas = Canvas(frames, scenery.look(summed, frame, stage.pan - left))
        _draw(canvas, scene, stage, frame, range(len(scene.things)))
        return canvas.frames()
    rgb, alpha, shadow = scenery.wall(scene.setting, frame, *stage.wall, WALL_TOP * height / frame.unit)
    canvas = Canvas(frames, scenery.room(scene.background, height, width, frame.unit) * shadow[..., None])
    first, others = range(1), range(1, len(scene.things))
    if wall_in_front:
        _draw(canvas, scene, stage, frame, first)
    canvas.rgb.lerp_(rgb.expand_as(canvas.rgb), alpha[..., None])
    if not wall_in_front:
        _draw(canvas, scene, stage, frame, first)
    _draw(canvas, scene, stage, frame, others)
    return canvas.frames()


def _draw(canvas: Canvas, scene: OcclusionScene, stage: Stage, frame: Frame, which: Iterable[int]) -> None:
    """Things, each with a soft shadow under it."""
    for index in which:
        thing, track = scene.things[index], stage.tracks[index]
        radius, ground = thing.radius * frame.unit, scene.floor * frame.height
        if scene.kind == "camera" or index == 0:
            window = canvas.window(torch.stack([track[:, 0], torch.full_like(track[:, 0], ground)], dim=1), radius)
            fall = torch.hypot(window.x / (0.95 * radius), window.y / (0.2 * radius + 0.5))
            canvas.blend(window, 0.4 * (1.25 - fall).clamp(0, 1), (20, 18, 24))
        window = canvas.window(track, radius * REACH + 1)
        inside = (0.5 - SHAPES[thing.shape](window.x / radius, window.y / radius) * radius).clamp_(0, 1)
        canvas.blend(window, inside, COLORS[thing.color])


def state(scene: OcclusionScene, frames: int, height: int, width: int, fps: float = 8.0) -> State:
    """Where everything is, seen or unseen. `camera` is the pan to the right in pixels; tracks are in the frame's."""
    stage, unit = lay_out(scene, frames, height, width, fps), min(height, width)
    names = ("shape", "color", "size", "motion")
    visible = torch.ones(stage.tracks.shape[:2], dtype=torch.float64)
    for index, thing in enumerate(scene.things):
        x, radius = stage.tracks[index, :, 0], thing.radius * unit
        if stage.wall is None:
            visible[index] = _left_of(thing.shape, (width - x) / radius) - _left_of(thing.shape, -x / radius)
        elif index == 0:
            left, right = (edge * unit for edge in stage.wall)
            behind = _left_of(thing.shape, (right - x) / radius) - _left_of(thing.shape, (left - x) / radius)
            visible[index] = 1 - behind
    things = tuple({name: getattr(thing, name) for name in names} for thing in scene.things)
    return State(things, stage.tracks, visible, camera=stage.pan[:, None])


def _left_of(shape: str, x: Tensor) -> Tensor:
    """The share of a shape's area that lies to the left of x, in radii from its centre."""
    summed = _profile(shape)[0]
    place = ((x / (2 * HALF) + 0.5) * (len(summed) - 1)).clamp(0, len(summed) - 1.001)
    whole = place.long()
    return torch.lerp(summed[whole], summed[whole + 1], place - whole).clamp(0, 1)


@cache
def _profile(shape: str) -> tuple[Tensor, float]:
    """A shape's area, summed from its left side to its right, and how far below its centre its foot is (radius 1)."""
    offset = (torch.arange(1024) + 0.5) / 1024 * 2 * HALF - HALF
    inside = SHAPES[shape](offset[None, :].expand(1024, 1024), offset[:, None].expand(1024, 1024)) < 0
    summed = torch.cat([torch.zeros(1), inside.sum(0).cumsum(0) / inside.sum()]).double()
    return summed, float(offset[inside.any(1)].max())


def caption(scene: OcclusionScene, detail: str = "short") -> str:
    """What happens. Descriptive captions also say where it begins, what stands around, and how it goes on."""
    check_choice("caption detail", detail, ("short", "descriptive"))
    rng, kind = dice("occlusion", scene.seed, detail), f"occlusion.{scene.kind}"
    words = {"background": language.word(rng, "background", scene.background)}
    if scene.kind == "wall":
        words["wall"] = language.word(rng, "wall", scene.setting)
    else:
        words["landmarks"] = language.word(rng, "landmarks", scene.setting)
        words["pan"] = language.word(rng, "pan", scene.direction)
    parts = []
    for template, thing in zip((kind, f"{kind}2"), scene.things, strict=False):
        named = {name: language.word(rng, name, getattr(thing, name)) for name in ("size", "color", "shape", "motion")}
        parts.append(language.say(rng, template, **named, **words))
    story = ". ".join(parts)
    if detail == "short":
        return language.sentence(language.say(rng, "occlusion.short", story=story, **words))
    half, first = HALF * scene.things[0].radius, scene.things[0]
    side = "left" if scene.direction == "right" else "right"
    aside = half + first.place * (1 - 2 * half) < 1 / 3  # in the first third of a square frame, and so of any other
    words["place"] = language.word(rng, "place", side) + "," if aside else ""
    words["middle"] = language.word(rng, "place", "middle")
    text = language.say(rng, f"{kind}.long", story=story, **words)
    if scene.seconds >= (2 - first.place if scene.kind == "wall" else 2 * scene.period * scene.speed) / scene.speed:
        text += " " + language.say(rng, f"{kind}.again", **words)
    return language.sentence(text)
