"""How a checker is itself checked: its share of yes on real clips, and of no on clips that must fail.

python -m tests.checking [--clips 500] [--sizes 17x64x64 17x72x128] [WORLD …]     prints the whole table
"""

import argparse
import importlib
import multiprocessing
import time
from functools import partial

import torch

from minisora.evaluate.measure import CHECKERS, checker_of

Size = tuple[int, int, int]


def verdict(seed: int, world: str, size: Size, control: str = "") -> list[str]:
    """The claims that a checker does not confirm: of a real clip, or of a control's."""
    painter, checker = importlib.import_module(f"minisora.worlds.{world}"), checker_of(world)
    scene = painter.sample(seed, max(0.5, (size[0] - 1) / 8))
    make = checker.CONTROLS[control] if control else painter.render
    return checker.check(make(scene, *size, 8.0), scene, 8.0).failed


def failures(world: str, clips: int, size: Size, control: str = "") -> list[list[str]]:
    """The failed claims of each of the first clips, worked out on all cores."""
    with multiprocessing.get_context("fork").Pool(initializer=torch.set_num_threads, initargs=(1,)) as pool:
        return pool.map(partial(verdict, world=world, size=size, control=control), range(clips), chunksize=8)


def agreement(world: str, clips: int, size: Size) -> float:
    """The share of real clips in which the checker confirms every claim of the caption."""
    failed = failures(world, clips, size)
    print({seed: claims for seed, claims in enumerate(failed) if claims})
    return sum(not claims for claims in failed) / clips


def refusal(world: str, control: str, clips: int, size: Size) -> float:
    """The share of a control's clips that the checker refuses."""
    failed = failures(world, clips, size, control)
    print("taken for real:", [seed for seed, claims in enumerate(failed) if not claims])
    return sum(bool(claims) for claims in failed) / clips


def main() -> None:
    parser = argparse.ArgumentParser(description="How well the checkers check: yes to real clips, no to controls.")
    parser.add_argument("worlds", nargs="*", default=list(CHECKERS))
    parser.add_argument("--clips", type=int, default=500)
    parser.add_argument("--sizes", nargs="*", default=["17x64x64", "17x72x128"])
    wanted = parser.parse_args()
    sizes = [tuple(map(int, size.split("x"))) for size in wanted.sizes]
    print(f"| world | clips of | {' | '.join(wanted.sizes)} |\n|---|---|{'---|' * len(sizes)}")
    for world in wanted.worlds:
        for control in ("", *checker_of(world).CONTROLS):
            started, shares = time.monotonic(), []
            for size in sizes:
                failed = failures(world, wanted.clips, size, control)
                right = sum(bool(claims) == bool(control) for claims in failed)
                shares.append(f"{100 * right / wanted.clips:.1f} %")
            what = f"no to: {control}" if control else "yes to: the world itself"
            print(f"| {world} | {what} | {' | '.join(shares)} |   {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
