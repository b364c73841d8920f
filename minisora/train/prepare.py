"""Clips made ready: rendered or decoded once, kept as raw frames, and served as fast as they can be copied."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import minisora.worlds
from minisora.data.clip import Clip
from minisora.data.datasets import Dataset
from minisora.data.loader import Loader
from minisora.train.shelf import Item, Shelf, fill, fingerprint


class Ready:
    """A data set whose clips lie on a shelf."""

    def __init__(self, clips: Dataset, folder: str | Path, workers: int = 0) -> None:
        worlds = sorted(
            Path(minisora.worlds.__file__).parent.glob("*.py")
        )  # a world that is drawn otherwise is another
        self.of = fingerprint("frames", clips, *worlds)
        self.shelf: Shelf = fill(folder, self.of, _items(clips, workers), len(clips), "rendering clips")

    def __repr__(self) -> str:
        return f"Ready({self.of})"

    def __len__(self) -> int:
        return len(self.shelf)

    def __getitem__(self, index: int, /) -> Clip:
        item = self.shelf[index]
        return Clip(item["frames"], item["fps"], item["caption"], item["source"], item["license"])


def _items(clips: Dataset, workers: int) -> Iterator[Item]:
    """All clips, in the loader's order, which does not matter here."""
    size = min(16, len(clips))
    ahead = Loader(clips, size, workers=workers).batches(0, -(-len(clips) // size))
    for clip in islice((clip for batch in ahead for clip in batch), len(clips)):
        yield _item(clip)


def _item(clip: Clip) -> Item:
    return {
        "frames": clip.frames, "fps": clip.fps, "caption": clip.caption, "source": clip.source, "license": clip.license
    }  # fmt: skip
