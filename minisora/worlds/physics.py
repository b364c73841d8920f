"""World 2, physics: one event with an exact law. A ball drops, is thrown, rolls or swings on a rod, or two balls collide.

It is the world in which motion is measured: speed and acceleration against the law, inside and outside of the range of
speeds that training shows. Events happen on Earth or on the Moon, where gravity is weaker and everything falls slower.
"""

import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

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
    setting: Words = None,
    gravity: str | Sequence[str] | Range | None = None,
    speed: Range = SPEED,
) -> PhysicsScene:
    """Draw a scene. Each constraint is one word or several to draw from.

    `speed` is a range in units a second. `gravity` is words, or a range in units a second² that no caption names.
    """
    rng, seconds = dice("physics", seed), check_seconds(seconds)
    pools = {
        "event": event, "color": color, "size": size, "direction": direction, "bounce": bounce, "pace": pace,
        "rod": rod, "meeting": meeting, "setting": setting,
    }  # fmt: skip
    drawn = {name: rng.choice(narrow(name, wanted, WORDS[name])) for name, wanted in pools.items()}
    low, high = _range("speed", speed, 0.05, 4.0)
    what, pull = _gravity(rng, gravity, drawn["setting"] if setting is not None else None)
    drawn["setting"] = drawn["setting"] if what == "other" else what
    others = [name for name in narrow("color", color, COLORS) if name != drawn["color"]] or list(COLORS)
    second = Ball(rng.choice(others), rng.choice(narrow("size", size, RADIUS)))
    balls = (Ball(drawn.pop("color"), drawn.pop("size")), second)
    return _compose(rng, seconds, drawn, what, pull, balls, (low, high))


def _range(what: str, wanted: Range, low: float, high: float) -> Range:
    bounds = tuple(wanted)
    if len(bounds) != 2 or not low <= bounds[0] <= bounds[1] <= high:
        raise MinisoraError(f"{what} cannot be drawn from {bounds}: ask for a range (low, high) within {low} … {high}")
    return bounds


def _gravity(
    rng: random.Random, wanted: str | Sequence[str] | Range | None, setting: str | None
) -> tuple[str, float]:
    """The word for gravity, and its pull. Where only a setting is asked for, gravity follows it."""
    if wanted is not None and not isinstance(wanted, str) and all(isinstance(w, int | float) for w in wanted):
        return "other", rng.uniform(*_range("gravity", wanted, 0.05, 10.0))  # type: ignore[arg-type]
    words = narrow("gravity", wanted, GRAVITY)  # type: ignore[arg-type]
    if setting is not None:
        words = [word for word in words if word == setting]
    if not words:
        raise MinisoraError(f"gravity as {wanted} does not go with the setting {setting}: ask for one of the two")
    what = rng.choice(words)
    return what, GRAVITY[what]
