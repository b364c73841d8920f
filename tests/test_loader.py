"""The loader's order is a pure function of seed and step, and workers change nothing but the speed."""

import itertools
import os
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minisora.core.errors import MinisoraError
from minisora.data.clip import Clip
from minisora.data.datasets import WorldClips
from minisora.data.loader import AHEAD, Loader, shuffled
from minisora.data.sizes import fit


@dataclass(frozen=True)
class Numbers:
    """A set of clips that are just numbers; the odd ones out raise, die or take their time."""

    count: int
    raises: int = -1
    dies: int = -1

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Clip:
        if index == self.raises:
            raise MinisoraError(f"clip {index} is broken")
        if index == self.dies:
            os._exit(3)
        return Clip(torch.full((1, 2, 2, 3), index % 256, dtype=torch.uint8), caption=str(index))


def numbers(clips: list[Clip]) -> list[int]:
    return [int(clip.caption) for clip in clips]


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 600), st.text(max_size=5))
def test_a_shuffle_puts_every_number_in_one_place(length: int, key: str) -> None:
    assert sorted(shuffled(index, length, key) for index in range(length)) == list(range(length))


def test_a_shuffle_is_thorough_and_needs_no_memory() -> None:
    """Where a number lands is near uniform over keys, and a very long set costs no more than a short one."""
    places = Counter(shuffled(3, 10, f"0/{epoch}") for epoch in range(5000))
    assert len(places) == 10 and all(abs(count - 500) < 120 for count in places.values())
    pairs = Counter((shuffled(0, 5, f"0/{epoch}"), shuffled(1, 5, f"0/{epoch}")) for epoch in range(5000))
    assert len(pairs) == 20 and all(abs(count - 250) < 90 for count in pairs.values())
    order = [shuffled(index, 1000, "7/0") for index in range(1000)]
    assert sum(abs(one - two) < 50 for one, two in itertools.pairwise(order)) < 150
    assert 0 <= shuffled(123, 10**15, "7/0") < 10**15


@settings(max_examples=60)
@given(st.integers(1, 50), st.integers(1, 7), st.integers(1, 4), st.integers(0, 99))
def test_every_epoch_serves_every_clip_once_over_all_ranks(count: int, size: int, world: int, seed: int) -> None:
    ranks = [Loader(Numbers(count), size, seed, rank, world) for rank in range(world)]
    steps = -(-3 * count // (size * world))
    walk = [number for step in range(steps) for rank in ranks for number in numbers(rank.batch(step))]
    for epoch in range(3):
        assert sorted(walk[epoch * count : (epoch + 1) * count]) == list(range(count))
    alone = Loader(Numbers(count), size * world, seed)
    assert walk == [number for step in range(steps) for number in numbers(alone.batch(step))]


def test_any_step_can_be_asked_for_directly() -> None:
    loader = Loader(Numbers(23), 4, seed=5, rank=1, world=2)
    walk = [numbers(batch) for batch in loader.batches(0, 40)]
    assert [numbers(loader.batch(step)) for step in reversed(range(40))] == walk[::-1]
    endless = loader.batches(17)
    assert [numbers(next(endless)) for _ in range(10)] == walk[17:27]
    assert walk != [numbers(batch) for batch in Loader(Numbers(23), 4, seed=6, rank=1, world=2).batches(0, 40)]
    first, second = (
        [n for batch in Loader(Numbers(20), 5).batches(e * 4, e * 4 + 4) for n in numbers(batch)] for e in (0, 1)
    )
    assert sorted(first) == sorted(second) and first != second


def test_workers_give_the_same_clips_in_the_same_order() -> None:
    prepare = partial(_fitted, sizes=("9x32x32", "1x24x16"))
    worlds = WorldClips("shapes", 9, sizes=["9x32x32", "1x32x20"])
    alone, helped = (Loader(worlds, 3, 1, workers=workers, prepare=prepare) for workers in (0, 2))
    kept = 0
    for one, two in zip(alone.batches(2, 9), helped.batches(2, 9), strict=True):
        for here, there in zip(one, two, strict=True):
            assert torch.equal(here.frames, there.frames) and here.caption == there.caption
            there.frames.add_(1)  # it can be written to
            if here.state is not None and there.state is not None:
                kept += 1
                assert torch.equal(here.state.tracks, there.state.tracks) and here.state.things == there.state.things
            assert (here.state is None) == (there.state is None)
    assert kept > 5


def _fitted(clip: Clip, seed: int, sizes: tuple[str, ...]) -> Clip:
    return fit(clip, sizes, seed=seed)


def test_an_error_in_a_worker_comes_out_in_its_place_and_a_dead_worker_does_not_hang() -> None:
    loader = Loader(Numbers(40, raises=7), 4, workers=1)
    place = next(step for step in range(10) if 7 in [loader.index(p) for p in loader.places(step)])
    batches = loader.batches()
    assert [numbers(next(batches)) for _ in range(place)] == [numbers(loader.batch(step)) for step in range(place)]
    with pytest.raises(MinisoraError, match="clip 7 is broken"):
        next(batches)
    started = time.monotonic()
    with pytest.raises(MinisoraError, match="worker died"):
        list(Loader(Numbers(4, dies=2), 4, workers=1).batches(0, 3 * AHEAD))
    assert time.monotonic() - started < 60


@pytest.mark.slow
def test_workers_end_with_their_parent_however_it_ends(tmp_path: Path) -> None:
    """The parent is killed outright while its worker is waiting for more to do."""
    script = tmp_path / "parent.py"
    script.write_text(
        "import os, multiprocessing\nfrom minisora.data.loader import Loader\nfrom tests.test_loader import Numbers\n"
        "if __name__ == '__main__':\n"
        "    batches = Loader(Numbers(100), 2, workers=1).batches()\n    next(batches)\n"
        "    print(*[child.pid for child in multiprocessing.active_children()], flush=True)\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    run = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, env=env, timeout=120)
    pids = [int(pid) for pid in run.stdout.split()]
    assert pids, run.stderr
    deadline = time.monotonic() + 20
    while any(_alive(pid) for pid in pids):
        assert time.monotonic() < deadline, "a worker outlived its parent"
        time.sleep(0.1)


def _alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and that nobody has asked about yet (a zombie) does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize(
    ("mistake", "told"),
    [
        (lambda: Loader(Numbers(0), 1), "empty"),
        (lambda: Loader(Numbers(3), 0), "batch"),
        (lambda: Loader(Numbers(3), 1, rank=2, world=2), "rank"),
        (lambda: Loader(Numbers(3), 1).batch(-1), "steps count from 0"),
        (lambda: next(Loader(Numbers(3), 1, workers=1, prepare=lambda clip, seed: clip).batches()), "partial"),
    ],
)
def test_a_mistake_is_told_in_one_line(mistake, told: str) -> None:
    with pytest.raises(MinisoraError, match=told) as error:
        mistake()
    assert len(str(error.value).splitlines()) == 1
