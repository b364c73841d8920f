"""Is the law kept? In the physics world balls are tracked by color, and their motion is held against the captioned law.

Free flight with the place's gravity and bounces, rolling with or without friction, elastic collisions, the exact
pendulum: `pieces.py` does the comparing. Lengths are pixels of a picture whose short side is 64, times are frames.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.optimize import least_squares
from torch import Tensor

from minisora.evaluate.blobs import Blob, find_blobs
from minisora.evaluate.pieces import ALIKE, PIXELS, SLACK, Foretell, Law, Motion, hold, impacts_near, near
from minisora.evaluate.report import Control, Report
from minisora.worlds import laws, physics, places
from minisora.worlds.language import COLORS
from minisora.worlds.physics import FRICTION, PIVOT, RADIUS, RESTITUTION, ROD, PhysicsScene
from minisora.worlds.scene import Frame, clock, dice, reflect

GLOSS = (-0.027, -0.037)  # in radii: the shine and shade of a ball move the middle of its vividness a little
SOLID = 0.5  # what of a ball's disc is at least as vivid as its color: shaded balls have 0.7, blurred ones less
JUMP = 8.0  # an error that no inexact motion explains
FEWEST = 5  # frames: with fewer, motion cannot be judged


@dataclass(frozen=True)
class Stage:
    """What a caption and a picture's shape tell, in pixels and frames."""

    scene: PhysicsScene
    width: float
    floor: float
    pull: float

    @property
    def radii(self) -> list[float]:
        return [ball.radius * PIXELS for ball in self.scene.balls]


def check(frames: Tensor, scene: PhysicsScene, fps: float = 8.0) -> Report:
    """Hold a clip against what the caption says: the balls, the place, the event, and the law that goes with them."""
    frame = Frame(frames.shape[1], frames.shape[2])
    claims, tracks = _find(frames, scene, frame)
    claims["place"] = _setting(frames) == scene.setting
    if len(frames) < FEWEST:  # too short to make a claim about motion
        return Report(claims)
    claims |= {"event": False, "law": False, "smooth": False}
    if tracks is None:
        return Report(claims)
    stage = Stage(
        scene, float(frame.extent[0]) * PIXELS, places.floor_line(frame) * PIXELS, scene.pull * PIXELS / fps**2
    )
    if scene.direction == "left":  # the laws are told for motion to the right
        tracks[..., 0] = stage.width - tracks[..., 0]
    judge = {"collide": _collide, "pendulum": _swing, "roll": _roll}.get(scene.event, _fly)
    motions, claims["event"] = judge(tracks, stage)
    claims["law"] = all(motion.lawful for motion in motions)
    errors = np.stack([motion.error for motion in motions])
    claims["smooth"] = bool(errors.max() < JUMP)
    measures = {
        "velocity error": float(np.sqrt((errors**2).mean())),
        "acceleration error": max(motion.acceleration_error for motion in motions),
        "largest error": float(errors.max()),
    }
    return Report(claims, measures)


def _find(frames: Tensor, scene: PhysicsScene, frame: Frame) -> tuple[dict[str, bool], np.ndarray | None]:
    """Whether the right balls are there, and their tracks (n, t, 2)."""
    least = 0.4 * math.pi * (RADIUS["small"] * frame.unit) ** 2
    middle = math.sqrt(RADIUS["small"] * RADIUS["large"]) * frame.unit
    found = [[blob for blob in blobs if blob.area > least] for blobs in find_blobs(frames)]
    there = np.mean([len(blobs) == len(scene.balls) for blobs in found]) > 0.85
    claims, tracks = {"present": bool(there), "color": True, "size": True, "round": True}, []
    for ball in scene.balls:
        seen = {k: [blob for blob in blobs if blob.color == ball.color][:1] for k, blobs in enumerate(found)}
        mine = {k: blobs[0] for k, blobs in seen.items() if blobs}
        if len(mine) <= 0.85 * len(frames):
            return claims | {"color": False, "size": False, "round": False}, None
        radius = math.sqrt(float(np.median([blob.area for blob in mine.values()])) / math.pi)
        claims["size"] &= (radius > middle) == (ball.size == "large")
        claims["round"] &= float(np.median([_roundness(blob) for blob in mine.values()])) > SOLID
        where = np.array([(blob.x, blob.y) for blob in mine.values()]) * PIXELS / frame.unit
        where -= np.array(GLOSS) * ball.radius * PIXELS
        tracks.append(np.stack([np.interp(range(len(frames)), list(mine), axis) for axis in where.T], axis=1))
    return claims, np.stack(tracks)


def _roundness(blob: Blob) -> float:
    """How much of the disc in a blob's box is as vivid as its color; none of it if the blob is too long."""
    top, left, bottom, right = blob.box
    short, long = sorted((bottom - top, right - left))
    return blob.area / (math.pi / 4 * short * long) if long < 1.6 * short else 0.0


def _setting(frames: Tensor) -> str:
    """The sky tells: it is pale over the Earth and black over the Moon."""
    sky = float(frames[:, : max(1, frames.shape[1] // 3)].float().mean())
    return "earth" if sky > 150 else "moon" if 5 < sky < 75 else ""


def _fly(tracks: np.ndarray, stage: Stage) -> tuple[list[Motion], bool]:
    """A ball that drops or is thrown: it falls and bounces, and keeps its speed across from wall to wall."""

    def fall(height: np.ndarray, up: np.ndarray, ahead: Tensor) -> Tensor:
        restitution = RESTITUTION[stage.scene.bounce]
        return laws.bounce(ahead, max(float(height[0]), 0.0), float(up[0]), stage.pull, restitution)[None]

    height, x = stage.floor - stage.radii[0] - tracks[:, :, 1], tracks[:, :, 0]
    falling = Law((-stage.pull, 0.0), fall, scale=stage.pull, rest=3.0)
    down = hold(height, falling, impacts_near(height, SLACK + stage.pull))
    flying = Law((0.0,), _between_walls(stage, 0.0), scale=stage.pull)
    across = hold(x, flying, impacts_near(_walls(x, stage), SLACK))
    if stage.scene.event == "drop":
        return [down, across], bool(np.ptp(height) > 5 and np.ptp(x) < 4 and down.speed[0, :2].max() < 1)
    return [down, across], bool(np.ptp(height) > 5 and across.speed[0, :2].min() > 0.3)


def _roll(tracks: np.ndarray, stage: Stage) -> tuple[list[Motion], bool]:
    """A ball that rolls along the floor, evenly or slowed by friction, and turns back at the walls."""
    x, frames = tracks[:, :, 0], tracks.shape[1]
    friction = FRICTION * stage.pull
    braking = friction if stage.scene.pace == "slowing" else 0.0
    law = Law((-braking, braking, 0.0) if braking else (0.0,), _between_walls(stage, braking), scale=friction)
    across = hold(x, law, impacts_near(_walls(x, stage), SLACK))
    ahead = torch.arange(frames, dtype=torch.float64)

    def left(numbers: np.ndarray) -> np.ndarray:
        """The whole way at once, with the braking free: friction is too weak to be seen in a short piece."""
        return (_between_walls(stage, numbers[2])(numbers[:1], numbers[1:2], ahead).numpy() - x).ravel()

    start = [across.position[0, 0], across.speed[0, 0], braking]
    error = abs(float(least_squares(left, start, max_nfev=20).x[2]) - braking)
    lawful = across.lawful and error < near(friction, frames**5)
    grounded = np.abs(stage.floor - stage.radii[0] - tracks[:, :, 1]).max() < 3
    happened = bool(grounded and across.speed[0, :2].min() > 0.3)
    return [replace(across, lawful=lawful, acceleration_error=error)], happened


def _walls(x: np.ndarray, stage: Stage) -> np.ndarray:
    """How far things at x (n, t) are from the left wall, for each thing, and then from the right."""
    reach = np.array(stage.radii)[:, None]
    return np.concatenate([x - reach, stage.width - reach - x])


def _between_walls(stage: Stage, braking: float) -> Foretell:
    """The law of what rolls or flies across the first ball's room, from wall to wall."""
    reach = stage.radii[0]
    room = stage.width - 2 * reach

    def roll(x: np.ndarray, speed: np.ndarray, ahead: Tensor) -> Tensor:
        way = laws.slide(ahead, abs(float(speed[0])), braking) * float(np.sign(speed[0]))
        return reach + room * reflect((float(x[0]) - reach + way[None]) / room)

    return roll


def _collide(tracks: np.ndarray, stage: Stage) -> tuple[list[Motion], bool]:
    """Two balls on the floor that meet: they exchange speed as momentum and energy demand, and never overlap."""
    (r, s), masses = stage.radii, (stage.scene.balls[0].mass, stage.scene.balls[1].mass)

    def meet(x: np.ndarray, speed: np.ndarray, ahead: Tensor) -> Tensor:
        a = min(max(float(x[0]), r), stage.width - s)
        b = min(max(float(x[1]), a + r + s), max(a + r + s, stage.width - s))
        v, w = np.clip(speed, -PIXELS / 2, PIXELS / 2).tolist()
        return laws.collide(ahead, (a, b), (v, w), (r, s), masses, stage.width)

    x = tracks[:, :, 0]
    apart = x[1] - x[0] - r - s
    walls = _walls(x, stage)[[0, -1]]
    motion = hold(x, Law((0.0,), meet, scale=2.0), impacts_near(np.stack([*walls, apart]), SLACK))
    grounded = np.abs(stage.floor - np.array([[r], [s]]) - tracks[:, :, 1]).max() < 3
    first, second = motion.speed[:, :2].mean(1)
    asked = abs(second) < 0.8 if stage.scene.meeting == "rest" else second < -0.3
    touched = apart.min() < 3 + 0.5 * np.abs(motion.speed).max()
    return [motion], bool(grounded and touched and apart.min() > -3 and first > 0.3 and asked)


def _swing(tracks: np.ndarray, stage: Stage) -> tuple[list[Motion], bool]:
    """A bob at a fixed distance from its pivot; its angle follows the exact pendulum, begun at any phase."""
    length = ROD[stage.scene.rod] * PIXELS
    right, below = tracks[0, :, 0] - stage.width / 2, tracks[0, :, 1] - (stage.floor - PIVOT * PIXELS)
    angle, radius = np.arctan2(right, below), np.hypot(right, below)
    ahead = torch.arange(len(angle), dtype=torch.float64)

    def arc(numbers: np.ndarray) -> np.ndarray:
        amplitude, since, strength = numbers
        return laws.swing(ahead + since, amplitude, length, stage.pull * strength).numpy()

    widest = min(max(float(np.abs(angle).max()), 0.05), 2.0)
    period = laws.swing_period(widest, length, stage.pull)
    phases = [np.array([widest, period * phase / 12, 1.0]) for phase in range(12)]
    start = min(phases, key=lambda numbers: ((arc(numbers) - angle) ** 2).sum())
    low, high = [0.0, -period, 0.05], [3.0, 2 * period, 20.0]
    strength = least_squares(lambda free: (arc(free) - angle) * length, start, bounds=(low, high)).x[2]
    held = least_squares(
        lambda free: (arc(np.append(free, 1.0)) - angle) * length, start[:2], bounds=(low[:2], high[:2])
    ).x
    ideal = arc(np.append(held, 1.0))
    off = np.stack([right - length * np.sin(ideal), below - length * np.cos(ideal)])
    error = np.hypot(*np.diff(off, axis=1))
    keeps = abs(np.median(radius) / length - 1) < 0.08 and np.ptp(radius) < 4
    lawful = abs(strength - 1) < ALIKE and np.hypot(*off).max() < 2 * SLACK and keeps
    acceleration = abs(strength - 1) * stage.pull * math.sin(min(widest, 1.5))
    motion = Motion(angle[None], np.diff(angle)[None], error, bool(lawful), float(acceleration))
    return [motion], bool(np.ptp(angle) > 0.12 and keeps)


def _altered(scene: PhysicsScene, frames: int, height: int, width: int, fps: float) -> tuple[Tensor, Tensor, Frame]:
    """The lawful tracks (n, t, 2), opacity (n, t) and frame, for a control to spoil."""
    tracks = physics.state(scene, frames, height, width, fps).tracks
    return tracks, torch.ones(tracks.shape[:2]), Frame(height, width)


def teleport(scene: PhysicsScene, frames: int, height: int, width: int, fps: float = 8.0) -> Tensor:
    """In the middle of the clip a ball jumps elsewhere and goes on from there."""
    tracks, seen, frame = _altered(scene, frames, height, width, fps)
    rng = dice("physics", scene.seed, "teleport")
    which, when = rng.randrange(len(tracks)), rng.randint(frames // 4, max(frames // 4, frames - 3))
    reach = scene.balls[which].radius * frame.unit
    high = torch.tensor([width - reach, places.floor_line(frame) * frame.unit - reach], dtype=torch.float64)
    here = tracks[which, when]
    there = here
    while (there - here).norm() < 0.25 * frame.unit:
        there = reach + (high - reach) * torch.tensor([rng.random(), rng.random()], dtype=torch.float64)
    tracks[which, when:] = (tracks[which, when:] + there - here).clamp_min(reach).minimum(high)
    return physics.paint(scene, tracks, seen, frame)


def vanish(scene: PhysicsScene, frames: int, height: int, width: int, fps: float = 8.0) -> Tensor:
    """A ball is not there for a quarter of the clip."""
    tracks, seen, frame = _altered(scene, frames, height, width, fps)
    rng, gone = dice("physics", scene.seed, "vanish"), max(1, math.ceil(frames / 4))
    when = rng.randint(0, frames - gone)
    seen[rng.randrange(len(tracks)), when : when + gone] = 0
    return physics.paint(scene, tracks, seen, frame)


def wrong_color(scene: PhysicsScene, frames: int, height: int, width: int, fps: float = 8.0) -> Tensor:
    """The first ball wears a color that nobody asked for."""
    others = [name for name in COLORS if name not in {ball.color for ball in scene.balls}]
    other = dice("physics", scene.seed, "color").choice(others)
    return physics.render(
        replace(scene, balls=(replace(scene.balls[0], color=other), *scene.balls[1:])), frames, height, width, fps
    )


def wrong_law(scene: PhysicsScene, frames: int, height: int, width: int, fps: float = 8.0) -> Tensor:
    """Gravity is 1.7 times too strong or too weak, or points upwards. Where there is none to be felt, balls that should
    collide pass through one another, and what should roll evenly slows down."""
    tracks, seen, frame = _altered(scene, frames, height, width, fps)
    how = dice("physics", scene.seed, "law").choice(("strong", "weak", "upwards"))
    if scene.event == "collide":
        seconds, sign = clock(frames, height, width, fps), -1 if scene.direction == "left" else 1
        for track, ball, speed in zip(tracks, scene.balls, scene.speeds, strict=True):
            reach, way = ball.radius * frame.unit, sign * speed * frame.unit * seconds
            track[:, 0] = reach + (width - 2 * reach) * reflect((track[0, 0] - reach + way) / (width - 2 * reach))
    elif how == "upwards" and scene.height:
        tracks[..., 1] = places.floor_line(frame) * frame.unit - tracks[..., 1]
    else:
        pull = scene.pull * 1.7 if how == "strong" else scene.pull / 1.7
        strange = replace(scene, pull=pull, pace="slowing" if scene.pace else "")
        tracks = physics.state(strange, frames, height, width, fps).tracks
    return physics.paint(scene, tracks, seen, frame)


CONTROLS: dict[str, Control] = {  # type: ignore[assignment]
    "teleport": teleport, "vanishing": vanish, "wrong color": wrong_color, "wrong law": wrong_law,
}  # fmt: skip
