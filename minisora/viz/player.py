"""A player for notebooks: an HTML5 video that loops, and where video cannot be shown, a strip of its frames."""

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass

from minisora.core.errors import MinisoraError
from minisora.data.clip import Clip
from minisora.data.video_io import encode_mp4
from minisora.viz.sheets import png, sheet, strip


@dataclass(frozen=True)
class Player:
    """Shows one clip, or several side by side, when it is the last line of a notebook's cell."""

    clips: tuple[Clip, ...]
    columns: int
    width: int  # of one video on the page, in CSS pixels

    def _repr_html_(self) -> str:
        figures = "".join(_figure(clip, self.width) for clip in self.clips)
        grid = f"display:grid;grid-template-columns:repeat({self.columns},max-content);gap:12px;overflow-x:auto"
        return f'<div class="minisora-player" style="{grid}">{figures}</div>'

    def _repr_png_(self) -> bytes:
        return png(sheet(self.clips))

    def __repr__(self) -> str:
        return "\n".join(describe(clip) for clip in self.clips)


def show(clips: Clip | Sequence[Clip], columns: int = 4, width: int = 0) -> Player:
    """Play clips in a notebook. `width` in CSS pixels; by default small clips are enlarged to about 200."""
    clips = (clips,) if isinstance(clips, Clip) else tuple(clips)
    if not clips:
        raise MinisoraError("there is nothing to play: give one clip or several")
    natural = max(clip.frames.shape[2] for clip in clips)
    width = width or (natural * max(1, round(200 / natural)) if len(clips) > 1 else max(natural, min(400, 4 * natural)))
    return Player(clips, min(columns, len(clips)), width)


def describe(clip: Clip) -> str:
    """One line for those who cannot see the clip; also its alt text."""
    frames, height, width = clip.frames.shape[:3]
    kind = "image" if frames == 1 else f"video of {frames} frames at {clip.fps:g} a second"
    return f"{kind}, {height} by {width} pixels: {clip.caption or 'no caption'}"


def _figure(clip: Clip, width: int) -> str:
    alt, caption = html.escape(describe(clip), quote=True), html.escape(clip.caption)
    look = f"width:{width}px;image-rendering:pixelated;border-radius:6px"
    still = f'<img alt="{alt}" style="{look}" src="{data_url(png(strip(clip)), "image/png")}">'
    video = (
        f'<video controls loop autoplay muted playsinline preload="auto" aria-label="{alt}" title="{alt}" '
        f'style="{look}"><source type="video/mp4" src="{data_url(encode_mp4(clip), "video/mp4")}">{still}</video>'
    )
    picture = still if len(clip.frames) == 1 else video
    style = f"margin:0;max-width:{width}px;font-size:0.85em;line-height:1.3"
    return f'<figure style="{style}">{picture}<figcaption>{caption}</figcaption></figure>'


def data_url(content: bytes, kind: str) -> str:
    """A file as an address that holds all of it, for pages that have to work by themselves."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
