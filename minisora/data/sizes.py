"""Native sizes: a clip of any size is cut and shrunk to the nearest of a few sizes, and nothing is ever stretched.

Frame counts are 4k + 1 (frame 0 stands alone in a causal VAE) and sides are multiples of a token's side. All of this
is a pure function of the clip and a seed.
"""

import math
import random
from collections.abc import Iterable, Sequence

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from minisora.core.errors import MinisoraError
from minisora.data.clip import Clip, Size, parse_size, size_name

ASPECTS = (1 / 1, 4 / 3, 3 / 4, 16 / 9, 9 / 16)  # width / height
ALIKE = 0.1  # aspects closer than this (in log) differ by rounding to tokens only


def native_sizes(
    area: int = 64 * 64, frames: Iterable[int] = (1, 17), side: int = 8, aspects: Iterable[float] = ASPECTS
) -> tuple[Size, ...]:
    """All sizes of these lengths and aspects, with about `area` pixels a frame and sides that hold whole tokens."""
    if side < 1 or area < side**2:
        raise MinisoraError(f"an area of {area} pixels holds no token of side {side}: it goes from {side**2} up")
    planes = []
    for aspect in aspects:
        height, width = math.sqrt(area / aspect), math.sqrt(area * aspect)
        planes.append(tuple(max(1, round(length / side)) * side for length in (height, width)))
    return tuple((check_frames(count), *plane) for count in frames for plane in dict.fromkeys(planes))


def check_frames(frames: int) -> int:
    if frames < 1 or frames % 4 != 1:
        below = max(1, frames - (frames - 1) % 4)
        raise MinisoraError(f"a clip of {frames} frames cannot be encoded: 4k + 1 can, such as {below} or {below + 4}")
    return frames


def nearest_size(size: Size, sizes: Iterable[Size | str]) -> Size:
    """The native size for a clip: its aspect, then as many frames as it has, then as many pixels as it has."""
    frames, height, width = size
    grid = [parse_size(choice) for choice in sizes]
    fitting = [choice for choice in grid if choice[0] <= frames]
    if not fitting:
        shortest = min((choice[0] for choice in grid), default=0)
        raise MinisoraError(f"{size_name(size)} is too short: the sizes to choose from have {shortest} frames or more")
    aspect = {choice: abs(math.log(choice[2] / choice[1] * height / width)) for choice in fitting}
    best = min(aspect.values())
    alike = [choice for choice in fitting if aspect[choice] <= best + ALIKE]
    longest = max(choice[0] for choice in alike)
    alike = [choice for choice in alike if choice[0] == longest]
    small = [choice for choice in alike if choice[1] <= height and choice[2] <= width]
    if small:  # shrink as little as possible
        return max(small, key=lambda choice: (choice[1] * choice[2], -aspect[choice]))
    return min(alike, key=lambda choice: (choice[1] * choice[2], aspect[choice]))


def at_rate(frames: int, fps: float, wanted: float) -> list[int]:
    """Which frames to show at another rate: the one nearest to each tick."""
    ticks = math.floor((frames - 1) * wanted / fps + 1e-6) + 1
    return [min(frames - 1, math.floor(tick * fps / wanted + 0.5)) for tick in range(ticks)]


def fit(clip: Clip, sizes: Sequence[Size | str], fps: float | None = None, seed: int | None = None) -> Clip:
    """A clip at one of the native sizes and at `fps` (its own if None).

    Without a seed the first frames and the middle of the picture are kept, with one a part that it draws. A clip that
    needs no change is returned as it is; any other loses its `state`, which tells of the picture before it was cut.
    """
    fps = fps or clip.fps
    shown = at_rate(len(clip.frames), clip.fps, fps)
    size = nearest_size((len(shown), *clip.shape[1:]), sizes)
    if size == clip.shape and (fps == clip.fps or clip.is_image):
        return clip
    rng = None if seed is None else random.Random(f"fit/{seed}")
    start = 0 if rng is None else rng.randint(0, len(shown) - size[0])
    frames = cover(clip.frames[shown[start : start + size[0]]], size[1], size[2])
    across = rng.random() if rng else 0.5
    top = round(across * (frames.shape[1] - size[1]))
    left = round(across * (frames.shape[2] - size[2]))
    frames = frames[:, top : top + size[1], left : left + size[2]].contiguous()
    return Clip(frames, fps, clip.caption, clip.source, clip.license)


def cover(frames: Tensor, height: int, width: int) -> Tensor:
    """uint8 (t, h, w, 3) scaled, by one factor both ways, until it just covers height x width."""
    _, tall, wide, _ = frames.shape
    scale = max(height / tall, width / wide)
    target = max(height, round(tall * scale)), max(width, round(wide * scale))
    if target == (tall, wide):
        return frames
    pixels = rearrange(frames, "t h w c -> t c h w")
    pixels = F.interpolate(pixels, target, mode="bilinear", antialias=True, align_corners=False)
    return rearrange(pixels, "t c h w -> t h w c")
