"""Four ways to draw the same thing: flat, sketch, neon, film. A style changes the look and never the state."""

from functools import lru_cache

import torch
from torch import Tensor

from minisora.worlds.language import BACKGROUNDS, COLORS
from minisora.worlds.raster import Canvas, Window, backdrop, coverage, over

# Which backgrounds a style can be drawn on: pencil needs paper, neon needs the dark.
STYLE_BACKGROUNDS = {
    "flat": tuple(BACKGROUNDS),
    "sketch": ("white", "cream"),
    "neon": ("navy", "maroon", "black"),
    "film": tuple(BACKGROUNDS),
}


def ground(style: str, background: str, height: int, width: int) -> Tensor:
    """(h, w, 3) what a style draws on."""
    plain = backdrop(BACKGROUNDS[background], height, width)
    if style == "film":
        return fade(plain)
    if style == "sketch":
        return plain + _noise(1, height, width, seed=7)[0, :, :, None] * 3
    return plain


def ink(style: str, canvas: Canvas, window: Window, distance: Tensor, color: str, unit: float, reach: float) -> None:
    """Draw one thing, given as a signed distance in pixels, in its color.

    `unit` is the picture's short side and `reach` the radius of a circle around the thing, both in pixels.
    """
    paint, line = torch.tensor(COLORS[color], dtype=torch.float32), max(0.8, unit / 48)
    pixels, inside = canvas.take(window), coverage(distance)
    if style == "sketch":
        edge = coverage((distance + line / 2).abs() - line / 2)
        hatch = 0.55 + 0.18 * torch.sin((window.x + window.y) * (2 * torch.pi / (3.2 * line)))
        pixels = over(over(pixels, inside * hatch, paint), edge * 0.9, 0.6 * paint)
    elif style == "neon":
        edge = coverage((distance + line).abs() - line)
        away = torch.maximum(distance, torch.hypot(window.x, window.y) - reach).clamp_min(0)
        light = 0.6 * torch.exp(-away / (1.5 * line)) * (distance > -line)
        pixels = pixels + light[..., None] * paint * (1 - pixels / 255)  # light adds, and stays below white
        pixels = over(over(pixels, inside * 0.5, paint), edge * 0.9, 0.65 * paint + 0.35 * 255)
    else:
        pixels = over(pixels, inside, fade(paint) if style == "film" else paint)
    canvas.put(window, pixels)


def lens(style: str, height: int, width: int) -> Tensor | float:
    """What a style's camera does to the light: old film has darker corners, (h, w, 1)."""
    return _vignette(height, width) if style == "film" else 1.0


def develop(style: str, canvas: Canvas, seed: int) -> Tensor:
    """The finished clip, uint8 (t, h, w, 3)."""
    if style == "film":
        frames, height, width = canvas.rgb.shape[:3]
        grain = _noise(frames, height, width, seed)[..., None] * 7
        canvas.rgb.mul_(lens(style, height, width)).add_(grain)
    return canvas.frames()


def fade(rgb: Tensor) -> Tensor:
    """Old film has neither deep blacks nor cold whites."""
    return rgb * torch.tensor([0.86, 0.80, 0.70]) + torch.tensor([34.0, 30.0, 26.0])


def _noise(frames: int, height: int, width: int, seed: int) -> Tensor:
    """(frames, height, width) normal noise. Frames are drawn in blocks of 16 numbers, torch's own stride, so that a
    frame's grain does not depend on how many frames follow it."""
    generator, size = torch.Generator().manual_seed(seed), height * width
    blocks = torch.randn(frames, -(-size // 16) * 16, generator=generator)
    return blocks[:, :size].reshape(frames, height, width)


@lru_cache(maxsize=16)
def _vignette(height: int, width: int) -> Tensor:
    """(h, w, 1) darker corners, as through an old lens."""
    y, x = torch.linspace(-1, 1, height)[:, None], torch.linspace(-1, 1, width)[None, :]
    return (1 - 0.22 * (x**2 + y**2))[..., None]
