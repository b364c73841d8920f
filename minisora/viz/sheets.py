"""Still pictures of moving ones: the strip of one clip, the sheet of many."""

import io
import textwrap
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from einops import rearrange
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from minisora.core.errors import LARGEST_SIDE, MinisoraError
from minisora.data.clip import Clip
from minisora.data.video_io import write_video
from minisora.generate.credits import Take

PAPER, INK, GAP = 255, (34, 38, 43), 4


def pick_frames(clip: Clip, count: int) -> Tensor:
    """(count, h, w, 3) frames spread evenly from the first to the last; a shorter clip gives all it has."""
    count = min(count, len(clip.frames))
    return clip.frames[torch.linspace(0, len(clip.frames) - 1, count).round().long()]


def enlarge(images: Tensor, height: int) -> Tensor:
    """(n, h, w, 3) by the whole factor that comes nearest to a height: pixels stay pixels."""
    factor = max(1, round(height / images.shape[1]))
    return images.repeat_interleave(factor, dim=1).repeat_interleave(factor, dim=2)


def strip(clip: Clip, count: int = 6, height: int = 128) -> Tensor:
    """uint8 (h, w, 3): a clip as a row of its frames, read from left to right."""
    images = rearrange(enlarge(pick_frames(clip, count), height), "n h w c -> n c h w")
    framed = F.pad(images, (0, GAP, 0, 0), value=PAPER)
    return rearrange(framed, "n c h w -> h (n w) c")[:, :-GAP]


def sheet(clips: Sequence[Clip], count: int = 6, height: int = 96, captions: bool = True) -> Tensor:
    """uint8 (h, w, 3): one strip under another, each with its caption."""
    if not clips:
        raise MinisoraError("a sheet needs at least one clip")
    rows = [strip(clip, count, height) for clip in clips]
    width = max(row.shape[1] for row in rows)
    parts = []
    for clip, row in zip(clips, rows, strict=True):
        parts.append(F.pad(rearrange(row, "h w c -> c h w"), (0, width - row.shape[1], 0, GAP), value=PAPER))
        if captions and clip.caption:
            parts.append(rearrange(_text(clip.caption, width), "h w c -> c h w"))
    return rearrange(torch.cat(parts, dim=1), "c h w -> h w c")


def _text(text: str, width: int, size: int = 14) -> Tensor:
    """uint8 (h, width, 3): a text, wrapped to at most three lines."""
    font = ImageFont.load_default(size)
    letters = max(16, int(width / font.getlength("moving circle") * 13) - 2)
    lines = textwrap.wrap(text, letters, max_lines=3, placeholder=" …")
    image = Image.new("RGB", (width, len(lines) * (size + 4) + 10), (PAPER, PAPER, PAPER))
    ImageDraw.Draw(image).multiline_text((2, 0), "\n".join(lines), fill=INK, font=font, spacing=4)
    return torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).view(image.height, image.width, 3)


def png(image: Tensor) -> bytes:
    """A uint8 picture (h, w, 3) as the bytes of a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(image.contiguous().numpy()).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def write_sheet(path: str | Path, clips: Sequence[Clip], count: int = 6, height: int = 96) -> Path:
    """Write the sheet of some clips as a PNG file; it carries the recipes of those that have one."""
    recipes = [dict(clip.recipe) for clip in clips if isinstance(clip, Take)]
    page = Clip(shrunk(sheet(clips, count, height), LARGEST_SIDE)[None])
    return write_video(path, page, {"recipes": recipes} if recipes else None)


def shrunk(image: Tensor, most: int) -> Tensor:
    """A picture (h, w, 3) by the whole factor that makes no side longer than `most`."""
    factor = -(-max(image.shape[:2]) // most)
    if factor == 1:
        return image
    rows = rearrange(image, "h w c -> 1 c h w").float()
    return rearrange(F.avg_pool2d(rows, factor, ceil_mode=True), "1 c h w -> h w c").round().byte()
