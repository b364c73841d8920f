"""How fast the worlds are drawn:   python -m tests.benchmarks.worlds [--size 17x64x64] [--seconds 4] [WORLD …]

`render` is one process with all cores to itself; `both` also draws the scene; `pool` is a process on every core.
"""

import argparse
import multiprocessing
import os
import time

import torch

from minisora.core.machine import describe
from minisora.data.clip import parse_size
from minisora.worlds import WORLDS, world

Size = tuple[int, int, int]


def rate(name: str, size: Size, seconds: float, drawn: bool, first: int = 0) -> float:
    """Clips a second, over about so many seconds; `drawn` scenes are drawn before the clock starts."""
    this = world(name)
    scenes = [this.sample(first + seed) for seed in range(40)]
    for scene in scenes[:4]:
        this.render(scene, *size)
    started, clips = time.perf_counter(), 0
    while (spent := time.perf_counter() - started) < seconds:
        scene = scenes[clips % len(scenes)] if drawn else this.sample(first + clips)
        this.render(scene, *size)
        clips += 1
    return clips / spent


def alone(job: tuple[str, Size, float, int]) -> float:
    torch.set_num_threads(1)
    name, size, seconds, first = job
    return rate(name, size, seconds, drawn=False, first=first)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("worlds", nargs="*", default=list(WORLDS))
    parser.add_argument("--size", default="17x64x64")
    parser.add_argument("--seconds", type=float, default=4.0)
    wanted = parser.parse_args()
    size, cores = parse_size(wanted.size), os.cpu_count() or 1
    print(
        ", ".join(f"{name}: {value}" for name, value in describe().items() if name in ("device", "cores", "libraries"))
    )
    print(f"\n| clips/s of {wanted.size} | render | both | pool of {cores} |\n|---|---|---|---|")
    for name in wanted.worlds:
        render, both = (rate(name, size, wanted.seconds, drawn) for drawn in (True, False))
        with multiprocessing.get_context("spawn").Pool(cores) as pool:
            together = sum(pool.map(alone, [(name, size, wanted.seconds, 1000 * core) for core in range(cores)], 1))
        print(f"| {name} | {render:.0f} | {both:.0f} | {together:.0f} |", flush=True)


if __name__ == "__main__":
    main()
