"""What a file says about the clip inside it: a small JSON text that mp4, GIF and PNG files can all carry.

It holds the clip's exact size and rate, its caption, source and license, and any dict beside them (a recipe, say).
A reader trusts none of it: a text that is not ours, or that does not fit the frames, is as good as no text.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from minisora.core.errors import LARGEST_SIDE, MinisoraError
from minisora.data.clip import Clip

LONGEST = 1 << 20  # characters
OWN = ("size", "fps", "caption", "source", "license")


@dataclass(frozen=True)
class Facts:
    """What a file says of itself before any frame of it is decoded; a number that it does not say is 0."""

    kind: str  # "mp4", "gif", "png" …
    frames: int
    height: int
    width: int
    fps: float
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        return self.frames / self.fps


@dataclass(frozen=True)
class Limits:
    """What one clip may take before it is refused, so that a mistaken or hostile file cannot fill the memory."""

    frames: int = 20_000
    side: int = LARGEST_SIDE
    pixels: int = 1 << 25  # of one frame as it is stored; a decoder keeps up to seventeen of them
    bytes: int = 1 << 30  # of all frames as they are read

    def check_picture(self, name: str, height: int, width: int) -> None:
        """Refuse a frame that should not even be decoded."""
        if height < 1 or width < 1:
            raise MinisoraError(f"{name} says that it is {height} pixels high and {width} wide: the file is broken")
        if max(height, width) > self.side or height * width > self.pixels:
            raise MinisoraError(
                f"{name} is {height}x{width} pixels, over the limits ({self.side} a side, {self.pixels} in all): pass "
                "other limits to read it nevertheless"
            )

    def check(self, name: str, frames: int, height: int, width: int) -> None:
        """Refuse a clip with so many frames of a size."""
        self.check_picture(name, height, width)
        if frames > self.frames or frames * height * width * 3 > self.bytes:
            raise MinisoraError(
                f"{name} has {frames} frames or more of {height}x{width}, over the limits ({self.frames} frames, "
                f"{self.bytes >> 20} MiB): read fewer seconds, ask for a short_side, or pass other limits"
            )

    def most(self, name: str, height: int, width: int) -> int:
        """How many frames of this size are within the limits."""
        self.check(name, 1, height, width)
        return min(self.frames, self.bytes // (height * width * 3))


LIMITS = Limits()


def write_facts(clip: Clip, metadata: Mapping[str, Any] | None = None) -> str:
    own = {"size": clip.size, "fps": clip.fps, "caption": clip.caption, "source": clip.source, "license": clip.license}
    extra = dict(metadata or {})
    if taken := sorted(set(OWN) & set(extra)):
        raise MinisoraError(f"metadata cannot hold {', '.join(taken)}: these come from the clip itself")
    try:
        text = json.dumps(own | extra, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise MinisoraError(f"metadata must be plain JSON (numbers, texts, lists, dicts): {error}") from None
    if len(text) > LONGEST:
        raise MinisoraError(f"metadata is {len(text)} characters long: at most {LONGEST} fit beside a clip")
    return text


def read_facts(text: object) -> dict[str, Any]:
    """The dict in a file's comment, or an empty one. A comment that anyone else wrote is no error."""
    if not isinstance(text, str) or len(text) > LONGEST or not text.lstrip().startswith("{"):
        return {}
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) and "size" in found else {}


def exact_rate(fps: float, facts: Mapping[str, Any]) -> float:
    """A container rounds the rate to a fraction or to whole milliseconds: take the told one if it agrees."""
    told = facts.get("fps")
    return float(told) if isinstance(told, (int, float)) and abs(told - fps) <= 1e-3 * fps else fps


def finish(frames: Tensor, fps: float, facts: Mapping[str, Any], name: str) -> Clip:
    """The clip, with the words that its file carries; its source is the file itself if it names no other."""
    words = {word: facts[word] for word in ("caption", "source", "license") if isinstance(facts.get(word), str)}
    return Clip(frames, fps, words.get("caption", ""), words.get("source") or name, words.get("license", ""))
