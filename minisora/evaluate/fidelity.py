"""Text fidelity in the shapes world: does a clip show what its caption asks for, and nothing else?

Read by synthesis: the backdrop first, then every blob against what the world itself would draw, in each style, color,
shape and size. The reader sees pixels only; the scene is used for nothing but what its caption says.
"""

import itertools
import math
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from minisora.evaluate.blobs import Track, components, link, mean_patch, positions
from minisora.evaluate.report import Control, Report
from minisora.worlds import shapes
from minisora.worlds.language import BACKGROUNDS, COLORS
from minisora.worlds.motion import CIRCLE_PERIOD, SWING_PERIOD
from minisora.worlds.raster import SHAPES, Canvas
from minisora.worlds.scene import dice
from minisora.worlds.shapes import RADIUS, ShapesScene, crowding
from minisora.worlds.style import STYLE_BACKGROUNDS, fade, ground, ink, lens

APART = 45.0  # grey levels: further than this from the backdrop, a pixel shows a thing
LIKENESS = 0.74  # the share of a thing's look that its best template must explain
LASTS = 0.85  # the share of a clip in which a thing is seen that is there
PASSES = 3  # frames in which anything else is seen that is more than a flicker
ATTRIBUTES = ("shape", "color", "size", "motion")


@dataclass(frozen=True)
class Seen:
    """One thing as it was read back from pixels."""

    shape: str
    color: str
    size: str
    motion: str
    style: str
    likeness: float
    track: Tensor  # (t, 2)


@dataclass(frozen=True)
class Reading:
    background: str
    style: str
    things: tuple[Seen, ...]
    passing: int = 0  # how many things are there for a while only


def check(frames: Tensor, scene: ShapesScene, fps: float = 8.0) -> Report:
    """Compare what a clip shows with what the scene's caption asks for; an image makes no claim about motion."""
    return compare(read(frames, fps), scene, moves(len(frames), fps))


def compare(reading: Reading, scene: ShapesScene, moving: bool = True) -> Report:
    """What was read against what is asked for, with or without a claim about motion."""
    asked = [tuple(getattr(thing, name) for name in ATTRIBUTES) for thing in scene.things]
    seen = [tuple(getattr(thing, name) for name in ATTRIBUTES) for thing in reading.things]
    right = torch.tensor([[[a == b for a, b in zip(x, y, strict=True)] for y in seen] for x in asked])
    shares: dict[str, float] = dict.fromkeys(ATTRIBUTES, 0.0)
    if seen:  # each thing asked for is held against the one that resembles it most
        rows, columns = linear_sum_assignment(-right.sum(-1).numpy())
        matched = right[rows, columns].float().sum(0) / len(asked)
        shares = dict(zip(ATTRIBUTES, matched.tolist(), strict=True))
    if not moving:
        del shares["motion"]
    claims = {
        "count": len(seen) == len(asked) and not reading.passing,
        "background": reading.background == scene.background,
        "style": reading.style == scene.style,
        **{name: share == 1 for name, share in shares.items()},
    }
    return Report(claims, shares)


def moves(frames: int, fps: float) -> bool:
    return (frames - 1) / fps >= 0.5


def read(frames: Tensor, fps: float = 8.0) -> Reading:
    """Background, style and every thing with its attributes, from pixels alone."""
    tone, background, backdrop = read_backdrop(frames)
    difference = (frames.float() - backdrop) / lens(tone, *frames.shape[1:3])  # (t, h, w, 3)
    tracks, passing = _follow(difference)
    number = max(1, len(tracks))
    unit = min(frames.shape[1:3])
    styles = (
        ["film"] if tone == "film" else [s for s in ("flat", "sketch", "neon") if background in STYLE_BACKGROUNDS[s]]
    )
    looks = [_look(difference, track, math.ceil(1.4 * RADIUS["large"] * crowding(number) * unit)) for track in tracks]
    candidates = {
        style: tuple(_recognise(look, centres, style, background, unit, number, fps) for look, centres in looks)
        for style in styles
    }
    style = max(styles, key=lambda name: sum(seen.likeness for seen in candidates[name]))
    return Reading(background, style, candidates[style], passing)


def read_backdrop(frames: Tensor) -> tuple[str, str, Tensor]:
    """(tone, background, (h, w, 3)): the backdrop that lies nearest to most of the clip's pixels."""
    height, width = frames.shape[1:3]
    some = frames[:: max(1, len(frames) // 4)].float().mean(0)
    best = (math.inf, "flat", "", some)
    for tone in ("flat", "film"):
        for background in BACKGROUNDS:
            backdrop = ground(tone, background, height, width) * lens(tone, height, width)
            distance = float((some - backdrop).norm(dim=-1).median())
            best = min(best, (distance, tone, background, backdrop), key=lambda entry: entry[0])
    return best[1:]


def _follow(difference: Tensor) -> tuple[list[Track], int]:
    """The tracks of what differs from the backdrop almost all the time, and how many others are more than a flicker."""
    frames, height, width = difference.shape[:3]
    unit, distance = min(height, width), difference.norm(dim=-1)
    specks = max(4.0, (0.04 * unit) ** 2)
    found = [[] for _ in range(frames)]
    for frame, blob in components(distance > APART, distance.clamp_max(200) / 200):
        if blob.area > specks / 2:
            found[frame].append(blob)
    tracks = link(found, reach=0.15 * unit, gap=2)
    lasting = [track for track in tracks if len(track) > LASTS * frames]
    return lasting, sum(PASSES <= len(track) <= LASTS * frames for track in tracks)


def _look(difference: Tensor, track: Track, reach: int) -> tuple[Tensor, Tensor]:
    """(2 reach, 2 reach, 3) what a thing adds to the backdrop, and (t, 2) where it is; its neighbours are left out."""
    centres, present = positions(track, len(difference)), sorted(track)
    own = torch.zeros(len(present), *difference.shape[1:3], 1)
    for alone, frame in zip(own, present, strict=True):
        top, left, bottom, right = track[frame].box
        alone[max(0, top - 3) : bottom + 3, max(0, left - 3) : right + 3] = 1
    return mean_patch(difference[present] * own, centres[present], 2 * reach), centres


def _recognise(look: Tensor, centres: Tensor, style: str, background: str, unit: int, number: int, fps: float) -> Seen:
    """Which color, shape and size the world would have to draw, in this style, to look like this."""
    side = len(look)
    light = look.norm(dim=-1, keepdim=True)
    soft = _soften(look)
    mean = (look * light).sum((0, 1)) / light.sum()
    by_color = sorted(COLORS, key=lambda c: -float(torch.cosine_similarity(mean, _mean_color(style, background, c), 0)))
    best = (-1.0, "", "", "")
    for color in by_color[:2]:
        for shape, size in itertools.product(SHAPES, RADIUS):
            template = _template(style, background, color, shape, RADIUS[size] * crowding(number), unit, side)
            likeness = 1 - float((soft - template).square().sum() / template.square().sum())
            best = max(best, (likeness, color, shape, size))
    likeness, color, shape, size = best
    if likeness < LIKENESS:
        shape = "unclear"
    return Seen(shape, color, size, read_motion(centres / unit, fps), style, likeness, centres)


@lru_cache(maxsize=8192)
def _template(
    style: str, background: str, color: str, shape: str, radius: float, unit: int, side: int, shift: float | None = None
) -> Tensor:
    """(side, side, 3) what the world draws, less its background, with the centre of its light in the middle."""
    base = torch.tensor(BACKGROUNDS[background], dtype=torch.float32)
    base = fade(base) if style == "film" else base
    canvas = Canvas(1, base.expand(side, side, 3))
    centre = torch.tensor([[side / 2, side / 2 - (shift or 0.0)]], dtype=torch.float64)
    window, pixels = canvas.window(centre, side), radius * unit
    distance = SHAPES[shape](window.x / pixels, window.y / pixels) * pixels
    ink(style, canvas, window, distance, color, unit, pixels * 1.15)
    drawn = canvas.rgb[0] - base
    if shift is None:
        return _template(style, background, color, shape, radius, unit, side, _drop(drawn))
    return _soften(drawn)


def _drop(drawn: Tensor) -> float:
    """How far, in pixels, the centre of a thing's light lies below the middle of its picture."""
    light = drawn.norm(dim=-1)
    weight = torch.where(light > APART, light.clamp_max(200), 0)
    rows = torch.arange(len(drawn)) + 0.5 - len(drawn) / 2
    return float((weight.sum(1) * rows).sum() / weight.sum().clamp_min(1e-6))


def _soften(picture: Tensor) -> Tensor:
    """(h, w, c) blurred by one pixel, so that hatching and the grain of sub-pixel positions do not count."""
    rows = F.avg_pool2d(picture.permute(2, 0, 1), 3, 1, 1)
    return rows.permute(1, 2, 0)


@lru_cache(maxsize=1024)
def _mean_color(style: str, background: str, color: str) -> Tensor:
    """(3,) the color of a thing less its background, bright pixels counted most."""
    drawn = _template(style, background, color, "circle", RADIUS["large"], 64, 32)
    light = drawn.norm(dim=-1, keepdim=True)
    return (drawn * light).sum((0, 1)) / light.sum()


def read_motion(track: Tensor, fps: float) -> str:
    """The motion word that explains a track (t, 2), in units of the short side, with the least error.

    Each kind of motion is a small linear least-squares fit, since the periods are the world's own.
    """
    track = track[: max(2, round(2 * fps) + 1)]  # before anything can bounce
    time = torch.arange(len(track), dtype=torch.float64) / fps
    one, spread = torch.ones_like(time), track.std(0, correction=0)
    if float(spread.max()) < 0.012:
        return "still"
    circle, swing = 2 * math.pi * time / CIRCLE_PERIOD, 2 * math.pi * time / SWING_PERIOD
    line_fit, line_error = _fit(track, one, time)
    circle_fit, circle_error = _fit(track, one, circle.cos(), circle.sin())
    _, swing_error = _fit(track, one, swing.cos(), swing.sin())
    axis = int(spread[1] > spread[0])
    direction = (("right", "left"), ("down", "up"))[axis][float(line_fit[1, axis]) < 0]
    across = float(track[:, 1 - axis].std(correction=0))  # straight motions do not leave their axis
    if line_error[axis] + across < 0.015:  # the simplest explanation first
        return direction
    turn = float(circle_fit[1, 0] * circle_fit[2, 1] - circle_fit[2, 0] * circle_fit[1, 1])
    errors = {
        direction: line_error[axis] + across,
        ("sway", "bob")[axis]: swing_error[axis] + across,
        "clockwise" if turn > 0 else "counterclockwise": circle_error.norm() if abs(turn) > 0.004 else math.inf,
    }
    return min(errors, key=lambda motion: float(errors[motion]))


def _fit(track: Tensor, *basis: Tensor) -> tuple[Tensor, Tensor]:
    """Least squares on a basis: (coefficients, root mean square error on each axis)."""
    matrix = torch.stack(basis, dim=1)
    solution = torch.linalg.lstsq(matrix, track, driver="gelsd").solution
    return solution, (track - matrix @ solution).square().mean(0).sqrt()


def _wrong_caption(scene: ShapesScene, frames: int, height: int, width: int, fps: float) -> Tensor:
    """A real clip, of another scene."""
    other = shapes.sample(dice("wrong caption", scene.seed).randrange(2**31), scene.seconds)
    return shapes.render(other, frames, height, width, fps)


def _swapped_colors(scene: ShapesScene, frames: int, height: int, width: int, fps: float) -> Tensor:
    """Everything that was asked for, with each thing in its neighbour's color (a lone thing in another color)."""
    colors = [thing.color for thing in scene.things]
    turned = colors[1:] + colors[:1]
    if len(set(colors)) == 1:
        turned = [next(c for c in COLORS if c != colors[0] and shapes.stands_out(c, scene.background))] * len(colors)
    things = tuple(replace(thing, color=color) for thing, color in zip(scene.things, turned, strict=True))
    return shapes.render(replace(scene, things=things), frames, height, width, fps)


def _frozen(scene: ShapesScene, frames: int, height: int, width: int, fps: float) -> Tensor:
    """The first frame for ever, of a scene in which something moves."""
    if all(thing.motion == "still" for thing in scene.things):
        scene = replace(scene, things=tuple(replace(thing, motion="bob") for thing in scene.things))
        return shapes.render(scene, frames, height, width, fps)
    return shapes.render(scene, 1, height, width, fps).expand(frames, -1, -1, -1)


def _melted(scene: ShapesScene, frames: int, height: int, width: int, fps: float) -> Tensor:
    """Colors in the right places without any shape: the mush of a model that has only learnt averages."""
    clip = shapes.render(scene, frames, height, width, fps).float()
    reach = 2 * (min(height, width) // 6) + 1
    blurred = F.avg_pool2d(clip.permute(0, 3, 1, 2), reach, 1, reach // 2, count_include_pad=False)
    return blurred.permute(0, 2, 3, 1).round().to(torch.uint8)


def _vanishing(scene: ShapesScene, frames: int, height: int, width: int, fps: float) -> Tensor:
    """Everything that was asked for, and in the last third of the clip nothing."""
    clip, bare = (shapes.render(one, frames, height, width, fps) for one in (scene, replace(scene, things=())))
    return torch.cat([clip[: frames - frames // 3], bare[frames - frames // 3 :]])


def _passing(scene: ShapesScene, frames: int, height: int, width: int, fps: float) -> Tensor:
    """Everything that was asked for, and in the first half of the clip one thing more, away from the others."""
    with_more, room = scene, -math.inf
    for turn in range(40):
        seed = dice("passing", scene.seed, str(turn)).randrange(2**31)
        more = shapes.sample(seed, scene.seconds, count=1, style=scene.style, background=scene.background).things
        crowd = replace(scene, things=scene.things + more)
        *others, own = shapes.state(crowd, frames, height, width, fps).tracks
        free = min(float((own - other).norm(dim=-1).min()) for other in others)
        with_more, room = max((with_more, room), (crowd, free), key=lambda entry: entry[1])
    crowded, clip = (shapes.render(one, frames, height, width, fps) for one in (with_more, scene))
    return torch.cat([crowded[: frames // 2], clip[frames // 2 :]])


CONTROLS: dict[str, Control] = {
    "wrong caption": _wrong_caption,
    "swapped colors": _swapped_colors,
    "frozen": _frozen,
    "melted": _melted,
    "vanishing": _vanishing,
    "passing": _passing,
}  # type: ignore[assignment]
