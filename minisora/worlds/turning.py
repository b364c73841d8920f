"""A scene of the shapes world that turns into another one: what a connection and a blend should look like.

No cross-fade: at every moment there is one thing, whole and opaque. First the place turns and then the thing, or first
the thing where it could not be seen in the new place; all the while it goes from the one path over to the other.
"""

import torch
from torch import Tensor

from minisora.worlds.language import BACKGROUNDS, COLORS
from minisora.worlds.raster import REACH, SHAPES, Canvas, backdrop, coverage
from minisora.worlds.scene import Frame, clock
from minisora.worlds.shapes import ShapesScene, Thing, centres, stands_out


def turned(
    first: ShapesScene, second: ShapesScene, frames: int, height: int, width: int, begin: int, end: int,
    later: int = 0, fps: float = 8.0,
) -> Tensor:  # fmt: skip
    """uint8 (frames, height, width, 3): the first scene up to frame `begin`, and from frame `end` on the second one.

    The second scene's own time begins at frame `later`. Both are of flat things, as many in the one as in the other.
    """
    seconds, frame = clock(frames, height, width, fps), Frame(height, width)
    share = ((torch.arange(frames, dtype=torch.float64) - begin) / (end - begin)).clamp(0, 1)
    early, late = (2 * share).clamp(max=1), (2 * share - 1).clamp(min=0)
    place, thing = (early, late) if _seen_first(first, second) else (late, early)

    old, new = (backdrop(BACKGROUNDS[scene.background], height, width) for scene in (first, second))
    canvas = Canvas(frames, torch.lerp(old, new, place.float()[:, None, None, None]))
    for one, other in zip(first.things, second.things, strict=True):
        here, there = centres(one, seconds, frame.extent), centres(other, seconds - later / fps, frame.extent)
        path = torch.lerp(here, there, _eased(share)[:, None]) * frame.unit
        _draw(canvas, one, other, path, thing.float(), frame.unit)
    return canvas.frames()


def _seen_first(first: ShapesScene, second: ShapesScene) -> bool:
    """Whether the things of the first scene can be seen in the second one's place."""
    return all(stands_out(thing.color, second.background) for thing in first.things)


def _eased(share: Tensor) -> Tensor:
    return share.square() * (3 - 2 * share)


def _draw(canvas: Canvas, one: Thing, other: Thing, path: Tensor, share: Tensor, unit: int) -> None:
    """A thing whose size, shape and color lie between those of two, as far along as `share` (t,) says."""
    share = share[:, None, None]
    radius = torch.lerp(torch.tensor(one.radius), torch.tensor(other.radius), share) * unit
    window = canvas.window(path, float(radius.max()) * REACH + 1)
    edge, other_edge = (SHAPES[thing.shape](window.x / radius, window.y / radius) for thing in (one, other))
    paint, other_paint = (torch.tensor(COLORS[thing.color], dtype=torch.float32) for thing in (one, other))
    color = torch.lerp(paint, other_paint, share)
    canvas.blend(window, coverage(torch.lerp(edge, other_edge, share) * radius), color[:, None])
