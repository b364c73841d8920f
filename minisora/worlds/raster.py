"""Painting in torch: shapes as signed distances, anti-aliased by the distance to the edge, blended into a clip.

A signed distance is negative inside and positive outside. One pixel of soft edge, `clamp(0.5 - d, 0, 1)`, is the
share of a pixel that a straight edge at distance d covers, which is all the anti-aliasing that is needed.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Color = tuple[int, int, int]


def coverage(distance: Tensor) -> Tensor:
    """The share of each pixel that lies inside an edge at this signed distance in pixels."""
    return (0.5 - distance).clamp_(0, 1)


def circle(x: Tensor, y: Tensor) -> Tensor:
    return torch.hypot(x, y) - 0.92


def square(x: Tensor, y: Tensor) -> Tensor:
    return torch.maximum(x.abs(), y.abs()) - 0.8


def triangle(x: Tensor, y: Tensor) -> Tensor:
    slant = math.radians(30)
    return torch.maximum(x.abs() * math.cos(slant) - y * math.sin(slant), y) - 0.56


def star(x: Tensor, y: Tensor) -> Tensor:
    """Five points: fold the plane into half of one point, then it is the distance to one straight edge."""
    sector = 2 * math.pi / 5
    angle = torch.atan2(x, -y)
    folded = (angle.remainder(sector) - sector / 2).abs()  # π/5 on a point's axis, 0 between two points
    radius = torch.hypot(x, y)
    px, py = radius * torch.sin(folded), radius * torch.cos(folded)
    outer, inner = 1.06, 0.5
    edge = torch.tensor([outer * math.sin(sector / 2), outer * math.cos(sector / 2) - inner])
    normal = torch.stack([-edge[1], edge[0]]) / edge.norm()  # points outwards, away from the centre
    return px * normal[0] + (py - inner) * normal[1]


def heart(x: Tensor, y: Tensor) -> Tensor:
    """A square standing on its corner, with a disc on each of its two upper sides."""
    side, x, y = 0.56, x.abs(), y - 0.1
    half = side / math.sqrt(2)
    diamond = (x + y.abs()) / math.sqrt(2) - side
    lobe = torch.hypot(x - half, y + half) - side
    return torch.minimum(diamond, lobe)


def ring(x: Tensor, y: Tensor) -> Tensor:
    return (torch.hypot(x, y) - 0.7).abs() - 0.24


# Every shape is drawn for a radius of 1 and stays within REACH of its centre.
REACH = 1.15
SHAPES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "circle": circle, "square": square, "triangle": triangle, "star": star, "heart": heart, "ring": ring,
}  # fmt: skip


@dataclass(frozen=True)
class Window:
    """The few pixels around one thing in every frame, and where they lie relative to its centre."""

    index: Tensor  # (t * s * s,) positions in the clip's flat list of pixels
    x: Tensor  # (t, 1, s) pixels to the right of the thing's centre
    y: Tensor  # (t, s, 1) pixels below the thing's centre


class Canvas:
    """A clip that is being painted: `rgb` is float (t, h, w, 3) in 0 … 255."""

    def __init__(self, frames: int, background: Tensor):
        """`background` is (h, w, 3), the same in every frame, or (frames, h, w, 3)."""
        self.rgb = background.float().expand(frames, *background.shape[-3:]).clone()
        self.height, self.width = background.shape[-3:-1]

    def window(self, track: Tensor, reach: float) -> Window:
        """Pixels within `reach` of a track (t, 2). Windows are pushed inside the frame, never clipped in shape."""
        side = 2 * math.ceil(reach) + 2
        rows, y = self._span(track[:, 1], min(side, self.height), self.height)
        columns, x = self._span(track[:, 0], min(side, self.width), self.width)
        return self._window(rows, columns, x, y)

    def whole(self) -> Window:
        """Every pixel of every frame, with x and y measured from the top-left corner."""
        rows = torch.arange(self.height).expand(len(self.rgb), -1)
        columns = torch.arange(self.width).expand(len(self.rgb), -1)
        return self._window(rows, columns, columns + 0.5, rows + 0.5)

    @staticmethod
    def _span(centre: Tensor, side: int, size: int) -> tuple[Tensor, Tensor]:
        start = (centre.floor() - side // 2).clamp(0, size - side)
        pixels = start[:, None] + torch.arange(side)
        return pixels.long(), (pixels + 0.5 - centre[:, None]).float()

    def _window(self, rows: Tensor, columns: Tensor, x: Tensor, y: Tensor) -> Window:
        frame = torch.arange(len(self.rgb))[:, None]
        index = ((frame * self.height + rows) * self.width)[:, :, None] + columns[:, None, :]
        return Window(index.flatten(), x[:, None, :], y[:, :, None])

    def take(self, window: Window) -> Tensor:
        """(t, s, s, 3) the window's pixels, to be painted over and put back."""
        height, width = window.y.shape[1], window.x.shape[2]
        return self.rgb.view(-1, 3).index_select(0, window.index).view(-1, height, width, 3)

    def put(self, window: Window, pixels: Tensor) -> None:
        self.rgb.view(-1, 3).index_copy_(0, window.index, pixels.reshape(-1, 3))

    def blend(self, window: Window, alpha: Tensor, color: Tensor | Color) -> None:
        """Lay a color over the window's pixels, as opaque as alpha (t, s, s) says."""
        self.put(window, over(self.take(window), alpha, color))

    def frames(self) -> Tensor:
        """uint8 (t, h, w, 3)."""
        return self.rgb.round().clamp_(0, 255).to(torch.uint8)


def over(under: Tensor, alpha: Tensor, color: Tensor | Color) -> Tensor:
    """A color laid over pixels (t, s, s, 3), as opaque as alpha (t, s, s) says."""
    return torch.lerp(under, torch.as_tensor(color, dtype=torch.float32), alpha[..., None])


def backdrop(color: Color, height: int, width: int, light: float = 0.06) -> Tensor:
    """(h, w, 3) a plain background, lit a little from above so that it reads as a place and not as a hole."""
    fall = torch.linspace(1 + light, 1 - light, height)[:, None, None]
    return (torch.tensor(color, dtype=torch.float32) * fall).clamp(0, 255).expand(height, width, 3).contiguous()
