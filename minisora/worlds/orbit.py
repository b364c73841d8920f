"""World 4, orbit: a still life of bright solids on a checkered floor, seen by a moving camera.

It is the world in which 3D consistency is measured: nothing in it moves, so every change in the picture must be what
one camera sees of one rigid scene. The camera circles, pans or zooms, and sometimes holds still.
"""

import math
import random
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from minisora.core.errors import MinisoraError, check_choice
from minisora.worlds import language, render3d
from minisora.worlds.ground import Floor
from minisora.worlds.language import COLORS, WORDS
from minisora.worlds.scene import Frame, Scene, State, check_seconds, clock, dice, narrow
from minisora.worlds.space import Camera, Solid, aim, project

FEWEST, MOST = 6, 8  # solids in one scene, each of its own color
STAGE = 0.88  # the solids' centres stand within this radius around the middle of the floor
BODIES = {  # half the width, half the height
    "cube": (0.2, 0.2), "ball": (0.225, 0.225), "cylinder": (0.19, 0.23), "marble": (0.135, 0.135),
}  # fmt: skip
BUILD = {"cube": "box", "ball": "sphere", "cylinder": "cylinder", "marble": "sphere"}
LARGE = ("cube", "ball", "cylinder")
DISTANCE, AIM = 4.0, 0.14  # from the middle of the floor to the camera, and the height that it looks at
PITCH = (40.0, 46.0)  # degrees that the camera looks down
FOCAL = 1.5  # in short sides: the whole stage then fits the frame from every side
CIRCLE = (22.0, 36.0)  # degrees a second
PAN = (5.5, 7.5)  # degrees to either side
ZOOM = (1.36, 1.5)  # how much larger things are at the end than at the start
WIDE = 0.72  # a camera that pans stands back by this, so that nothing leaves the frame
SWEEP = 4.0  # the longest time that a pan or zoom takes, in seconds; then it goes back
SQUARE = 0.5  # side of one square of the floor
SUN = math.radians(58)  # height of the light above the horizon
# light and dark squares, and the haze far away
FLOORS = {
    "gray": ((240, 240, 242), (178, 182, 190), (206, 214, 226)),
    "cream": ((247, 242, 232), (222, 204, 174), (236, 224, 206)),
    "navy": ((226, 230, 240), (62, 72, 108), (150, 162, 192)),
    "black": ((236, 236, 236), (52, 52, 56), (168, 172, 180)),
}  # fmt: skip
Words = str | Iterable[str] | None


@dataclass(frozen=True)
class Thing:
    solid: str  # "cube", "ball", "cylinder" or, if it is small, "marble"
    color: str
    size: str
    x: float
    y: float
    turn: float

    @property
    def body(self) -> Solid:
        radius, half = BODIES[self.solid]
        return Solid(BUILD[self.solid], COLORS[self.color], self.x, self.y, radius, half, self.turn)


@dataclass(frozen=True)
class OrbitScene(Scene):
    world = "orbit"
    camera: str
    floor: str
    amount: float  # degrees a second for a circle, degrees to either side for a pan, a ratio for a zoom
    heading: float  # radians: where the camera looks at the start
    pitch: float  # radians
    light: float  # radians: where the light comes from
    things: tuple[Thing, ...]  # the large ones first


def sample(
    seed: int,
    seconds: float = 2.0,
    *,
    count: int | None = None,
    solid: Words = None,
    color: Words = None,
    camera: Words = None,
    floor: Words = None,
) -> OrbitScene:
    """Draw a scene. Each constraint is one word or several to draw from; `solid` is that of the large things."""
    rng, seconds = dice("orbit", seed), check_seconds(seconds)
    if count is not None and not FEWEST <= count <= MOST:
        raise MinisoraError(f"an orbit scene cannot have {count} things: it holds {FEWEST} to {MOST}")
    colors = narrow("color", color, COLORS)
    number = count or rng.randint(FEWEST, min(7, max(len(colors), FEWEST)))
    if len(set(colors)) < number:
        raise MinisoraError(f"{number} things need {number} colors of their own: allow more than {', '.join(colors)}")
    move = rng.choice(narrow("camera", camera, WORDS["camera"]))
    low, high = {"circle": CIRCLE, "pan": PAN, "zoom": ZOOM}.get(move.split()[0], (0.0, 0.0))
    return OrbitScene(
        seed, seconds, move, rng.choice(narrow("floor", floor, FLOORS)), rng.uniform(low, high),
        rng.uniform(0, 2 * math.pi), math.radians(rng.uniform(*PITCH)), rng.uniform(0, 2 * math.pi),
        _compose(rng, rng.sample(sorted(set(colors)), number), narrow("solid", solid, LARGE)),
    )  # fmt: skip


def _compose(rng: random.Random, colors: list[str], solids: list[str]) -> tuple[Thing, ...]:
    """Two to four large things and marbles, so far apart that they seldom hide one another."""
    large = rng.choice((2, 3, 3, 4))
    while True:
        things: list[Thing] = []
        for _ in range(60):
            angle, radius = rng.uniform(0, 2 * math.pi), STAGE * math.sqrt(rng.random())
            size, solid = ("large", rng.choice(solids)) if len(things) < large else ("small", "marble")
            x, y, turn = radius * math.cos(angle), radius * math.sin(angle), rng.uniform(0, math.pi / 2)
            thing = Thing(solid, colors[len(things)], size, x, y, turn)
            if all(_apart(thing.body, other.body) for other in things):
                things.append(thing)
            if len(things) == len(colors):
                return tuple(things)


def _apart(one: Solid, two: Solid) -> bool:
    """Whether neither hides the other's centre from a camera that looks down at PITCH."""
    low, high = sorted((one, two), key=lambda solid: solid.half)
    clear = high.radius + 1.25 * (2 * high.half - low.half) + 0.05
    return math.dist((one.x, one.y), (two.x, two.y)) > max(clear, one.radius + two.radius + 0.12)


def viewpoint(
    move: str, amount: Tensor | float, heading: float, pitch: Tensor | float, seconds: Tensor, sweep: float
) -> Camera:
    """The camera at each moment (t,), or several cameras for amounts and pitches (k, 1).

    `sweep` is how long a pan or zoom takes before it goes back.
    """
    kind, _, way = move.partition(" ")
    sign = 1.0 if way in ("left", "in") else -1.0
    swing = -sign * (math.pi * seconds / sweep).cos()  # from −1 to 1 for a pan to the left and a zoom in
    still = torch.zeros_like(amount * seconds + pitch)
    around = heading + still - (sign * math.radians(1) * amount * seconds if kind == "circle" else 0)
    gaze = around + (math.radians(1) * amount * swing if kind == "pan" else 0)
    size = still + (amount ** ((swing - 1) / 2) if kind == "zoom" else WIDE if kind == "pan" else 1)
    drop = pitch + still
    level = -DISTANCE * drop.cos()
    position = torch.stack([level * around.cos(), level * around.sin(), AIM + DISTANCE * drop.sin()], dim=-1)
    return aim(position, gaze, drop, FOCAL * size)


def sweep_time(seconds: float) -> float:
    """How long one pan or zoom takes in a scene of this length."""
    return min(max(seconds, 1.0), SWEEP)


def view(scene: OrbitScene, seconds: Tensor) -> Camera:
    return viewpoint(scene.camera, scene.amount, scene.heading, scene.pitch, seconds, sweep_time(scene.seconds))


def floor_of(scene: OrbitScene) -> Floor:
    light, dark, haze = FLOORS[scene.floor]
    level, height = math.cos(SUN), math.sin(SUN)
    sun = level * math.cos(scene.light), level * math.sin(scene.light), height
    return Floor(light, dark, haze, SQUARE, sun)


def render(scene: OrbitScene, frames: int, height: int, width: int, fps: float = 8.0) -> Tensor:
    """uint8 (frames, height, width, 3)."""
    camera = view(scene, clock(frames, height, width, fps))
    return render3d.draw([thing.body for thing in scene.things], floor_of(scene), camera, Frame(height, width))


def state(scene: OrbitScene, frames: int, height: int, width: int, fps: float = 8.0) -> State:
    """Where each centre is seen. The camera's parameters are its position, heading, pitch and focal length."""
    camera, frame = view(scene, clock(frames, height, width, fps)), Frame(height, width)
    bodies = [thing.body for thing in scene.things]
    tracks, _ = project(camera, torch.tensor([body.centre for body in bodies], dtype=torch.float64), frame)
    things = tuple({name: getattr(thing, name) for name in ("solid", "color", "size")} for thing in scene.things)
    heading = torch.atan2(camera.forward[:, 1], camera.forward[:, 0])
    pitch = torch.asin(-camera.forward[:, 2])
    parameters = torch.cat([camera.position, torch.stack([heading, pitch, camera.focal], dim=-1)], dim=-1)
    return State(things, tracks, render3d.visible(bodies, camera, frame), camera=parameters)


def caption(scene: OrbitScene, detail: str = "short") -> str:
    """What stands there and what the camera does. Descriptive captions also say how large each thing is, and where."""
    check_choice("caption detail", detail, ("short", "descriptive"))
    rng = dice("orbit", scene.seed, detail)
    floor, camera = (language.word(rng, name, getattr(scene, name)) for name in ("floor", "camera"))
    if scene.seconds > SWEEP and scene.camera.startswith(("pan", "zoom")):
        camera += " " + language.say(rng, "orbit.again")
    if detail == "short":
        large, marbles = ([thing for thing in scene.things if thing.size == size] for size in ("large", "small"))
        things = language.join([_describe(rng, thing, "orbit.thing") for thing in large])
        marbles = language.say(rng, "orbit.marbles", colors=language.join(thing.color for thing in marbles))
        return language.sentence(
            language.say(rng, "orbit.short", camera=camera, things=things, marbles=marbles, floor=floor)
        )
    count = language.word(rng, "count", str(len(scene.things)))
    things = ". ".join(_describe(rng, thing, "orbit.placed", whereabouts(scene, thing)) for thing in scene.things)
    return language.sentence(language.say(rng, "orbit.long", count=count, camera=camera, things=things, floor=floor))


def _describe(rng: random.Random, thing: Thing, template: str, spot: str = "middle") -> str:
    return language.say(
        rng, template, size=language.word(rng, "size", thing.size), color=language.word(rng, "color", thing.color),
        solid=language.word(rng, "solid", thing.solid), spot=language.word(rng, "spot", spot),
    )  # fmt: skip


def whereabouts(scene: OrbitScene, thing: Thing) -> str:
    """Where a thing stands on the floor, as the first frame shows it: 'front left' … 'middle' … 'back right'."""
    cos, sin = math.cos(scene.heading), math.sin(scene.heading)
    across, away = thing.x * sin - thing.y * cos, thing.x * cos + thing.y * sin
    edge = STAGE / 3
    side = "left" if across < -edge else "right" if across > edge else ""
    depth = "front" if away < -edge else "back" if away > edge else ""
    return f"{depth} {side}".strip() or "middle"
