"""Batches in an order that nobody has to remember: which clips make up step s follows from the seed and s alone.

Step after step the loader walks through epoch after epoch, each a shuffle of its own, and every rank takes its share
of each step. A run that is resumed at step s asks for step s; a run on fewer ranks sees the same clips in the same
order, as long as batch size x ranks stays the same.
"""

import gc
import hashlib
import io
import itertools
import multiprocessing
import multiprocessing.context
import os
import pickle
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import Any

import torch
from torch import Tensor

from minisora.core.errors import MinisoraError
from minisora.data.clip import Clip
from minisora.data.datasets import Dataset

AHEAD = 2  # batches under way for each worker
ROUNDS = 6


def shuffled(index: int, length: int, key: str) -> int:
    """Where a shuffle of 0 … length - 1 puts `index`, without ever writing the shuffle down.

    A Feistel network is a shuffle of all numbers of so many bits: each round mixes one half into the other, which can
    be undone whatever the mixing does. A number that lands beyond the length goes through again, until it does not.
    """
    bits = max(5, (length - 1).bit_length())  # of fewer bits, six rounds do not make an even shuffle
    while True:
        low, high = bits // 2, bits - bits // 2
        for turn in range(ROUNDS):
            left, right = index >> low, index & ((1 << low) - 1)
            mixed = hashlib.blake2b(f"{turn}/{right}".encode(), digest_size=8, key=key.encode()[:64]).digest()
            left ^= int.from_bytes(mixed, "little") & ((1 << high) - 1)
            index, low, high = right << high | left, high, low
        if index < length:
            return index


@dataclass(frozen=True)
class Loader:
    """`batch(step)` is any step's batch; `batches(start)` are all from a step on, made ahead by `workers` processes.

    `prepare(clip, seed)` is done to every clip where it is read: `sizes.fit`, say, under functools.partial.
    """

    dataset: Dataset
    batch_size: int
    seed: int = 0
    rank: int = 0
    world: int = 1
    workers: int = 0
    prepare: Callable[[Clip, int], Clip] | None = None

    def __post_init__(self) -> None:
        if len(self.dataset) < 1:
            raise MinisoraError("the data set is empty: there is nothing to load")
        if self.batch_size < 1 or self.workers < 0 or not 0 <= self.rank < self.world:
            raise MinisoraError(
                f"batch size {self.batch_size}, workers {self.workers}, rank {self.rank} of {self.world}: a batch has "
                "1 clip or more, workers go from 0 up, and rank from 0 to one less than world"
            )

    def places(self, step: int) -> list[int]:
        """Places on the endless walk through the epochs: place p is clip p % length of epoch p // length."""
        if step < 0:
            raise MinisoraError(f"there is no step {step}: steps count from 0")
        first = (step * self.world + self.rank) * self.batch_size
        return list(range(first, first + self.batch_size))

    def index(self, place: int) -> int:
        epoch, offset = divmod(place, len(self.dataset))
        return shuffled(offset, len(self.dataset), f"{self.seed}/{epoch}")

    def batch(self, step: int) -> list[Clip]:
        """This rank's clips at a step."""
        return [self._clip(place) for place in self.places(step)]

    def _clip(self, place: int) -> Clip:
        clip = self.dataset[self.index(place)]
        return clip if self.prepare is None else self.prepare(clip, (self.seed % 2**15 << 48) + place)

    def batches(self, start: int = 0, stop: int | None = None) -> Iterator[list[Clip]]:
        """The batches of steps start, start + 1, … and without a `stop` they never end."""
        steps = itertools.count(start) if stop is None else range(start, stop)
        return self._ahead(steps) if self.workers else (self.batch(step) for step in steps)

    def _ahead(self, steps: Iterable[int]) -> Iterator[list[Clip]]:
        """The same batches in the same order, each made by some worker before it is asked for.

        An error in a worker comes out here, in its batch's place.
        """
        _check_portable(self.prepare)
        pool = ProcessPoolExecutor(self.workers, _fresh_processes(), _begin, (self,))
        waiting: deque[Future[bytes]] = deque()
        try:
            for step in steps:
                waiting.append(pool.submit(_work, step))
                if len(waiting) > AHEAD * self.workers:
                    yield pickle.loads(waiting.popleft().result())
            while waiting:
                yield pickle.loads(waiting.popleft().result())
        except BrokenProcessPool:
            raise MinisoraError(
                "a loader's worker died before its batch was done: use workers=0 to see why (in a script, workers "
                "need the usual if __name__ == '__main__')"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


def _fresh_processes() -> multiprocessing.context.BaseContext:
    """Workers are not forked from here, where other threads may hold locks, but from a process that only imports."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


def _check_portable(prepare: object) -> None:
    try:
        pickle.dumps(prepare)
    except (pickle.PicklingError, AttributeError, TypeError):
        raise MinisoraError(
            "prepare cannot be sent to workers: use a module's function or a functools.partial of one, or workers=0"
        ) from None


_mine: Loader  # in a worker, the loader that it works for


def _begin(loader: Loader) -> None:
    """A worker's first act. It leaves interrupts to its parent, and ends when its parent does, however that ends."""
    global _mine
    _mine = loader
    torch.set_num_threads(1)
    gc.freeze()  # what was imported need not be searched for garbage again and again
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow_parent, daemon=True).start()


def _follow_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _work(step: int) -> bytes:
    buffer = io.BytesIO()
    _Parcel(buffer, protocol=5).dump(_mine.batch(step))
    return buffer.getvalue()


class _Parcel(pickle.Pickler):
    """Sends tensors as plain bytes: torch's own way sends an open file for each, and those run out."""

    def reducer_override(self, thing: object) -> Any:
        return (torch.from_numpy, (thing.numpy(),)) if isinstance(thing, Tensor) else NotImplemented
