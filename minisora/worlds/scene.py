"""What every toy world shares: a Scene (what is asked for), a State (what is exactly true), and how one is drawn.

Positions are in pixels, x to the right and y downwards; the centre of the top-left pixel is (0.5, 0.5). Inside a
world the short side of the picture is 1 unit long, so that one scene can be composed for a frame of any shape.
"""

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from minisora.core.errors import MinisoraError, check_choice, check_size


@dataclass(frozen=True)
class Scene:
    """A seed made concrete. Every world adds its own fields; `seconds` is the duration it was composed for."""

    world: ClassVar[str]
    seed: int
    seconds: float


@dataclass(frozen=True)
class State:
    """The exact truth about one rendering of a scene."""

    things: tuple[dict[str, str], ...]  # the attributes of each thing, in the words of language.WORDS
    tracks: Tensor  # (n, t, 2) float64: x, y of each thing's centre, in pixels
    visible: Tensor  # (n, t) float64: the share of each thing that can be seen, 0 … 1
    camera: Tensor | None = None  # (t, parameters), for worlds with a moving camera
    grid: Tensor | None = None  # (t, rows, columns) int64, for worlds on a grid


class World(Protocol):
    """The four functions of a world. Each world is a module, so that there is nothing to instantiate."""

    def sample(self, seed: int, seconds: float = 2.0) -> Scene: ...
    def render(self, scene: Scene, frames: int, height: int, width: int, fps: float = 8.0) -> Tensor: ...
    def state(self, scene: Scene, frames: int, height: int, width: int, fps: float = 8.0) -> State: ...
    def caption(self, scene: Scene, detail: str = "short") -> str: ...


@dataclass(frozen=True)
class Frame:
    """A picture plane: its size in pixels, and in units of its short side."""

    height: int
    width: int

    @property
    def unit(self) -> int:
        return min(self.height, self.width)

    @property
    def extent(self) -> Tensor:
        """(width, height) in units: (1, 1) for a square, (16/9, 1) for a wide frame."""
        return torch.tensor([self.width, self.height], dtype=torch.float64) / self.unit


def dice(world: str, seed: int, purpose: str = "scene") -> random.Random:
    """A random generator of its own for every world, seed and purpose, the same in every version of Python."""
    return random.Random(f"{world}/{seed}/{purpose}")


def narrow(
    what: str, wanted: str | Iterable[str] | None, vocabulary: Mapping[str, object] | Iterable[str]
) -> list[str]:
    """The words to draw from: all of a vocabulary, or the one or several that a constraint asks for."""
    vocabulary = list(vocabulary)
    if wanted is None:
        return vocabulary
    words = [wanted] if isinstance(wanted, str) else list(wanted)
    if not words:
        raise MinisoraError(f"no {what} to draw from: choose one or several of {', '.join(vocabulary)}")
    return [check_choice(what, word, vocabulary) for word in words]


def check_seconds(seconds: float) -> float:
    if not 0.1 <= seconds <= 120:
        raise MinisoraError(f"a scene cannot last {seconds} seconds: it is composed for 0.1 to 120")
    return float(seconds)


def clock(frames: int, height: int, width: int, fps: float) -> Tensor:
    """(t,) the time of each frame in seconds. Every render and every state begins here, so sizes are checked here."""
    check_size(frames, height, width, fps)
    return torch.arange(frames, dtype=torch.float64) / fps


def reflect(x: Tensor) -> Tensor:
    """Fold the real line into [0, 1], as a mover that bounces off both walls: … 0 → 1 → 0 → 1 …"""
    return 1 - (x.remainder(2) - 1).abs()
