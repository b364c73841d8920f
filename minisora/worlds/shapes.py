"""World 1, shapes: simple things of a shape, color and size that move over a plain background, in four styles.

It is the world in which text fidelity is measured: every word of a caption can be checked against the pixels.
"""

import hashlib
import itertools
import math
import random
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache

import torch
from torch import Tensor

from minisora.core.errors import MinisoraError, check_choice
from minisora.worlds import language
from minisora.worlds.language import BACKGROUNDS, COLORS, WORDS
from minisora.worlds.motion import DIRECTIONS, path
from minisora.worlds.raster import REACH, SHAPES, Canvas
from minisora.worlds.scene import Frame, Scene, State, check_seconds, clock, dice, narrow
from minisora.worlds.style import STYLE_BACKGROUNDS, develop, ground, ink

RADIUS = {"small": 0.105, "large": 0.175}  # of the short side; apart enough to be told apart at 32 pixels
MOST = 12  # things in one scene
ASPECTS = torch.tensor([[1.0, 1.0], [1.8, 1.0], [1.0, 1.8]], dtype=torch.float64)  # things keep apart in all of these
Words = str | Iterable[str] | None


@dataclass(frozen=True)
class Thing:
    shape: str
    color: str
    size: str
    motion: str
    radius: float  # units of the short side
    start: tuple[float, float]  # in the box that the centre may visit
    speed: float  # boxes a second
    phase: float  # turns

    @property
    def reach(self) -> float:
        return self.radius * REACH


@dataclass(frozen=True)
class ShapesScene(Scene):
    world = "shapes"
    style: str
    background: str
    things: tuple[Thing, ...]


def sample(
    seed: int,
    seconds: float = 2.0,
    *,
    count: int | None = None,
    shape: Words = None,
    color: Words = None,
    size: Words = None,
    motion: Words = None,
    style: Words = None,
    background: Words = None,
    held_out: bool | None = False,
) -> ShapesScene:
    """Draw a scene. Each constraint is one word or several to draw from.

    Some compositions of shape, color and motion are held out, so that nothing is ever trained on them: with
    `held_out=True` the first thing is one of those, and with None it does not matter.
    """
    rng, seconds = dice("shapes", seed), check_seconds(seconds)
    if count is not None and not 1 <= count <= MOST:
        raise MinisoraError(f"a shapes scene cannot have {count} things: it holds 1 to {MOST}")
    number = count or rng.choices((1, 2, 3), weights=(4, 4, 2))[0]
    colors = narrow("color", color, COLORS)
    backgrounds = behind(colors, narrow("background", background, BACKGROUNDS))
    look = rng.choice([s for s in narrow("style", style, STYLE_BACKGROUNDS) if _overlap(s, backgrounds)] or [""])
    if not look:
        raise MinisoraError(f"none of these styles can be drawn on {', '.join(backgrounds)}: see STYLE_BACKGROUNDS")
    place = rng.choice(_overlap(look, backgrounds))
    pools = {
        "shape": narrow("shape", shape, SHAPES),
        "color": [c for c in colors if stands_out(c, place)],
        "size": narrow("size", size, RADIUS),
        "motion": narrow("motion", motion, WORDS["motion"]),
    }
    things = _compose(rng, number, pools, seconds, held_out, gap=(0.1 if look == "neon" else 0.03) * crowding(number))
    return ShapesScene(seed, seconds, look, place, things)


def _overlap(style: str, backgrounds: list[str]) -> list[str]:
    return [background for background in backgrounds if background in STYLE_BACKGROUNDS[style]]


def elsewhere(scene: ShapesScene) -> list[ShapesScene]:
    """The scene before each other background that its style and all its things allow."""
    allowed = [
        place for place in STYLE_BACKGROUNDS[scene.style] if all(stands_out(it.color, place) for it in scene.things)
    ]
    return [replace(scene, background=place) for place in allowed if place != scene.background]


def restyled(scene: ShapesScene) -> list[ShapesScene]:
    """The scene in each other style that its background allows."""
    allowed = [style for style, places in STYLE_BACKGROUNDS.items() if scene.background in places]
    return [replace(scene, style=style) for style in allowed if style != scene.style]


@cache
def stands_out(color: str, background: str) -> bool:
    """Whether a thing of this color can be told from this background at a glance."""
    return math.dist(COLORS[color], BACKGROUNDS[background]) > 110


def behind(colors: list[str], backgrounds: list[str]) -> list[str]:
    """Those of the backgrounds from which one of these colors stands out."""
    found = [b for b in backgrounds if any(stands_out(c, b) for c in colors)]
    if not found:
        raise MinisoraError("none of these colors stands out from the background: choose another background or color")
    return found


@cache
def is_held_out(shape: str, color: str, motion: str) -> bool:
    """One composition in ten is never trained on; a hash decides which, so the choice never changes."""
    return hashlib.sha256(f"{shape}/{color}/{motion}".encode()).digest()[0] % 10 == 0


def crowding(number: int) -> float:
    """The more things, the smaller they are drawn; 'small' and 'large' are meant within one scene."""
    return min(1.0, (3 / number) ** 0.5)


def _compose(
    rng: random.Random, number: int, pools: dict[str, list[str]], seconds: float, held_out: bool | None, gap: float
) -> tuple[Thing, ...]:
    """Things that keep clear of one another for the whole scene: each is drawn again until it does."""
    combos = list(itertools.product(pools["shape"], pools["color"], pools["motion"]))
    familiar = [combo for combo in combos if held_out is None or not is_held_out(*combo)]
    first = [combo for combo in combos if is_held_out(*combo)] if held_out else familiar
    if not first:
        raise MinisoraError("these constraints leave no composition to draw from: allow more shapes, colors or motions")
    scale = crowding(number)
    times = torch.arange(0, seconds + 0.2, 0.2, dtype=torch.float64)
    for attempt in range(max(40, 3600 // number**2)):  # whole scenes: a few things are soon drawn again
        if attempt == 8:  # nobody can find a way through this crowd: let the others stay about where they are
            familiar = [combo for combo in familiar if combo[2] not in DIRECTIONS] or familiar
        things: list[Thing] = []
        tracks: list[Tensor] = []
        for _ in range(6 * number**2):  # single things
            combo = rng.choice(familiar if things and familiar else first)
            thing = _draw(rng, combo, rng.choice(pools["size"]), scale, seconds)
            track = centres(thing, times, ASPECTS)
            if all(
                (track - other).norm(dim=-1).min() > thing.reach + near.reach + gap
                for other, near in zip(tracks, things, strict=True)
            ):
                things.append(thing)
                tracks.append(track)
            if len(things) == number:
                return tuple(things)
    raise MinisoraError(f"no room for {number} such things for {seconds:g} seconds: ask for fewer, or a shorter scene")


def _draw(rng: random.Random, combo: tuple[str, str, str], size: str, scale: float, seconds: float) -> Thing:
    shape, color, motion = combo
    speed = rng.uniform(0.26, 0.36) * scale
    start = [rng.random(), rng.random()]
    run = min(speed * min(seconds, 2.0), 0.9)  # a mover starts so that its way is clear for the first two seconds
    for axis, sign in enumerate(DIRECTIONS.get(motion, (0, 0))):
        if sign:
            start[axis] = 0.5 - sign * (run / 2 + rng.uniform(-0.5, 0.5) * (1 - run))
    return Thing(shape, color, size, motion, RADIUS[size] * scale, (start[0], start[1]), speed, rng.random())


def centres(thing: Thing, seconds: Tensor, extent: Tensor) -> Tensor:
    return path(thing.motion, thing.start, thing.speed, thing.phase, thing.reach, seconds, extent)


def render(scene: ShapesScene, frames: int, height: int, width: int, fps: float = 8.0) -> Tensor:
    """uint8 (frames, height, width, 3)."""
    seconds, frame = clock(frames, height, width, fps), Frame(height, width)
    canvas = Canvas(frames, ground(scene.style, scene.background, height, width))
    for thing in scene.things:
        radius = thing.radius * frame.unit
        halo = frame.unit / 8 if scene.style == "neon" else 1
        track = centres(thing, seconds, frame.extent) * frame.unit
        window = canvas.window(track, radius * REACH + halo)
        distance = SHAPES[thing.shape](window.x / radius, window.y / radius) * radius
        ink(scene.style, canvas, window, distance, thing.color, frame.unit, thing.reach * frame.unit)
    return develop(scene.style, canvas, scene.seed)


def state(scene: ShapesScene, frames: int, height: int, width: int, fps: float = 8.0) -> State:
    """Where everything is in every frame. Nothing in this world hides anything else."""
    seconds, frame = clock(frames, height, width, fps), Frame(height, width)
    tracks = torch.stack([centres(thing, seconds, frame.extent) * frame.unit for thing in scene.things])
    names = ("shape", "color", "size", "motion")
    things = tuple({name: getattr(thing, name) for name in names} for thing in scene.things)
    return State(things, tracks, torch.ones(tracks.shape[:2], dtype=torch.float64))


def caption(scene: ShapesScene, detail: str = "short") -> str:
    """What the scene shows. Descriptive captions also say how many things there are and where each one starts."""
    check_choice("caption detail", detail, ("short", "descriptive"))
    rng = dice("shapes", scene.seed, detail)
    style, background = language.word(rng, "style", scene.style), language.word(rng, "background", scene.background)
    if detail == "short":
        template = "shapes.only" if len(scene.things) == 1 and scene.style == "flat" else "shapes.thing"
        things = language.join([_describe(rng, thing, template) for thing in scene.things])
        return language.sentence(language.say(rng, "shapes.short", style=style, things=things, background=background))
    count = language.word(rng, "count", str(len(scene.things)))
    count = language.say(rng, "shapes.one" if len(scene.things) == 1 else "shapes.many", count=count)
    things = ". ".join(_describe(rng, thing, "shapes.placed") for thing in scene.things)
    text = language.say(rng, "shapes.long", style=style, count=count, background=background, things=things)
    if any(thing.motion in DIRECTIONS and thing.speed * scene.seconds > 1 for thing in scene.things):
        text += " " + language.say(rng, "shapes.bounce")
    return language.sentence(text)


def _describe(rng: random.Random, thing: Thing, template: str) -> str:
    words = {name: language.word(rng, name, getattr(thing, name)) for name in ("size", "color", "shape", "motion")}
    if template == "shapes.placed":
        words["place"] = language.word(rng, "place", whereabouts(thing))
    return language.say(rng, template, **words)


def whereabouts(thing: Thing) -> str:
    """The third of the frame, across and down, in which a thing starts: 'top left' … 'middle' … 'bottom right'."""
    x, y = centres(thing, torch.zeros(1, dtype=torch.float64), ASPECTS[0])[0].tolist()
    across = "left" if x < 1 / 3 else "right" if x > 2 / 3 else ""
    down = "top" if y < 1 / 3 else "bottom" if y > 2 / 3 else ""
    return f"{down} {across}".strip() or "middle"
