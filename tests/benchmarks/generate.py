"""Where the seconds of `minisora generate` go, from a cold start to a file:   python -m tests.benchmarks.generate

The whole command is timed as a process of its own, several times; then a fresh process tells its stages apart.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from minisora.core.machine import describe

PROMPT = "a large red circle moves to the right on a white background"
STAGES = """
import sys, time
marks = [("python", time.perf_counter())]
def mark(name): marks.append((name, time.perf_counter()))
import torch
mark("import torch")
from minisora.generate.sora import Sora
from minisora.generate.credits import write_take
from minisora.viz.sheets import write_sheet
mark("import minisora")
sora = Sora.from_pretrained(sys.argv[1])
mark("load the model")
stops = []
takes = sora.generate(sys.argv[2], seed=0, callback=lambda *at: stops.append(time.perf_counter()))
marks += [("first step", stops[0]), (f"{len(stops) - 1} more steps", stops[-1])]
mark("decode")
write_take(sys.argv[3] + "/clip.mp4", takes[0])
write_sheet(sys.argv[3] + "/sheet.png", takes)
mark("write mp4 and sheet")
for (_, before), (name, after) in zip(marks, marks[1:]):
    print(f"{name:<22}{after - before:6.2f} s")
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("preset", nargs="?", default="toy")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    print("\n".join(f"{name:10s} {value}" for name, value in describe().items() if name in ("device", "cores")))
    command = Path(sys.executable).with_name("minisora")
    with tempfile.TemporaryDirectory() as folder:
        seconds = []
        for _ in range(options.runs):
            begin = time.perf_counter()
            words = [command, "generate", PROMPT, "--preset", options.preset, "--out", f"{folder}/clip.mp4"]
            subprocess.run(words, check=True, capture_output=True)
            seconds.append(time.perf_counter() - begin)
        print(f"the command: median {median(seconds):.2f} s, {min(seconds):.2f} … {max(seconds):.2f}, file on disk")
        subprocess.run([sys.executable, "-c", STAGES, options.preset, PROMPT, folder], check=True)


if __name__ == "__main__":
    main()
