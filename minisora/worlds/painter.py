"""World 5, painter: a brush moves over a sheet of paper and leaves strokes that stay.

It is the world of lasting change: what was painted a second ago must still be there, in its color, where the brush
went and nowhere else. Figures lie in the cells of a small grid, so they keep clear of one another in every frame.
"""

import math
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from minisora.core.errors import MinisoraError, check_choice
from minisora.worlds import language
from minisora.worlds.language import BACKGROUNDS, COLORS
from minisora.worlds.raster import Canvas, Color, backdrop, coverage
from minisora.worlds.scene import Frame, Scene, State, check_seconds, clock, dice, narrow

Words = str | Iterable[str] | None
# What becomes of a stroke on the paper: how much of each pixel the brush has covered by then, (t, h, w), in and out.
Ink = Callable[[Tensor], Tensor]

# Sizes, in units of the short side.
MARGIN = 0.045  # of desk around the paper
INSIDE = torch.tensor([[0.10, 0.185], [0.15, 0.10]], dtype=torch.float64)  # where tips go: off left, top; right, bottom
LEAN = torch.tensor([0.13, -0.16], dtype=torch.float64)  # from the tip of the brush to the end of its handle
BRISTLES, FERRULE = 0.34, 0.52  # where along the brush the bristles end, and the metal
WIDTHS = {1: 0.085, 2: 0.07, 3: 0.06, 4: 0.06, 5: 0.045, 6: 0.045}  # of a stroke, for so many strokes
MOST = max(WIDTHS)
# Seconds. A stroke takes LONGEST where there is time; in a short scene the strokes share the time there is.
FIRST, TRAVEL, RETURN, LEAST, LONGEST = 0.08, 0.18, 0.6, 0.46, 1.5
STEPS = 64  # points a second on a painted line

DESK: Color = (141, 113, 90)
WOOD, STEEL, ASH, SILVER = (74, 48, 36), (98, 102, 108), (205, 176, 140), (176, 180, 186)
# Handle and ferrule: dark on pale paper and pale on dark paper; neither looks like any paint.
TOOLS: dict[str, tuple[Color, Color]] = {
    "white": (WOOD, STEEL), "cream": (WOOD, STEEL), "navy": (ASH, SILVER), "black": (ASH, SILVER),
}  # fmt: skip
GRIDS = {1: ((1, 1),), 2: ((2, 1), (1, 2)), 3: ((2, 2),), 4: ((2, 2),), 5: ((3, 2), (2, 3)), 6: ((3, 2), (2, 3))}
ACROSS = {1: ("",), 2: ("left", "right"), 3: ("left", "", "right")}
DOWN = {1: ("",), 2: ("top", "bottom"), 3: ("top", "", "bottom")}


def _corners(*points: tuple[float, float]) -> Tensor:
    return torch.tensor(points, dtype=torch.float64)


def _polar(turns: float, first: float, last: float) -> Tensor:
    """An arc of so many turns, clockwise from the top, from one radius to another."""
    share = torch.linspace(0, 1, 65, dtype=torch.float64)[:, None]
    angle = 2 * math.pi * turns * share
    return (first + (last - first) * share) * torch.cat([angle.sin(), -angle.cos()], dim=1)


_X = torch.linspace(-1, 1, 65, dtype=torch.float64)
# Each figure is a line through points in a box from −1 to 1, with y downwards.
FIGURES: dict[str, Tensor] = {
    "horizontal": _corners((-1, 0), (1, 0)),
    "vertical": _corners((0, -1), (0, 1)),
    "wave": torch.stack([_X, -0.6 * (1.5 * math.pi * (_X + 1)).sin()], dim=1),
    "zigzag": _corners((-1, 0.6), (-0.5, -0.6), (0, 0.6), (0.5, -0.6), (1, 0.6)),
    "arch": torch.stack([_X, 0.6 - 1.2 * (1 - _X**2).sqrt()], dim=1),
    "circle": _polar(1, 1, 1),
    "spiral": _polar(1.75, 0.12, 1),
    "square": _corners((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9), (-0.9, -0.9)),
}
ROUND = ("circle", "spiral", "square")  # as high as they are wide; the others stretch in a long cell
STRETCH = 1.5


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
    rest = min(FIRST, seconds / 8)  # before the first stroke and after the last
    most = max(1, min(MOST, int((seconds - 2 * rest + TRAVEL) / (LEAST + TRAVEL))))
    if count is not None and not 1 <= count <= most:
        raise MinisoraError(f"{seconds:g} seconds are not enough for {count} strokes: ask for 1 to {most}")
    number = count or (rng.choices((1, 2, 3)[:most], (4, 4, 2)[:most])[0] if most < 4 else rng.randint(2, most))
    figures, colors = narrow("figure", figure, FIGURES), narrow("color", color, COLORS)
    paper = rng.choice(narrow("paper", background, TOOLS))
    if number > len(set(colors)):
        raise MinisoraError(f"{number} strokes need {number} colors, each its own: allow more than {', '.join(colors)}")
    grid = rng.choice(GRIDS[number])
    cells = rng.sample([(column, row) for row in range(grid[1]) for column in range(grid[0])], number)
    duration = min(LONGEST, (seconds - 2 * rest - (number - 1) * TRAVEL) / number)
    strokes = []
    for order, (cell, paint) in enumerate(zip(cells, rng.sample(sorted(set(colors)), number), strict=True)):
        begin = rest + order * (duration + TRAVEL)
        strokes.append(Stroke(rng.choice(figures), paint, cell, rng.random() < 0.5, begin, begin + duration))
    return PainterScene(seed, seconds, paper, grid, tuple(strokes))


def outline(scene: PainterScene, stroke: Stroke, extent: Tensor) -> Tensor:
    """(m, 2) the corners of a stroke's line, in units, in the order in which it is painted."""
    low, high = INSIDE[0], extent - INSIDE[1]
    gap = 2.2 * scene.width
    grid, cell = torch.tensor(scene.grid), torch.tensor(stroke.cell)
    size = ((high - low) - gap * (grid - 1)) / grid
    centre, half = low + cell * (size + gap) + size / 2, size / 2
    half = half.clamp(max=float(half.min()) * (1 if stroke.figure in ROUND else STRETCH))
    points = centre + half * FIGURES[stroke.figure]
    return points.flip(0) if stroke.backwards else points


def along(line: Tensor, share: Tensor) -> Tensor:
    """(t, 2) the points at these shares (t,) of a line's length."""
    reach = torch.cat([torch.zeros(1), (line[1:] - line[:-1]).norm(dim=1).cumsum(0)]).to(line)
    goal = share.clamp(0, 1) * reach[-1]
    index = torch.searchsorted(reach, goal, right=True).clamp(1, len(line) - 1)
    part = (goal - reach[index - 1]) / (reach[index] - reach[index - 1])
    return torch.lerp(line[index - 1], line[index], part[:, None])


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


@lru_cache(maxsize=16)
def _grain(height: int, width: int) -> Tensor:
    """(h, w) the tooth of the paper, about −1 … 1: it roughens edges and shows through the paint."""
    cells = [math.ceil(56 * side / min(height, width)) for side in (height, width)]
    noise = torch.randn(1, 1, *cells, generator=torch.Generator().manual_seed(5)) / 1.6
    return interpolate(noise, (height, width), mode="bilinear", align_corners=False)[0, 0].clamp(-1.5, 1.5)


@lru_cache(maxsize=64)
def _sheet(background: str, height: int, width: int) -> Tensor:
    """(h, w, 3) bare paper on a desk, with a soft shadow under it."""
    unit, margin = min(height, width), MARGIN * min(height, width)
    x, y = (torch.arange(side) + 0.5 - side / 2 for side in (width, height))
    edge = torch.maximum(y.abs()[:, None] - height / 2, x.abs() - width / 2) + margin
    shadow = torch.roll(edge, (int(0.015 * unit), int(0.01 * unit)), (0, 1)) / (0.05 * unit)
    grain = _grain(height, width)[..., None]
    desk = backdrop(DESK, height, width) * (1 - 0.35 * coverage(shadow)[..., None]) + 2 * grain
    return torch.lerp(
        desk, backdrop(BACKGROUNDS[background], height, width, 0.025) + 2.5 * grain, coverage(edge)[..., None]
    )


def cover(
    scene: PainterScene, stroke: Stroke, frames: int, height: int, width: int, fps: float
) -> tuple[Tensor, Tensor]:
    """How much of each pixel a stroke has covered, (t, h, w), and how far each pixel is from its middle line, (h, w)."""
    frame = Frame(height, width)
    radius = scene.width / 2 * frame.unit
    line = outline(scene, stroke, frame.extent) * frame.unit
    steps = torch.arange(-math.ceil(STEPS / fps), 1, dtype=torch.float64) / math.ceil(STEPS / fps)
    near, covered = torch.full((height, width), 1e4), torch.zeros(frames, height, width)
    rough = 0.16 * radius * _grain(height, width) - radius
    for number in range(frames):
        if (number - 1) / fps >= stroke.end:
            covered[number:] = covered[number - 1]
            break
        if number / fps > stroke.begin:
            _approach(near, along(line, _painted(stroke, (number + steps) / fps)).float(), 1.3 * radius + 1)
            covered[number] = coverage(near + rough)
    return covered, near


def _approach(near: Tensor, points: Tensor, reach: float) -> None:
    """Lower each pixel's distance to what is painted by a new piece of line (k, 2), within reach of it."""
    height, width = near.shape
    left, top = (points.amin(0) - reach).floor().clamp_min(0).int().tolist()
    right, bottom = (points.amax(0) + reach).ceil().int().tolist()
    window = near[top:bottom, left:right]
    start, way = points[:-1, :, None, None], (points[1:] - points[:-1])[:, :, None, None]
    dx = torch.arange(left, min(right, width)) + 0.5 - start[:, 0]
    dy = (torch.arange(top, min(bottom, height)) + 0.5)[:, None] - start[:, 1]
    share = ((dx * way[:, 0] + dy * way[:, 1]) / (way**2).sum(1).clamp_min(1e-9)).clamp_(0, 1)
    distance = torch.hypot(dx - share * way[:, 0], dy - share * way[:, 1]).amin(0)
    window.copy_(torch.minimum(window, distance))


def paint(scene: PainterScene, frames: int, height: int, width: int, fps: float, ink: Ink) -> Tensor:
    """uint8 (frames, height, width, 3), with strokes of any ink: one that fades, say, to see that a checker minds."""
    seconds, frame = clock(frames, height, width, fps), Frame(height, width)
    canvas = Canvas(frames, _sheet(scene.background, height, width))
    radius, grain = scene.width / 2 * frame.unit, _grain(height, width)
    for stroke in scene.strokes:
        covered, near = cover(scene, stroke, frames, height, width, fps)
        rim = (near / radius).clamp(0, 1) ** 4  # pigment gathers at the edge of a wet stroke
        tone = (1.03 - 0.13 * rim + 0.045 * grain)[..., None]
        canvas.rgb.lerp_(torch.tensor(COLORS[stroke.color]) * tone, 0.95 * ink(covered)[..., None])
    _draw_brush(canvas, scene, *_journey(scene, seconds, frame.extent), frame.unit)
    return canvas.frames()


def _draw_brush(canvas: Canvas, scene: PainterScene, tip: Tensor, lift: Tensor, holds: Tensor, unit: int) -> None:
    """Seen from above, leaning to the upper right, with its shadow; the shadow moves away as the brush is lifted."""
    lean, thick = LEAN * unit, unit * 0.026
    window = canvas.window((tip + LEAN / 2) * unit, 0.75 * float(lean.norm()))
    x, y = window.x + float(lean[0] / 2), window.y + float(lean[1] / 2)  # from the tip
    fall = ((0.012 + 0.05 * lift) * unit).float()[:, None, None]
    shadow = _capsule(x - 0.8 * fall, y - fall, lean, (0, 1), (thick, thick))
    canvas.blend(window, 0.2 * (0.5 - shadow / (0.03 * unit)).clamp(0, 1), (20, 14, 12))
    handle, ferrule = TOOLS[scene.background]
    paints = torch.tensor([COLORS[stroke.color] for stroke in scene.strokes])[holds][:, None, None]
    belly = max(0.5 * scene.width * unit, thick)
    canvas.blend(window, coverage(_capsule(x, y, lean, (FERRULE, 0.97), (1.1 * thick, 0.8 * thick))), handle)
    canvas.blend(window, coverage(_capsule(x, y, lean, (0.07, BRISTLES), (0.35 * belly, belly))), paints * 0.92)
    canvas.blend(window, coverage(_capsule(x, y, lean, (BRISTLES, FERRULE), (thick, thick))), ferrule)


def _capsule(x: Tensor, y: Tensor, way: Tensor, ends: tuple[float, float], radii: tuple[float, float]) -> Tensor:
    """Signed distance to the part of a rod along `way` between two shares of it, thicker at one end than the other."""
    right, down = way.tolist()
    share = ((x * right + y * down) / (right**2 + down**2)).clamp(*ends)
    radius = radii[0] + (radii[1] - radii[0]) * (share - ends[0]) / (ends[1] - ends[0])
    return torch.hypot(x - share * right, y - share * down) - radius


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
    count = f"{language.word(rng, 'count', str(len(scene.strokes)))} stroke{'s' if len(scene.strokes) > 1 else ''}"
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
