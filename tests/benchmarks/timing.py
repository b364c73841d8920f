"""Timing in interleaved turns: whatever else the machine does disturbs all of them alike."""

import time
from collections.abc import Callable
from statistics import median

import torch

from minisora.core.machine import describe
from minisora.core.runtime import keep_memory


def start(threads: int = 2) -> None:
    """Two threads of the CPU, memory kept (which favours nobody: all that is compared runs here), and its name."""
    keep_memory()
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    shown = {"device": "cpu", "cores": describe()["cores"], "libraries": describe()["libraries"]}
    print("\n".join(f"{name:10s} {value}" for name, value in shown.items()), flush=True)


def take_turns(runs: dict[str, Callable[[], object]], rounds: int = 7) -> dict[str, float]:
    """Median seconds of each, run in turns, after two rounds that do not count."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds + 2):
        for name, run in runs.items():
            begin = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - begin)
    return {name: median(values[2:]) for name, values in seconds.items()}
