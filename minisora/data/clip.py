"""A Clip is video as every part of the project hands it on: uint8 frames, their rate, and words about them.

An image is a clip with one frame. Inside a model, pixels are floats (b, c, t, h, w) in [-1, 1]: `pixels` and
`from_pixels` go there and back. Sizes are written frames x height x width, as in 17x64x64.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor

from minisora.core.errors import MinisoraError, check_size
from minisora.worlds.scene import State

Size = tuple[int, int, int]  # frames, height, width


@dataclass(frozen=True, eq=False)
class Clip:
    frames: Tensor  # uint8 (t, h, w, 3)
    fps: float = 8.0
    caption: str = ""
    source: str = ""  # where it comes from: a file, a row of a data set, a world and its seed
    license: str = ""
    state: State | None = None  # exact tracks, for toy worlds

    def __post_init__(self) -> None:
        frames = self.frames
        if not isinstance(frames, Tensor) or frames.dtype != torch.uint8 or frames.ndim != 4 or frames.shape[-1] != 3:
            found = f"{frames.dtype} {tuple(frames.shape)}" if isinstance(frames, Tensor) else type(frames).__name__
            raise MinisoraError(f"a clip's frames are a torch.uint8 tensor of shape (t, h, w, 3), not {found}")
        check_size(*self.shape, self.fps)

    def __repr__(self) -> str:
        return f"Clip({self.size} at {self.fps:g} fps, {self.caption!r})"

    @property
    def shape(self) -> Size:
        frames, height, width, _ = self.frames.shape
        return frames, height, width

    @property
    def size(self) -> str:
        return size_name(self.shape)

    @property
    def seconds(self) -> float:
        return len(self.frames) / self.fps

    @property
    def is_image(self) -> bool:
        return len(self.frames) == 1

    def pixels(self) -> Tensor:
        """float (1, c, t, h, w) in [-1, 1], what a model sees."""
        return rearrange(self.frames, "t h w c -> 1 c t h w").float() / 127.5 - 1


def from_pixels(pixels: Tensor, fps: float = 8.0, caption: str = "", source: str = "", license: str = "") -> Clip:
    """The clip that a model's pixels show: floats (1, c, t, h, w) or (c, t, h, w), cut to [-1, 1]."""
    if pixels.ndim == 5 and len(pixels) == 1:
        pixels = pixels[0]
    if pixels.ndim != 4 or len(pixels) != 3 or not pixels.is_floating_point():
        shape = tuple(pixels.shape)
        raise MinisoraError(f"pixels are floats of shape (1, 3, t, h, w) or (3, t, h, w), not {pixels.dtype} {shape}")
    levels = ((pixels.detach().float() + 1) * 127.5).round().clamp(0, 255).nan_to_num(0).to(torch.uint8)
    return Clip(rearrange(levels, "c t h w -> t h w c").contiguous().cpu(), fps, caption, source, license)


def size_name(size: Size) -> str:
    return "x".join(str(number) for number in size)


def parse_size(text: str | Size) -> Size:
    """'17x64x64' -> (17, 64, 64)."""
    if not isinstance(text, str):
        frames, height, width = text
    elif re.fullmatch(r"\d{1,9}x\d{1,9}x\d{1,9}", text.strip(), re.ASCII):
        frames, height, width = (int(number) for number in text.split("x"))
    else:
        raise MinisoraError(f"{text!r} is not a size: write frames x height x width, as in 17x64x64")
    check_size(frames, height, width)
    return frames, height, width


def group_by_size(clips: Iterable[Clip]) -> dict[Size, list[Clip]]:
    """Clips of one size together, so that each group can be one tensor."""
    groups: dict[Size, list[Clip]] = {}
    for clip in clips:
        groups.setdefault(clip.shape, []).append(clip)
    return groups
