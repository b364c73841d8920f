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

from minisora.core.errors import MinisoraError
from minisora.worlds import render3d
from minisora.worlds.ground import Floor
from minisora.worlds.language import COLORS, WORDS
from minisora.worlds.scene import Frame, Scene, State, check_seconds, clock, dice, narrow
from minisora.worlds.space import Camera, Solid, aim, project

FEWEST, MOST = 6, 8  # solids in one scene, each of its own color
STAGE = 0.86  # the solids' centres stand within this radius around the middle of the floor
LARGE = {"box": (0.24, 0.24), "sphere": (0.26, 0.26), "cylinder": (0.22, 0.26)}  # half width, half height
MARBLE = 0.135
DISTANCE, AIM = 4.0, 0.14  # from the middle of the floor to the camera, and the height that it looks at
PITCH = (40.0, 46.0)  # degrees that the camera looks down
FOCAL = 1.56  # in short sides: the whole stage then fits the frame from every side
CIRCLE = (22.0, 36.0)  # degrees a second
PAN = (5.5, 7.5)  # degrees to either side
ZOOM = (1.36, 1.5)  # how much larger things are at the end than at the start
WIDE = 0.72  # a camera that pans stands back by this, so that nothing leaves the frame
SWEEP = 4.0  # the longest time that a pan or zoom takes, in seconds; then it goes back
# light and dark squares, and the haze far away
FLOORS = {
    "gray": ((240, 240, 242), (178, 182, 190), (206, 214, 226)),
    "cream": ((247, 242, 232), (222, 200, 164), (236, 224, 206)),
    "navy": ((226, 230, 240), (62, 72, 108), (150, 162, 192)),
    "black": ((236, 236, 236), (52, 52, 56), (168, 172, 180)),
}  # fmt: skip
Words = str | Iterable[str] | None


@dataclass(frozen=True)
class Thing:
    kind: str
    color: str
    size: str  # "large", or "small" for marbles
    x: float
    y: float
    turn: float

    @property
    def solid(self) -> Solid:
        radius, half = LARGE[self.kind] if self.size == "large" else (MARBLE, MARBLE)
        return Solid(self.kind, COLORS[self.color], self.x, self.y, radius, half, self.turn)


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
    kind: Words = None,
    color: Words = None,
    camera: Words = None,
    floor: Words = None,
) -> OrbitScene:
    """Draw a scene. Each constraint is one word or several to draw from; `kind` is that of the large things."""
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
        _compose(rng, rng.sample(sorted(set(colors)), number), narrow("kind", kind, LARGE)),
    )  # fmt: skip


def _compose(rng: random.Random, colors: list[str], kinds: list[str]) -> tuple[Thing, ...]:
    """Two to four large things and marbles, so far apart that they seldom hide one another."""
    large = rng.choice((2, 3, 3, 4))
    while True:
        things: list[Thing] = []
        for _ in range(60):
            angle, radius = rng.uniform(0, 2 * math.pi), STAGE * math.sqrt(rng.random())
            size = "large" if len(things) < large else "small"
            kind = rng.choice(kinds) if size == "large" else "sphere"
            x, y, turn = radius * math.cos(angle), radius * math.sin(angle), rng.uniform(0, math.pi / 2)
            thing = Thing(kind, colors[len(things)], size, x, y, turn)
            if all(_apart(thing.solid, other.solid) for other in things):
                things.append(thing)
            if len(things) == len(colors):
                return tuple(things)


def _apart(one: Solid, two: Solid) -> bool:
    """Whether neither hides the other's centre from a camera that looks down at 45 degrees."""
    low, high = sorted((one, two), key=lambda solid: solid.half)
    clear = high.radius + 2 * high.half - low.half
    return math.dist((one.x, one.y), (two.x, two.y)) > max(clear, one.radius + two.radius + 0.12)


def viewpoint(move: str, amount: float, heading: float, pitch: float, seconds: Tensor, sweep: float) -> Camera:
    """The camera at each moment. `sweep` is how long a pan or zoom takes before it goes back."""
    kind, _, way = move.partition(" ")
    sign = 1.0 if way in ("left", "in") else -1.0
    swing = -sign * (math.pi * seconds / sweep).cos()  # from −1 to 1 for a pan to the left and a zoom in
    still = torch.zeros_like(seconds)
    around = heading - sign * math.radians(amount) * seconds if kind == "circle" else heading + still
    level, drop = math.cos(pitch), math.sin(pitch)
    position = torch.stack(
        [-level * DISTANCE * around.cos(), -level * DISTANCE * around.sin(), AIM + drop * DISTANCE + still], dim=-1
    )
    gaze = around + math.radians(amount) * swing if kind == "pan" else around
    size = {"pan": WIDE + still, "zoom": amount ** (swing / 2 - 0.5) if kind == "zoom" else still}.get(kind, 1 + still)
    return aim(position, gaze, pitch + still, FOCAL * size)


def sweep_time(seconds: float) -> float:
    """How long one pan or zoom takes in a scene of this length."""
    return min(max(seconds, 1.0), SWEEP)


def _view(scene: OrbitScene, seconds: Tensor) -> Camera:
    return viewpoint(scene.camera, scene.amount, scene.heading, scene.pitch, seconds, sweep_time(scene.seconds))


def floor_of(scene: OrbitScene) -> Floor:
    light, dark, haze = FLOORS[scene.floor]
    height = math.radians(58)
    level = math.cos(height)
    return Floor(
        light, dark, haze, 0.4, (level * math.cos(scene.light), level * math.sin(scene.light), math.sin(height))
    )


def render(scene: OrbitScene, frames: int, height: int, width: int, fps: float = 8.0) -> Tensor:
    """uint8 (frames, height, width, 3)."""
    camera = _view(scene, clock(frames, height, width, fps))
    return render3d.draw([thing.solid for thing in scene.things], floor_of(scene), camera, Frame(height, width))


def state(scene: OrbitScene, frames: int, height: int, width: int, fps: float = 8.0) -> State:
    """Where each centre is seen. The camera's parameters are its position, heading, pitch and focal length."""
    camera, frame = _view(scene, clock(frames, height, width, fps)), Frame(height, width)
    solids = [thing.solid for thing in scene.things]
    tracks, _ = project(camera, torch.tensor([solid.centre for solid in solids], dtype=torch.float64), frame)
    things = tuple({name: getattr(thing, name) for name in ("kind", "color", "size")} for thing in scene.things)
    heading = torch.atan2(camera.forward[:, 1], camera.forward[:, 0])
    pitch = torch.asin(-camera.forward[:, 2])
    parameters = torch.cat([camera.position, torch.stack([heading, pitch, camera.focal], dim=-1)], dim=-1)
    return State(things, tracks, render3d.visible(solids, camera, frame), camera=parameters)
