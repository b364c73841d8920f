"""What a set of clips is (a length, and a clip for every index), and the first one: toy worlds, rendered as asked for.

The others are a folder of videos (folder.py) and Hugging Face data sets (hub.py). A plain list of clips is one, too.
"""

import inspect
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from minisora.core.errors import MinisoraError, check_choice, check_size
from minisora.data.clip import Clip, Size, parse_size
from minisora.worlds import WORLDS, Scene, world
from minisora.worlds.scene import dice

TRIES = 100  # broken clips in a row before a data set is given up
DETAILS = ("short", "descriptive", "either")
SEEDS = 10**9  # scenes that one seed has for itself

log = logging.getLogger("minisora")


class Dataset(Protocol):
    """Index in, clip out, the same one each time: the order and the batches are the loader's business."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Clip: ...


@dataclass(frozen=True)
class WorldClips:
    """Scenes of the toy worlds in turn, each with its caption and its exact state. Clip `i` is always the same clip.

    `constraints` go to a world's `sample`: {"shapes": {"color": "red"}}. Another `seed` gives other scenes throughout.
    """

    names: str | Sequence[str] = WORLDS
    count: int = 10_000
    seed: int = 0
    sizes: Sequence[Size | str] = ((17, 64, 64),)
    fps: float = 8.0
    seconds: float | None = None  # that scenes are composed for; as long as the longest size if None
    detail: str = "short"
    constraints: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = (self.names,) if isinstance(self.names, str) else tuple(self.names)
        sizes = tuple(parse_size(size) for size in self.sizes)
        if not names or not sizes or not 0 <= self.count <= SEEDS or self.seed < 0:
            raise MinisoraError(f"toy worlds need a world, a size, a count from 0 to {SEEDS} and a seed from 0 up")
        check_choice("caption detail", self.detail, DETAILS)
        check_size(*sizes[0], self.fps)
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "sizes", sizes)
        for name in (*names, *self.constraints):
            allowed = [
                word for word in inspect.signature(world(name).sample).parameters if word not in ("seed", "seconds")
            ]
            for constraint in self.constraints.get(name, ()):
                check_choice(f"constraint of {name}", constraint, allowed)
            try:  # before anybody waits for clips
                self._scene(name, self.seed * SEEDS)
            except (TypeError, ValueError) as error:
                raise MinisoraError(f"{name} has no scenes with {self.constraints[name]}: {error}") from None

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Clip]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> Clip:
        scene, size, detail = self._asked(index)
        return rendered(scene, size, self.fps, detail)

    def caption(self, index: int) -> str:
        """The caption of a clip that need not be drawn for it."""
        scene, _, detail = self._asked(index)
        return world(scene.world).caption(scene, detail)

    def _asked(self, index: int) -> tuple[Scene, Size, str]:
        check_index(index, self.count)
        name, seed = self.names[index % len(self.names)], self.seed * SEEDS + index
        rng = dice(name, seed, "clip")
        size = parse_size(rng.choice(self.sizes))
        return self._scene(name, seed), size, rng.choice(DETAILS[:2]) if self.detail == "either" else self.detail

    def _scene(self, name: str, seed: int) -> Scene:
        longest = max(parse_size(choice)[0] for choice in self.sizes)
        seconds = max(1.0, (longest - 1) / self.fps) if self.seconds is None else self.seconds
        return world(name).sample(seed, seconds, **self.constraints.get(name, {}))


def rendered(scene: Scene, size: Size, fps: float = 8.0, detail: str = "short") -> Clip:
    """A scene as a clip of some size, with its caption and its exact state."""
    this = world(scene.world)
    frames, state = this.render(scene, *size, fps), this.state(scene, *size, fps)
    return Clip(frames, fps, this.caption(scene, detail), f"minisora/{scene.world}/{scene.seed}", "MIT", state)


def check_index(index: int, length: int) -> None:
    if not 0 <= index < length:
        raise IndexError(f"clip {index} of {length}")


def first_sound(read: Callable[[int], Clip], index: int, length: int, broken: str, warned: set[int]) -> Clip:
    """The clip at an index; with broken="skip", the next one that is not broken stands in for one that is."""
    check_index(index, length)
    if broken == "error":
        return read(index)
    for place in range(index, index + min(length, TRIES)):
        try:
            return read(place % length)
        except MinisoraError as error:
            if place % length not in warned:
                log.warning("skipped: %s", error)
            warned.add(place % length)
    raise MinisoraError(f"no sound clip among {min(length, TRIES)} in a row: read with broken='error' to see why")
