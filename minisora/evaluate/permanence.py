"""Object permanence: does what goes out of sight come back as it was, where and when it should?

The thing is followed by its color alone. While a wall covers it in part, its outer edge, away from the wall, still
tells where it is. Of the scene, the reader uses only what a caption says: colors, shape, direction, wall or camera.
"""

import math
from dataclasses import replace
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from minisora.evaluate.blobs import mean_patch, shape_mask
from minisora.evaluate.pan import follow_camera
from minisora.evaluate.report import Control, Report
from minisora.evaluate.sight import OUTER, Sight, find, gaps
from minisora.worlds import occlusion
from minisora.worlds.language import COLORS
from minisora.worlds.occlusion import OcclusionScene, Stage
from minisora.worlds.raster import SHAPES
from minisora.worlds.shapes import stands_out

ON_TIME = 1.2  # frames of travel by which a thing may be early or late


def check(frames: Tensor, scene: OcclusionScene, fps: float = 8.0) -> Report:
    """Hold a clip against what the scene's caption says of the thing that goes out of sight and comes back."""
    names = ["present", "hidden", "returns", "color", "shape", "on time", "speed" if scene.kind == "wall" else "camera"]
    names += ["companion"] * (len(scene.things) - 1)
    claims: dict[str, bool] = dict.fromkeys(names, False)
    thing, sight = scene.things[0], find(frames, scene.things[0].color)
    if sight is None:
        return Report(claims)
    absences = gaps(sight.share)
    claims["present"] = bool(sight.whole[: max(2, len(frames) // 6)].any())
    if len(absences) > 1 and absences[-1][1] == len(frames) and _no_longer(absences[-1], absences[0]):
        absences.pop()  # the clip just ends while it is away once more
    if not (claims["present"] and absences):
        return Report(claims)
    start, end = absences[0]
    before, after = sight.whole_frames(0, start), sight.whole_frames(end, [*absences, (len(frames),)][1][0])
    claims["returns"] = bool((sight.share[end:] > 0.6).any()) and absences[-1][1] < len(frames)
    if not (claims["returns"] and len(before)):
        return Report(claims, {"hidden frames": end - start})
    if len(after):
        claims["color"] = float((_mean_color(frames, sight, before) - _mean_color(frames, sight, after)).norm()) < 40
        claims["shape"] = all(_shape(sight, side) == thing.shape for side in (before, after))
    judge = _judge_wall if scene.kind == "wall" else _judge_camera
    verdict, measures = judge(frames, scene, sight, absences)
    for other in scene.things[1:]:  # it can be seen while the first thing cannot
        seen = find(frames, other.color)
        claims["companion"] = seen is not None and bool((seen.share[start:end] > 0.6).any())
    return Report({**claims, **verdict}, {"hidden frames": end - start, **measures})


def _no_longer(absence: tuple[int, int], usual: tuple[int, int]) -> bool:
    return absence[1] - absence[0] <= usual[1] - usual[0] + 1


def _mean_color(frames: Tensor, sight: Sight, which: Tensor) -> Tensor:
    weight = (sight.weight[which] > 0.7).float()[..., None]
    return (frames[which] * weight).sum((0, 1, 2)) / weight.sum().clamp_min(1)


def _shape(sight: Sight, which: Tensor) -> str:
    weight = sight.weight[which]
    rows = torch.arange(weight.shape[1]) + 0.5
    y = (weight.sum(2) * rows).sum(1) / weight.sum((1, 2))
    x = (weight.sum(1) * (torch.arange(weight.shape[2]) + 0.5)).sum(1) / weight.sum((1, 2))
    side = 2 * int(1.3 * sight.half + 2)
    mask = mean_patch(weight[..., None], torch.stack([x, y], dim=1), side)[..., 0]
    likeness = {shape: _likeness(mask, shape) for shape in SHAPES}
    best = max(likeness, key=lambda shape: likeness[shape])
    return best if likeness[best] > 0.72 else ""


def _likeness(mask: Tensor, shape: str) -> float:
    """The overlap of a soft mask with a shape of the same area: sharp, or as soft as compression may leave it."""
    template = shape_mask(shape, (float(mask.sum().clamp_min(1)) / _unit_area(shape)) ** 0.5, len(mask))
    best = 0.0
    for _ in range(3):
        best = max(best, float(torch.minimum(mask, template).sum() / torch.maximum(mask, template).sum()))
        template = F.avg_pool2d(F.avg_pool2d(F.pad(template[None], (1, 1, 1, 1)), 2, 1), 2, 1)[0]
    return best


@cache
def _unit_area(shape: str) -> float:
    return float(shape_mask(shape, 20, 64).sum()) / 20**2


Verdict = tuple[dict[str, bool], dict[str, float]]


def _judge_wall(frames: Tensor, scene: OcclusionScene, sight: Sight, absences: list[tuple[int, int]]) -> Verdict:
    """Each time: behind something that stands there, and out again on the line that leads in."""
    unit, sign = min(frames.shape[1:3]), 1 if scene.direction == "right" else -1
    clear = sight.share > 2 * OUTER
    bounds = [0, *(frame for absence in absences for frame in absence), len(frames)]
    hidden, slowest, late, change = True, 1.0, 0.0, 0.0
    for number, (start, end) in enumerate(absences):
        earlier, later = range(start - 1, bounds[2 * number] - 1, -1), range(end, bounds[2 * number + 3])
        # Going right, it is first the left edge that is clear of the wall, then the right edge.
        x_in, x_out = (sight.left, sight.right) if sign > 0 else (sight.right, sight.left)
        coming, going = _leg(earlier, clear, -sign * x_in), _leg(later, clear, sign * x_out)
        if number and len(going) < 2:  # the clip ends while the thing comes out once more
            break
        arrival, departure = _line(coming, x_in), _line(going, x_out)
        pace = max(1e-6, (abs(arrival[0]) + abs(departure[0])) / 2)
        slowest = min(slowest, sign * arrival[0] / unit, sign * departure[0] / unit)
        change = max(change, abs(departure[0] - arrival[0]) / pace)
        late = max(late, abs(_at(arrival, (start + end - 1) / 2) - _at(departure, (start + end - 1) / 2)) / pace)
        place = (_at(arrival, start), _at(departure, end - 1))
        open_air = [float(x[leg[-1]]) for x, leg in ((x_in, coming), (x_out, going)) if leg]
        hidden &= _stands_there(frames[start:end], sight, place, open_air)
        sign = -sign
    verdict = {"hidden": hidden, "speed": slowest > 0.01 and change < 0.3, "on time": late < ON_TIME}
    return verdict, {"late by frames": late, "change of speed": change}


def _leg(frames: range, clear: Tensor, away: Tensor) -> list[int]:
    """Up to five of these frames, from the wall outwards, that show the thing well and lie before it turns back."""
    shown = [frame for frame in frames if clear[frame]]
    farthest = int(away[shown].argmax()) if shown else 0
    turned = farthest < len(shown) - 1
    return shown[: max(2, min(5, farthest + (not turned)))]  # the turn itself lies between two frames


def _line(which: list[int], x: Tensor) -> tuple[float, float]:
    """(pixels a frame, offset) of the straight line through x at these frames; too few of them make no line."""
    if len(which) < 2:
        return 0.0, -math.inf
    slope, offset = np.polyfit(which, x[which].numpy(), 1)
    return float(slope), float(offset)


def _at(line: tuple[float, float], frame: float) -> float:
    return line[0] * frame + line[1]


def _stands_there(empty: Tensor, sight: Sight, place: tuple[float, float], open_air: list[float]) -> bool:
    """Whether frames without the thing show, in its rows and in every column where it should be, something else than
    in the open: what goes in mid-air, or before it is behind the wall, leaves bare background there."""
    if not open_air or not all(map(math.isfinite, place)):
        return False
    picture, half = empty.float().mean(0), max(1.0, 0.75 * sight.half)
    rows = (sight.weight[sight.whole].amax(0).amax(1) > 0.3).nonzero().flatten()
    around = torch.stack([_columns(picture, x, x, half).mean(1) for x in open_air]).mean(0)  # (h, 3)
    difference = (_columns(picture, min(place), max(place), half) - around[:, None])[rows].abs().mean((0, 2))
    return float(difference.quantile(0.1)) > 8


def _columns(picture: Tensor, first: float, last: float, half: float) -> Tensor:
    """The columns of a picture (h, w, 3) from first to last, and half a thing's width to each side."""
    width = picture.shape[1]
    left, right = (int(min(max(0, x), width - 1)) for x in (first - half, last + half))
    return picture[:, left : right + 1]


def _judge_camera(frames: Tensor, scene: OcclusionScene, sight: Sight, absences: list[tuple[int, int]]) -> Verdict:
    """The thing keeps its place in the landscape: it is seen there whenever the camera looks, and else not."""
    height, width = frames.shape[1:3]
    unit, half = min(height, width), sight.half
    pan = follow_camera(frames)
    x = (sight.left + sight.right).double() / 2
    before = sight.whole_frames(0, absences[0][0])
    expected = (x[before] + pan[before]).median() - pan
    inside = ((expected + half).clamp_max(width) - (expected - half).clamp_min(0)) / (2 * half)
    swung = pan * (1 if scene.direction == "right" else -1)
    farthest = int(swung.argmax())
    looking = inside > 0.97
    astray = (x - expected).abs()[looking] / unit
    verdict = {
        "hidden": all(float(inside[start:end].max()) < 0.4 for start, end in absences),
        "camera": float(swung[farthest]) > 0.2 * unit and float(swung[farthest:].min()) < 0.2 * float(swung[farthest]),
        "on time": bool(looking.any() and (sight.share[looking] > 0.6).all() and (astray < 0.06).all()),
    }
    return verdict, {"astray": float(astray.max()) if looking.any() else math.inf, "pan": float(swung[farthest]) / unit}


def _staged(scene: OcclusionScene, frames: int, height: int, width: int, fps: float) -> tuple[Stage, int, Tensor]:
    """A scene's stage, the frame in the middle of its first absence, and the frames that show it in part or not."""
    stage = occlusion.lay_out(scene, frames, height, width, fps)
    visible = occlusion.state(scene, frames, height, width, fps).visible[0]
    away = (visible[: round(scene.period * fps) + 1] == 0).nonzero().flatten()
    return stage, int(away[len(away) // 2]) if len(away) else frames // 2, visible < 1


def _no_occlusion(scene: OcclusionScene, frames: int, height: int, width: int, fps: float) -> Tensor:
    """The thing passes in front of the wall; or the camera never moves."""
    stage = occlusion.lay_out(scene, frames, height, width, fps)
    if scene.kind == "camera":
        stage = replace(stage, tracks=stage.tracks + F.pad(stage.pan[:, None], (0, 1)), pan=0 * stage.pan)
    return occlusion.paint(scene, stage, height, width, wall_in_front=False)


def _moved(scene: OcclusionScene, stage: Stage, x: Tensor, height: int, width: int) -> Tensor:
    """The stage as it would look with the first thing at these x."""
    tracks = stage.tracks.clone()
    tracks[0, :, 0] = x
    return occlusion.paint(scene, replace(stage, tracks=tracks), height, width)


def _vanishing(scene: OcclusionScene, frames: int, height: int, width: int, fps: float) -> Tensor:
    """It never comes back."""
    stage, middle, _ = _staged(scene, frames, height, width, fps)
    nowhere = torch.full((frames - middle,), -10.0 * width, dtype=torch.float64)
    return _moved(scene, stage, torch.cat([stage.tracks[0, :middle, 0], nowhere]), height, width)


def _late(scene: OcclusionScene, frames: int, height: int, width: int, fps: float) -> Tensor:
    """It waits out of sight, and comes back two frames late or three."""
    stage, middle, _ = _staged(scene, frames, height, width, fps)
    waiting = (torch.arange(frames) - max(2, round(0.17 * scene.period * fps))).clamp_min(middle)
    x = torch.cat([stage.tracks[0, :middle, 0], stage.tracks[0, waiting[middle:], 0]])
    return _moved(scene, stage, x, height, width)


def _teleport(scene: OcclusionScene, frames: int, height: int, width: int, fps: float) -> Tensor:
    """It waits beside the wall and jumps to the other side; or it jumps elsewhere while the camera is away."""
    stage, middle, hidden = _staged(scene, frames, height, width, fps)
    x = stage.tracks[0, :, 0].clone()
    if stage.wall is None:
        x[middle:] += 0.3 * width * (1 if scene.direction == "right" else -1)
    else:
        reach = scene.things[0].radius * min(height, width)
        left, right = (edge * min(height, width) for edge in stage.wall)
        centre = (left + right) / 2
        x = torch.where(hidden & (x < centre), left - reach, torch.where(hidden, right + reach, x))
    return _moved(scene, stage, x, height, width)


def _swapped(scene: OcclusionScene, frames: int, height: int, width: int, fps: float, **other: str) -> Tensor:
    """Another thing comes back in its place."""
    _, middle, _ = _staged(scene, frames, height, width, fps)
    changed = replace(scene, things=(replace(scene.things[0], **other), *scene.things[1:]))
    clips = [occlusion.render(version, frames, height, width, fps) for version in (scene, changed)]
    return torch.cat([clips[0][:middle], clips[1][middle:]])


def _swapped_color(scene: OcclusionScene, frames: int, height: int, width: int, fps: float) -> Tensor:
    used = [thing.color for thing in scene.things]
    free = [color for color in COLORS if color not in used and stands_out(color, scene.background)]
    return _swapped(scene, frames, height, width, fps, color=free[scene.seed % len(free)])


def _swapped_shape(scene: OcclusionScene, frames: int, height: int, width: int, fps: float) -> Tensor:
    free = [shape for shape in SHAPES if shape != scene.things[0].shape]
    return _swapped(scene, frames, height, width, fps, shape=free[scene.seed % len(free)])


def _blink(scene: OcclusionScene, frames: int, height: int, width: int, fps: float) -> Tensor:
    """It is gone in mid-air, and back in time: no wall ever covers it, no camera turns away."""
    stage, _, hidden = _staged(scene, frames, height, width, fps)
    if scene.kind == "camera":
        stage = replace(stage, tracks=stage.tracks + F.pad(stage.pan[:, None], (0, 1)), pan=0 * stage.pan)
    return _moved(scene, stage, torch.where(hidden, -10.0 * width, stage.tracks[0, :, 0]), height, width)


CONTROLS: dict[str, Control] = {
    "no occlusion": _no_occlusion,
    "vanishing": _vanishing,
    "late": _late,
    "teleport": _teleport,
    "swapped color": _swapped_color,
    "swapped shape": _swapped_shape,
    "blink": _blink,
}  # type: ignore[assignment]
