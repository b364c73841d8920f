"""Lasting change in the painter world: the brush leaves paint where it went, only there, and the paint stays.

Every pixel is named first: bare paper, one of the paints, or the brush. The rest is counting: what was painted once
must be painted ever after (unless the brush hides it), and lie where the tip of the brush had been by then.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from minisora.evaluate.report import Control, Report
from minisora.worlds import painter
from minisora.worlds.language import BACKGROUNDS, COLORS
from minisora.worlds.painter import PainterScene
from minisora.worlds.strokes import BRISTLES, FIGURES, LEAN, MARGIN, TOOLS, along, rod

LEVELS = 32  # a channel's levels in the table that names colors: its five upper bits
OPAQUE = 0.45  # a pixel shows a paint from this opacity on …
OFF = 70.0  # … and this near to its mix with paper, in grey levels
SHADE = 0.85  # of a color, where paint lies thick
BARE, BRUSH = -1, len(COLORS)  # 0 … 7 are the paints of COLORS
HIDES = 0.075  # units around the brush in which it may hide or shade what lies under it
STRAYS = 0.09  # units: a tip is known this well between two frames
AREA = 1.5  # the least area of a color that counts as painted, in squares of the stroke's width …
TINGE = 0.2  # … and as a share of the largest: compression tinges the edges of what it blurs


@dataclass(frozen=True)
class Reading:
    """What a clip shows, pixel by pixel."""

    background: str
    names: Tensor  # (t, h, w) BARE, BRUSH or the position of a paint in COLORS
    found: Tensor  # (t,) whether the brush can be seen
    tip: Tensor  # (t, 2) pixels
    hidden: Tensor  # (t, h, w) under the brush or too near to it to tell


def check(frames: Tensor, scene: PainterScene, fps: float = 8.0) -> Report:
    """Compare what a clip shows with what the scene's caption claims, and with the law that paint stays."""
    reading, unit = read(frames), min(frames.shape[1:3])
    asked = [list(COLORS).index(stroke.color) for stroke in scene.strokes]
    shows = torch.stack([reading.names == paint for paint in range(len(COLORS))])  # (paint, t, h, w)
    marks = (shows & ~reading.hidden).any(1) | shows[:, -2:].all(1)  # (paint, h, w) all that was ever painted
    area = marks.sum((1, 2)) / (scene.width * unit) ** 2
    figures = [read_figure(marks[paint], scene.width * unit) for paint in asked]
    painted = shows[asked].sum((0, 2, 3)).double() / max(1, int(marks[asked].sum()))  # (t,) share of the final picture
    kept, within = keeping(shows[asked], reading.hidden), whereabouts(reading, scene.width)
    when = [float(first_seen(shows[paint], marks[paint])) for paint in asked]
    claims = {
        "paper": reading.background == scene.background,
        "brush": float(reading.found.double().mean()) >= 0.85,
        "colors": {paint for paint in range(BRUSH) if area[paint] > max(AREA, TINGE * area.max())} == set(asked),
        "figures": figures == [stroke.figure for stroke in scene.strokes],
        "order": all(one < two for one, two in itertools.pairwise(when)),
        "paints": bool(painted[0] < 0.2 and painted.diff().clamp_min(0).sum() > 0.5),
        "lasting": kept > 0.75,
        "where": within > 0.92,
    }
    return Report(claims, {"kept": kept, "within": within, "first": float(painted[0])})


def read(frames: Tensor) -> Reading:
    """Name every pixel, and follow the brush."""
    height, width = frames.shape[1:3]
    unit = min(height, width)
    margin = round((MARGIN + 0.01) * unit)
    paper = frames[:, margin : height - margin, margin : width - margin]
    middle = paper[:: max(1, len(frames) // 4), ::2, ::2].reshape(-1, 3).float().median(0).values
    background = min(BACKGROUNDS, key=lambda name: float((middle - torch.tensor(BACKGROUNDS[name])).norm()))
    red, green, blue = (frames >> 3).int().unbind(-1)
    names = _names(background)[(red * LEVELS + green) * LEVELS + blue]
    names = F.pad(names[:, margin : height - margin, margin : width - margin], (margin,) * 4, value=BARE)
    found, tip = find_brush(names == BRUSH)
    lean = LEAN * unit
    x = torch.arange(width) + 0.5 - tip[:, 0, None, None].float()
    y = (torch.arange(height) + 0.5)[:, None] - tip[:, 1, None, None].float()
    hidden = rod(x, y, lean, (0, 1), (HIDES * unit, HIDES * unit)) < 0
    return Reading(background, names, found, tip, hidden)


@lru_cache(maxsize=len(BACKGROUNDS))
def _names(background: str) -> Tensor:
    """(LEVELS³,) what each color is on this paper: a pigment mixed with paper as little as its edges are."""
    paper = torch.tensor(BACKGROUNDS[background]).float()
    paints, tools = torch.tensor(list(COLORS.values())).float(), torch.tensor(TOOLS.get(background, TOOLS["white"]))
    way = torch.cat([paints, SHADE * paints, tools]) - paper  # (pigment, 3)
    meaning = torch.tensor([*range(BRUSH), *range(BRUSH), BRUSH, BRUSH])
    level = (torch.arange(LEVELS) + 0.5) * (256 / LEVELS)
    offset = torch.cartesian_prod(level, level, level) - paper  # (n, 3)
    opacity = (offset @ way.T / (way**2).sum(1)).clamp(0, 1)
    distance = (offset[:, None] - opacity[..., None] * way).norm(dim=-1)
    name = distance.argmin(1)
    clear = (opacity.gather(1, name[:, None])[:, 0] > OPAQUE) & (distance.amin(1) < OFF)
    return torch.where(clear, meaning[name], BARE)


def find_brush(wood: Tensor) -> tuple[Tensor, Tensor]:
    """Whether handle and ferrule can be seen in each frame of a mask (t, h, w), and where that puts the tip (t, 2)."""
    height, width = wood.shape[1:]
    unit = min(height, width)
    side = max(1, round(0.09 * unit)) * 2 + 1
    rows = F.avg_pool2d(wood[:, None].float(), (side, 1), 1, (side // 2, 0))
    crowd = F.avg_pool2d(rows, (1, side), 1, (0, side // 2)).flatten(1).argmax(1)  # where most of it is
    x, y = torch.arange(width) + 0.5, torch.arange(height) + 0.5
    near_x = (x - (crowd % width + 0.5)[:, None]).abs() < 0.11 * unit
    near_y = (y - (crowd // width + 0.5)[:, None]).abs() < 0.13 * unit
    mass = (wood & near_x[:, None] & near_y[:, :, None]).double()
    amount = mass.sum((1, 2))
    centre = torch.stack([mass.sum(1) @ x.double(), mass.sum(2) @ y.double()], dim=1) / amount.clamp_min(1)[:, None]
    found = amount > 0.0025 * unit**2
    known = found.nonzero()[:, 0]
    if len(known):  # a frame without a brush borrows the nearest frame's
        nearest = (torch.arange(len(wood))[:, None] - known).abs().argmin(1)
        centre = centre[known[nearest]]
    return found, centre - LEAN * unit * (BRISTLES + 1) / 2


def keeping(shows: Tensor, hidden: Tensor) -> float:
    """The least share, over the frames, of what was seen painted before and can be seen now that still is."""
    clear = shows & ~hidden
    before = clear.cumsum(1, dtype=torch.int32)[:, :-1] > 0
    visible = (before & ~hidden[1:]).sum((0, 2, 3)).double()
    still = (before & clear[:, 1:]).sum((0, 2, 3)).double()
    enough = visible > 0.1 * visible.max() if len(visible) else visible > 0
    return float((still / visible.clamp_min(1))[enough].min()) if enough.any() else 0.0


def whereabouts(reading: Reading, width: float) -> float:
    """The share of all paint, over all frames, that lies where the tip of the brush had been by then."""
    painted = (reading.names != BARE) & (reading.names != BRUSH)
    height, across = painted.shape[1:]
    unit = min(height, across)
    reach = (width / 2 + STRAYS) * unit
    path = smooth(reading.tip).float()  # (t, k, 2) the way to each frame
    x, y = torch.arange(across) + 0.5, torch.arange(height) + 0.5
    dx, dy = (x - path[..., :1]) ** 2, (y - path[..., 1:]) ** 2
    touched = torch.stack([(dx[:, k, None, :] + dy[:, k, :, None]) < reach**2 for k in range(path.shape[1])]).any(0)
    touched = touched.cumsum(0, dtype=torch.int32) > 0
    return float((painted & touched).sum() / painted.sum().clamp_min(1))


def smooth(tip: Tensor) -> Tensor:
    """(t, 2) → (t, 4, 2) four points on the way to each frame, on a Catmull-Rom curve through all frames."""
    padded = torch.cat([tip[:1], tip[:1], tip, tip[-1:]])
    a, b, c, d = (padded[k : k + len(tip), None] for k in range(4))
    u = torch.tensor([0.25, 0.5, 0.75, 1.0], dtype=tip.dtype)[:, None]
    return b + 0.5 * u * (c - a + u * (2 * a - 5 * b + 4 * c - d + u * (3 * (b - c) + d - a)))


def first_seen(shows: Tensor, mark: Tensor) -> Tensor:
    """The frame in which half of a mark (h, w) had been painted."""
    done = (shows[:, mark].cumsum(0) > 0).sum(1)
    return (done * 2 < mark.sum()).sum()


@lru_cache(maxsize=1)
def _templates() -> tuple[list[str], Tensor]:
    """The figures that fill a box, as 48 points each, in a box from −1 to 1."""
    names = [name for name in FIGURES if name not in ("horizontal", "vertical")]
    lines = torch.stack([along(FIGURES[name], torch.linspace(0, 1, 48)) for name in names])
    low, high = lines.amin(1, keepdim=True), lines.amax(1, keepdim=True)
    return names, ((lines - low) / (high - low) * 2 - 1).float()


def read_figure(mark: Tensor, width: float) -> str:
    """The figure that a mark (h, w) looks most like, drawn in the mark's own box; '' if it looks like none."""
    labels = np.zeros(mark.shape, dtype=np.int32)
    ndimage.label(mark.numpy(), structure=np.ones((3, 3)), output=labels)
    sizes = np.bincount(labels.ravel()) * (np.arange(labels.max() + 1) > 0)
    points = torch.from_numpy(sizes[labels] > 0.1 * sizes.sum()).nonzero().flip(1).float() + 0.5  # (m, 2)
    if not len(points):
        return ""
    low, high = points.amin(0) + (width - 1) / 2, points.amax(0) - (width - 1) / 2
    half = ((high - low) / 2).clamp_min(0)
    if half.min() < 0.2 * half.max():
        return "horizontal" if half[0] > half[1] else "vertical"
    names, lines = _templates()
    distance = torch.cdist((low + high) / 2 + half * lines, points[:: 1 + len(points) // 500])  # (figure, 48, m)
    score = distance.amin(1).mean(1) + distance.amin(2).mean(1)
    return names[int(score.argmin())] if score.min() < width else ""


Change = Callable[[Tensor, float, int], Tensor]


def _ink(change: Change) -> Control:
    """A control that paints the world's own scene with another ink: change(covered, fps, unit)."""

    def control(scene: Any, frames: int, height: int, width: int, fps: float) -> Tensor:
        unit = min(height, width)
        return painter.paint(scene, frames, height, width, fps, ink=lambda covered: change(covered, fps, unit))

    return control


def _later(covered: Tensor, frames: int) -> Tensor:
    """Everything so many frames later, or earlier if negative."""
    when = torch.arange(len(covered)) - frames
    return covered[when.clamp(0, len(covered) - 1)] * (when >= 0)[:, None, None]


def _fading(seconds: float) -> Change:
    return lambda covered, fps, unit: covered - _later(covered, max(1, round(seconds * fps)))


def _sliding(covered: Tensor, fps: float, unit: int) -> Tensor:
    """All paint runs down to the right, a seventh of the short side in a second."""
    steps = [round(0.1 * unit * frame / fps) for frame in range(len(covered))]
    return torch.stack([torch.roll(one, (step, step), (0, 1)) for one, step in zip(covered, steps, strict=True)])


def _shift(names: list[str], word: str, by: int) -> str:
    return names[(names.index(word) + by) % len(names)]


def _recolored(scene: Any, frames: int, height: int, width: int, fps: float) -> Tensor:
    strokes = tuple(replace(stroke, color=_shift(list(COLORS), stroke.color, 3)) for stroke in scene.strokes)
    return painter.render(replace(scene, strokes=strokes), frames, height, width, fps)


def _redrawn(scene: Any, frames: int, height: int, width: int, fps: float) -> Tensor:
    strokes = tuple(replace(stroke, figure=_shift(list(FIGURES), stroke.figure, 3)) for stroke in scene.strokes)
    return painter.render(replace(scene, strokes=strokes), frames, height, width, fps)


CONTROLS: dict[str, Control] = {
    "fades after half a second": _ink(_fading(0.5)),
    "fades after a second": _ink(_fading(1.0)),
    "paint comes before the brush": _ink(lambda covered, fps, unit: _later(covered, -max(1, round(0.5 * fps)))),
    "paint beside the brush": _ink(lambda covered, fps, unit: torch.roll(covered, -round(0.3 * unit), 2)),
    "paint slides": _ink(_sliding),
    "the brush leaves nothing": _ink(lambda covered, fps, unit: covered * 0),
    "wrong colors": _recolored,
    "wrong figures": _redrawn,
}
