"""World 5, painter: a brush moves over a sheet of paper and leaves strokes that stay.

It is the world of lasting change: what was painted a second ago must still be there, in its color, where the brush
went and nowhere else. Figures lie in the cells of a small grid, so they keep clear of one another in every frame.
"""

import math
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from minisora.core.errors import MinisoraError, check_choice
from minisora.worlds import language
from minisora.worlds.language import COLORS
from minisora.worlds.raster import Canvas, coverage
from minisora.worlds.scene import Frame, Scene, State, check_seconds, clock, dice, narrow
from minisora.worlds.strokes import FIGURES, ROUND, STRETCH, TOOLS, along, approach, draw_brush, grain, sheet

Words = str | Iterable[str] | None
# What becomes of a stroke on the paper: how much of each pixel the brush has covered by then, (t, h, w), in and out.
Ink = Callable[[Tensor], Tensor]

# Sizes, in units of the short side.
INSIDE = torch.tensor([[0.10, 0.185], [0.15, 0.10]], dtype=torch.float64)  # where tips go: off left, top; right, bottom
WIDTHS = {1: 0.085, 2: 0.07, 3: 0.057, 4: 0.057, 5: 0.04, 6: 0.04}  # of a stroke, for so many strokes
MOST = max(WIDTHS)
# Seconds. A stroke takes LONGEST where there is time; in a short scene the strokes share the time there is.
FIRST, LAST, TRAVEL, RETURN, LEAST, LONGEST = 0.08, 0.2, 0.18, 0.5, 0.44, 1.5
STEPS = 64  # points a second on a painted line

GRIDS = {1: ((1, 1),), 2: ((2, 1), (1, 2)), 3: ((2, 2),), 4: ((2, 2),), 5: ((3, 2), (2, 3)), 6: ((3, 2), (2, 3))}
GAPS = {1: 0.0, 2: 0.145, 3: 0.09}  # between cells, in units, where so many share a side
ACROSS = {1: ("",), 2: ("left", "right"), 3: ("left", "", "right")}
DOWN = {1: ("",), 2: ("top", "bottom"), 3: ("top", "", "bottom")}


@dataclass(frozen=True)
class Stroke:
    figure: str
    color: str
    cell: tuple[int, int]  # column and row of the grid
    backwards: bool  # painted from its other end
    begin: float  # seconds
    end: float


@dataclass(frozen=True)
class PainterScene(Scene):
    world = "painter"
    background: str
    grid: tuple[int, int]  # columns and rows
    strokes: tuple[Stroke, ...]

    @property
    def width(self) -> float:
        """Of every stroke, in units."""
        return WIDTHS[len(self.strokes)]

    @property
    def lap(self) -> float:
        """Seconds after which the brush is back where it began, to go over everything again."""
        return self.strokes[-1].end + RETURN


def sample(
    seed: int,
    seconds: float = 2.0,
    *,
    count: int | None = None,
    figure: Words = None,
    color: Words = None,
    background: Words = None,
) -> PainterScene:
    """Draw a scene. Each constraint is one word or several to draw from; `count` is the number of strokes."""
    rng, seconds = dice("painter", seed), check_seconds(seconds)
    wait, rest = min(FIRST, seconds / 8), min(LAST, seconds / 8)  # before the first stroke, after the last
    most = max(1, min(MOST, int((seconds - wait - rest + TRAVEL) / (LEAST + TRAVEL))))
    if count is not None and not 1 <= count <= most:
        raise MinisoraError(f"{seconds:g} seconds are not enough for {count} strokes: ask for 1 to {most}")
    figures, colors = narrow("figure", figure, FIGURES), narrow("color", color, COLORS)
    most = min(most, len(set(colors)))
    number = count or (rng.choices((1, 2, 3)[:most], (4, 4, 2)[:most])[0] if most < 4 else rng.randint(2, most))
    paper = rng.choice(narrow("paper", background, TOOLS))
    if number > len(set(colors)):
        raise MinisoraError(f"{number} strokes need {number} colors, each its own: allow more than {', '.join(colors)}")
    grid = rng.choice(GRIDS[number])
    cells = rng.sample([(column, row) for row in range(grid[1]) for column in range(grid[0])], number)
    duration = min(LONGEST, (seconds - wait - rest - (number - 1) * TRAVEL) / number)
    strokes = []
    for order, (cell, paint) in enumerate(zip(cells, rng.sample(sorted(set(colors)), number), strict=True)):
        begin = wait + order * (duration + TRAVEL)
        strokes.append(Stroke(rng.choice(figures), paint, cell, rng.random() < 0.5, begin, begin + duration))
    return PainterScene(seed, seconds, paper, grid, tuple(strokes))


def outline(scene: PainterScene, stroke: Stroke, extent: Tensor) -> Tensor:
    """(m, 2) the corners of a stroke's line, in units, in the order in which it is painted."""
    low, high = INSIDE[0], extent - INSIDE[1]
    gap = torch.tensor([GAPS[cells] for cells in scene.grid])
    grid, cell = torch.tensor(scene.grid), torch.tensor(stroke.cell)
    size = ((high - low) - gap * (grid - 1)) / grid
    centre, half = low + cell * (size + gap) + size / 2, size / 2
    half = half.clamp(max=float(half.min()) * (1 if stroke.figure in ROUND else STRETCH))
    points = centre + half * FIGURES[stroke.figure]
    return points.flip(0) if stroke.backwards else points


def _painted(stroke: Stroke, seconds: Tensor) -> Tensor:
    """(t,) the share of a stroke that is painted by then: a hand starts and ends a little slower."""
    share = ((seconds - stroke.begin) / (stroke.end - stroke.begin)).clamp(0, 1)
    return share - 0.2 * (2 * math.pi * share).sin() / (2 * math.pi)


def _journey(scene: PainterScene, seconds: Tensor, extent: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Where the brush is: its tip (t, 2) in units, how high it is lifted (t,) 0 … 1, and whose paint it holds (t,)."""
    strokes, begin = scene.strokes, scene.strokes[0].begin
    seconds = torch.where(seconds < begin, seconds, begin + (seconds - begin) % (scene.lap - begin))
    lines = [outline(scene, stroke, extent) for stroke in strokes]
    tip, lift, holds = lines[0][:1].expand(len(seconds), 2), torch.zeros_like(seconds), torch.zeros_like(seconds).long()
    for number, (stroke, line) in enumerate(zip(strokes, lines, strict=True)):
        after = (number + 1) % len(strokes)
        arrival = strokes[after].begin if after else scene.lap
        share = ((seconds - stroke.end) / (arrival - stroke.end)).clamp(0, 1)
        way = torch.lerp(line[-1], lines[after][0], (share * share * (3 - 2 * share))[:, None])
        tip = torch.where((seconds >= stroke.begin)[:, None], along(line, _painted(stroke, seconds)), tip)
        tip = torch.where((seconds > stroke.end)[:, None], way, tip)
        lift = lift + (math.pi * share).sin()
        holds = torch.where(share > 0.5, after, holds)
    return tip, lift, holds


def cover(
    scene: PainterScene, stroke: Stroke, frames: int, height: int, width: int, fps: float
) -> tuple[Tensor, Tensor]:
    """How much of each pixel a stroke has covered, and how far each is from the painted line: both (t, h, w)."""
    frame = Frame(height, width)
    radius = scene.width / 2 * frame.unit
    steps = math.ceil(STEPS / fps)
    times = (torch.arange(-steps, (frames - 1) * steps + 1, dtype=torch.float64) / steps) / fps
    points = along(outline(scene, stroke, frame.extent) * frame.unit, _painted(stroke, times)).float()
    near = torch.full((frames, height, width), 1e4)
    for number in range(1, frames):
        if (number - 1) / fps >= stroke.end:
            near[number:] = near[number - 1]
            break
        if number / fps > stroke.begin:
            near[number] = near[number - 1]
            approach(near[number], points[number * steps : (number + 1) * steps + 1], 1.3 * radius + 1)
    return coverage(near + (0.14 * radius * grain(height, width) - radius)), near


def paint(scene: PainterScene, frames: int, height: int, width: int, fps: float, ink: Ink) -> Tensor:
    """uint8 (frames, height, width, 3), with strokes of any ink: one that fades, say, to see that a checker minds."""
    seconds, frame = clock(frames, height, width, fps), Frame(height, width)
    canvas = Canvas(frames, sheet(scene.background, height, width))
    radius, tooth = scene.width / 2 * frame.unit, grain(height, width)
    for stroke in scene.strokes:
        covered, near = cover(scene, stroke, frames, height, width, fps)
        rim = (near / radius).clamp_(0, 1) ** 4  # pigment gathers at the edge of a wet stroke
        tone = 1.03 + 0.045 * tooth - 0.13 * rim
        canvas.rgb.lerp_(torch.tensor(COLORS[stroke.color]) * tone[..., None], 0.95 * ink(covered)[..., None])
    tip, lift, holds = _journey(scene, seconds, frame.extent)
    paints = torch.tensor([COLORS[stroke.color] for stroke in scene.strokes], dtype=torch.float32)[holds]
    draw_brush(canvas, TOOLS[scene.background], tip * frame.unit, lift, paints, scene.width / 2)
    return canvas.frames()


def render(scene: PainterScene, frames: int, height: int, width: int, fps: float = 8.0) -> Tensor:
    """uint8 (frames, height, width, 3)."""
    return paint(scene, frames, height, width, fps, ink=lambda covered: covered)


def state(scene: PainterScene, frames: int, height: int, width: int, fps: float = 8.0) -> State:
    """The tip of the brush, then the middle of each stroke, visible as far as it is painted.

    The grid is the picture, pixel by pixel: 0 where the paper is bare, and the number of the stroke where it is not.
    """
    seconds, frame = clock(frames, height, width, fps), Frame(height, width)
    tracks, visible = [_journey(scene, seconds, frame.extent)[0]], [torch.ones_like(seconds)]
    picture = torch.zeros(frames, height, width, dtype=torch.int64)
    for number, stroke in enumerate(scene.strokes, start=1):
        line = outline(scene, stroke, frame.extent)
        tracks.append(((line.amin(0) + line.amax(0)) / 2).expand(frames, 2))
        visible.append(_painted(stroke, seconds))
        picture[cover(scene, stroke, frames, height, width, fps)[0] > 0.5] = number
    strokes = (
        {"figure": stroke.figure, "color": stroke.color, "place": whereabouts(stroke, scene.grid)}
        for stroke in scene.strokes
    )
    return State(({"tool": "brush"}, *strokes), torch.stack(tracks) * frame.unit, torch.stack(visible), grid=picture)


def whereabouts(stroke: Stroke, grid: tuple[int, int]) -> str:
    """The part of the paper that a stroke lies in: 'top left' … 'middle' … 'bottom right'."""
    return f"{DOWN[grid[1]][stroke.cell[1]]} {ACROSS[grid[0]][stroke.cell[0]]}".strip() or "middle"


def caption(scene: PainterScene, detail: str = "short") -> str:
    """What is painted, in order. Descriptive captions also say how many strokes there are and where each one lies."""
    check_choice("caption detail", detail, ("short", "descriptive"))
    rng = dice("painter", scene.seed, detail)
    background = language.word(rng, "background", scene.background)
    if detail == "short":
        strokes = [_describe(rng, scene, stroke, "painter.stroke") for stroke in scene.strokes]
        listed = ", then ".join(strokes)
        return language.sentence(language.say(rng, "painter.short", strokes=listed, background=background))
    count = language.word(rng, "strokes", str(len(scene.strokes)))
    said = [language.say(rng, "painter.long", count=count, background=background)]
    for number, stroke in enumerate(scene.strokes):
        said.append(_describe(rng, scene, stroke, "painter.next" if number else "painter.first"))
    said.append(language.say(rng, "painter.stay"))
    if scene.seconds > scene.lap + 0.5:
        said.append(language.say(rng, "painter.again"))
    return language.sentence(" ".join(said))


def _describe(rng: random.Random, scene: PainterScene, stroke: Stroke, template: str) -> str:
    words = {"color": stroke.color, "figure": stroke.figure, "place": whereabouts(stroke, scene.grid)}
    return language.say(rng, template, **{name: language.word(rng, name, value) for name, value in words.items()})
