"""World 2, physics: one event with an exact law. A ball drops, flies, rolls or swings on a rod, or two balls collide.

It is the world in which motion is measured: speed and acceleration against the law, inside and outside of the range of
speeds that training shows. Events happen on Earth or on the Moon, where gravity is weaker and everything falls slower.
"""

import math
import random
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from minisora.core.errors import MinisoraError, check_choice
from minisora.worlds import language, laws, places
from minisora.worlds.language import COLORS, WORDS
from minisora.worlds.raster import Canvas
from minisora.worlds.scene import Frame, Scene, State, check_seconds, clock, dice, narrow, reflect

# What training shows. An evaluation may ask for other numbers, to see whether a law was learned or only its examples.
SPEED = (0.35, 0.6)  # units a second, of whatever is thrown or rolls
GRAVITY = {"earth": 2.0, "moon": 0.6}  # units a second²; a third and not a sixth, so that a fall ends in a short clip

RADIUS = {"small": 0.09, "large": 0.15}  # units; a ball's mass goes with the cube
RESTITUTION = {"high": 0.85, "low": 0.5}  # the share of its speed that a bounce leaves
FRICTION = 0.15  # braking over gravity, of a ball that slows down
ROD = {"short": 0.3, "long": 0.52}  # units, from the pivot to the middle of the bob
PIVOT = 0.79  # units above the floor
ROOM = 0.85  # units above the floor that a ball may use
# The words that tell one event of a kind from another.
TOLD = {
    "drop": ("bounce",), "throw": ("direction", "bounce"), "roll": ("direction", "pace"),
    "pendulum": ("rod", "direction"), "collide": ("direction", "meeting"),
}  # fmt: skip
Words = str | Iterable[str] | None
Range = tuple[float, float]


@dataclass(frozen=True)
class Ball:
    color: str
    size: str

    @property
    def radius(self) -> float:
        return RADIUS[self.size]

    @property
    def mass(self) -> float:
        return self.radius**3


@dataclass(frozen=True)
class PhysicsScene(Scene):
    """An event. Words that do not apply to it are empty, numbers zero. Everything is told for motion to the right."""

    world = "physics"
    event: str
    setting: str  # where it looks to be
    gravity: str  # 'other' if an evaluation asked for a gravity that is neither Earth's nor the Moon's
    pull: float  # gravity in units a second²
    balls: tuple[Ball, ...]
    direction: str = ""  # of the first ball, at first
    bounce: str = ""
    pace: str = ""
    rod: str = ""
    meeting: str = ""
    start: float = 0.0  # share of the way across; for a collision units from the left of the middle square
    height: float = 0.0  # units above the floor, of the ball's lowest point
    up: float = 0.0  # units a second
    speeds: tuple[float, ...] = ()  # units a second to the right, one for each ball
    gap: float = 0.0  # units between two balls at first
    amplitude: float = 0.0  # radians


def sample(
    seed: int,
    seconds: float = 2.0,
    *,
    event: Words = None,
    color: Words = None,
    size: Words = None,
    direction: Words = None,
    bounce: Words = None,
    pace: Words = None,
    rod: Words = None,
    meeting: Words = None,
    gravity: Words | Range = None,
    speed: Range = SPEED,
) -> PhysicsScene:
    """Draw a scene. Each constraint is one word or several to draw from.

    `speed` is a range in units a second. `gravity` is words, or a range in units a second² that no caption names.
    """
    rng, seconds = dice("physics", seed), check_seconds(seconds)
    pools = {"event": event, "direction": direction, "bounce": bounce, "pace": pace, "rod": rod, "meeting": meeting}
    words = {name: rng.choice(narrow(name, wanted, WORDS[name])) for name, wanted in pools.items()}
    low, high = _range("speed", speed, 0.05, 4.0)
    speeds = (rng.uniform(low, high), rng.uniform(low, high))
    words["gravity"], words["setting"], pull = _gravity(rng, gravity)
    colors, sizes = narrow("color", color, COLORS), narrow("size", size, RADIUS)
    first = Ball(rng.choice(colors), rng.choice(sizes))
    others = [name for name in colors if name != first.color] or [name for name in COLORS if name != first.color]
    second = Ball(rng.choice(others), rng.choice(sizes))
    numbers = _compose(rng, words, pull, (first, second), speeds)
    told = {name: words[name] for name in ("event", "gravity", "setting", *TOLD[words["event"]])}
    return PhysicsScene(seed, seconds, pull=pull, **told, **numbers)  # type: ignore[arg-type]


def _range(what: str, wanted: Range, low: float, high: float) -> Range:
    bounds = tuple(wanted)
    if len(bounds) != 2 or not low <= bounds[0] <= bounds[1] <= high:
        raise MinisoraError(f"{what} cannot be drawn from {bounds}: ask for a range (low, high) within {low} … {high}")
    return bounds


def _gravity(rng: random.Random, wanted: Words | Range) -> tuple[str, str, float]:
    """The word for gravity, the setting and the pull. A pull that is a number goes with the look of either place."""
    if isinstance(wanted, tuple) and all(isinstance(bound, int | float) for bound in wanted):
        return "other", rng.choice(list(GRAVITY)), rng.uniform(*_range("gravity", wanted, 0.05, 10.0))  # type: ignore
    place = rng.choice(narrow("gravity", wanted, GRAVITY))  # type: ignore[arg-type]
    return place, place, GRAVITY[place]


def _compose(
    rng: random.Random, words: dict[str, str], pull: float, balls: tuple[Ball, Ball], speeds: Range
) -> dict[str, object]:
    """The balls of an event, and numbers that make it worth watching from its first second on."""
    ball, aside, top = balls[0], rng.uniform(0, 0.08), ROOM - 2 * balls[0].radius
    match words["event"]:
        case "drop":
            start = rng.choice((0.03, 0.42, 0.81)) + rng.uniform(0, 0.16)  # on the left, in the middle, on the right
            return {"balls": (ball,), "start": start, "height": rng.uniform(0.35, top)}
        case "throw":
            height = rng.uniform(0.05, 0.25)
            rise = rng.uniform(max(height + 0.12, 0.3), top) - height
            up = math.sqrt(2 * pull * rise)
            return {"balls": (ball,), "start": aside, "height": height, "up": up, "speeds": speeds[:1]}
        case "roll":
            return {"balls": (ball,), "start": aside, "speeds": speeds[:1]}
        case "pendulum":
            widest = math.asin(min(0.82, (0.47 - ball.radius) / ROD[words["rod"]]))
            return {"balls": (ball,), "amplitude": widest * rng.uniform(0.75, 1)}
    speeds = (speeds[0], 0.0 if words["meeting"] == "rest" else -speeds[1])
    across = 2 * (balls[0].radius + balls[1].radius)
    gap = min((speeds[0] - speeds[1]) * rng.uniform(0.4, 0.7), 0.92 - across)
    return {"balls": balls, "speeds": speeds, "gap": gap, "start": rng.uniform(0.02, 0.98 - across - gap)}


def trace(scene: PhysicsScene, seconds: Tensor, frame: Frame) -> Tensor:
    """(n, t, 2) the centres of the balls, in units."""
    width, floor = float(frame.extent[0]), places.floor_line(frame)
    reach = scene.balls[0].radius
    y = torch.full_like(seconds, floor - reach)
    if scene.event == "collide":
        two = scene.balls[1].radius
        left = width / 2 - 0.5 + scene.start + reach
        starts, masses = (left, left + reach + scene.gap + two), (scene.balls[0].mass, scene.balls[1].mass)
        x = laws.collide(seconds, starts, (scene.speeds[0], scene.speeds[1]), (reach, two), masses, width)
        y = torch.stack([y, torch.full_like(seconds, floor - two)])
    elif scene.event == "pendulum":
        length = ROD[scene.rod]
        angle = laws.swing(seconds, -scene.amplitude, length, scene.pull)
        x, y = (width / 2 + length * angle.sin())[None], (floor - PIVOT + length * angle.cos())[None]
    else:
        room = width - 2 * reach
        along = laws.slide(seconds, scene.speeds[0], braking(scene)) if scene.speeds else 0 * seconds
        x = (reach + room * reflect(scene.start + along / room))[None]
        if scene.event != "roll":
            y = y - laws.bounce(seconds, scene.height, scene.up, scene.pull, RESTITUTION[scene.bounce])
        y = y[None]
    return torch.stack([width - x if scene.direction == "left" else x, y], dim=-1)


def braking(scene: PhysicsScene) -> float:
    """How fast friction slows a rolling ball: it is as strong as gravity presses."""
    return FRICTION * scene.pull if scene.pace == "slowing" else 0.0


def render(scene: PhysicsScene, frames: int, height: int, width: int, fps: float = 8.0) -> Tensor:
    """uint8 (frames, height, width, 3)."""
    frame = Frame(height, width)
    tracks = trace(scene, clock(frames, height, width, fps), frame) * frame.unit
    return paint(scene, tracks, torch.ones(tracks.shape[:2]), frame)


def paint(scene: PhysicsScene, tracks: Tensor, seen: Tensor, frame: Frame) -> Tensor:
    """Draw balls wherever tracks (n, t, 2) in pixels say, lawful or not, as opaque as `seen` (n, t) says."""
    canvas = Canvas(tracks.shape[1], places.place(scene.setting, frame.height, frame.width))
    floor = places.floor_line(frame) * frame.unit
    if scene.event == "pendulum":
        places.rod(canvas, (frame.width / 2, floor - PIVOT * frame.unit), tracks[0], frame.unit)
    radii = [ball.radius * frame.unit for ball in scene.balls]
    for radius, track, opacity in zip(radii, tracks, seen, strict=True):
        places.shade(canvas, track, radius, floor, opacity)
    for ball, radius, track, opacity in zip(scene.balls, radii, tracks, seen, strict=True):
        places.ball(canvas, track, radius, COLORS[ball.color], opacity)
    return canvas.frames()


def state(scene: PhysicsScene, frames: int, height: int, width: int, fps: float = 8.0) -> State:
    """Where every ball is in every frame. Balls touch and never overlap, so all are seen in full."""
    frame = Frame(height, width)
    tracks = trace(scene, clock(frames, height, width, fps), frame) * frame.unit
    told = {name: getattr(scene, name) for name in ("event", "gravity", *TOLD[scene.event])}
    first, *others = ({"color": ball.color, "size": ball.size} for ball in scene.balls)
    return State((first | told, *others), tracks, torch.ones(tracks.shape[:2], dtype=torch.float64))


def caption(scene: PhysicsScene, detail: str = "short") -> str:
    """What happens. Descriptive captions also say where it happens and begins, and how it goes on."""
    check_choice("caption detail", detail, ("short", "descriptive"))
    rng = dice("physics", scene.seed, detail)
    names = ("event", "gravity", "setting", *TOLD[scene.event])
    spoken = {name: language.word(rng, name, getattr(scene, name)) for name in names}
    if not bounces(scene):
        spoken["bounce"] = ""
    balls = [
        language.say(rng, "physics.ball", color=ball.color, size=language.word(rng, "size", ball.size))
        for ball in scene.balls
    ]
    what = language.say(rng, f"physics.{scene.event}", ball=balls[0], other=balls[-1], **spoken)
    if detail == "short":
        return language.sentence(what)
    more = [language.say(rng, f"physics.{scene.event}.more", place=_whereabouts(rng, scene), **spoken)]
    if bounces(scene):
        more.append(language.say(rng, "physics.hops"))
    if len(scene.balls) == 2:
        more.append(
            language.say(rng, "physics.equal" if scene.balls[0].size == scene.balls[1].size else "physics.unequal")
        )
    if scene.speeds:
        more.append(language.say(rng, "physics.walls"))
    return language.sentence(language.say(rng, "physics.long", what=what, more=" ".join(more), **spoken))


def bounces(scene: PhysicsScene) -> bool:
    """Whether the scene lasts long enough for a falling ball to be seen to bounce."""
    return bool(scene.height) and laws.first_landing(scene.height, scene.up, scene.pull) < scene.seconds - 0.25


def _whereabouts(rng: random.Random, scene: PhysicsScene) -> str:
    """On which third of the floor a ball starts. The thirds are the same in frames of every shape."""
    third = ("left", "middle", "right")[int(3 * scene.start)]
    third = "right" if scene.direction == "left" else third
    return language.word(rng, "place", third)
