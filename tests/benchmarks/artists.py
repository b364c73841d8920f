"""Clips of the toy worlds, drawn by all cores while a GPU is busy, and put on it chunk by chunk."""

import multiprocessing
import os
import random
import shutil
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from minisora.core.errors import MinisoraError
from minisora.data.clip import Clip, Size, parse_size
from minisora.data.datasets import SEEDS, Dataset, WorldClips
from minisora.models.tokenizer import Tokenizer
from minisora.worlds import shapes
from minisora.worlds.language import COLORS
from minisora.worlds.raster import SHAPES
from minisora.worlds.shapes import ShapesScene, is_held_out, stands_out
from minisora.worlds.turning import turned

CHUNK = 256
SPARE = 2**31  # bytes that stay free where chunks wait
PATIENCE = 300.0  # seconds


@dataclass(frozen=True)
class Wanted:
    """A kind of clips, and how many of them."""

    count: int
    worlds: tuple[str, ...] = ("shapes",)
    size: str = "17x64x64"
    only: dict[str, Any] = field(default_factory=dict)
    turning: tuple[int, int] | None = None
    """One flat thing that turns into another between these frames; the caption is that of the one or the other."""
    known: tuple[int, ...] = ()
    """Frames that are given as images."""
    edited: bool = False
    """A clip, and behind it what it was before one thing about it was changed; the caption is that of the clip."""


def drawn(wanted: Wanted, count: int, seed: int) -> Dataset:
    size = parse_size(wanted.size)
    if wanted.turning:
        return Turning(size, wanted.turning, count, seed)
    if wanted.edited:
        return Edited(size, count, seed)
    constraints = dict.fromkeys(wanted.worlds, wanted.only) if wanted.only else {}
    return WorldClips(wanted.worlds, count, seed, (size,), detail="either", constraints=constraints)


@dataclass(frozen=True)
class Turning:
    """Clips in which a scene turns into another; the other one's time begins where it is alone, as far as it is."""

    size: Size
    between: tuple[int, int]
    count: int
    seed: int

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Clip:
        number, (begin, end) = self.seed * SEEDS + 2 * index, self.between
        scenes = [shapes.sample(number + k, 2.0, count=1, style="flat") for k in (0, 1)]
        later = end if end < self.size[0] - 1 else 0
        return Clip(turned(*scenes, *self.size, begin, end, later), 8.0, shapes.caption(scenes[index % 2]))


@dataclass(frozen=True)
class Edited:
    """Pairs of scenes that differ in one color, shape, background, style or thing, the new one before the old one."""

    size: Size
    count: int
    seed: int

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Clip:
        rng = random.Random(number := self.seed * SEEDS + index)
        old = shapes.sample(number, 2.0)
        possible = changes(old)
        kinds = [kind for kind in CHANGED if possible[kind]]
        (kind,) = rng.choices(kinds, [CHANGED[kind] for kind in kinds])
        new = rng.choice(possible[kind])
        if kind == "number" and rng.random() < 2 / 3:
            old, new = new, old
        frames = torch.cat([shapes.render(scene, *self.size) for scene in (new, old)])
        return Clip(frames, 8.0, shapes.caption(new, rng.choice(("short", "descriptive"))))


CHANGED = {"color": 3, "background": 4, "shape": 1, "style": 1, "number": 1.5}
"""How often something is changed, where it can be; two times of three one thing more is there, and else one fewer."""


def changes(scene: ShapesScene) -> dict[str, list[ShapesScene]]:
    """What a scene can become by one change; no thing becomes a composition that is held out."""
    things, found = scene.things, dict[str, list[ShapesScene]]()
    for kind, names in (("color", list(COLORS)), ("shape", list(SHAPES))):
        taken = {getattr(thing, kind) for thing in things}
        others = [
            (at, replace(thing, **{kind: name}))
            for at, thing in enumerate(things) for name in names if name not in taken
        ]  # fmt: skip
        found[kind] = [
            replace(scene, things=(*things[:at], thing, *things[at + 1 :]))
            for at, thing in others
            if stands_out(thing.color, scene.background) and not is_held_out(thing.shape, thing.color, thing.motion)
        ]
    found["background"], found["style"] = shapes.elsewhere(scene), shapes.restyled(scene)
    found["number"] = [
        replace(scene, things=(*things[:at], *things[at + 1 :])) for at in range(len(things)) if len(things) > 1
    ]
    return found


def draw(name: str, wanted: Wanted, start: int, seed: int, folder: str) -> list[str]:
    """One chunk to a file, and its captions."""
    begun = time.monotonic()
    while shutil.disk_usage(folder).free < SPARE:
        time.sleep(0.1)
        if time.monotonic() - begun > PATIENCE:
            raise MinisoraError(f"{folder} has been full for {PATIENCE:g} seconds: nobody takes the clips")
    clips, some = drawn(wanted, start + CHUNK, seed), []
    for index in range(start, start + CHUNK):
        with suppress(MinisoraError):  # three things that go round do not always find room
            some.append(clips[index])
    np.save(f"{folder}/{name}-{start}.npy", torch.stack([clip.frames for clip in some]).numpy())
    return [clip.caption for clip in some]


class Artists:
    """Processes that draw all that is wanted, kind after kind. Each kind has scenes of its own, from `seed` up."""

    def __init__(self, wanted: dict[str, Wanted], seed: int, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("*.npy"):  # of a run that was killed
            old.unlink()
        if shutil.disk_usage(folder).total < 2 * SPARE:
            raise MinisoraError(f"{folder} is too small a place for clips to wait in: name another --folder")
        self.wanted, self.folder, workers = wanted, folder, max(1, (os.cpu_count() or 2) - 1)
        self.pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), torch.set_num_threads, (1,))
        self.chunks: dict[str, list[tuple[int, Future]]] = {}
        for number, (name, kind) in enumerate(wanted.items()):
            starts = range(0, max(CHUNK, kind.count // CHUNK * CHUNK), CHUNK)
            self.chunks[name] = [
                (start, self.pool.submit(draw, name, kind, start, seed + number, str(folder))) for start in starts
            ]

    def take(self, name: str) -> Iterator[tuple[Tensor, list[str]]]:
        """Frames (b, t, h, w, 3) and captions, as soon as they are drawn."""
        for start, future in self.chunks[name]:
            captions, path = future.result(), self.folder / f"{name}-{start}.npy"
            yield torch.from_numpy(np.load(path, mmap_mode="r+")), captions
            path.unlink()

    def spell(self, tokenizer: Tokenizer, captions: Iterable[str]) -> list[list[int]]:
        """The ids of all captions, by as many processes."""
        return list(self.pool.map(tokenizer.encode, captions, chunksize=CHUNK))
